"""What people did by hand, as the journal tells it: sudo, doas, pkexec, polkit, reloads asked of systemd; and switches.

The lines are what programs said of themselves. One that ``sudo`` did not write itself is shown as such: everybody can
write a line that looks like it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run
from ai_sysadmin.sources.changes import Change
from ai_sysadmin.sources.changes.subject import Subject
from ai_sysadmin.sources.changes.window import Look, Window, moment_of
from ai_sysadmin.sources.journal_children import places
from ai_sysadmin.sources.journal_files import own_directory
from ai_sysadmin.sources.journal_following import assert_journald, trouble_in

LINES_MOST: Final = 500
LOOK_UP_SECONDS: Final = 1.8
_OUTPUT_BYTES = 4 << 20
_COMMAND_MOST = 300
_MESSAGE_MOST = 2000
_FIELDS = ("MESSAGE", "_COMM", "_PID", "SYSLOG_IDENTIFIER")
_WRITERS = ("sudo", "doas", "pkexec", "polkitd", "nixos")
_CALLERS = ("log_caller", "bus_log_caller", "manager_log_caller")
"""The functions of systemd that log who asked for a reload; the journal finds them by name without a search."""

_DOAS = re.compile(r"^(?P<who>\S+) ran command (?P<command>.+) as (?P<as>\S+) from ", re.DOTALL)
_PKEXEC = re.compile(
    r"^(?P<who>\S+): Executing command \[USER=(?P<as>[^]\s]+)\].*\[COMMAND=(?P<command>.+)\]$", re.DOTALL
)
_POLKIT = re.compile(
    r"authenticated as unix-user:(?P<as>\S+) to gain \S+ authorization for action (?P<action>\S+)"
    r" for \S+ \[(?P<command>.*)\] \(owned by unix-user:(?P<who>[^)\s]+)\)",
    re.DOTALL,
)
_ASKED = re.compile(
    r"^(?P<what>\w+) requested from client PID \d+(?: \('(?P<comm>[^']*)'\))?(?: \(unit (?P<unit>[^)]*)\))?"
)
_SWITCH = re.compile(r"^switching to system configuration (/nix/store/[0-9a-z]{32}-[\w.+?=-]+)$")
_FORMS = {"doas": _DOAS, "pkexec": _PKEXEC, "polkitd": _POLKIT}
_TELLERS = ("sudo", *_FORMS)


@dataclass(frozen=True)
class Line:
    """A journal line, with who wrote it (``comm``) and as whom (``identifier``)."""

    at: datetime
    message: str
    identifier: str = ""
    comm: str = ""
    pid: str = ""


@dataclass(frozen=True)
class Command:
    """A command that somebody had done. ``doubt`` says why the line may not be what it looks like."""

    at: datetime
    who: str
    text: str
    run_as: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Manual:
    """What the journal tells: commands, and switches of NixOS with the system that each was to."""

    commands: tuple[Command, ...] = ()
    switches: tuple[tuple[datetime, str], ...] = ()
    gaps: tuple[str, ...] = field(default=())


async def read_journal(root: Path, journal: Path | None, window: Window) -> Manual:
    """Look the lines up, the newest so many. Raises: JournalUnavailable."""
    directory = journal or own_directory(root)
    if directory is None and root != Path("/"):
        raise JournalUnavailable(f"there is no journal below {root}")
    try:
        done = await run(_argv(directory, window), timeout_seconds=LOOK_UP_SECONDS, max_bytes=_OUTPUT_BYTES)
    except (CommandMissing, CommandTimedOut) as error:
        raise JournalUnavailable(f"the journal cannot be asked for commands: {error}") from error
    if trouble := trouble_in(done.stderr):
        raise JournalUnavailable(trouble)
    if done.exit_status not in (0, 1):  # 1: nothing was found
        raise JournalUnavailable(f"journalctl ended with status {done.exit_status}: {done.stderr.strip()[-200:]}")
    lines = list(lines_of(done.stdout))
    if not lines:
        assert_journald(directory)
    gaps = (f"of what was done by hand only the last {LINES_MOST} lines were read",) if len(lines) >= LINES_MOST else ()
    return Manual(tuple(commands_in(lines)), tuple(switches_in(lines)), gaps)


def _argv(directory: Path | None, window: Window) -> list[str]:
    writers = [match for name in _WRITERS for match in (f"SYSLOG_IDENTIFIER={name}", f"_COMM={name}")]
    matches = [*writers, *(f"CODE_FUNC={name}" for name in _CALLERS)]
    either = [word for match in matches for word in ("+", match)][1:]
    return [
        *("journalctl", "--output=json", "--no-pager", "--reverse"),
        *(f"--output-fields={','.join(_FIELDS)}", f"--lines={LINES_MOST}"),
        *(f"--since=@{int(window.first.timestamp())}", f"--until=@{int(window.last.timestamp()) + 1}"),
        *places(directory),
        *either,
    ]


def lines_of(output: bytes) -> Iterator[Line]:
    """Yield the lines in journalctl's JSON; what is none is left out."""
    for row in output.splitlines():
        try:
            entry = json.loads(row)
            at = moment_of(int(entry["__REALTIME_TIMESTAMP"]) / 1e6)
        except (ValueError, KeyError, TypeError):
            continue
        texts = {name: _text(entry.get(name)) for name in _FIELDS}
        yield Line(at, texts["MESSAGE"], texts["SYSLOG_IDENTIFIER"], texts["_COMM"], texts["_PID"])


