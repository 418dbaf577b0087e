"""`audit`: what the executor wrote down of everything that was asked, allowed and done, and whether it is whole."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ai_sysadmin.actions.audit_chain import Head, head_of, verify
from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir, print_json, say
from ai_sysadmin.cli.layout import fact, table
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.errors import AiSysadminError, NotFound
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime import commands

app = typer.Typer(help="What was asked, allowed and done, by whom; and whether that record is whole.")
AuditFile = Annotated[
    Path | None, typer.Option("--file", help="Look at this file, such as an exported one, in place of the executor's.")
]
_PAGE: Final = 500
_JOURNAL: Final = (
    "journalctl",
    "--quiet",
    "--no-pager",
    "--output=json",
    "--output-fields=AI_AUDIT_CHAIN,AI_AUDIT_NUMBER,AI_AUDIT_HASH",
    "_SYSTEMD_UNIT=ai-sysadmin-executor.service",
    "AI_EVENT=audit_written",
)


class Verified(Record):
    """What a look at the audit came to. ``known_by`` is what knew its head; ``fault`` is empty where it is whole.

    ``others`` are the audits that the system journal knows beside it, each in words.
    """

    lines: int
    head: str
    known_by: tuple[str, ...]
    fault: str
    others: tuple[str, ...] = ()


class Anchor(Record):
    """A head as the system journal knows it, with the hash of its chain's first line."""

    chain: str
    number: int
    hash: str


@app.callback(invoke_without_command=True)
def bare(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    context.obj = Given(settings, state_dir, as_json).over(context.obj)
    if context.invoked_subcommand is None:
        list_(context)


@app.command("list")
def list_(
    context: typer.Context,
    last: Annotated[int, typer.Option("--last", min=1, help="How many lines, the newest.")] = 40,
    file: AuditFile = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """List the newest lines."""
    desk = Desk.open(context, settings, state_dir, as_json)
    lines = [json.loads(raw) for raw in asyncio.run(_lines(desk.settings, file))[-last:]]
    if desk.as_json:
        print_json(lines)
        return
    say(audit_page(lines))


@app.command()
def show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=1, help="The line's number.")],
    file: AuditFile = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Show one line, whole."""
    desk = Desk.open(context, settings, state_dir, as_json)
    lines = asyncio.run(_lines(desk.settings, file))
    if number > len(lines):
        raise NotFound(f"the audit has {len(lines)} lines")
    fields = json.loads(lines[number - 1])
    if desk.as_json:
        print_json(fields)
        return
    said = ((name, _said(value)) for name, value in fields.items() if value not in ("", None))
    say("\n".join(line for name, value in said for line in fact(name, value, 16)))


@app.command("verify")
def verify_(
    context: typer.Context,
    file: AuditFile = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Check that no line was changed, taken out, added, moved or cut off; exit 1 if one was."""
    desk = Desk.open(context, settings, state_dir, as_json)
    found = asyncio.run(_verified(desk.settings, file))
    if found.fault:
        if desk.as_json:
            print_json(found.model_dump(mode="json"))
        raise AiSysadminError(f"the audit is not whole: {found.fault}")
    desk.answer(found, verified_page(found))


