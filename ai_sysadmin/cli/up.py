"""`up`: the whole suite in the foreground, for a machine without NixOS's module.

Three processes: one that holds the others together; the executor; and everything else, which as root gives its
rights up before it reads a line of log.
"""

import asyncio
import dataclasses
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ai_sysadmin import __version__, pipeline
from ai_sysadmin.cli.desk import Desk, say
from ai_sysadmin.cli.incident_feed import follow
from ai_sysadmin.cli.survey import page, survey
from ai_sysadmin.core.errors import Refused, SettingsError
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend.local_servers import Serving, serving
from ai_sysadmin.openai_api_server.gate.keys import ensure_api_key
from ai_sysadmin.runtime import privileges, settings_file
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.runtime.logs import set_up
from ai_sysadmin.runtime.service import Loop
from ai_sysadmin.runtime.supervisor import Part, Supervisor
from ai_sysadmin.sources.units import SystemdUnits
from ai_sysadmin.stores.backup import Part as Kept
from ai_sysadmin.stores.backup import finish_restore
from ai_sysadmin.stores.chroma_server import own_chroma
from ai_sysadmin.stores.relational import SqlStores

WITHOUT_MODELS = {
    "trigger": "new log templates get no label",
    "review": "incidents are judged by rules",
    "meta": "nothing is investigated beyond the rules, and chat answers with reports",
}


def up(desk: Desk, models_dir: Path | None) -> int:
    """Run the suite until it is told to stop; return its exit status.

    Raises:
        SettingsError: a directory cannot be used.
        Refused: it runs here already.
    """
    settings = _with_models(desk.settings, models_dir)
    as_root = os.geteuid() == 0
    account = _account() if as_root else None
    try:
        _make_directories(settings, account)
    except OSError as error:
        raise SettingsError(f"the state directory {settings.state_dir} cannot be used: {error}") from error
    with _alone(settings.state_dir):
        finish_restore({Kept.STATE: settings.state_dir, Kept.EXECUTOR: settings.executor.state_dir})
        proposers = account.gid if account else -1
        policy_file = desk.given.settings or settings_file.find()
        executor = partial(_executor, settings, policy_file, proposers)
        parts = [Part("executor", executor), Part("suite", partial(_suite, settings, as_root), account, is_main=True)]
        return Supervisor(parts).run()


def _with_models(settings: Settings, directory: Path | None) -> Settings:
    if directory is None:
        return settings
    if not directory.is_dir():
        raise SettingsError(f"--models {directory}: there is no such directory")
    return settings.model_copy(
        update={"models": settings.models.model_copy(update={"directory": directory.absolute()})}
    )


def _account() -> privileges.Account:
    """Return whom root's suite becomes; made, and said so, where it is not there yet."""
    account = privileges.account()
    if account is None:
        account = asyncio.run(privileges.make_account())
        say(
            f"Running as {account.name}, a system user made for this suite."
            if account.name == privileges.ACCOUNT
            else f"Running as {account.name}: the user {privileges.ACCOUNT} could not be made."
        )
    return account


def _make_directories(settings: Settings, account: privileges.Account | None) -> None:
    if account is not None:
        privileges.prepare(settings.state_dir, settings.runtime_dir, account)
        return
    for directory in (settings.state_dir, settings.runtime_dir):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """Hold the state directory for one suite at a time."""
    with (state_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                f"the suite runs already on {state_dir}: stop it first, or give another --state-dir"
            ) from error
        yield


def _executor(settings: Settings, policy_file: Path | None, proposers: int) -> int:
    set_up("ai-sysadmin-executor", "WARNING")
    asyncio.run(pipeline.executor(settings, policy_file, proposers))
    return 0


def _suite(settings: Settings, as_root: bool) -> int:
    set_up("ai-sysadmin", "WARNING")
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not hasattr(record, "incident_id"))  # the terminal follows incidents itself
    if not os.access(settings.state_dir, os.W_OK | os.X_OK):
        raise SettingsError(
            f"the suite gave root's rights up and cannot reach {settings.state_dir} any more: "
            "give a --state-dir that every user may go to, such as below /var/lib"
        )
    asyncio.run(_serve(settings, as_root))
    return 0


async def _serve(settings: Settings, as_root: bool) -> None:
    say(f"ai-sysadmin {__version__} on {settings.host_name}; state in {settings.state_dir}")
    async with serving(settings) as models:
        settings = settings.model_copy(update={"backends": models.backends})
        async with own_chroma(settings) as chroma:
            if chroma.url:
                knowledge = settings.knowledge.model_copy(update={"chroma_url": chroma.url})
                settings = settings.model_copy(update={"knowledge": knowledge})
            said = (*models.said, *([chroma.said] if chroma.said else ()))
            models = dataclasses.replace(models, said=said)
            await pipeline.suite(settings, partial(_terminal, settings, models, as_root))
    say("Stopped.")


def _terminal(settings: Settings, models: Serving, as_root: bool, stores: SqlStores) -> dict[str, Loop]:
    async def show() -> None:
        bus = SystemBus()
        try:
            say("\n" + page(await survey(SystemdUnits(bus), settings.host_name)))
        finally:
            bus.close()
        say("\n" + _standing(settings, models, as_root))
        await follow(stores.reader, say)

    return {"terminal": show}


def _standing(settings: Settings, models: Serving, as_root: bool) -> str:
    """Say how the suite stands: models, API, rights."""
    lines = [f"Models   {line}" for line in models.said]
    lines += [f"Models   none for {layer}: {WITHOUT_MODELS[layer]}" for layer in models.without]
    if models.without:
        lines.append("         `ai-sysadmin models list` shows what there is; `ai-sysadmin models pull NAME` gets one")
    key = ensure_api_key(settings.api_key_file)
    lines += [
        f"API      http://{settings.api.host}:{settings.api.port}/v1  (OpenAI-compatible; model `ai-sysadmin`)",
        f"Key      {key}  (kept in {settings.api_key_file})",
    ]
    if not as_root:
        lines.append("Rights   yours: actions on system units are proposed, with the sudo line that does them")
    lines.append("Watching; Ctrl-C stops.")
    return "\n".join(lines)
