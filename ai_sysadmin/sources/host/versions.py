"""NixOS generations: which runs, which was booted, and whether a switch is under way."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime

from ai_sysadmin.core.records import Record, Sample
from ai_sysadmin.sources.host.reading import HostUnreadable, text_of

_LINK = re.compile(r"system-(\d+)-link")
_FLOCK = re.compile(r"^\d+: FLOCK +\S+ +WRITE +\d+ +([0-9a-f]+):([0-9a-f]+):(\d+) ", re.MULTILINE)


class Generations(Record):
    """What system runs and since when, as paths in the store. ``number`` none: it is none of the profile's.

    ``switched_at`` is when it was activated, at boot or later. ``switching``: a switch to another is under way.
    """

    current: str
    booted: str
    number: int | None
    switched_at: AwareDatetime
    switching: bool


def generations(root: Path = Path("/"), proc: Path = Path("/proc")) -> Generations:
    """Return what NixOS runs. Raises: HostUnreadable: this is no NixOS, or the kernel does not show its locks."""
    running = root / "run/current-system"
    try:
        current = str(running.readlink())
        switched_at = datetime.fromtimestamp(running.lstat().st_mtime, UTC)
    except OSError as error:
        raise HostUnreadable("this host has no NixOS generations") from error
    return Generations(
        current=current,
        booted=_target(root / "run/booted-system"),
        number=_number(root / "nix/var/nix/profiles", current),
        switched_at=switched_at,
        switching=_is_locked(root / "run/nixos/switch-to-configuration.lock", proc),
    )


def generation_samples(root: Path = Path("/"), proc: Path = Path("/proc")) -> list[Sample]:
    """Return the running generation's number. Raises: HostUnreadable: no NixOS, or it runs an unnumbered system."""
    found = generations(root, proc)
    if found.number is None:
        raise HostUnreadable("the running system is none of the numbered generations")
    return [Sample("nixos_generation", float(found.number), unit="count")]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _number(profiles: Path, current: str) -> int | None:
    """Return the generation whose target runs; of several the one that the profile names, else the latest."""
    named = _LINK.fullmatch(_target(profiles / "system"))
    if named and _target(profiles / named[0]) == current:
        return int(named[1])
    links = (_LINK.fullmatch(path.name) for path in profiles.glob("system-*-link"))
    return max((int(link[1]) for link in links if link and _target(profiles / link[0]) == current), default=None)


def _is_locked(lock: Path, proc: Path) -> bool:
    """Tell whether a process holds a lock on a file.

    The kernel's list is read rather than the lock tried: a lock taken here for a moment would make a switch that
    starts in that moment fail.
    """
    try:
        status = lock.stat()
    except OSError:
        return False  # there has been no switch since the host started
    ours = os.major(status.st_dev), os.minor(status.st_dev), status.st_ino
    held = _FLOCK.findall(text_of(proc / "locks", "whether a switch is under way"))
    return any((int(major, 16), int(minor, 16), int(inode)) == ours for major, minor, inode in held)
