"""`incidents`: list them, show one, say what becomes of it."""

import asyncio
from typing import Annotated

import typer

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir
from ai_sysadmin.cli.incident_page import evidence_page, incident_page
from ai_sysadmin.cli.layout import table, wrapped
from ai_sysadmin.cli.mute import muted
from ai_sysadmin.cli.templates import quoted
from ai_sysadmin.core.clock import SystemClock, local
from ai_sysadmin.core.errors import NotFound, SystemdUnavailable
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import Evidence
from ai_sysadmin.openai_api_server.system.views import Decision, DecisionView, Incidents, IncidentView, Why
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.units import SystemdUnits, UnitStatus

app = typer.Typer(help="What was noticed: list, show, resolve, dismiss, reopen, mute.", invoke_without_command=True)
OnlyState = Annotated[list[State] | None, typer.Option("--state", help="Only those in this state.")]
IncidentId = Annotated[str, typer.Argument(metavar="ID", help="An incident's id, or the beginning of one.")]
WhyOption = Annotated[str, typer.Option("--why", help="Your reason; it stands in the incident's story.")]

_LOOK_SECONDS = 2.0
_MOST_WHY = 500


@app.callback()
def bare(
    context: typer.Context,
    state: OnlyState = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    context.obj = Given(settings, state_dir, as_json).over(context.obj)
    if context.invoked_subcommand is None:
        list_(context, state)


@app.command("list")
def list_(
    context: typer.Context,
    state: OnlyState = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """List incidents, the newest first."""
    desk = Desk.open(context, settings, state_dir, as_json)
    wanted = [each.value for each in state or ()]
    found = asyncio.run(Api(desk.settings).get("incidents", Incidents, wanted))
    desk.answer(found, incidents_page(found))


@app.command()
def show(
    context: typer.Context,
    incident_id: IncidentId,
    piece: Annotated[str, typer.Argument(metavar="[PIECE]", help="Only this piece of the evidence, such as e3.")] = "",
    evidence: Annotated[bool, typer.Option("--evidence", help="With all evidence, or with PIECE that one.")] = False,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Show one incident: what is broken, why, and what to do. `--evidence`: with what that rests on."""
    desk = Desk.open(context, settings, state_dir, as_json)
    if piece:
        found = asyncio.run(Api(desk.settings).one(f"incidents/{quoted(incident_id)}/evidence", piece, Evidence))
        desk.answer(found, evidence_page(found))
        return
    view, unit = asyncio.run(_look(desk, incident_id))
    desk.answer(view, incident_page(view, unit, SystemClock().now(), whole=evidence))


@app.command()
def resolve(
    context: typer.Context,
    incident_id: IncidentId,
    why: WhyOption = "",
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Say that an incident is over."""
    _decide(Desk.open(context, settings, state_dir, as_json), incident_id, "resolve", why)


@app.command()
def dismiss(
    context: typer.Context,
    incident_id: IncidentId,
    why: WhyOption = "",
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Say that nothing is to be done about an incident."""
    _decide(Desk.open(context, settings, state_dir, as_json), incident_id, "dismiss", why)


@app.command()
def reopen(
    context: typer.Context,
    incident_id: IncidentId,
    why: WhyOption = "",
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Have an incident looked at again."""
    _decide(Desk.open(context, settings, state_dir, as_json), incident_id, "reopen", why)


@app.command("mute")
def mute_(
    context: typer.Context,
    incident_id: IncidentId,
    for_: Annotated[str, typer.Option("--for", help="How long: 30s, 10m, 2h, 3d, 1w; at most 30 days.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever reads it later.")] = "",
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Mute all that an incident opened by: for a while it opens nothing."""
    muted(Desk.open(context, settings, state_dir, as_json), incident_id, for_, reason)


def _decide(desk: Desk, incident_id: str, decision: Decision, why: str) -> None:
    if len(why) > _MOST_WHY:
        raise typer.BadParameter(f"a reason has at most {_MOST_WHY} characters")
    view, unit = asyncio.run(_decided(desk, incident_id, decision, why))
    desk.answer(view, decision_page(view, unit))


async def _decided(
    desk: Desk, incident_id: str, decision: Decision, why: str
) -> tuple[DecisionView, UnitStatus | None]:
    path = f"incidents/{quoted(incident_id)}/{decision}"
    view = await Api(desk.settings).request("POST", path, DecisionView, Why(why=why))
    here = view.incident.host == desk.settings.host_name and view.incident.unit and not desk.as_json
    return view, await _unit_now(view.incident.unit) if here else None


def decision_page(view: DecisionView, unit: UnitStatus | None) -> str:
    """Render what became of an incident; ``unit`` is its unit as systemd sees it at this moment."""
    incident = view.incident
    already = "" if view.changed else " already; nothing was changed"
    lines = wrapped(f"{incident.id} ({incident.title}) is {incident.state.value.replace('_', ' ')}{already}")
    if incident.ended and unit is not None and unit.active_state == "failed":
        still = f"{unit.name} is still failed ({unit.result or unit.sub_state}): it opens again when it fails anew"
        lines += wrapped(still, 2)
    return "\n".join(lines)


async def _look(desk: Desk, incident_id: str) -> tuple[IncidentView, UnitStatus | None]:
    view = await Api(desk.settings).one("incidents", incident_id, IncidentView)
    here = view.incident.host == desk.settings.host_name and view.incident.unit and not desk.as_json
    return view, await _unit_now(view.incident.unit) if here else None


async def _unit_now(unit: str) -> UnitStatus | None:
    """Return how the unit is at this moment; none where systemd does not say."""
    bus = SystemBus(_LOOK_SECONDS)
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await SystemdUnits(bus).status(unit)
    except (SystemdUnavailable, NotFound, TimeoutError):
        return None
    finally:
        bus.close()


def incidents_page(found: Incidents) -> str:
    """Render a list of incidents."""
    if not found.incidents:
        return "No incidents."
    rows = [
        (each.id, each.state.value, str(each.severity), str(each.count), local(each.opened_at), each.title)
        for each in found.incidents
    ]
    heads = ("ID", "STATE", "SEV", "COUNT", "SINCE", "WHAT")
    return "\n".join(table(heads, rows, width=110))
