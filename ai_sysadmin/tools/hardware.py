"""Hardware: processors, disks and their health, temperatures, graphics processors, firmware, kernel, reboot needed."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.pieces.drafts import lasting, size
from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources import gpus, machine, strain
from ai_sysadmin.sources.gpus import NVIDIA_SMI, Gpu, GpuProcess
from ai_sysadmin.sources.hardware import hardware as parts_of
from ai_sysadmin.sources.host import (
    HostUnreadable,
    SmartHealth,
    ZfsPools,
    btrfs_samples,
    memory,
    pending_reboot,
    raid_samples,
    temperature_samples,
)
from ai_sysadmin.tools.tool import Told, Tool, tool_of

_TOLD_PARTS: Final = ("hardware graphics", "hardware disks", "hardware network")
_MOST_SENSORS: Final = 30
_MOST_USERS: Final = 10
_WORDS: Final = 160

Lines = list[str]


def hardware_tools(root: Path = Path("/"), nvidia_smi: Sequence[str] = NVIDIA_SMI) -> tuple[Tool, ...]:
    """Return the tool ``hardware``.

    Args:
        nvidia_smi: the programs that are tried, in this order, for NVIDIA's cards.
    """
    smart, zfs = SmartHealth(root / "sys"), ZfsPools(root / "proc")

    async def hardware() -> Told:
        """Tell CPU, memory, disks and their health, temperatures, GPUs, firmware, kernel, uptime, reboot needed."""
        standing = await asyncio.to_thread(_standing, root)
        health = [*await _smart(smart), *await _zfs(zfs)]
        cards = await _gpus(root, nvidia_smi)
        return Told("\n".join((*standing, *health, *cards)))

    return (tool_of(hardware, says="the hardware", seconds=45.0),)


def _standing(root: Path) -> Lines:
    proc, sys_ = root / "proc", root / "sys"
    return [
        *_said("machine", lambda: [" ".join(filter(None, (machine.maker(root) or "not known", _holder(root))))]),
        *_said("firmware", lambda: [machine.firmware(root)]),
        *_said("processors", lambda: [_processors(root)]),
        *_said("memory", lambda: [_memory(proc)]),
        *_said("kernel", lambda: [machine.kernel(root) or "not known"]),
        *_said("uptime", lambda: [lasting(strain.uptime_seconds(proc))]),
        *_said("reboot needed", lambda: [_reboot(root)]),
        *_parts(root),
        *_said("software RAID", lambda: _redundancy(raid_samples(sys_))),
        *_said("btrfs", lambda: _redundancy(btrfs_samples(sys_))),
        *_said("temperatures", lambda: _temperatures(sys_)),
    ]


def _said(title: str, look: Callable[[], Lines]) -> Lines:
    """Return what a look tells under a title; what is not known, with its reason."""
    try:
        found = [one_line(line, _WORDS) for line in look()]
    except HostUnreadable as error:
        return [f"{title}: {one_line(str(error), _WORDS)}"]
    if len(found) == 1:
        return [f"{title}: {found[0]}"]
    return [f"{title}:", *(f"  {line}" for line in found)]


def _holder(root: Path) -> str:
    found = machine.virtualisation(root)
    return f"({found})" if found else "(no virtual machine that shows itself)"


def _processors(root: Path) -> str:
    found = machine.processors(root)
    speed = f", now at {found.mhz:.0f} MHz on average" if found.mhz else ""
    chosen = f", governor {', '.join(found.governors)}" if found.governors else ""
    return f"{found.number} of {found.model or 'an unnamed model'}{speed}{chosen}"


def _memory(proc: Path) -> str:
    found = memory(proc)
    return f"{size(found.total_bytes)}, swap {size(found.swap_total_bytes) if found.swap_total_bytes else 'none'}"


def _reboot(root: Path) -> str:
    found = pending_reboot(root)
    return f"yes: {found.why}" if found.pending else "no"


def _parts(root: Path) -> Lines:
    found = [part for part in parts_of(root) if part.name in _TOLD_PARTS]
    return [
        line for part in found for line in (f"{part.title}:", *(f"  {one_line(each, _WORDS)}" for each in part.lines))
    ]


def _redundancy(samples: Sequence[Sample]) -> Lines:
    lines = []
    for each in samples:
        match each.name:
            case "raid_degraded":
                lines.append(f"{each.about}: {'DEGRADED' if each.value else 'whole'}")
            case "raid_resync_percent":
                lines.append(f"{each.about}: synchronised or checked to {each.value:.0f} %")
            case _:
                lines.append(f"{each.about}: {each.value:.0f} errors counted since it was made")
    return lines or ["nothing to tell"]


def _temperatures(sys_: Path) -> Lines:
    samples = temperature_samples(sys_)
    shares = {each.about: each.value for each in samples if each.name == "temperature_of_critical_percent"}
    heats = sorted((each for each in samples if each.name == "temperature_celsius"), key=lambda each: -each.value)
    lines = [
        f"{each.about}: {each.value:.0f} °C"
        + (f" ({shares[each.about]:.0f} % of critical)" if each.about in shares else "")
        for each in heats[:_MOST_SENSORS]
    ]
    rest = len(heats) - len(lines)
    return [*lines, f"and {rest} cooler sensors"] if rest > 0 else lines


async def _smart(smart: SmartHealth) -> Lines:
    try:
        samples = await smart.sample()
    except HostUnreadable as error:
        return [f"SMART: not known: {one_line(str(error), _WORDS)}"]
    return [f"SMART of {each.about}: {'FAILING' if each.value else 'passed'}" for each in samples]


async def _zfs(zfs: ZfsPools) -> Lines:
    try:
        samples = await zfs.sample()
    except HostUnreadable as error:
        return [f"ZFS: {one_line(str(error), _WORDS)}"]
    return [
        f"ZFS pool {one_line(each.about, 60)}: {'NOT ONLINE' if each.value else 'online'}"
        if each.name == "zfs_pool_unhealthy"
        else f"ZFS pool {one_line(each.about, 60)}: {each.value:.0f} % used"
        for each in samples
    ]


async def _gpus(root: Path, nvidia_smi: Sequence[str]) -> Lines:
    """Return the graphics processors: NVIDIA's own program knows more of its cards than sysfs does."""
    cards = gpus.gpus_in_sysfs(root / "sys")
    if gpus.hides_nvidia(root):  # its program would say that the driver does not work, which is not so
        said = one_line(gpus.nvidia_driver(root), _WORDS)
        hidden = f"NVIDIA: {said}; how it is used is hidden from this service: its sandbox leaves devices out"
        return [*(f"GPU {_gpu(each)}" for each in cards), hidden]
    is_there = any("NVIDIA" in each.name for each in cards) or bool(gpus.nvidia_driver(root))
    try:
        found: Sequence[Gpu] = await gpus.nvidia_gpus(nvidia_smi)
        users: Sequence[GpuProcess] = await gpus.nvidia_processes(nvidia_smi)
        lines = []
    except HostUnreadable as error:
        found, users = (), ()
        lines = [f"NVIDIA: {one_line(str(error), _WORDS)}"] if is_there else []
    others = [each for each in cards if not (found and "NVIDIA" in each.name)]
    told = [*(f"GPU {_gpu(each)}" for each in (*found, *others)), *lines, *_users(users)]
    return told or ["GPU: none that the kernel or nvidia-smi shows"]


def _gpu(gpu: Gpu) -> str:
    said = [one_line(gpu.name, 100), f"driver {one_line(gpu.driver, 40)}" if gpu.driver else "no driver"]
    if gpu.memory_total_bytes:
        used = "?" if gpu.memory_used_bytes is None else size(gpu.memory_used_bytes)
        said.append(f"memory {used} of {size(gpu.memory_total_bytes)} used")
    said.append("busy: not known" if gpu.busy_percent is None else f"{gpu.busy_percent} % busy")
    said += [f"{gpu.celsius:.0f} °C"] if gpu.celsius is not None else []
    said += [f"{gpu.watts:.0f} W"] if gpu.watts is not None else []
    said += [f"{gpu.megahertz} MHz"] if gpu.megahertz is not None else []
    return ", ".join(said)


def _users(users: Sequence[GpuProcess]) -> Lines:
    def said(each: GpuProcess) -> str:
        held = "" if each.memory_bytes is None else f" {size(each.memory_bytes)}"
        return f"{one_line(each.name, 60)} ({each.pid}){held}"

    return [f"computing on it: {', '.join(map(said, users[:_MOST_USERS]))}"] if users else []
