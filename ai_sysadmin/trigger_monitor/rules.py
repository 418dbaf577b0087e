"""What the trigger monitor knows of the journal, as data: message ids, priorities, whose entries count."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto
from typing import Final, NamedTuple

from ai_sysadmin.core.records import JournalEntry

SEVERE_PRIORITY: Final = 3
"""``err`` and worse (``crit``, ``alert``, ``emerg``) are symptoms."""

OWN_SLICE: Final = "ai-sysadmin.slice"


class Says(Enum):
    """What systemd or journald says by a message id."""

    UNIT_FAILED = auto()
    PROCESS_EXITED = auto()
    RESTART_SCHEDULED = auto()
    START_FAILED = auto()
    STARTING = auto()
    STARTED = auto()
    STOPPING = auto()
    STOPPED = auto()
    DEPENDENCY = auto()
    AT_START_LIMIT = auto()
    SUPPRESSED = auto()


class Said(NamedTuple):
    """What systemd's manager said of a unit. ``fields`` are the entry's, as the journal source keeps them."""

    unit: str
    what: Says
    at: datetime
    invocation: str
    fields: Mapping[str, str]
    text: str


MESSAGE_IDS: Final = {
    "d9b373ed55a64feb8242e02dbe79a49c": Says.UNIT_FAILED,
    "98e322203f7a4ed290d09fe03c09fe15": Says.PROCESS_EXITED,
    "5eb03494b6584870a536b337290809b3": Says.RESTART_SCHEDULED,
    "be02cf6855d2428ba40df7e9d022f03d": Says.START_FAILED,
    "7d4958e842da4a758f6c1cdc7b36dcc5": Says.STARTING,
    "39f53479d3a045ac8e11786248231fbf": Says.STARTED,
    "de5b426a63be47a7b6ac3eaac82e2f6f": Says.STOPPING,
    "9d1aaa27d60140bd96365438aad20286": Says.STOPPED,
    "a596d6fe7bfa4994828e72309e95d61e": Says.SUPPRESSED,
}

START_LIMIT_TEXT: Final = "Start request repeated too quickly."
"""The manager's words for a unit at its start limit; they carry no message id."""

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
    """Return what an entry says by its message id, or by the manager's words, if that can be believed of its writer."""
    meaning = MESSAGE_IDS.get(entry.message_id)
    if meaning is Says.SUPPRESSED:
        return meaning if entry.transport == "driver" else None
    if not spoken_by_manager(entry):
        return None
    if meaning is Says.START_FAILED and entry.fields.get("JOB_RESULT") == "dependency":
        return Says.DEPENDENCY
    if meaning is None and entry.message.endswith(START_LIMIT_TEXT):
        return Says.AT_START_LIMIT
    return meaning


def suppressed(entry: JournalEntry) -> tuple[str, int]:
    """Return which unit's messages journald dropped, and how many; ``("", 0)`` where it does not say."""
    match = _SUPPRESSED_TEXT.match(entry.message)
    number = entry.fields.get("N_DROPPED", "") or (match[1] if match else "")
    unit = match[2].rpartition("/")[2] if match else entry.unit
    return unit, int(number) if number.isdecimal() else 0
