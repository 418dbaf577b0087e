"""`actions`: list them, show one, approve or reject it. The decision goes to the executor, never through the API."""

import asyncio
from typing import Annotated

import typer

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir
from ai_sysadmin.cli.incident_page import described, proposer
from ai_sysadmin.cli.layout import fact, heading, table, wrapped
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.errors import ExecutorUnavailable, NotFound, Refused
from ai_sysadmin.openai_api_server.system.views import Actions, ActionView

app = typer.Typer(help="Remedies: list, show, approve, reject.", invoke_without_command=True)
OnlyState = Annotated[
    list[str] | None, typer.Option("--state", help="Only those in this state; `pending`: those that wait for you.")
]
ActionId = Annotated[str, typer.Argument(metavar="ID", help="An action's id, or the beginning of one.")]


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
    """List actions, the newest first."""
    desk = Desk.open(context, settings, state_dir, as_json)
    found = asyncio.run(Api(desk.settings).get("actions", Actions, state or ()))
    desk.answer(found, actions_page(found))


@app.command()
def show(
    context: typer.Context,
    action_id: ActionId,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Show one action: what would be done, at what risk, what came of it."""
    desk = Desk.open(context, settings, state_dir, as_json)
    view, facts = asyncio.run(_look(desk, action_id))
    desk.answer(view, action_page(view, facts))


@app.command()
def approve(
    context: typer.Context,
    action_id: ActionId,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Approve an action: the executor checks everything once more and runs it."""
    desk = Desk.open(context, settings, state_dir, as_json)
    facts = asyncio.run(ExecutorClient(desk.settings.operate_socket).approve(action_id))
    desk.answer(_unless_refused(facts), decided_page(facts))


@app.command()
def reject(
    context: typer.Context,
    action_id: ActionId,
    why: Annotated[str, typer.Option("--why", help="Your reason; it is remembered.")],
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Reject an action: it is never run."""
    desk = Desk.open(context, settings, state_dir, as_json)
    facts = asyncio.run(ExecutorClient(desk.settings.operate_socket).reject(action_id, why))
    desk.answer(facts, decided_page(facts))


async def _look(desk: Desk, action_id: str) -> tuple[ActionView, ActionFacts | None]:
    view = await Api(desk.settings).one("actions", action_id, ActionView)
    try:
        return view, await ExecutorClient(desk.settings.operate_socket, timeout_seconds=3).show(view.id)
    except (ExecutorUnavailable, NotFound, Refused):
        return view, None


def _unless_refused(facts: ActionFacts) -> ActionFacts:
    """Raise what the executor said no to, after a person had said yes."""
    if facts.state == "refused":
        raise Refused(facts.text)
    return facts


def actions_page(found: Actions) -> str:
    """Render a list of actions."""
    if not found.actions:
        return "No actions."
    rows = [
        (each.id, "waits for you" if each.pending else each.state, each.risk or "-", local(each.at), described(each))
        for each in found.actions
    ]
    return "\n".join(table(("ID", "STATE", "RISK", "PROPOSED", "WHAT"), rows, width=120))


def action_page(view: ActionView, facts: ActionFacts | None) -> str:
    """Render an action: first what the executor itself says of it, apart from it what was said by others."""
    cause = f"for incident {view.incident_id}" if view.incident_id else "asked for in chat"
    lines = [described(view), *fact("action", f"{view.id} {cause} on {view.host}")]
    lines += fact("state", f"{view.state}{f' by {view.by}' if view.by else ''}{f': {view.text}' if view.text else ''}")
    lines += fact("proposed", local(view.at))
    lines += _facts(facts)
    lines += [*heading("Why, in the proposer's words"), *wrapped(f"{view.why} ({proposer(view.origin)})", 2)]
    if view.pending:
        lines += ["", f"  ai-sysadmin actions approve {view.id}"]
        lines += [f'  ai-sysadmin actions reject {view.id} --why "…"']
    return "\n".join(lines)


def _facts(facts: ActionFacts | None) -> list[str]:
    if facts is None:
        return [*heading("What the executor says"), "  nothing: it does not answer, or knows no such action"]
    lines = heading("What the executor says")
    if facts.ruling is not None:
        lines += fact("risk", f"{facts.ruling.risk.value} ({facts.ruling.reason})")
    for command in facts.commands:
        lines += fact("would run", " ".join(command))
    if facts.undo:
        lines += fact("undo", facts.undo)
    if facts.expires_in_seconds is not None:
        lines += fact("expires", f"in {facts.expires_in_seconds // 60} min")
    return lines


def decided_page(facts: ActionFacts) -> str:
    """Render what the executor answered to a decision."""
    arguments = " ".join(facts.arguments.values())
    lines = wrapped(f"{facts.name} {arguments}: {facts.state}{f', {facts.text}' if facts.text else ''}", 2, "")
    if facts.state not in {"rejected", "succeeded", "failed"}:
        lines.append(f"  ai-sysadmin actions show {facts.id}")
        lines += [f"  ai-sysadmin incidents show {facts.incident_id}"] if facts.incident_id else []
    return "\n".join(lines)
