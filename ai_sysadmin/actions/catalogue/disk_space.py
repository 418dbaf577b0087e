"""Making room on a full file system by what the operator declared, in that order, and no more of it than is lacking.

Commands of one unit run whether or not the one before freed enough, so the executor reckons first: each step is taken
only as long as those before it, by what the executor sees of them, do not yet make enough room, and the journal and
Nix's garbage give up no more than what is then lacking. Of temporary files the executor may see less than there is, of
Nix's garbage it sees nothing beforehand: what is declared after that is taken as well.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue.fullness import HostPath, Moment, Room, room_of, size
from ai_sysadmin.actions.catalogue.journal_space import (
    JOURNAL,
    READABLE,
    JournalFile,
    JournalSeen,
    VacuumJournal,
    given_up,
    line_of,
    look_at_journal,
    still_there,
    vacuuming,
)
from ai_sysadmin.actions.catalogue.nix_garbage import GarbageSeen, collecting, look_at_garbage, lost, unsafe, valid
from ai_sysadmin.actions.catalogue.temporary_paths import (
    CleanTemporaryPath,
    TemporarySeen,
    changed,
    cleaning,
    look_at_temporary,
    unfit,
)
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.records import Record


class DiskSeen(Record):
    """A file system, and what on it may be given up. Only what the settings declare and lies on it is looked at."""

    room: Room
    steps: tuple[str, ...]
    temporary: tuple[TemporarySeen, ...] = ()
    journal: JournalSeen | None = None
    garbage: GarbageSeen | None = None


class Step(Record):
    """One thing that is given up: by what, how much of it the executor sees, in words, and which journal files."""

    name: str
    stage: Stage
    bytes: int
    words: str
    files: tuple[JournalFile, ...] = ()


def steps_taken(seen: DiskSeen, keep_since: datetime | None) -> tuple[Step, ...]:
    """Return what is given up, in the declared order, until what is seen of it makes enough room."""
    lacking = seen.room.lacking_bytes
    taken: list[Step] = []
    for name in seen.steps:
        if lacking <= 0:
            break
        if (step := _step(name, seen, keep_since, lacking)) is not None:
            taken.append(step)
            lacking -= step.bytes
    return tuple(taken)


def _step(name: str, seen: DiskSeen, keep_since: datetime | None, lacking: int) -> Step | None:
    if name == "temporary_paths":
        return _temporary_step(seen.temporary)
    if name == "journal" and seen.journal:
        return _journal_step(seen.journal, keep_since, lacking)
    if name == "nix_garbage" and seen.garbage and unsafe(seen.garbage) is None:
        words = f"{len(seen.garbage.doomed)} generations of NixOS, and garbage of the Nix store"
        return Step(name=name, stage=collecting(seen.garbage, lacking), bytes=0, words=words)
    return None


def _temporary_step(seen: Sequence[TemporarySeen]) -> Step | None:
    clean = [each for each in seen if each.directory]
    if not clean:
        return None
    freed = sum(each.old_bytes for each in clean)
    paths = ", ".join(f"{each.path} ({each.days:g} days)" for each in clean)
    return Step(
        name="temporary_paths", stage=cleaning(clean), bytes=freed, words=f"old files of {paths}: {size(freed)} or more"
    )


def _journal_step(journal: JournalSeen, keep_since: datetime | None, lacking: int) -> Step | None:
    gone = given_up(journal.files, journal.keep_bytes, line_of(journal, keep_since), lacking)
    freed = sum(each.bytes for each in gone)
    words = f"{len(gone)} archived files of the journal: {size(freed)}"
    if not gone:
        return None
    return Step(name="journal", stage=vacuuming(journal.directory, gone), bytes=freed, words=words, files=gone)


def together(stages: Sequence[Stage]) -> Stage:
    """Return one stage that runs all commands in order, with all that any of them needs."""
    boxes = [stage.sandbox for stage in stages]
    return Stage(
        name="run",
        commands=tuple(command for stage in stages for command in stage.commands),
        input="".join(stage.input for stage in stages),
        good_statuses=stages[-1].good_statuses,
        sandbox=Sandbox(
            capabilities=_all(box.capabilities for box in boxes),
            writable=_all(box.writable for box in boxes),
            environment=_all(box.environment for box in boxes),
            private_tmp=all(box.private_tmp for box in boxes),
            network=any(box.network for box in boxes),
            sees_home=any(box.sees_home for box in boxes),
            seconds=max((box.seconds for box in boxes if box.seconds), default=None),
        ),
    )


def _all(texts: Iterator[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for some in texts for each in some))


class FreeDiskSpace(Action[DiskSeen]):
    """Make room on the file system of one path by what the settings declare for that, in the declared order.

    Nothing of the journal goes that was written since ``keep_since`` (a time with its offset): the oldest entry that an
    open incident cites.
    """

    name: ClassVar[str] = "free_disk_space"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DESTRUCTIVE,)
    seen: ClassVar[type[Record]] = DiskSeen
    needs: ClassVar[str] = "too little room, and something on that file system that the settings allow to give up"
    path: HostPath
    keep_since: Moment | None = None

    @classmethod
    def example(cls) -> "tuple[FreeDiskSpace, DiskSeen]":
        _, temporary = CleanTemporaryPath.example()
        _, journal = VacuumJournal.example()
        room = temporary.room.model_copy(update={"path": "/"})
        return cls(path="/"), DiskSeen(
            room=room, steps=("temporary_paths", "journal"), temporary=(temporary,), journal=journal
        )

    @property
    def subject(self) -> str:
        return self.path

    async def observe(self, host: Host) -> DiskSeen:
        room, steps = room_of(host, self.path), host.settings.actions.free_disk.steps
        declared = (
            [str(each.path) for each in host.settings.actions.temporary_paths] if "temporary_paths" in steps else []
        )
        fit = [path for path in dict.fromkeys(declared) if unfit(host.settings, path) is None]
        return DiskSeen(
            room=room,
            steps=steps,
            temporary=tuple(look_at_temporary(host, path) for path in fit if _is_on(host, path, room)),
            journal=look_at_journal(host) if "journal" in steps and _is_on(host, JOURNAL, room) else None,
            garbage=look_at_garbage(host) if "nix_garbage" in steps and _is_on(host, "/nix/store", room) else None,
        )

    def risk(self, seen: DiskSeen) -> Risk:
        return Risk.DESTRUCTIVE

    def obstacle(self, seen: DiskSeen) -> str | None:
        if seen.room.unknown:
            return seen.room.words
        if not seen.room.lacking_bytes:
            return f"{seen.room.words}: that is enough below {seen.room.until_percent} %"
        if not steps_taken(seen, self.keep_since):
            declared = ", ".join(seen.steps) or "nothing"
            faults = "".join(f"; {each.fault}" for each in seen.temporary if each.fault)
            return f"nothing on {seen.room.mount_point} may be given up (actions.free_disk.steps: {declared}){faults}"
        return None

    def warrant(self, seen: DiskSeen) -> str | None:
        return seen.room.fullness()

    def plan(self, seen: DiskSeen) -> Plan:
        taken = steps_taken(seen, self.keep_since)
        names = [step.name for step in taken]
        return Plan(
            does=f"makes room on {seen.room.mount_point}: gives up {'; then '.join(step.words for step in taken)}",
            run=together([step.stage for step in taken]),
            precondition=f"{seen.room.words}; {size(seen.room.lacking_bytes)} are lacking",
            post_check=f"{seen.room.mount_point} is less than {seen.room.at_percent} % full; what had to stay is there",
            undo="nothing takes it back: what was deleted is lost",
            checks=(
                *((READABLE,) if "journal" in names else ()),
                *((valid(seen.garbage),) if "nix_garbage" in names and seen.garbage else ()),
            ),
            facts=tuple((f"Given up {number}", step.words) for number, step in enumerate(taken, 1)),
        )

    def shortfall(self, before: DiskSeen, now: DiskSeen) -> str | None:
        taken = steps_taken(before, self.keep_since)
        if now.room.unknown or now.room.used_percent >= now.room.at_percent:
            return f"{now.room.words}: what may be given up is not enough"
        return next((said for step in taken if (said := _amiss(step, before, now))), None)


def _amiss(step: Step, before: DiskSeen, now: DiskSeen) -> str | None:
    """Say what of one step is not as it should be; none: all is."""
    if step.name == "journal" and before.journal and now.journal:
        return still_there(before.journal, now.journal, step.files)
    if step.name == "nix_garbage" and before.garbage and now.garbage:
        return lost(before.garbage, now.garbage)
    after = {each.path: each for each in now.temporary}
    pairs = ((each, after.get(each.path)) for each in before.temporary if each.directory)
    faults = (changed(one, other) if other else f"{one.path} is gone" for one, other in pairs)
    return next(filter(None, faults), None) if step.name == "temporary_paths" else None


def _is_on(host: Host, path: str, room: Room) -> bool:
    """Tell whether a path lies on a file system; one that is not there does not, nor one that nobody may look at."""
    other = room_of(host, path)
    return not room.unknown and not other.unknown and other.device == room.device


ENTRIES: Final[tuple[type[Action[Any]], ...]] = (FreeDiskSpace,)
