"""The doors by which a proposal comes in, each by its own code as far as that goes without a model."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import ProposedAction, Verdict
from ai_sysadmin.meta_model.proposals import Proposals
from ai_sysadmin.stores import Claim, Noticed, Placing
from tests.builders import HOST, investigation, pack, review, trigger
from tests.matrix.api import by_api, by_command_line
from tests.matrix.cells import Cell
from tests.matrix.host import MatrixHost

Door = Callable[[MatrixHost, Sequence[Cell]], Awaitable[None]]
LEASE: Final = timedelta(minutes=5)
NO_STORM: Final = Placing(timedelta(minutes=5), timedelta(hours=1), storm_count=10_000, storm_within=timedelta(1))


async def by_review(host: MatrixHost, cells: Sequence[Cell]) -> None:
    """A review judges each unit's incident and leaves its proposal in the outbox, as one transaction."""
    await _incidents(host, cells)
    while (claim := await _claimed(host)) is not None:
        incident = claim.incident
        wanted = _request(incident, _cell(cells, incident), Origin.REVIEW)
        judged = review(incident_id=incident.id, at=SystemClock().now())
        await host.stores.reviews.finish_review(claim, pack(incident.id), judged, [wanted])


async def by_investigation(host: MatrixHost, cells: Sequence[Cell]) -> None:
    """A review hands each incident on, and an investigation ends with a proposal."""
    await _incidents(host, cells)
    while (claim := await _claimed(host)) is not None:
        judged = review(Verdict.ESCALATE, incident_id=claim.incident.id, at=SystemClock().now())
        await host.stores.reviews.finish_review(claim, pack(claim.incident.id), judged, [])
    investigations = host.stores.investigations
    while (claim := await investigations.claim_investigation("t", lease=LEASE, now=SystemClock().now())) is not None:
        incident = claim.incident
        wanted = _request(incident, _cell(cells, incident), Origin.INVESTIGATION)
        found = investigation(incident_id=incident.id, at=SystemClock().now())
        await investigations.finish_investigation(claim, pack(incident.id, "h2"), found, [wanted])


async def by_chat(host: MatrixHost, cells: Sequence[Cell]) -> None:
    """The agent of a conversation proposes what a person talked about."""
    proposals = Proposals(host.settings, host.stores.proposals, host.stores.reader, host.systemd, SystemClock())
    for cell in cells:
        await proposals.propose(cell.name, cell.arguments, "somebody asked for it")


async def by_socket(host: MatrixHost, cells: Sequence[Cell]) -> None:
    """Whoever holds a service's socket says what it likes, well formed: the suite itself, if it were taken over."""
    for cell in cells:
        action = ProposedAction(name=cell.name, arguments=cell.arguments)
        await host.propose.propose(
            ActionRequest.propose(HOST, "abcdef", action, Origin.RULES, "it failed, honestly", SystemClock().now())
        )


async def _incidents(host: MatrixHost, cells: Sequence[Cell]) -> None:
    now = SystemClock().now()
    triggers = [trigger(unit=cell.unit, at=now, details={"result": "exit-code"}) for cell in cells]
    await host.stores.notices.commit(Noticed(None, triggers=triggers), NO_STORM)


async def _claimed(host: MatrixHost) -> Claim | None:
    none = timedelta(0)
    return await host.stores.reviews.claim_review(
        "t", lease=LEASE, settle=none, settle_at_most=none, now=SystemClock().now()
    )


def _cell(cells: Sequence[Cell], incident: Incident) -> Cell:
    (cell,) = [each for each in cells if each.unit == incident.unit]
    return cell


def _request(incident: Incident, cell: Cell, origin: Origin) -> ActionRequest:
    action = ProposedAction(name=cell.name, arguments=cell.arguments)
    return ActionRequest.propose(HOST, incident.id, action, origin, "it was judged so", SystemClock().now())


BY_THE_SUITE: Final[dict[str, Door]] = {
    "review": by_review,
    "investigation": by_investigation,
    "propose.sock": by_socket,
}
BY_A_PERSON: Final[dict[str, Door]] = {"chat": by_chat, "API": by_api, "command line": by_command_line}
