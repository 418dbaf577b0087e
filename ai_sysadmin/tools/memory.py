"""Memory, load and pressure: whether the host has enough, and which units take it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.pieces.drafts import lasting, size
from ai_sysadmin.sources import strain, unit_usage
from ai_sysadmin.sources.host import HostUnreadable, load, memory
from ai_sysadmin.sources.unit_usage import UnitMemory
from ai_sysadmin.tools.table import columns
from ai_sysadmin.tools.tool import Told, Tool, tool_of

_MOST_UNITS: Final = 12
_TOLD: Final = (
    ("AnonPages", "programs"),
    ("Cached", "page cache, given back on demand,"),
    ("Shmem", "shared memory and tmpfs"),
    ("Slab", "the kernel's own objects"),
    ("Hugetlb", "huge pages"),
    ("Dirty", "not yet written to disk"),
    ("Committed_AS", "promised to programs"),
)


def memory_tools(root: Path = Path("/")) -> tuple[Tool, ...]:
    """Return the tool ``memory_and_pressure``."""

    async def memory_and_pressure() -> Told:
        """Tell memory, swap, load, pressure (PSI) of cpu, memory and io, OOM kills, and the units with most memory."""
        return Told("\n".join(await asyncio.to_thread(_told, root)))

    return (tool_of(memory_and_pressure, says="memory, load and pressure"),)


def _told(root: Path) -> list[str]:
    proc, sys_ = root / "proc", root / "sys"
    return [
        *_said("memory", lambda: _memory(proc)),
        *_said("swap", lambda: _swap(proc, sys_)),
        *_said("load", lambda: _load(proc, sys_)),
        *_said("OOM kills", lambda: _kills(proc)),
        *_said("pressure", lambda: _pressure(proc)),
        *_said("units by memory", lambda: _units(unit_usage.unit_memory(root))),
    ]


def _said(about: str, look: Callable[[], list[str]]) -> list[str]:
    try:
        return look()
    except HostUnreadable as error:
        return [f"{about}: not known, {error}"]


def _memory(proc: Path) -> list[str]:
    found, every = memory(proc), strain.sizes(proc)
    told = "; ".join(f"{words} {size(every[name])}" for name, words in _TOLD if every.get(name))
    available = f"{size(found.available_bytes)} available of {size(found.total_bytes)}"
    return [f"memory: {available} ({found.used_percent:.0f} % used); {told}".removesuffix("; ")]


def _swap(proc: Path, sys_: Path) -> list[str]:
    found, every = memory(proc), strain.sizes(proc)
    if not found.swap_total_bytes:
        lines = ["swap: none"]
    else:
        used = f"{size(found.swap_used_bytes)} used of {size(found.swap_total_bytes)}"
        each = [f"{one_line(name, 60)} {size(taken)} of {size(total)}" for name, total, taken in strain.swaps(proc)]
        lines = [f"swap: {used}" + (f" ({', '.join(each)})" if each else "")]
    if strain.zswap(sys_):
        held = f": holds {size(every['Zswapped'])} in {size(every.get('Zswap', 0))}" if every.get("Zswapped") else ""
        lines.append(f"zswap: on{held}")
    for device in strain.compressed(sys_):
        lines.append(f"{device.name}: holds {size(device.stored_bytes)} in {size(device.taken_bytes)} of memory")
    return lines


def _load(proc: Path, sys_: Path) -> list[str]:
    found = load(proc)
    count = strain.processors(sys_) or found.processors
    averages = f"{found.one:.2f}, {found.five:.2f}, {found.fifteen:.2f} (1, 5, 15 min)"
    return [f"load: {averages} on {count} processors: {found.five / count:.2f} a processor over 5 min"]


def _kills(proc: Path) -> list[str]:
    kills = strain.oom_kills(proc)
    if kills is None:
        return ["OOM kills: this kernel does not count them"]
    return [f"OOM kills by the kernel: {kills} in the {lasting(strain.uptime_seconds(proc))} since the host started"]


def _pressure(proc: Path) -> list[str]:
    rows = [
        (f"{each.resource} {each.kind}", *(f"{share:.1f} %" for share in each.shares)) for each in strain.stalls(proc)
    ]
    return [
        "pressure (share of time in which some or all tasks stood still for want of it):",
        *columns(("resource", "10 s", "60 s", "300 s"), rows),
    ]


def _units(found: Sequence[UnitMemory]) -> list[str]:
    def limit(each: UnitMemory) -> str:
        if each.limit_bytes is None:
            return "-"
        share = f" ({100 * each.used_bytes / each.limit_bytes:.0f} % used)" if each.limit_bytes else ""
        return size(each.limit_bytes) + share

    killed = [each for each in found[_MOST_UNITS:] if each.kills]
    rows = [
        (each.unit, size(each.used_bytes), limit(each), str(each.kills)) for each in (*found[:_MOST_UNITS], *killed)
    ]
    return ["units by memory:", *columns(("unit", "memory", "limit", "OOM kills"), rows[: 2 * _MOST_UNITS])]
