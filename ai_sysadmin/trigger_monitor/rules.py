"""What the trigger monitor knows of the journal, as data: message ids, priorities, whose entries count."""

import re
from enum import Enum, auto
from typing import Final

from ai_sysadmin.core.records import JournalEntry, SymptomKind

SEVERE_PRIORITY: Final = 3
"""``err`` and worse (``crit``, ``alert``, ``emerg``) are symptoms."""

OWN_SLICE: Final = "ai-sysadmin.slice"

OTHER_LINES: Final = "(many different lines)"
"""The template of a unit's further lines once it has shown too many different ones."""


class Says(Enum):
    """What systemd or journald says by a message id."""

    UNIT_FAILED = auto()
    PROCESS_EXITED = auto()
    RESTART_SCHEDULED = auto()
    START_FAILED = auto()
    STARTING = auto()
    STARTED = auto()
    SUPPRESSED = auto()


MESSAGE_IDS: Final = {
    "d9b373ed55a64feb8242e02dbe79a49c": Says.UNIT_FAILED,
    "98e322203f7a4ed290d09fe03c09fe15": Says.PROCESS_EXITED,
    "5eb03494b6584870a536b337290809b3": Says.RESTART_SCHEDULED,
    "be02cf6855d2428ba40df7e9d022f03d": Says.START_FAILED,
    "7d4958e842da4a758f6c1cdc7b36dcc5": Says.STARTING,
    "39f53479d3a045ac8e11786248231fbf": Says.STARTED,
    "a596d6fe7bfa4994828e72309e95d61e": Says.SUPPRESSED,
}

START_LIMIT_TEXT: Final = "Start request repeated too quickly."
"""The manager's words for a unit at its start limit; they carry no message id."""

KIND_OF_RESULT: Final = {
    "start-limit-hit": SymptomKind.START_LIMIT_HIT,
    "oom-kill": SymptomKind.OOM_KILL,
}
"""How a failed unit's ``Result`` is called; every other one is ``unit_failed``."""

UNIT_STATE_KINDS: Final = frozenset({SymptomKind.UNIT_FAILED, SymptomKind.START_LIMIT_HIT, SymptomKind.OOM_KILL})

_NOT_WATCHED = re.compile(r"^(?:run-|ai-sysadmin-|llama-(?:trigger|review|meta)\.)|\.(?:scope|device)$")
_SUPPRESSED_TEXT = re.compile(r"^Suppressed (\d+) messages from (\S+)")


def is_watched(unit: str) -> bool:
    """Tell whether a unit's troubles count: not a passing one's (``run-*``, scopes), not a device's, not our own."""
    return bool(unit) and not _NOT_WATCHED.search(unit)


def is_own(entry: JournalEntry) -> bool:
    """Tell whether this suite wrote an entry: it never hears itself."""
    return entry.fields.get("_SYSTEMD_SLICE") == OWN_SLICE


def spoken_by_manager(entry: JournalEntry) -> bool:
    """Tell whether systemd itself speaks of a unit; the journal source keeps ``UNIT`` only then."""
    return "UNIT" in entry.fields


def said(entry: JournalEntry) -> Says | None:
    """Return what an entry says by its message id, if that can be believed of its writer."""
    meaning = MESSAGE_IDS.get(entry.message_id)
    if meaning is None:
        return None
    believed = entry.transport == "driver" if meaning is Says.SUPPRESSED else spoken_by_manager(entry)
    return meaning if believed else None


def suppressed(entry: JournalEntry) -> tuple[str, int]:
    """Return which unit's messages journald dropped, and how many; ``("", 0)`` where it does not say."""
    match = _SUPPRESSED_TEXT.match(entry.message)
    number = entry.fields.get("N_DROPPED", "") or (match[1] if match else "")
    unit = match[2].rpartition("/")[2] if match else entry.unit
    return unit, int(number) if number.isdecimal() else 0
