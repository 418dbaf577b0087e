"""Giving up old files of the journal.

journalctl's own vacuum deletes a file by the time of its *first* entry, so that younger entries go with it, and a file
that is archived between a look and the run goes too. Here the executor names every file that goes: archived, and its
*last* entry older than what has to stay.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import AwareDatetime

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue.fullness import Moment, Room, room_of, size
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.journal_files import header_of, own_directory

JOURNAL: Final = "/var/log/journal"
_HEX = "[0-9a-f]"
_ARCHIVED = re.compile(
    rf"[A-Za-z0-9_.-]{{1,64}}@({_HEX}{{32}}-{_HEX}{{16}}-{_HEX}{{16}}\.journal|{_HEX}{{16}}-{_HEX}{{16}}\.journal~)"
)
_MEGABYTE = 1 << 20
_FILES_MOST = 400
"""So many files are given up at once: more would not fit a command line that a person can read."""


class JournalFile(Record):
    """A file of the journal. ``newest`` is when its last entry was written, at the latest."""

    name: str
    bytes: int
    newest: AwareDatetime
    is_archived: bool


class JournalSeen(Record):
    """The journal on disk. ``line``: what was written from then on stays, whoever asks; ``directory`` empty: none."""

    directory: str
    files: tuple[JournalFile, ...]
    keep_bytes: int
    line: AwareDatetime
    room: Room

    @property
    def total_bytes(self) -> int:
        return sum(each.bytes for each in self.files)


def given_up(
    files: Sequence[JournalFile], keep_bytes: int, line: datetime, enough_bytes: int | None = None
) -> tuple[JournalFile, ...]:
    """Return the files that go, the oldest first: archived ones whose last entry is older than a time.

    Args:
        keep_bytes: as soon as the journal is no larger than this, nothing more goes.
        enough_bytes: as soon as so much went, nothing more goes; none: only ``keep_bytes`` says when.
    """
    left = sum(each.bytes for each in files)
    gone: list[JournalFile] = []
    for each in sorted(files, key=lambda file: (file.newest, file.name)):
        if not each.is_archived:
            continue
        is_enough = enough_bytes is not None and sum(file.bytes for file in gone) >= enough_bytes
        if left <= keep_bytes or each.newest >= line or is_enough or len(gone) == _FILES_MOST:
            break
        gone.append(each)
        left -= each.bytes
    return tuple(gone)


def look_at_journal(host: Host) -> JournalSeen:
    """Look at this machine's own journal on disk."""
    actions = host.settings.actions
    directory = own_directory(host.root)
    place = f"/{directory.relative_to(host.root)}" if directory else ""
    if not place.startswith(f"{JOURNAL}/"):
        directory, place = None, ""
    return JournalSeen(
        directory=place,
        files=_files(directory) if directory else (),
        keep_bytes=actions.journal_keep_megabytes * _MEGABYTE,
        line=host.clock.now() - timedelta(days=actions.journal_keep_days),
        room=room_of(host, place or JOURNAL),
    )


def _files(directory: Path) -> tuple[JournalFile, ...]:
    try:
        names = sorted(place.name for place in directory.iterdir() if place.suffix in {".journal", ".journal~"})
    except OSError:
        return ()
    return tuple(file for name in names if (file := _file(directory / name)) is not None)


def _file(path: Path) -> JournalFile | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    header = header_of(path)
    # A damaged file's header may say anything: the later of both times is the one that keeps more.
    seconds = max(status.st_mtime, header.last_usec / 1_000_000 if header else 0.0)
    return JournalFile(
        name=path.name,
        bytes=status.st_blocks * 512,
        newest=datetime.fromtimestamp(min(seconds, _FAR), UTC),
        is_archived=_ARCHIVED.fullmatch(path.name) is not None,
    )


_FAR: Final = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


def line_of(seen: JournalSeen, keep_since: datetime | None) -> datetime:
    """Return from when on all stays: an argument may keep more than the settings do, never less."""
    return min(seen.line, keep_since) if keep_since else seen.line


def vacuuming(directory: str, gone: Sequence[JournalFile]) -> Stage:
    """Return the commands that delete these files. One that journald deleted meanwhile is no failure."""
    files = tuple(f"{directory}/{each.name}" for each in gone)
    return Stage(name="run", commands=(("rm", "-f", "--", *files),), sandbox=Sandbox(writable=(directory,)))


