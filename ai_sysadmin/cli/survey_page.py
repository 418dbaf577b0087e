"""The first survey as a page: calm, 80 columns, the worst at the end, where the eye stays."""

from collections.abc import Sequence

from ai_sysadmin.cli.findings import FILLING_PERCENT, LogTemplate, size
from ai_sysadmin.cli.layout import fact, table, wrapped
from ai_sysadmin.cli.survey_look import JournalLook, Survey
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import local, since
from ai_sysadmin.sources.host import FileSystem, Load, Memory, PendingReboot, Pressure
from ai_sysadmin.sources.units import UnitStatus

_COLUMN = 12
_WORST = 3
_SHOWN = 6
_UNIT_WIDTH = 26
_PRIORITIES = ("emergency", "alert", "critical", "error", "warning")


def survey_page(seen: Survey) -> str:
    """Render a survey for people."""
    lines = [f"{seen.host} at {local(seen.at)}, seen in {seen.took_seconds:g} s", ""]
    if seen.failed_units is not None:
        lines += _fact("units", _units(seen.failed_units))
    if seen.file_systems is not None:
        lines += _fact("storage", _storage(seen.file_systems))
    if seen.memory is not None:
        lines += _fact("memory", _memory(seen.memory))
    if seen.load is not None:
        lines += _fact("load", _load(seen.load, seen.pressure))
    if seen.pending_reboot is not None:
        lines += _fact("reboot", _reboot(seen.pending_reboot))
    if seen.journal is not None:
        lines += [*_fact("journal", _journal(seen.journal)), *_templates(seen.journal.templates)]
    lines += _unreadable(seen.unreadable)
    return "\n".join([*lines, *_worst(seen)])


def _fact(name: str, text: str) -> list[str]:
    return fact(name, text, _COLUMN)


def _units(failed: Sequence[UnitStatus]) -> str:
    if not failed:
        return "none failed"
    names = [f"{unit.name} ({unit.result or unit.sub_state})" for unit in failed]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(failed)} failed: {', '.join(names[:_SHOWN])}{more}"


def _storage(file_systems: Sequence[FileSystem]) -> str:
    tight = [each for each in file_systems if not each.read_only and _tightness(each) >= FILLING_PERCENT]
    named = tight or sorted(file_systems, key=_tightness)[-1:]
    said = [f"{each.mount_point} {_tightness(each):.0f} % used, {size(each.free_bytes)} free" for each in named]
    rest = len(file_systems) - len(named)
    return "; ".join(said[:_SHOWN]) + (f"; {rest} more with room" if rest else "")


def _tightness(each: FileSystem) -> float:
    return max(each.used_percent, each.inodes_used_percent)


def _memory(memory: Memory) -> str:
    text = f"{memory.used_percent:.0f} % used, {size(memory.available_bytes)} of {size(memory.total_bytes)} available"
    if not memory.swap_total_bytes:
        return f"{text}, no swap"
    return f"{text}, swap {100 * memory.swap_used_bytes / memory.swap_total_bytes:.0f} % used"


def _load(load: Load, pressure: Sequence[Pressure] | None) -> str:
    text = f"{load.one:.1f} {load.five:.1f} {load.fifteen:.1f} on {load.processors} processors"
    if not pressure:
        return text
    shares = ", ".join(f"{each.resource} {each.some_60:.0f} %" for each in pressure)
    return f"{text}; waited in the last minute: {shares}"


def _reboot(reboot: PendingReboot) -> str:
    return f"pending ({reboot.why})" if reboot.pending else "not pending"


def _journal(look: JournalLook) -> str:
    if look.first_at is None or look.last_at is None:
        return "no warnings, no errors in the last 24 h"
    if look.complete:
        return f"{look.entries} warnings and errors in the last 24 h"
    return f"{look.entries} warnings and errors in the last {since(look.first_at, look.last_at)}, with more before"


def _templates(templates: Sequence[LogTemplate]) -> list[str]:
    rows = [
        (
            f"{each.count} ×".rjust(8),
            _PRIORITIES[min(each.priority, 4)],
            one_line(each.unit, _UNIT_WIDTH) or "-",
            each.example,
        )
        for each in templates
    ]
    return table(("", "", "", ""), rows, indent=4) if rows else []


def _unreadable(lines: Sequence[str]) -> list[str]:
    said = [piece for line in lines for piece in wrapped(line, 6, "    - ")]
    return ["", "  Could not look at", *said] if said else []


def _worst(seen: Survey) -> list[str]:
    if not seen.findings:
        lines = [
            "",
            "Nothing wrong was found." if not seen.unreadable else "Nothing wrong was found in what could be seen.",
        ]
    else:
        lines = ["", "The worst of it"]
        for number, finding in enumerate(seen.findings[:_WORST], 1):
            lines += wrapped(finding.text, 5, f"  {number}. ")
    return [*lines, "", "Next", f"  {seen.next_command}"]
