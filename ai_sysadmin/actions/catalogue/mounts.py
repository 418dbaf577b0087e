"""Mounting and remounting a file system that fstab knows and the operator declared.

systemd does both, by the mount unit that it makes of fstab's line: so the options are fstab's and never a proposer's,
and the action's own unit needs no right but to ask systemd.
"""

import re
from abc import abstractmethod
from typing import Any, ClassVar, Final

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue.fullness import MOUNTINFO, HostPath, is_within, mount_of
from ai_sysadmin.core.acting import Plan, Risk, Stage
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.host.mounts import mounts_in
from ai_sysadmin.sources.host.reading import HostUnreadable, attribute
from ai_sysadmin.sources.units import UnitStatus

_NEVER_BELOW = ("/nix/store", "/proc", "/sys", "/dev", "/run")
_COUNTS_ERRORS = frozenset({"ext2", "ext3", "ext4"})
_OCTAL = re.compile(r"\\([0-7]{3})")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.")


class Declared(Record):
    """A line of fstab: what is mounted where, as which type, by which options."""

    source: str
    path: str
    type: str
    options: tuple[str, ...]

    @property
    def is_read_only(self) -> bool:
        return "ro" in self.options


class MountSeen(Record):
    """A declared file system. ``type`` empty: it is not mounted; ``declared`` none: fstab does not name it.

    ``errors`` is how many errors the kernel counts on it; none: the kernel does not count them for such a file system.
    ``is_fixed``: the device itself takes no writes. ``occupied`` tells that there are files where it would be mounted.
    """

    path: str
    unit: UnitStatus
    declared: Declared | None = None
    type: str = ""
    source: str = ""
    is_read_only: bool = False
    errors: int | None = None
    is_fixed: bool = False
    occupied: bool = False


def mount_unit(path: str) -> str:
    """Return the name of the mount unit of a path."""
    parts = path.strip("/").encode()
    escaped = "".join(
        "-" if chr(byte) == "/" else chr(byte) if chr(byte) in _PLAIN else rf"\x{byte:02x}" for byte in parts
    )
    return (rf"\x2e{escaped[1:]}" if escaped.startswith(".") else escaped or "-") + ".mount"


def fstab_line(text: str, path: str) -> Declared | None:
    """Return fstab's line for a mount point, the last of several; none: it has none."""
    rows = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = [
        Declared(source=_unescaped(row[0]), path=_unescaped(row[1]), type=row[2], options=tuple(row[3].split(",")))
        for row in rows
        if len(row) >= 4 and _unescaped(row[1]) == path
    ]
    return found[-1] if found else None


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


async def look_at_mount(host: Host, path: str) -> MountSeen:
    """Look at a file system without entering it: one that hangs would hang us. Raises: Unavailable."""
    try:
        mounts = mounts_in(host.path(MOUNTINFO))
    except HostUnreadable as error:
        raise Unavailable(str(error)) from error
    try:
        fstab = host.path("/etc/fstab").read_text(errors="replace")
    except OSError:
        fstab = ""
    seen = MountSeen(path=path, unit=await host.units.status(mount_unit(path)), declared=fstab_line(fstab, path))
    mount = mount_of(mounts, path)
    if mount is None or mount.mount_point != path or mount.type == "autofs":
        may_look = mount is not None and not mount.may_hang and mount.type != "autofs"
        return seen.model_copy(update={"occupied": may_look and _has_entries(host, path)})
    device = host.path("/sys/dev/block") / mount.device_number
    return seen.model_copy(
        update={
            "type": mount.type,
            "source": mount.source,
            "is_read_only": "ro" in mount.options or "ro" in mount.super_options,
            "errors": _errors(host, device.resolve().name) if mount.type in _COUNTS_ERRORS else None,
            "is_fixed": attribute(device / "ro") == "1",
        }
    )


def _has_entries(host: Host, path: str) -> bool:
    try:
        return next(host.path(path).iterdir(), None) is not None
    except OSError:
        return False


def _errors(host: Host, device: str) -> int | None:
    said = attribute(host.path("/sys/fs/ext4") / device / "errors_count")
    return int(said) if said.isdigit() else None


class MountAction(Action[MountSeen]):
    """An action on one file system of fstab."""

    seen: ClassVar[type[Record]] = MountSeen
    path: HostPath

    @property
    def subject(self) -> str:
        return mount_unit(self.path)

    def refuse(self, settings: Settings) -> str | None:
        if self.path == "/" or any(is_within(self.path, each) for each in _NEVER_BELOW):
            return f"{self.path} is never mounted or remounted, whatever is declared: the system lives in it"
        declared = [str(each) for each in settings.actions.mount_points]
        if self.path not in declared:
            return f"{self.path} is not declared; actions.mount_points has {', '.join(declared) or 'none'}"
        return None

    async def observe(self, host: Host) -> MountSeen:
        return await look_at_mount(host, self.path)

    def obstacle(self, seen: MountSeen) -> str | None:
        if seen.declared is None:
            return f"/etc/fstab has no line for {self.path}"
        if seen.unit.load_state != "loaded":
            return f"{seen.unit.name} is {seen.unit.load_state}: systemd does not know fstab's line (daemon-reload)"
        if seen.unit.active_state in {"activating", "deactivating", "reloading"}:
            return f"{seen.unit.name} is {seen.unit.active_state}: systemd is at work on it"
        return self.hindrance(seen, seen.declared)

    @abstractmethod
    def hindrance(self, seen: MountSeen, declared: Declared) -> str | None:
        """Say why it cannot be done to a file system that fstab and systemd know; none: it can."""

    @classmethod
    def example(cls) -> "tuple[MountAction, MountSeen]":
        unit = UnitStatus(name="srv-data.mount", load_state="loaded", active_state="failed", result="exit-code")
        line = Declared(source="/dev/sdb1", path="/srv/data", type="ext4", options=("defaults",))
        return cls(path="/srv/data"), MountSeen(path="/srv/data", unit=unit, declared=line)


