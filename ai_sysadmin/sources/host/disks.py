"""Redundancy and health of disks: software RAID and btrfs by what the kernel counts, SMART by asking smartctl."""

import re
from pathlib import Path
from typing import Any

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources.host.asking import Tool, json_of
from ai_sysadmin.sources.host.reading import HostUnreadable, attribute, children, number

_HAS_SMART = re.compile(r"(sd[a-z]+|hd[a-z]|nvme\d+n\d+)")


def raid_samples(sys_: Path = Path("/sys")) -> list[Sample]:
    """Return whether each software RAID lacks a disk, and how far one that is being synchronised or checked has come.

    Raises:
        HostUnreadable: there is no software RAID.
    """
    arrays = [each for each in children(sys_ / "block", "md*") if (each / "md").is_dir()]
    if not arrays:
        raise HostUnreadable("this host has no software RAID")
    return [sample for array in arrays for sample in _array(array.name, array / "md")]


def _array(name: str, md: Path) -> list[Sample]:
    if attribute(md / "metadata_version").startswith("external") and attribute(md / "level") in {"", "container"}:
        return []  # only the frame in which a firmware's arrays lie
    missing = number(md / "degraded")
    is_broken = attribute(md / "array_state") in {"inactive", "broken"}
    samples: list[Sample] = []
    if missing is not None or is_broken:  # one without redundancy is never degraded, it is whole or gone
        samples.append(Sample("raid_degraded", float(is_broken or bool(missing)), name, "bool"))
    done, slash, total = attribute(md / "sync_completed").partition(" / ")
    if slash and total.isdigit() and int(total):
        samples.append(Sample("raid_resync_percent", 100 * int(done) / int(total), name, "percent"))
    return samples


def btrfs_samples(sys_: Path = Path("/sys")) -> list[Sample]:
    """Return how many errors each device of each btrfs has ever had. Raises: HostUnreadable: there is none."""
    samples: list[Sample] = []
    for device in children(sys_ / "fs/btrfs", "*-*-*-*-*/devinfo/*"):
        counts = [line.split() for line in attribute(device / "error_stats").splitlines()]
        if counts:
            errors = sum(int(parts[1]) for parts in counts if len(parts) == 2)
            about = f"{device.parent.parent.name}/{device.name}"
            samples.append(Sample("btrfs_device_errors", float(errors), about, "count"))
    if not samples:
        raise HostUnreadable("this host has no btrfs whose errors the kernel shows")
    return samples


class SmartHealth:
    """Whether disks say of themselves that they fail. Disks that sleep are not woken."""

    def __init__(self, sys_: Path = Path("/sys"), program: str = "smartctl", timeout_seconds: float = 10.0) -> None:
        self._sys = sys_
        self._program = program
        self._tool = Tool(program, timeout_seconds)

    async def sample(self) -> list[Sample]:
        """Return ``smart_failing`` per disk that answers. Raises: HostUnreadable: none does; it says why."""
        samples: list[Sample] = []
        why = "this host has no disk that could have SMART"
        for disk in self._disks():
            try:
                samples.append(await self._health(disk))
            except HostUnreadable as error:
                why = str(error)
        if not samples:
            raise HostUnreadable(why)
        return samples

    def _disks(self) -> list[str]:
        return [each.name for each in children(self._sys / "block") if _HAS_SMART.fullmatch(each.name)]

    async def _health(self, disk: str) -> Sample:
        answer = await self._tool.ask("--json", "-H", "-n", "standby", f"/dev/{disk}")
        said = json_of(answer, self._program)
        status = said.get("smart_status")
        passed = status.get("passed") if isinstance(status, dict) else None
        if not isinstance(passed, bool):
            raise HostUnreadable(f"SMART of {disk} cannot be read: {_reason(said)}")
        return Sample("smart_failing", float(not passed), disk, "bool")


def _reason(said: dict[str, Any]) -> str:
    about = said.get("smartctl")
    messages = about.get("messages") if isinstance(about, dict) else None
    texts = [
        each["string"] for each in messages or [] if isinstance(each, dict) and isinstance(each.get("string"), str)
    ]
    return texts[0] if texts else "smartctl does not say why"
