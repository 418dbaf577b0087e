"""Whether the host waits to be rebooted."""

from pathlib import Path

from ai_sysadmin.core.records import Record, Sample
from ai_sysadmin.sources.host.reading import HostUnreadable


class PendingReboot(Record):
    """Whether the running system is older than the installed one, and what says so."""

    pending: bool
    why: str


def pending_reboot(root: Path = Path("/")) -> PendingReboot:
    """Tell whether the host waits to be rebooted: Debian's mark, or NixOS's booted against its current system.

    Raises:
        HostUnreadable: this host leaves no sign of either.
    """
    mark = root / "run/reboot-required"
    if mark.exists():
        packages = _lines(root / "run/reboot-required.pkgs")
        return PendingReboot(pending=True, why="updated: " + ", ".join(packages) if packages else "updates want it")
    booted, current = root / "run/booted-system", root / "run/current-system"
    if booted.exists() and current.exists():
        changed = [name for name in ("kernel", "initrd", "kernel-modules") if _differ(booted / name, current / name)]
        return PendingReboot(pending=bool(changed), why=f"changed since boot: {', '.join(changed)}" if changed else "")
    if (root / "etc/debian_version").exists():
        return PendingReboot(pending=False, why="")
    raise HostUnreadable("whether a reboot is pending is not known on this kind of host")


def reboot_samples(root: Path = Path("/")) -> list[Sample]:
    """Return whether the host waits to be rebooted. Raises: HostUnreadable."""
    return [Sample("reboot_pending", float(pending_reboot(root).pending), unit="bool")]


def _lines(path: Path) -> list[str]:
    try:
        return sorted(set(path.read_text().split()))
    except OSError:
        return []


def _differ(one: Path, other: Path) -> bool:
    return one.resolve() != other.resolve()
