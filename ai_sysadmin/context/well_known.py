"""Well-known faults, read from the evidence without a model: what caused it, what stays in the way. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ai_sysadmin.context.defuse import cut, one_line
from ai_sysadmin.context.facts import Facts, cause_of
from ai_sysadmin.core.records import EvidenceKind, EvidencePack
from ai_sysadmin.core.symptom_kinds import SymptomKind

SOON_SECONDS: Final = 600.0
"""What changed longer before the fault is told, and is not named as its cause."""
_MOST_CAUSE: Final = 300
_MOST_QUOTED: Final = 110

_SAID: Final = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("no_space", r"no space left on device|\bENOSPC\b|database or disk is full|disk quota exceeded"),
        ("port_taken", r"address already in use|\bEADDRINUSE\b|port is already allocated"),
        ("no_memory", r"out of memory|cannot allocate memory|\bENOMEM\b|oom-kill"),
        ("certificate", r"certificate (?:has )?(?:is )?expired|certificate verify failed: .*expired"),
        ("configuration", r"(?:syntax|parse|configuration) error|unknown (?:directive|option)|invalid config"),
        ("denied", r"permission denied|\bEACCES\b|operation not permitted"),
    )
)
"""What programs say of well-known faults, the surest first; only a quotation: a log line proves nothing."""

_KINDS: Final[Mapping[SymptomKind, str]] = {
    SymptomKind.DISK_FULL: "no_space",
    SymptomKind.INODES_FULL: "no_space",
    SymptomKind.PORT_TAKEN: "port_taken",
}
_STAYS: Final[Mapping[str, str]] = {
    "dependency": "starting it fails while {name} has failed",
    "no_space": "starting it fails while there is no space",
    "port_taken": "starting it fails while something else holds its port",
}
_CONFIGURES: Final = frozenset({"configuration", "unit_file", "generation"})


@dataclass(frozen=True)
class Known:
    """What the evidence says beyond the unit's result.

    ``cause`` is a sentence. ``in_the_way`` says why a restart would not help; empty: nothing is known to be.
    ``is_named``: the cause is more than the unit's own result.
    """

    cause: str
    in_the_way: str = ""
    is_named: bool = False
    runbook: str = ""


def known(facts: Facts) -> Known:
    """Return what is well known about an incident."""
    pack = facts.pack
    base = cause_of(facts)
    reason, in_the_way = _reason(facts)
    change = _change(pack)
    return Known(
        cause=cut(one_line("; ".join(filter(None, (base, reason, change))), 2 * _MOST_CAUSE), _MOST_CAUSE),
        in_the_way=in_the_way if facts.failed else "",
        is_named=bool(reason or change),
        runbook=_runbook(pack),
    )


def facts_in(pack: EvidencePack, kind: EvidenceKind) -> Mapping[str, str]:
    """Return the facts of the first piece of a kind; empty: there is none."""
    return next((piece.facts for piece in pack.pieces if piece.kind == kind), {})


def _reason(facts: Facts) -> tuple[str, str]:
    """Return the likeliest cause in words, and what a restart cannot mend; what is measured goes first."""
    pack = facts.pack
    failed = facts_in(pack, "dependencies").get("needed_failed", "").split()
    if failed:
        return f"it needs {_and_more(failed)}, which has failed", _STAYS["dependency"].format(name=failed[0])
    if _is_oom(facts):
        return _memory(facts_in(pack, "unit_status")), ""
    seen = _KINDS.get(facts.incident.kind, "")
    for name, pattern in _SAID:
        line = _line(pack, pattern)
        if line:
            return f"its log says: {line}", _stays(name, pack)
    return "", _stays(seen, pack)


def _stays(name: str, pack: EvidencePack) -> str:
    """Say what a restart leaves as it is; configuration that was just changed is read the same way again."""
    if name == "configuration" and facts_in(pack, "changes").get("kind") in _CONFIGURES and _change(pack):
        return "starting it reads the same configuration, which was changed just before"
    return _STAYS.get(name, "")


def _is_oom(facts: Facts) -> bool:
    result = facts.status.result if facts.status is not None else ""
    return facts.incident.kind is SymptomKind.OOM_KILL or result == "oom-kill"


def _memory(status: Mapping[str, str]) -> str:
    peak, most = (_shown(status.get(name, "")) for name in ("memory_peak", "memory_max"))
    if peak and most:
        return f"it used {peak}, and may use {most}"
    return f"it may use {most}" if most else (f"it used {peak}" if peak else "")


def _shown(size: str) -> str:
    """Return a size for people: bytes in MiB, anything else as it is."""
    if not size.isdigit():
        return "" if size in {"", "infinity"} else size
    return f"{int(size) / (1 << 20):.0f} MiB" if int(size) < 1 << 62 else ""


def _line(pack: EvidencePack, pattern: re.Pattern[str]) -> str:
    """Return the newest line of the incident's log that matches, from the match's neighbourhood."""
    for piece in pack.pieces:
        if piece.kind != "unit_log":
            continue
        for line in reversed(piece.text.splitlines()):
            if (match := pattern.search(line)) is not None:
                start = max(0, match.end() - _MOST_QUOTED)
                return one_line(line[start:], _MOST_QUOTED)
    return ""


def _change(pack: EvidencePack) -> str:
    """Say what changed just before the fault, where it belongs to it."""
    changed = facts_in(pack, "changes")
    try:
        seconds = float(changed.get("seconds", ""))
    except ValueError:
        return ""
    what = changed.get("after") or changed.get("what", "")
    if not what or not -60 <= seconds <= SOON_SECONDS:
        return ""
    ago = f"{max(0, round(seconds))} s before"
    return (
        f"it began {max(0, round(seconds))} s after {what}" if "after" in changed else f"{ago}: {one_line(what, 160)}"
    )


def _runbook(pack: EvidencePack) -> str:
    return one_line(facts_in(pack, "runbooks").get("names", "").partition(",")[0], 80)


def _and_more(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
