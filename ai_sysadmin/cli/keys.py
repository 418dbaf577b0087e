"""`keys`: make, list and revoke the API's keys. A key is made here and shown once; only its hash is sent."""

import asyncio
import re
from datetime import datetime, timedelta
from typing import Annotated, Final, Protocol, TypeVar

import typer

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import KEY_NAME, ApprovalKey
from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir
from ai_sysadmin.cli.keys_page import Listing, Made, Revoked, listing_page, made_page, revoked_page
from ai_sysadmin.cli.templates import quoted
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import (
    AiSysadminError,
    ApiUnavailable,
    ExecutorUnavailable,
    NotFound,
    Refused,
    Unavailable,
)
from ai_sysadmin.core.records import short_id
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.openai_api_server.gate.keys import hash_of, make_key
from ai_sysadmin.openai_api_server.system.key_views import Keys, KeyView, NewKey
from ai_sysadmin.stores.key_store import Scope

app = typer.Typer(help="The API's keys: create, list, revoke.", invoke_without_command=True)
ID_CHARACTERS: Final = 8
LONGEST_DAYS: Final = 3650


@app.callback()
def bare(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    context.obj = Given(settings, state_dir, as_json).over(context.obj)
    if context.invoked_subcommand is None:
        list_(context)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it, such as open-webui.")],
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it is good for; may be given repeatedly.")],
    expires: Annotated[
        int | None,
        typer.Option("--expires", metavar="DAYS", min=1, max=LONGEST_DAYS, help="Days until it opens nothing more."),
    ] = None,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Make a key, and show it this once."""
    desk = Desk.open(context, settings, state_dir, as_json)
    if not re.fullmatch(KEY_NAME, name):
        raise typer.BadParameter("a name has 1 to 64 letters, digits, dots, dashes, _ or @", param_hint="NAME")
    until = SystemClock().now() + timedelta(days=expires) if expires else None
    made = asyncio.run(make(desk.settings, name, frozenset(scope), until))
    desk.answer(made, made_page(made, url_of(desk.settings)))


@app.command("list")
def list_(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """List the keys that were made, the newest first."""
    desk = Desk.open(context, settings, state_dir, as_json)
    found = asyncio.run(listing(desk.settings))
    desk.answer(found, listing_page(found, SystemClock().now()))


@app.command()
def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="NAME_OR_ID", help="A key's name or id.")],
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Revoke a key: from now on it opens nothing and approves nothing."""
    desk = Desk.open(context, settings, state_dir, as_json)
    revoked = asyncio.run(take_back(desk.settings, key))
    desk.answer(revoked, revoked_page(revoked))


async def make(settings: Settings, name: str, scopes: frozenset[Scope], until: datetime | None) -> Made:
    """Make a key known to the API, and one that is to approve to the executor too: to both, or to none."""
    key, api = make_key(), Api(settings)
    wanted = NewKey(id=short_id(ID_CHARACTERS), name=name, hash=hash_of(key), scopes=scopes, expires_at=until)
    view = await api.request("POST", "keys", KeyView, wanted)
    if Scope.APPROVE in scopes:
        try:
            await ExecutorClient(settings.operate_socket).register_key(view.id, name, wanted.hash, until)
        except AiSysadminError as error:
            await _unmake(api, view, error)
    return Made(key=key, about=view)


async def _unmake(api: Api, view: KeyView, why: AiSysadminError) -> None:
    """Take a key back that the executor did not take. Raises: always, what went wrong."""
    try:
        await api.request("DELETE", f"keys/{view.id}", KeyView)
    except AiSysadminError as error:
        text = (
            f"{why}. The API keeps a key {view.name} that nobody holds: `ai-sysadmin keys revoke {view.id}` ({error})"
        )
        raise type(why)(text) from error
    raise type(why)(f"no key was made, since the executor has to know one that approves: {why}") from why


async def listing(settings: Settings) -> Listing:
    """Return all keys, and what the executor says of those that approve."""
    kept = await Api(settings).get("keys", Keys)
    try:
        approving = tuple(await ExecutorClient(settings.operate_socket, timeout_seconds=3).keys())
    except (ExecutorUnavailable, Refused):
        return Listing(keys=kept.keys, approving=None)
    return Listing(keys=kept.keys, approving=approving)


async def take_back(settings: Settings, name: str) -> Revoked:
    """Revoke a key, with the executor first.

    Raises:
        NotFound: neither the API nor the executor knows it.
        Unavailable: one of the two does not answer; the text says what was done all the same.
    """
    api, executor = Api(settings), ExecutorClient(settings.operate_socket)
    kept = await _kept(api, name)
    approving = await _approving(executor, kept.id if isinstance(kept, KeyView) else name)
    if isinstance(approving, ApprovalKey):
        await executor.revoke_key(approving.id)
    if isinstance(kept, KeyView):
        await api.request("DELETE", f"keys/{quoted(kept.id)}", KeyView)
    known = _settled(name, kept, approving)
    return Revoked(id=known.id, name=known.name, approved=isinstance(approving, ApprovalKey))


def _settled(
    name: str, kept: KeyView | Unavailable | None, approving: ApprovalKey | Unavailable | None
) -> KeyView | ApprovalKey:
    """Return the key that was revoked. Raises where it could still be good for something, or there was none."""
    again = f"run `ai-sysadmin keys revoke {name}` again when it does"
    taken = isinstance(approving, ApprovalKey)
    if isinstance(kept, Unavailable):
        done = f"the executor takes no yes from {name} any more" if taken else "nothing was done"
        raise ApiUnavailable(f"{done}; the API does not answer, and would still let the key in: {again} ({kept})")
    if isinstance(approving, Unavailable) and (kept is None or Scope.APPROVE in kept.scopes):
        done = f"the API lets {name} in no more" if kept else f"the API knows no key {name}"
        raise ExecutorUnavailable(f"{done}; the executor does not answer, and would still take its yes: {again}")
    if isinstance(kept, KeyView):
        return kept
    if isinstance(approving, ApprovalKey):
        return approving
    raise NotFound(f"there is no key {name!r}; `ai-sysadmin keys` lists them")


class _Named(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def revoked_at(self) -> datetime | None: ...


_Key = TypeVar("_Key", bound=_Named)


async def _kept(api: Api, name: str) -> KeyView | Unavailable | None:
    try:
        return _meant(name, (await api.get("keys", Keys)).keys)
    except ApiUnavailable as error:
        return error


async def _approving(executor: ExecutorClient, name: str) -> ApprovalKey | Unavailable | None:
    try:
        return _meant(name, tuple(await executor.keys()))
    except ExecutorUnavailable as error:
        return error


def _meant(name: str, keys: tuple[_Key, ...]) -> _Key | None:
    """Return the key that is meant: by its id, or by its name one that is not revoked, else the newest."""
    named = [key for key in keys if key.name == name]
    every = [key for key in keys if key.id == name] + [key for key in named if key.revoked_at is None] + named
    return every[0] if every else None


def url_of(settings: Settings) -> str:
    """Return what a front end on this host puts in as the API's address."""
    host = settings.api.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api.port}/v1"
