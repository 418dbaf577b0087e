"""Reviews of the whole host, and people's wishes for one, as a protocol."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.health import HealthReport
from ai_sysadmin.core.records import Record


class Check(Record):
    """A person's wish for one whole cycle now. ``looked_at``: the trigger monitor has looked at everything anew.

    ``state`` is ``asked``, ``looked`` or ``done``; a check that is done has its report.
    """

    id: str
    state: Literal["asked", "looked", "done"]
    by: str
    asked_at: AwareDatetime
    looked_at: AwareDatetime | None = None
    done_at: AwareDatetime | None = None
    report: HealthReport | None = None
    text: str = ""


class HealthStore(Protocol):
    """Reviews of the whole host, and people's wishes for one."""

    async def keep_report(self, report: HealthReport) -> None:
        """Keep a report; the oldest of more than a few hundred are forgotten. Its model calls count as spent."""
        ...

    async def reports(self, limit: int = 1) -> Sequence[HealthReport]:
        """Return the reports, the newest first."""
        ...

    async def ask_check(self, by: str, now: datetime) -> Check:
        """Ask for one cycle now; one that is not done yet is joined."""
        ...

    async def check(self, check_id: str) -> Check:
        """Raises: NotFound."""
        ...

    async def waiting_check(self, state: Literal["asked", "looked"]) -> Check | None:
        """Return the check that waits in a state; none: nobody asked."""
        ...

    async def keep_check(self, check: Check) -> None:
        """Record how far a check has come."""
        ...
