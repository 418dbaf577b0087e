"""The courier: carries requests from the outbox to the executor, and the executor's events back.

Both ways are idempotent: a request is handed over by its id, an event is applied by its number, so the courier may
die anywhere and begin again.
"""

import asyncio
import logging
from datetime import timedelta

from ai_sysadmin.actions.client import ExecutorClient, NotSeen
from ai_sysadmin.core.acting import ActionRequest, ExecutorEvent, ExecutorEventKind
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import AiSysadminError, NotFound, Refused, Unavailable
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import OutboxStore

log = logging.getLogger(__name__)
POLL_SECONDS = 0.2
WAIT_SECONDS = 5.0
GIVES_UP_AFTER = timedelta(hours=1)


async def submit_forever(outbox: OutboxStore, executor: ExecutorClient, clock: Clock, heart: Heartbeat) -> None:
    """Hand over what is in the outbox as it comes, and take back what nobody needs any more. Raises: Unavailable."""
    while True:
        away: Unavailable | None = None
        for request in await outbox.unsubmitted():
            with heart.within(30, "handing a request to the executor"):
                try:
                    await _submit(request, outbox, executor, clock)
                except Unavailable as error:  # it may be about that one alone: the others do not wait for it
                    away = away or error
        for request, why in await outbox.unneeded():
            with heart.within(30, "taking a request back"):
                await _withdraw(request, why, outbox, executor, clock)
        if away is not None:
            raise away
        await asyncio.sleep(POLL_SECONDS)


async def _submit(request: ActionRequest, outbox: OutboxStore, executor: ExecutorClient, clock: Clock) -> None:
    fields = _about(request.id, request.incident_id)
    try:
        await executor.propose(request)
    except NotSeen as error:
        if clock.now() - request.at < GIVES_UP_AFTER:
            raise
        why = f"the executor could not look at it for {GIVES_UP_AFTER.total_seconds() / 60:.0f} min: {error}"
        log.warning("request given up: %s", error, extra={"event": "request_refused", **fields})
        await outbox.refused(request, why, clock.now())
    except Unavailable:
        raise
    except (Refused, AiSysadminError) as error:
        # The executor would not even take it: that ends the action, as an event of its own making would.
        log.warning("request refused: %s", error, extra={"event": "request_refused", **fields})
        await outbox.refused(request, str(error), clock.now())
    else:
        await outbox.submitted(request.id)
        log.info("request submitted: %s", request.name, extra={"event": "request_submitted", **fields})


async def _withdraw(
    request: ActionRequest, why: str, outbox: OutboxStore, executor: ExecutorClient, clock: Clock
) -> None:
    """Take a request back; its end comes as an event, like any other."""
    try:
        await executor.withdraw(request.id, why)
    except NotFound as error:  # an executor that lost its journal will tell nothing of it any more
        await outbox.refused(request, str(error), clock.now())


async def follow_forever(outbox: OutboxStore, executor: ExecutorClient, heart: Heartbeat) -> None:
    """Apply the executor's events, in order, each once. Raises: Unavailable."""
    while True:
        epoch, since = await outbox.executor_position()
        with heart.within(WAIT_SECONDS + 30, "following the executor"):
            events = await executor.events(epoch, since, WAIT_SECONDS)
        if not events:
            continue
        incidents = {incident.id: incident for incident in await outbox.apply(events)}
        for event in events:
            _say(event, incidents[event.incident_id].state.value if event.incident_id in incidents else "")


def _say(event: ExecutorEvent, state: str) -> None:
    calm = event.kind not in {ExecutorEventKind.REFUSED, ExecutorEventKind.EXPIRED}
    log.log(
        logging.INFO if calm else logging.WARNING,
        "action %s: %s",
        event.kind.value,
        event.text,
        extra={
            "event": f"action_{event.kind.value}",
            "incident_state": state,
            **_about(event.action_id, event.incident_id),
        },
    )


def _about(action_id: str, incident_id: str) -> dict[str, str]:
    """Return what a log entry is about; an action that was asked for in chat has no incident."""
    return {"action_id": action_id} | ({"incident_id": incident_id} if incident_id else {})
