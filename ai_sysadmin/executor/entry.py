"""An action as the executor knows it, and what breakers count of it."""

import hashlib
import json
import time
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import AwareDatetime, JsonValue

from ai_sysadmin.actions.breakers import Deed
from ai_sysadmin.core.acting import (
    ActionRequest,
    ActionState,
    Approval,
    Outcome,
    OutcomeKind,
    Plan,
    Risk,
    Ruling,
)
from ai_sysadmin.core.records import Record


class Moment(NamedTuple):
    """A moment by both clocks: ``at`` can be set, ``boottime`` (seconds since the boot of that id) cannot."""

    at: datetime
    boot_id: str
    boottime: float


class Entry(Record):
    """An action as the executor knows it.

    ``subject`` is its lane. ``told`` is what its preparation wrote, stage by stage; ``bound`` the commands that an
    approval holds for, where they do not follow from the request. ``plan``, ``before`` (what was observed then),
    ``boot_id``, ``started_at`` and ``started_boottime`` are as of the intent; ``expires_boottime`` is in seconds of
    CLOCK_BOOTTIME of it.
    ``fault`` says why it is taken back, or what it waits for.
    """

    request: ActionRequest
    state: ActionState
    text: str
    ruling: Ruling
    boot_id: str
    expires_boottime: float
    subject: str = ""
    told: tuple[str, ...] = ()
    bound: tuple[tuple[str, ...], ...] = ()
    plan: Plan | None = None
    approval: Approval | None = None
    before: dict[str, JsonValue] | None = None
    started_at: AwareDatetime | None = None
    started_boottime: float = 0
    exit_status: int | None = None
    fault: str = ""
    output: str = ""
    outcome: Outcome | None = None

    @property
    def digest(self) -> str:
        """What an approval is bound to: what is asked for, and what was built for it."""
        if not self.told and not self.bound:
            return self.request.digest
        said = json.dumps([self.request.digest, self.told, self.bound])
        return hashlib.sha256(said.encode()).hexdigest()


def boottime() -> float:
    """Seconds since boot, time asleep included: what an approval's expiry counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def deed_of(subject: str, entry: Entry, now: Moment) -> Deed | None:
    """Return an action as a deed; none: it was not begun, or changed nothing."""
    if entry.started_at is None or entry.ruling.risk is Risk.READ_ONLY:
        return None
    kind = entry.outcome.kind if entry.outcome else None
    helped = None if kind in {None, OutcomeKind.UNKNOWN} else kind is OutcomeKind.SUCCEEDED
    alone = entry.approval is None
    at = _begun_at(entry, entry.started_at, now)
    return Deed(name=entry.request.name, subject=subject, at=at, alone=alone, helped=helped)


def _begun_at(entry: Entry, started_at: datetime, now: Moment) -> datetime:
    """Return when an action began, by the clock as it goes now."""
    if entry.boot_id == now.boot_id and entry.started_boottime:
        return now.at - timedelta(seconds=now.boottime - entry.started_boottime)
    booted_at = now.at - timedelta(seconds=now.boottime)
    return min(started_at, now.at if entry.boot_id == now.boot_id else booted_at)
