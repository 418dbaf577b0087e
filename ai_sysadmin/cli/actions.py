"""`actions`: list them, show one, propose one, approve or reject it, talk about it.

The decision goes to the executor, never through the API. What is shown of an action is the executor's word; what its
proposer said of it stands apart.
"""

import asyncio
from typing import Annotated, Final

import typer

from ai_sysadmin.actions.catalogue import catalogue_of
from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.cli.actions_page import action_page, actions_page, catalogue_page, decided_page, discussed, shown
from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.chat.command import Fast
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir, warn
from ai_sysadmin.cli.policy import EXPLAIN_SECONDS, arguments_of, explained_page
from ai_sysadmin.core.acting import ActionState, Origin
from ai_sysadmin.core.errors import ExecutorUnavailable, NotFound, Refused
from ai_sysadmin.openai_api_server.system.deciding_views import NewAction
from ai_sysadmin.openai_api_server.system.views import Actions, ActionView

app = typer.Typer(
    help="Remedies: list, show, propose, approve, reject, discuss; what there is.", invoke_without_command=True
)
RULING_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.2
_ON_ITS_WAY: Final = frozenset({ActionState.PROPOSED, ActionState.SUBMITTED})
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would run, be checked and be taken back.")]
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
    """Show one action: what would be done, at what risk, how it is checked, what came of it and what it wrote."""
    desk = Desk.open(context, settings, state_dir, as_json)
    view, facts = asyncio.run(_look(desk, action_id))
    desk.answer(view, action_page(view, facts, desk.settings.executor.post_check_seconds))


@app.command()
def propose(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="NAME", help="The action's name: `actions catalogue` lists them.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Its arguments, such as unit=nginx.service.")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="Your reason; it is remembered.")] = "",
    dry_run: DryRun = False,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Propose an action: the executor rules on it, and you approve it where it does not only look."""
    desk = Desk.open(context, settings, state_dir, as_json)
    given = arguments_of(action, arguments or [])
    if dry_run:
        client = ExecutorClient(desk.settings.operate_socket, timeout_seconds=EXPLAIN_SECONDS)
        explained = asyncio.run(client.explain(action, given, Origin.OPERATOR))
        desk.answer(explained, f"{explained_page(explained, desk.settings)}\n\nNothing was proposed.")
        return
    view, facts = asyncio.run(_propose(desk, NewAction(name=action, arguments=given, why=why)))
    if view.state is ActionState.REFUSED:
        raise Refused(view.text)
    desk.answer(view, action_page(view, facts, desk.settings.executor.post_check_seconds))


@app.command()
def catalogue(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """List every action that there is on this host, with its arguments and risks."""
    desk = Desk.open(context, settings, state_dir, as_json)
    listed = shown(catalogue_of(desk.settings))
    desk.answer(listed, catalogue_page(listed))


@app.command()
def discuss(
    context: typer.Context,
    action_id: ActionId,
    fast: Fast = False,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
) -> None:
    """Talk with the assistant about an action, which is told what the executor says of it."""
    from ai_sysadmin.cli.chat.loop import chat as talk

    desk = Desk.open(context, settings, state_dir, as_json=False)
    view, facts = asyncio.run(_look(desk, action_id))
    question = discussed(view, facts, desk.settings.executor.post_check_seconds)
    raise typer.Exit(talk(desk.settings, fast=fast, first=question))


@app.command()
def approve(
    context: typer.Context,
    action_id: ActionId,
    digest: Annotated[str, typer.Option("--digest", help="What was shown, as `actions show` says it.")] = "",
    dry_run: DryRun = False,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Approve an action: the executor checks everything once more and runs it."""
    desk = Desk.open(context, settings, state_dir, as_json)
    if dry_run:
        view, known = asyncio.run(_look(desk, action_id))
        desk.answer(known or view, action_page(view, known, desk.settings.executor.post_check_seconds))
        warn("Nothing was approved.")
        return
    facts = asyncio.run(ExecutorClient(desk.settings.operate_socket).approve(action_id, digest))
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


async def _propose(desk: Desk, wanted: NewAction) -> tuple[ActionView, ActionFacts | None]:
    """Propose an action and wait a little for the executor's ruling."""
    api = Api(desk.settings)
    view = await api.request("POST", "actions", ActionView, wanted)
    until = asyncio.get_running_loop().time() + RULING_SECONDS
    while view.state in _ON_ITS_WAY and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(_POLL_SECONDS)
        view = await api.one("actions", view.id, ActionView)
    return await _look(desk, view.id)


def _unless_refused(facts: ActionFacts) -> ActionFacts:
    """Raise what the executor said no to, after a person had said yes."""
    if facts.state == "refused":
        raise Refused(facts.text)
    return facts
