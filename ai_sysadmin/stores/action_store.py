"""Actions as the services keep them, on their way to the executor and back."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from pydantic import AwareDatetime, Field

from ai_sysadmin.core.acting import ActionRequest, ActionState, ExecutorEvent, Plan, Ruling
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Record


class Action(Record):
    """A request with what the executor has said of it so far. Its incident is ``''`` where a person asked for it.

    ``plan`` and ``ruling`` are the executor's latest; ``digest`` is what an approval is bound to. ``output`` is what
    the action wrote. ``superseded_by`` is the id of the proposal that took its place. ``decided_at`` is when a person
    said yes or no, or when it was not waited for any more.
    """

    request: ActionRequest
    state: ActionState
    risk: str = ""
    text: str = ""
    by: str = ""
    updated_at: AwareDatetime
    plan: Plan | None = None
    ruling: Ruling | None = None
    digest: str = Field(default_factory=lambda given: str(given["request"].digest) if "request" in given else "")
    output: str = ""
    superseded_by: str = ""
    decided_at: AwareDatetime | None = None


class ProposalStore(Protocol):
    """Where an action is proposed that a person asked for in a conversation."""

    async def propose(self, request: ActionRequest) -> ActionRequest:
        """Put a request into the outbox; where one of equal digest is under way, that one comes back.

        That one then belongs to the request's incident as well.

        Raises: Refused: its incident has ended, it is for another host, or too many wait already.
        """
        ...


class OutboxStore(Protocol):
    """What the courier carries: requests to the executor, its events back."""

    async def unsubmitted(self) -> Sequence[ActionRequest]:
        """Return the requests to carry on. Those of incidents wait while a storm lasts: too much is wrong to act on any
        of it alone; what a person asked for in a conversation does not.
        """
        ...

    async def submitted(self, action_id: str) -> None: ...

    async def unneeded(self) -> Sequence[tuple[ActionRequest, str]]:
        """Return the requests that wait for a person and are not needed, each with why.

        Every incident of theirs has ended, or another proposal has taken their place.
        """
        ...

    async def refused(self, request: ActionRequest, why: str, at: datetime) -> None:
        """Record that the executor would not even take a request."""
        ...

    async def executor_position(self) -> tuple[str, int]:
        """Return the epoch and number of the last executor event that was applied; ``("", 0)`` at first."""
        ...

    async def apply(self, events: Sequence[ExecutorEvent]) -> Sequence[Incident]:
        """Apply executor events with their position and the incidents' changes, as one; each number once.

        An event moves the incidents that the action has here, whatever incident the event names. What an action came to
        is counted in the same transaction: see ``outcome_store``.
        """
        ...