def still_there(before: JournalSeen, now: JournalSeen, gone: Sequence[JournalFile]) -> str | None:
    """Say what of the journal is not as it should be after it; none: all is."""
    if now.directory != before.directory:
        return f"{before.directory} is no journal any more"
    left = {each.name for each in now.files} & {each.name for each in gone}
    return f"{len(left)} of {len(gone)} journal files are still there: {min(left)}" if left else None


READABLE: Final = Stage(name="readable", commands=(("journalctl", "--no-pager", "--disk-usage"),))
"""The journal can be opened; it shows how large it is and no entry."""


class VacuumJournal(Action[JournalSeen]):
    """Give up the oldest archived files of the journal, down to the size that the settings keep.

    Nothing goes that was written within the days that the settings keep, or since ``keep_since`` (a time with its
    offset): the oldest entry that an open incident cites.
    """

    name: ClassVar[str] = "vacuum_journal"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DESTRUCTIVE,)
    seen: ClassVar[type[Record]] = JournalSeen
    needs: ClassVar[str] = (
        "archived files that are older than what stays, in a journal larger than what the settings keep"
    )
    keep_since: Moment | None = None

    @classmethod
    def example(cls) -> "tuple[VacuumJournal, JournalSeen]":
        at = datetime(2026, 3, 1, tzinfo=UTC)
        names = (f"system@{'0' * 31}1-{number:016x}-{number:016x}.journal" for number in (1, 2))
        old = tuple(JournalFile(name=name, bytes=128 * _MEGABYTE, newest=at, is_archived=True) for name in names)
        room = Room(
            path=JOURNAL, mount_point="/", total_bytes=1 << 34, free_bytes=1 << 30, at_percent=90, until_percent=80
        )
        seen = JournalSeen(
            directory=f"{JOURNAL}/{'0' * 31}1", files=old, keep_bytes=64 * _MEGABYTE, line=at + timedelta(1), room=room
        )
        return cls(), seen

    @property
    def subject(self) -> str:
        return JOURNAL

    async def observe(self, host: Host) -> JournalSeen:
        return look_at_journal(host)

    def risk(self, seen: JournalSeen) -> Risk:
        return Risk.DESTRUCTIVE

    def obstacle(self, seen: JournalSeen) -> str | None:
        if not seen.directory:
            return f"this machine keeps no journal of its own in {JOURNAL}"
        if self._gone(seen):
            return None
        held = f"the journal holds {size(seen.total_bytes)}"
        if seen.total_bytes <= seen.keep_bytes:
            return f"{held}; actions.journal_keep_megabytes keeps {size(seen.keep_bytes)}"
        return f"{held}, but no archived file of it ends before {local(line_of(seen, self.keep_since))}"

    def warrant(self, seen: JournalSeen) -> str | None:
        return seen.room.fullness()

    def plan(self, seen: JournalSeen) -> Plan:
        gone = self._gone(seen)
        freed = size(sum(each.bytes for each in gone))
        line = local(line_of(seen, self.keep_since))
        return Plan(
            does=f"gives up {len(gone)} archived files of the journal, {freed}",
            run=vacuuming(seen.directory, gone),
            precondition=f"the journal holds {size(seen.total_bytes)}; {seen.room.words}",
            post_check="those files are gone, and the journal can be read",
            undo="nothing takes it back: what was deleted is lost",
            checks=(READABLE,),
            facts=(
                ("Lost", f"all entries of these files; the last was written {local(gone[-1].newest)}" if gone else ""),
                ("Kept", f"every entry written since {line}, and {size(seen.keep_bytes)} where there is so much"),
            ),
        )

    def shortfall(self, before: JournalSeen, now: JournalSeen) -> str | None:
        return still_there(before, now, self._gone(before))

    def _gone(self, seen: JournalSeen) -> tuple[JournalFile, ...]:
        return given_up(seen.files, seen.keep_bytes, line_of(seen, self.keep_since))


ENTRIES: Final[tuple[type[Action[Any]], ...]] = (VacuumJournal,)