class MountFileSystem(MountAction):
    """Mount one file system that /etc/fstab names and the settings declare."""

    name: ClassVar[str] = "mount_file_system"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE, Risk.DISRUPTIVE)
    needs: ClassVar[str] = "fstab and the settings name it, and it is not mounted"

    def risk(self, seen: MountSeen) -> Risk:
        """Mounting hides files that are there, and what was unmounted by hand may have been so for a reason."""
        has_failed = seen.unit.active_state == "failed"
        return Risk.REVERSIBLE if has_failed and not seen.occupied else Risk.DISRUPTIVE

    def hindrance(self, seen: MountSeen, declared: Declared) -> str | None:
        return f"{seen.path} is mounted already, from {seen.source}" if seen.type else None

    def warrant(self, seen: MountSeen) -> str | None:
        if seen.unit.active_state != "failed":
            return None
        return f"fstab has {seen.path}, but it is not mounted: {seen.unit.name} has failed ({seen.unit.result})"

    def plan(self, seen: MountSeen) -> Plan:
        unit = mount_unit(self.path)
        hidden = (("Hidden", f"there are files in {self.path} now, which cannot be reached while it is mounted"),)
        return Plan(
            does=f"mounts {self.path}{_from(seen)}",
            run=Stage(name="run", commands=(("systemctl", "start", "--", unit),)),
            calls=(("StartUnit", unit),),
            revert=Stage(name="revert", commands=(("systemctl", "stop", "--", unit),)),
            precondition=f"{self.path} is not mounted; {unit} is {seen.unit.active_state}",
            post_check=f"{self.path} is mounted, as fstab has it",
            undo=f"sudo systemctl stop -- {unit}",
            facts=hidden if seen.occupied else (),
        )

    def shortfall(self, before: MountSeen, now: MountSeen) -> str | None:
        if not now.type:
            return f"{now.path} is not mounted"
        if now.is_read_only and not (now.declared and now.declared.is_read_only):
            return f"{now.path} is mounted read-only, which fstab does not say"
        return None


class RemountFileSystem(MountAction):
    """Remount one file system by what /etc/fstab says of it: writable again, where it has become read-only."""

    name: ClassVar[str] = "remount_file_system"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DISRUPTIVE,)
    needs: ClassVar[str] = "it is read-only though fstab wants it writable, and neither it nor its device has errors"

    @classmethod
    def example(cls) -> "tuple[RemountFileSystem, MountSeen]":
        action, seen = super().example()
        unit = seen.unit.model_copy(update={"active_state": "active", "result": "success"})
        read_only = {"unit": unit, "type": "ext4", "source": "/dev/sdb1", "is_read_only": True, "errors": 0}
        return cls(path=action.path), seen.model_copy(update=read_only)

    def risk(self, seen: MountSeen) -> Risk:
        return Risk.DISRUPTIVE

    def hindrance(self, seen: MountSeen, declared: Declared) -> str | None:
        if not seen.type:
            return f"{seen.path} is not mounted"
        if not seen.is_read_only:
            return f"{seen.path} is writable"
        if declared.is_read_only:
            return f"fstab wants {seen.path} read-only"
        if seen.is_fixed:
            return f"the device of {seen.path}, {seen.source}, takes no writes"
        if seen.errors:
            return (
                f"the kernel counts {seen.errors} errors on {seen.path}: writing could do more harm;"
                f" unmount it and run fsck {seen.source} first"
            )
        return None

    def warrant(self, seen: MountSeen) -> str | None:
        """Only where the kernel counts errors, and counts none: elsewhere nobody but a person can rule them out."""
        if not seen.is_read_only or seen.errors != 0:
            return None
        return f"{seen.path} is read-only though fstab wants it writable, and the kernel counts no errors on it"

    def plan(self, seen: MountSeen) -> Plan:
        unit = mount_unit(self.path)
        errors = "counts none" if seen.errors == 0 else f"does not count them on {seen.type}: look at its log first"
        return Plan(
            does=f"remounts {self.path} by fstab's options, writable",
            run=Stage(name="run", commands=(("systemctl", "reload", "--", unit),)),
            calls=(("ReloadUnit", unit),),
            precondition=f"{self.path} ({seen.type}) is read-only; fstab wants it writable",
            post_check=f"{self.path} is writable and stays so",
            undo=f"sudo mount -o remount,ro {self.path}",
            facts=(
                ("Errors", f"the kernel {errors}"),
                ("Harm", "a file system became read-only for a reason; writing to one that is damaged damages it more"),
            ),
        )

    def shortfall(self, before: MountSeen, now: MountSeen) -> str | None:
        if not now.type:
            return f"{now.path} is not mounted any more"
        if now.is_read_only:
            return f"{now.path} is read-only"
        return f"the kernel counts {now.errors} errors on {now.path} by now" if now.errors else None


def _from(seen: MountSeen) -> str:
    return f" from {seen.declared.source}" if seen.declared else ""


ENTRIES: Final[tuple[type[Action[Any]], ...]] = (MountFileSystem, RemountFileSystem)
