"""How an incident is named: which of its symptoms names it, and in which words."""

from ai_sysadmin.core.records import Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind

RANK = (
    SymptomKind.STORM,
    SymptomKind.UNITS_FAILED,
    SymptomKind.HARDWARE_ERROR,
    SymptomKind.READ_ONLY,
    SymptomKind.DISK_FULL,
    SymptomKind.INODES_FULL,
    SymptomKind.STORAGE_ERROR,
    SymptomKind.OOM_KILL,
    SymptomKind.WATCHDOG,
    SymptomKind.CRASHED,
    SymptomKind.START_LIMIT_HIT,
    SymptomKind.TIMED_OUT,
    SymptomKind.UNIT_FAILED,
    SymptomKind.FLAPPING,
    SymptomKind.STUCK,
    SymptomKind.DEPENDENCY_FAILED,
    SymptomKind.CERTIFICATE_EXPIRED,
    SymptomKind.PROBE_FAILED,
    SymptomKind.KERNEL_FAULT,
    SymptomKind.MEMORY_SHORT,
    SymptomKind.DISK_FILLING,
    SymptomKind.CERTIFICATE_EXPIRING,
    SymptomKind.BACKUP_OVERDUE,
    SymptomKind.THRESHOLD,
    SymptomKind.ALERT,
    SymptomKind.PORT_TAKEN,
    SymptomKind.LOG_RULE,
    SymptomKind.BURST,
    SymptomKind.SUPPRESSED,
    SymptomKind.SEVERE_LOG,
    SymptomKind.NOVEL_LOG,
    SymptomKind.UNUSUAL,
)
"""Every kind, the one that best names an incident first."""


def title_of(trigger: Trigger) -> str:
    """Say in one line what is wrong."""
    if words := _TITLES.get(trigger.kind):
        result = trigger.details.get("result", "")
        return words.format(subject=trigger.subject or "the host", result=f" ({result})" if result else "")
    if trigger.why and trigger.kind not in _LINES:
        return trigger.why[:120]
    return f"{trigger.subject or 'the host'}: {trigger.text[:80]}"


_LINES = frozenset({SymptomKind.SEVERE_LOG, SymptomKind.NOVEL_LOG, SymptomKind.SUPPRESSED})
_TITLES = {
    SymptomKind.UNIT_FAILED: "{subject} failed{result}",
    SymptomKind.CRASHED: "{subject} crashed{result}",
    SymptomKind.OOM_KILL: "{subject} was killed for lack of memory",
    SymptomKind.WATCHDOG: "{subject} gave no sign of life and was killed by its watchdog",
    SymptomKind.TIMED_OUT: "{subject} took too long to start or stop",
    SymptomKind.START_LIMIT_HIT: "{subject} failed too often and is not restarted any more",
    SymptomKind.DEPENDENCY_FAILED: "{subject} was not started: a unit that it needs failed",
    SymptomKind.FLAPPING: "{subject} fails and is restarted again and again",
    SymptomKind.BURST: "{subject} logs one error over and over",
}
