"""What is wrong, by a table that a person can read. Pure."""

import shlex
from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import AwareDatetime

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.host import FileSystem, Load, Memory, PendingReboot, Pressure
from ai_sysadmin.sources.units import UnitStatus

GIB = 1 << 30


class Kind(StrEnum):
    """Every kind of finding, the worst first: this order is the order of severity."""

    FILE_SYSTEM_FULL = "file_system_full"
    MEMORY_SHORT = "memory_short"
    UNIT_FAILED = "unit_failed"
    CRITICAL_LOG = "critical_log"
    STALLED = "stalled"
    FILE_SYSTEM_FILLING = "file_system_filling"
    ERROR_LOG = "error_log"
    OVERLOADED = "overloaded"
    REBOOT_PENDING = "reboot_pending"


FULL_PERCENT = 95
FILLING_PERCENT = 85
ROOMY_BYTES = 100 * GIB
"""A file system with so much free is neither full nor filling, whatever its percentage."""
MEMORY_SHORT_PERCENT = 95
STALLED_PERCENT = 10
"""Tasks that all stood still for want of memory or disk for this share of the last minute."""
OVERLOADED_PER_PROCESSOR = 2.0
CRITICAL = 2
ERROR = 3


class LogTemplate(Record):
    """Log lines that are alike: how many, how bad, and one of them."""

    unit: str
    template: str
    priority: int
    count: int
    example: str
    last_at: AwareDatetime


class Finding(Record):
    """One thing that is wrong, and the command to look at it next. ``weight`` orders findings of one kind."""

    kind: Kind
    text: str
    command: str
    weight: float = 0


def worst_first(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Order findings by kind, then by how much."""
    order = list(Kind)
    return tuple(sorted(found, key=lambda finding: (order.index(finding.kind), -finding.weight)))


def of_units(failed: Sequence[UnitStatus]) -> list[Finding]:
    return [
        Finding(
            kind=Kind.UNIT_FAILED,
            text=f"{unit.name} failed ({unit.result or unit.sub_state})",
            command=f"systemctl status {shlex.quote(unit.name)}",
        )
        for unit in failed
    ]


def of_file_systems(file_systems: Sequence[FileSystem]) -> list[Finding]:
    found = (_of_file_system(each) for each in file_systems if not each.read_only)
    return [finding for finding in found if finding is not None]


def _of_file_system(each: FileSystem) -> Finding | None:
    where = shlex.quote(each.mount_point)
    if each.inodes_used_percent >= FULL_PERCENT:
        text = f"{each.mount_point} has no room for more files: {each.inodes_used_percent:.0f} % of its inodes are used"
        command = f"du --inodes -x {where} | sort -n | tail -20"
        return Finding(kind=Kind.FILE_SYSTEM_FULL, text=text, command=command, weight=each.inodes_used_percent)
    if each.used_percent < FILLING_PERCENT or each.free_bytes >= ROOMY_BYTES:
        return None
    kind = Kind.FILE_SYSTEM_FULL if each.used_percent >= FULL_PERCENT else Kind.FILE_SYSTEM_FILLING
    text = f"{each.mount_point} is {each.used_percent:.0f} % full, {size(each.free_bytes)} free"
    return Finding(kind=kind, text=text, command=f"du -xh -d2 {where} | sort -h | tail -20", weight=each.used_percent)


def of_memory(memory: Memory) -> list[Finding]:
    if memory.used_percent < MEMORY_SHORT_PERCENT:
        return []
    text = f"memory is short: {memory.used_percent:.0f} % used, {size(memory.available_bytes)} available"
    return [Finding(kind=Kind.MEMORY_SHORT, text=text, command="ps -eo pid,rss,comm --sort=-rss | head -20")]


def of_pressure(pressure: Sequence[Pressure]) -> list[Finding]:
    return [
        Finding(
            kind=Kind.STALLED,
            text=f"everything stood still for want of {each.resource} for {each.full_60:.0f} % of the last minute",
            command="ps -eo pid,state,wchan:20,comm | grep -w D",
            weight=each.full_60,
        )
        for each in pressure
        if each.resource != "cpu" and each.full_60 >= STALLED_PERCENT
    ]


def of_load(load: Load) -> list[Finding]:
    if load.five < OVERLOADED_PER_PROCESSOR * load.processors:
        return []
    text = f"more work than {load.processors} processors can do: load {load.five:.1f} over 5 minutes"
    return [Finding(kind=Kind.OVERLOADED, text=text, command="ps -eo pid,pcpu,comm --sort=-pcpu | head -20")]


def of_reboot(reboot: PendingReboot) -> list[Finding]:
    if not reboot.pending:
        return []
    text = f"a reboot is pending ({one_line(reboot.why, 60)})"
    return [Finding(kind=Kind.REBOOT_PENDING, text=text, command="systemctl reboot   # when it suits")]


def of_templates(templates: Sequence[LogTemplate]) -> list[Finding]:
    return [_of_template(each) for each in templates if each.priority <= ERROR]


def _of_template(each: LogTemplate) -> Finding:
    kind = Kind.CRITICAL_LOG if each.priority <= CRITICAL else Kind.ERROR_LOG
    times = "once" if each.count == 1 else f"{each.count} times"
    text = f"{one_line(each.unit, 60) or 'the host'} logged {times}: {one_line(each.example, 120)}"
    only = f"-u {shlex.quote(one_line(each.unit, 255))} " if each.unit else ""
    return Finding(kind=kind, text=text, command=f"journalctl {only}-p {each.priority} -n 50", weight=each.count)


def size(number: float) -> str:
    """Say a number of bytes for people: ``512 B``, ``3.4 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
