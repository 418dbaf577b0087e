"""What else is at work on the host that an action would get in the way of.

A switch of the NixOS configuration and a job of systemd's own pass by themselves: the action waits. A person who works
on the unit does not want it touched behind their back: somebody is asked.
"""

import os
import re
import stat
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, BusRefused, SystemBus

SWITCH_LOCK: Final = "run/nixos/switch-to-configuration.lock"
_UNIT: Final = "org.freedesktop.systemd1.Unit"
_TTY_FIELD: Final = 4
_MOST_ARGV: Final = 4096
_GENERATED: Final = ("/run/systemd/generator", "/run/systemd/transient/")
"""What systemd writes anew by itself; all else below /run/systemd is a person's, as of ``systemctl edit --runtime``."""
_LOCK: Final = re.compile(rb"^\d+: \S+ +\S+ +\S+ +-?\d+ ([0-9a-f]+):([0-9a-f]+):(\d+) ", re.MULTILINE)
_PROGRAM: Final = re.compile(r"[A-Za-z0-9._+-]{1,40}")


class HoldKind(StrEnum):
    """``passes``: wait for it; ``person``: ask somebody."""

    PASSES = "passes"
    PERSON = "person"


class Hold(Record):
    """One thing that is in the way, in a sentence."""

    kind: HoldKind
    why: str


class Holds(Protocol):
    """Looks what is in the way of an action on units."""

    async def look(self, units: Sequence[str], hands_off_seconds: float) -> Hold | None:
        """Return what is in the way; none: nothing. Raises: SystemdUnavailable."""
        ...


class UnitAtWork(Record):
    """What systemd says of a unit that somebody may be at work on. Paths are of its unit file and drop-ins."""

    name: str
    has_job: bool = False
    is_outdated: bool = False
    files: tuple[str, ...] = ()


class SystemHolds:
    """``Holds`` of this host. ``root`` stands before every path."""

    def __init__(self, bus: SystemBus, root: Path = Path("/")) -> None:
        self._bus = bus
        self._root = root

    async def look(self, units: Sequence[str], hands_off_seconds: float) -> Hold | None:
        if is_locked(self._root / SWITCH_LOCK, self._root / "proc"):
            return Hold(kind=HoldKind.PASSES, why="the NixOS configuration is being switched")
        for name in units:
            unit = await self._unit(name)
            if unit is not None and (hold := hold_of(unit, self._root, hands_off_seconds, time.time())):
                return hold
        return at_a_terminal(units, self._root / "proc")

    async def _unit(self, name: str) -> UnitAtWork | None:
        """Return what systemd knows of a unit; none: it is no unit, or not loaded."""
        try:
            (path,) = await self._bus.call(MANAGER_PATH, MANAGER, "GetUnit", "s", (name,))
            job, _ = await self._bus.property(path, _UNIT, "Job")
            outdated = await self._bus.property(path, _UNIT, "NeedDaemonReload")
            fragment = await self._bus.property(path, _UNIT, "FragmentPath")
            drop_ins = await self._bus.property(path, _UNIT, "DropInPaths")
        except BusRefused:
            return None
        files = tuple(str(each) for each in (fragment, *drop_ins) if each)
        return UnitAtWork(name=name, has_job=bool(job), is_outdated=bool(outdated), files=files)


def hold_of(unit: UnitAtWork, root: Path, hands_off_seconds: float, now: float) -> Hold | None:
    """Return what a unit's own condition says of somebody at work on it.

    ``now`` is in seconds since 1970. Files of the Nix store carry no time of change and say nothing.
    """
    if unit.has_job:
        return Hold(kind=HoldKind.PASSES, why=f"systemd has a job of its own for {unit.name}")
    if unit.is_outdated:
        return Hold(
            kind=HoldKind.PERSON, why=f"the files of {unit.name} have changed and systemd has not read them again"
        )
    for file in unit.files:
        if file.startswith(_GENERATED):
            continue
        try:
            changed = (root / file.lstrip("/")).stat().st_mtime
        except OSError:
            continue
        # a clock that was set back makes what was changed a moment ago a thing of the future
        if abs(now - changed) < hands_off_seconds:
            ago = max(0.0, now - changed)
            return Hold(kind=HoldKind.PERSON, why=f"{file} was changed {ago:.0f} s ago: somebody works on it")
    return None


def at_a_terminal(units: Sequence[str], proc: Path) -> Hold | None:
    """Return that somebody names one of the units in a command that runs at a terminal now, as an editor's file say."""
    names = {each: stem for each in units if len(stem := each.rpartition(".")[0]) > 2}
    if not names:
        return None
    for process in _processes(proc):
        words = _words_at_a_terminal(process)
        for unit, stem in names.items():
            if any(_names(word, unit, stem) for word in words[1:]):
                return Hold(kind=HoldKind.PERSON, why=f"somebody runs {_program(words[0])} on {unit} at a terminal")
    return None


def _processes(proc: Path) -> Sequence[Path]:
    try:
        return [each for each in proc.iterdir() if each.name.isdigit()]
    except OSError:
        return ()


def _words_at_a_terminal(process: Path) -> Sequence[str]:
    """Return a process's command line; nothing where it has no terminal, or is gone. Its names may hold any bytes."""
    try:
        # the command's name, the second field, may hold blanks and brackets itself
        if (process / "stat").read_bytes().rpartition(b")")[2].split()[_TTY_FIELD] == b"0":
            return ()
        with (process / "cmdline").open("rb") as file:
            return file.read(_MOST_ARGV).decode(errors="replace").split("\0")
    except (OSError, IndexError):
        return ()


def _program(word: str) -> str:
    """Return a program's name as it may stand in a sentence: whoever runs it chose the word."""
    name = word.rpartition("/")[2]
    return name if _PROGRAM.fullmatch(name) else "a program"


def _names(word: str, unit: str, stem: str) -> bool:
    """Tell whether a word of a command line is about a unit: its name, with or without its kind, or a file of it."""
    last = word.rstrip("/").rpartition("/")[2]
    return last in {unit, stem} or f"/{unit}.d/" in word


def is_locked(path: Path, proc: Path = Path("/proc")) -> bool:
    """Tell whether somebody holds a lock on a file; where it is not there, nobody does. Who cannot tell says yes.

    The kernel's list is read rather than the lock tried: a lock taken here for a moment would make a switch that
    begins in that moment fail.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    if not stat.S_ISREG(status.st_mode):
        return True
    ours = os.major(status.st_dev), os.minor(status.st_dev), status.st_ino
    try:
        held = _LOCK.findall((proc / "locks").read_bytes())
    except OSError:
        return True
    return any((int(major, 16), int(minor, 16), int(inode)) == ours for major, minor, inode in held)
