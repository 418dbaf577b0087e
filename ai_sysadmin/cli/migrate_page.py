"""What people read of a migration."""

from ai_sysadmin.cli.knowledge_page import redacted_text
from ai_sysadmin.cli.layout import heading, table, wrapped
from ai_sysadmin.core.records import Record
from ai_sysadmin.stores.prototype import Imported, Left, Table
from ai_sysadmin.stores.prototype.mapping import kind_of

_MOST_SHOWN = 20


class Migration(Record):
    """What a migration found and did; of a dry run, what it would do.

    ``left`` stays as it is by intent, ``unread`` could not be read; each part names what of itself was left.
    """

    dry_run: bool
    directory: str
    parts: tuple[Imported, ...]
    tables: tuple[Table, ...]
    left: tuple[Left, ...]
    unread: tuple[Left, ...]


def migration_page(done: Migration) -> str:
    """Render a migration."""
    lines = wrapped(_verdict(done))
    if done.parts:
        heads = ("FROM", "FOUND", "IMPORT" if done.dry_run else "IMPORTED", "THERE", "LEFT", "AS")
        lines += ["", *table(heads, [_row(each) for each in done.parts])]
    if done.tables:
        lines += [*heading("Tables"), *_tables(done.tables)]
    passed = [each for part in done.parts for each in part.left]
    if passed or done.left or done.unread:
        lines += heading("Left")
        for each in (*done.unread, *passed[:_MOST_SHOWN], *done.left):
            lines += wrapped(f"{each.where}: {each.why}", 4, "  ")
        if len(passed) > _MOST_SHOWN:
            lines += wrapped(f"{len(passed) - _MOST_SHOWN} more such entries: --json names them all", 4, "  ")
    redacted = _redacted(done.parts)
    if redacted and not done.dry_run:
        lines += ["", *wrapped(redacted_text(redacted))]
    if any(each.imported for each in done.parts) and not done.dry_run:
        lines += [
            "",
            *wrapped("`ai-sysadmin knowledge search QUERY` finds it now; its vectors come with the next index."),
        ]
    return "\n".join(lines)


def _verdict(done: Migration) -> str:
    found = sum(each.found for each in done.parts)
    imported = sum(each.imported for each in done.parts)
    there = sum(each.there_already for each in done.parts)
    if not done.parts:
        nothing = f"Nothing of the prototype's was found in {done.directory}, and no collection of its ChromaDB"
        return nothing + (", but its tables." if done.tables else ".")
    if not imported and there:
        return f"Already here: all {there} entries of the prototype's that can be imported. Nothing was changed."
    before = f"; {there} are already here" if there else ""
    if done.dry_run:
        return f"Of {found} entries of the prototype's, {imported} would be imported{before}. Nothing was changed."
    return f"Of {found} entries of the prototype's, {imported} were imported{before}. Its own data was left as it is."


def _row(part: Imported) -> tuple[str, ...]:
    left = part.found - part.imported - part.there_already
    counts = (part.found, part.imported, part.there_already, left)
    again = f" ({part.repeated} the same again)" if part.repeated else ""
    return (part.origin.value, *map(str, counts), kind_of(part.origin).value + again)


def _tables(tables: tuple[Table, ...]) -> list[str]:
    rows = [
        (each.name, each.hostname, str(each.rows), f"{each.first:%Y-%m-%d %H:%M} to {each.last:%Y-%m-%d %H:%M} UTC")
        for each in tables
    ]
    return table(("TABLE", "HOST", "ROWS", "OF"), rows, width=110)


def _redacted(parts: tuple[Imported, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for part in parts:
        counts |= {kind: counts.get(kind, 0) + count for kind, count in part.redacted.items()}
    return counts