@app.command()
def export(
    context: typer.Context,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not be there yet.")],
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Write the whole audit to a file, for `verify --file` elsewhere."""
    desk = Desk.open(context, settings, state_dir, as_json)
    lines = asyncio.run(_lines(desk.settings, None))
    try:
        with to.open("xb") as opened:
            opened.writelines(lines)
    except OSError as error:
        raise AiSysadminError(f"{to} cannot be written: {error.strerror}") from error
    report = verify(lines)
    found = Verified(lines=len(lines), head=report.head.hash, known_by=(), fault=report.fault)
    desk.answer(found, f"{len(lines)} lines written to {to}; the head is {report.head.hash}")


async def _lines(settings: Settings, file: Path | None) -> list[bytes]:
    """Return the audit's lines: a file's, or the executor's by its socket. Raises: Unavailable, Refused, NotFound."""
    if file is not None:
        try:
            return file.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise NotFound(f"{file} cannot be read: {error.strerror}") from error
    executor, lines = ExecutorClient(settings.operate_socket), list[bytes]()
    while page := await executor.audit(len(lines), _PAGE):
        lines += [line.encode() for line in page]
    return lines


async def _verified(settings: Settings, file: Path | None) -> Verified:
    # what others know comes first: a line that is written meanwhile is one more then, not one that is missing
    journal = await _journal_anchors()
    copied = _copied(settings.executor.audit_copy) if settings.executor.audit_copy is not None else []
    lines = await _lines(settings, file)
    chain = _hash_of(lines[0]) if lines else ""
    if journal and journal[-1].chain != chain and file is None:
        newest = journal[-1]
        fault = f"the journal knows another one, of {newest.number} lines, as the newest (begun by {newest.chain[:12]})"
        return Verified(lines=len(lines), head=chain, known_by=("the system journal",), fault=fault)
    anchors = {"the system journal": [Head(each.number, each.hash) for each in journal if each.chain == chain]}
    if copied and (file is None or copied[0].hash == chain):  # a file may be another host's
        anchors[str(settings.executor.audit_copy)] = copied
    known_by = tuple(name for name, heads in anchors.items() if heads)
    report = verify(lines, [head for heads in anchors.values() for head in heads])
    return Verified(
        lines=len(lines), head=report.head.hash, known_by=known_by, fault=report.fault, others=_others(journal, chain)
    )


def _others(journal: Sequence[Anchor], chain: str) -> tuple[str, ...]:
    """Say which other audits the journal knows, each with the most lines that it is known to have had."""
    most: dict[str, int] = {}
    for anchor in journal:
        most[anchor.chain] = max(anchor.number, most.get(anchor.chain, 0))
    return tuple(f"{lines} lines begun by {begun[:12]}" for begun, lines in most.items() if begun != chain)


async def _journal_anchors() -> Sequence[Anchor]:
    """Return the heads that the system journal knows from the executor's own unit, the oldest first."""
    try:
        done = await commands.run(_JOURNAL, timeout_seconds=60, max_bytes=64 << 20)
    except (commands.CommandMissing, commands.CommandTimedOut):
        return ()
    return tuple(filter(None, (_anchor(line) for line in done.stdout.splitlines())))


def _anchor(line: bytes) -> Anchor | None:
    try:
        fields = json.loads(line)
        return Anchor(
            chain=fields["AI_AUDIT_CHAIN"], number=int(fields["AI_AUDIT_NUMBER"]), hash=fields["AI_AUDIT_HASH"]
        )
    except (ValueError, KeyError, TypeError):
        return None


def _copied(path: Path) -> list[Head]:
    try:
        return [head_of(raw) for raw in path.read_bytes().splitlines()]
    except (OSError, ValueError, KeyError):
        return []


def _hash_of(raw: bytes) -> str:
    try:
        return head_of(raw).hash
    except (ValueError, KeyError):
        return ""


def audit_page(lines: Sequence[dict[str, Any]]) -> str:
    """Render lines of the audit, one each."""
    if not lines:
        return "Nothing was asked yet."
    rows = [
        (
            str(line.get("number", "")),
            _at(line),
            str(line.get("kind", "")),
            str(line.get("action_id", "-")),
            _what(line),
        )
        for line in lines
    ]
    return "\n".join(table(("LINE", "AT", "WHAT", "ACTION", "TEXT"), rows, width=140))


def verified_page(found: Verified) -> str:
    """Render that the audit is whole, and what vouches for its end."""
    lines = [f"The audit is whole: {found.lines} lines, head {found.head[:16]}…"]
    if found.known_by:
        lines.append(f"Its end is known elsewhere too: {', '.join(found.known_by)}.")
    else:
        lines.append("Nothing else knows its head: lines cut off at its end would not be noticed.")
    lines += [f"The system journal knows another audit, too: {other}. Was it archived?" for other in found.others]
    return "\n".join(lines)


def _at(line: dict[str, Any]) -> str:
    try:
        return local(datetime.fromisoformat(str(line.get("at", ""))))
    except ValueError:
        return "-"


def _what(line: dict[str, Any]) -> str:
    arguments = " ".join(f"{key}={value}" for key, value in dict(line.get("arguments") or {}).items())
    return " ".join(
        filter(None, (str(line.get("name", "")), arguments, str(line.get("text") or line.get("why") or "")))
    )


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