def _text(value: object) -> str:
    """Return a field's text: journalctl writes one that is not plain as a list of bytes."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, int) and 0 <= each < 256 for each in value):
        return bytes(value).decode(errors="replace")
    return ""


def switches_in(lines: Iterable[Line]) -> Iterator[tuple[datetime, str]]:
    """Yield the switches that ``switch-to-configuration`` logged: when it began, and to which system."""
    for line in lines:
        if line.identifier == "nixos" and (match := _SWITCH.match(line.message.strip())):
            yield line.at, match[1]


def commands_in(lines: Iterable[Line]) -> Iterator[Command]:
    """Yield the commands that the lines tell of."""
    for line in lines:
        teller = line.identifier if line.identifier in _TELLERS else line.comm
        found = _said_by(teller, line.message[:_MESSAGE_MOST])
        if found is not None:
            doubts = [f"refused: {found.refused}"] if found.refused else []
            if line.comm != teller:  # who has ended before journald looked is not known: sudo itself has not
                doubts.append(f"the line was written by {line.comm or 'some program'}, not by {teller} itself")
            text = " ".join(found.command.split())[:_COMMAND_MOST]
            yield Command(line.at, found.who, text, found.run_as, "; ".join(doubts))
        elif line.pid == "1" and (match := _ASKED.match(line.message[:_MESSAGE_MOST])):
            yield _asked(line, match)


class _Said(NamedTuple):
    """What a line says: who had what done as whom, or was refused it and why."""

    who: str
    run_as: str
    command: str
    refused: str = ""


def _said_by(teller: str, message: str) -> _Said | None:
    """Read a line of one of the programs that tell of commands; none: it tells of none."""
    if teller == "sudo":
        return _said_by_sudo(message)
    match = _FORMS[teller].search(message) if teller in _FORMS else None
    if match is None:
        return None
    action = match.groupdict().get("action")
    return _Said(match["who"], match["as"], match["command"] + (f" ({action})" if action else ""))


def _said_by_sudo(message: str) -> _Said | None:
    """Read ``alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls``; a refusal stands before the first field.

    It is taken apart rather than matched: everybody can write such a line, and a regular expression might not end.
    """
    who, _, rest = message.strip().partition(" : ")
    head, comes, command = rest.partition(" ; COMMAND=")
    fields = head.split(" ; ")
    users = [each.removeprefix("USER=") for each in fields if each.startswith("USER=")]
    if not comes or not users or not who or " " in who:
        return None
    return _Said(who, users[-1], command, "" if "=" in fields[0] else fields[0].strip())


def _asked(line: Line, match: "re.Match[str]") -> Command:
    by, where = match["comm"] or "a program", match["unit"] or ""
    return Command(line.at, where, f"{match['what'].lower()} of systemd, asked for by {by}")


def command_changes(commands: Sequence[Command], window: Window, subject: Subject) -> tuple[Change, ...]:
    """Return the commands within a time, equal ones of one person as one change with the last one's time."""
    ordered = sorted((each for each in commands if window.holds(each.at)), key=_key)
    return tuple(_change(list(same), subject) for _, same in groupby(ordered, key=_key))


def _key(command: Command) -> tuple[str, str, str, str]:
    return command.who, command.run_as, command.text, command.doubt


def _change(same: Sequence[Command], subject: Subject) -> Change:
    command = max(same, key=lambda each: each.at)
    as_whom = f" as {command.run_as}" if command.run_as else ""
    times = f" ({len(same)} times; this was the last)" if len(same) > 1 else ""
    who = command.who or "somebody"
    return Change(
        at=command.at,
        kind="command",
        what=f"{who} ran{as_whom}: {command.text}{times}" if command.run_as else f"{who}: {command.text}{times}",
        about=command.who,
        details=(command.doubt,) if command.doubt else (),
        unit_related=_concerns(command.text, subject),
    )


def _concerns(text: str, subject: Subject) -> bool:
    """Tell whether a command names the unit, or a file that is its own."""
    words = [word.strip("'\"") for word in text.split()]
    return any(
        subject.owns(word) if word.startswith("/") else subject.is_named(word.removesuffix(".service"))
        for word in words
        if word and not word.startswith("-")
    )


def look_at_commands(manual: Manual, window: Window, subject: Subject) -> Look:
    """Return what people did by hand within a time."""
    return Look(command_changes(manual.commands, window, subject), manual.gaps)
