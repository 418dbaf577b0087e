"""What people read of knowledge."""

from collections.abc import Mapping
from pathlib import Path

from ai_sysadmin.cli.layout import fact, table, verbatim, wrapped
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.knowledge import Document, DocumentKind, Found, Hit
from ai_sysadmin.core.records import Record
from ai_sysadmin.openai_api_server.system.knowledge_views import Added, Listed, Listing, Reindexing

_SHOWN_LINES = 3
_ADD = (
    "`ai-sysadmin knowledge add TITLE` adds a note,",
    "`ai-sysadmin knowledge import DIR` a directory of runbooks.",
)


class NotTaken(Record):
    """A file that was not imported."""

    path: str
    why: str


class Import(Record):
    """What an import came to."""

    added: tuple[Added, ...]
    not_taken: tuple[NotTaken, ...]


def found_page(found: Found, *, narrowed: bool = False) -> str:
    """Render what a search found, the best first."""
    lines: list[str] = []
    for hit in found.hits:
        lines += [*_hit(hit), ""]
    if not found.hits:
        again = "without --kind" if narrowed else "with other words"
        lines += [
            f"Nothing that is known fits. Try again {again};",
            "`ai-sysadmin knowledge list` shows what there is.",
        ]
        lines += [*_ADD, ""]
    else:
        lines.append("`ai-sysadmin knowledge show ID` shows one whole.")
    if found.degraded:
        lines += wrapped(f"Searched with less than there should be: {found.degraded}")
    return "\n".join(lines).rstrip("\n")


def _hit(hit: Hit) -> list[str]:
    document = hit.document
    head = f"{document.id}  {document.kind.value}  {one_line(document.title, 200)}"
    text = [line for line in document.text.splitlines() if line.strip() and not line.startswith(("#", "```"))]
    shown = [f"    {one_line(line, 74)}" for line in text[:_SHOWN_LINES]]
    where = [f"    {place}"] if (place := where_of(document)) else []
    return [*wrapped(head, 4, ""), *where, *shown]


def where_of(document: Document | Listed) -> str:
    """Return file and lines of a piece of the configuration; empty for anything else."""
    if document.kind is not DocumentKind.CONFIGURATION:
        return ""
    path, _, lines = document.name.rpartition(":")
    return one_line(f"{document.source}/{path}, lines {lines.replace('-', ' to ')}", 200)


def listing_page(listing: Listing, *, narrowed: bool = False) -> str:
    """Render a list of documents."""
    if not listing.documents:
        nothing = "Nothing of this kind is known." if narrowed else "Nothing is known yet: is the review model running?"
        return "\n".join([*wrapped(nothing), *_ADD])
    rows = [(each.id, each.kind.value, one_line(each.name, 40), each.title) for each in listing.documents]
    lines = table(("ID", "KIND", "NAME", "TITLE"), rows, width=140)
    if listing.found > len(listing.documents):
        lines += ["", f"{len(listing.documents)} of {listing.found}: --limit shows more, --kind fewer."]
        lines += wrapped(", ".join(f"{count} {kind}" for kind, count in listing.by_kind.items()))
    return "\n".join(lines)


def document_page(document: Document) -> str:
    """Render a document whole."""
    lines = [one_line(document.title, 78), *fact("document", f"{document.id}, {document.kind.value} {document.name}")]
    place = where_of(document)
    lines += fact("where", place) if place else fact("from", document.source)
    lines += fact("of", local(document.updated_at))
    shown = {name: value for name, value in document.facts.items() if document.kind is not DocumentKind.CONFIGURATION}
    for name, value in shown.items():
        lines += fact(name.replace("_", " "), value, column=16)
    return "\n".join([*lines, "", *verbatim(document.text, indent=2)])


def added_page(added: Added) -> str:
    """Render what became of an addition."""
    said = {"added": "Remembered", "changed": "Replaced", "unchanged": "Known already, unchanged"}[added.outcome]
    lines = wrapped(f"{said}: {one_line(added.document.title, 200)} ({added.document.id}).")
    return "\n".join([*lines, *wrapped(redacted_text(added.redacted))] if added.redacted else lines)


def redacted_text(counts: Mapping[str, int]) -> str:
    """Say what was taken out of a text."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    total = sum(counts.values())
    return f"{total} secret{'s were' if total != 1 else ' was'} taken out before anything was kept: {kinds}."


def removed_page(removed: Listed) -> str:
    return f"Forgotten: {one_line(removed.title, 200)} ({removed.kind.value} {removed.id})."


def import_page(done: Import, directory: Path) -> str:
    """Render what an import came to."""
    if not done.added and not done.not_taken:
        return "\n".join(wrapped(f"There are no Markdown files (*.md) in {directory}."))
    kinds = [each.document.kind for each in done.added]
    counts = ", ".join(_counted(kinds.count(kind), kind.value) for kind in dict.fromkeys(kinds))
    same = sum(each.outcome == "unchanged" for each in done.added)
    lines = wrapped(f"Taken in: {counts or 'nothing'}{f' ({same} known already)' if same else ''}.")
    redacted: dict[str, int] = {}
    for each in done.added:
        redacted |= {kind: redacted.get(kind, 0) + count for kind, count in each.redacted.items()}
    lines += (
        wrapped(redacted_text(redacted).replace(" of it ", " of them ").replace("it was", "they were"))
        if redacted
        else []
    )
    for fault in done.not_taken:
        lines += wrapped(f"not taken: {fault.path}: {fault.why}", 4, "  ")
    return "\n".join(lines)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def reindexed_page(state: Reindexing) -> str:
    return "\n".join(wrapped(f"The index {'was made anew' if state.state == 'done' else 'was not made'}: {state.text}"))
