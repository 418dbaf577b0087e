"""`incidents`: list them, show one."""

import asyncio
from typing import Annotated

import typer

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir
from ai_sysadmin.cli.incident_page import incident_page
from ai_sysadmin.cli.layout import table
from ai_sysadmin.core.clock import SystemClock, local
from ai_sysadmin.core.errors import NotFound, SystemdUnavailable
from ai_sysadmin.core.incident import State
from ai_sysadmin.openai_api_server.views import Incidents, IncidentView
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.units import SystemdUnits, UnitStatus

app = typer.Typer(help="What was noticed: list, show.", invoke_without_command=True)
OnlyState = Annotated[list[State] | None, typer.Option("--state", help="Only those in this state.")]
IncidentId = Annotated[str, typer.Argument(metavar="ID", help="An incident's id, or the beginning of one.")]

_LOOK_SECONDS = 2.0


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
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Show one incident: what is broken, why, and what to do."""
    desk = Desk.open(context, settings, state_dir, as_json)
    view, unit = asyncio.run(_look(desk, incident_id))
    desk.answer(view, incident_page(view, unit, SystemClock().now()))


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
