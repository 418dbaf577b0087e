"""Look into a file or directory of this host that may be read."""

import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.context.pieces.drafts import iso, size
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.sources.file_lines import Line, Lines, from_line, last_lines, with_text
from ai_sysadmin.sources.host.aside import Aside
from ai_sysadmin.sources.readable_files import MOST_ENTRIES, Entry, Opened, ReadableFiles, owner_of
from ai_sysadmin.tools.tool import Contains, Told, Tool, tool_of

_SECONDS: Final = 8.0
_LOGS: Final = "/var/log/"
_LAST: Final = 2000
_NARROW: Final = "give a text as `contains`, or another `from_line` (negative: so many at the end)"

Path_ = Annotated[str, Field(max_length=1024, description="whole path of a file or directory")]
FirstLine = Annotated[
    int, Field(ge=-2000, le=10_000_000, description="first line; -50: the last 50; 0: the beginning, or a log's end")
]


def file_tools(files: ReadableFiles, redactor: Redactor) -> tuple[Tool, ...]:
    """Return the tool that reads files; what is looked for is never found in what the redactor takes out."""
    aside = Aside()

    async def read_file(path: Path_, from_line: FirstLine = 0, contains: Contains = "") -> Told:
        """Read a configuration or log file, or list a directory."""
        look = partial(_look, files, redactor, path, from_line, contains)
        return await aside.ask(path, look, _SECONDS)

    return (tool_of(read_file, says="{path} {contains}", seconds=_SECONDS + 2),)


def _look(files: ReadableFiles, redactor: Redactor, path: str, first: int, contains: str) -> Told:
    with files.opened(path) as opened:
        try:
            if opened.is_directory:
                return _directory(opened, list(files.entries(opened)), contains)
            return _file(opened, first, _wanted(contains, redactor) if contains else None)
        except Refused as error:
            raise Refused(f"{path}: {error}{_instead(path)}") from error
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}") from error


def _file(opened: Opened, first: int, wanted: Callable[[str], bool] | None) -> Told:
    length = opened.status.st_size
    is_log = opened.real.startswith(_LOGS)
    newest_last = first < 0 or (is_log and (first == 0 or wanted is not None))
    if wanted is not None:
        found = with_text(opened.fd, length, wanted)
    elif newest_last:
        found = last_lines(opened.fd, length, -first or _LAST)
    else:
        found = from_line(opened.fd, max(1, first))
    lines = [f"{line.number}: {line.text}" if wanted and line.number else line.text for line in found.lines]
    head = f"{_named(opened)}, {size(length)}, changed {_moment(opened.status.st_mtime)}{_range(found, wanted)}"
    body = lines or ["(no line has that text)" if wanted else "(it is empty)"]
    return Told("\n".join([head, *body]), narrow=_NARROW, truncated=found.left_out, newest_last=newest_last)


def _range(found: Lines, wanted: Callable[[str], bool] | None) -> str:
    if wanted is not None:
        return f", {len(found.lines)} lines with the text:"
    first, last = (found.lines[0], found.lines[-1]) if found.lines else (Line(0, ""), Line(0, ""))
    return f", lines {first.number} to {last.number}:" if first.number else f", its last {len(found.lines)} lines:"


def _wanted(contains: str, redactor: Redactor) -> Callable[[str], bool]:
    """Return what tells the lines that are looked for: a secret must not be guessed by asking for it."""
    sought = contains.casefold()

    def wanted(line: str) -> bool:
        return sought in line.casefold() and sought in redactor.redact(line).text.casefold()

    return wanted


def _instead(path: str) -> str:
    if path.endswith((".journal", ".journal~")):
        return "; the journal is read with the tools for logs"
    return "; it is compressed" if path.endswith((".gz", ".xz", ".zst", ".bz2")) else ""


def _directory(opened: Opened, entries: list[Entry], contains: str) -> Told:
    shown = [each for each in entries if contains.casefold() in each.name.casefold()]
    count = f"the first {len(entries)} names" if len(entries) == MOST_ENTRIES else f"{len(entries)} names"
    matching = f", {len(shown)} with {contains!r}" if contains else ""
    lines = [f"{_named(opened)}, a directory, {count}{matching}:", *_listed(shown)]
    truncated = f"it has more than {MOST_ENTRIES} names" if len(entries) == MOST_ENTRIES else ""
    return Told("\n".join(lines), narrow="give a part of a name as `contains`", truncated=truncated)


def _listed(entries: list[Entry]) -> Iterator[str]:
    for each in entries:
        if each.is_secret:
            yield f"{each.name} (never read)"
        elif each.kind == "directory":
            yield f"{each.name}/"
        elif each.kind == "link":
            yield f"{each.name} -> {each.target or '?'}"
        elif each.kind == "file":
            yield f"{each.name}, {size(each.size)}, changed {_moment(each.changed)}"
        else:
            yield f"{each.name} (no regular file)"


def _named(opened: Opened) -> str:
    leads = f" (which is {opened.real})" if opened.real != opened.asked.rstrip("/") else ""
    mode = stat.S_IMODE(opened.status.st_mode)
    return f"{opened.asked}{leads}, mode {mode:04o}, owner {owner_of(opened.status)}"


def _moment(seconds: float) -> str:
    try:
        return iso(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, ValueError, OSError):
        return "at an impossible time"
