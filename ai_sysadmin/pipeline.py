"""Builds each service from the settings. What it needs is imported where it is built, in pipeline order.

Every service is: open what it stands on, run its loops until told to stop, close in reverse. ``suite`` runs the
loops of all of them in one process.
"""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off, run_service
from ai_sysadmin.sources.units import SystemdUnits, WatchedUnits
from ai_sysadmin.stores.sqlite import SqliteStores, open_stores

if TYPE_CHECKING:
    from ai_sysadmin.context.claims import Gathering

Loops = dict[str, Loop]


@dataclass(frozen=True)
class Ground:
    """What every service stands on."""

    settings: Settings
    stores: SqliteStores
    units: WatchedUnits
    clock: Clock
    heart: Heartbeat
    exits: AsyncExitStack


@asynccontextmanager
async def ground(settings: Settings) -> AsyncIterator[Ground]:
    """Open the store and the system bus. Raises: StoreUnavailable."""
    clock = SystemClock()
    async with AsyncExitStack() as exits:
        bus = SystemBus()
        exits.callback(bus.close)
        stores = await exits.enter_async_context(open_stores(settings.database, settings.host_name, clock))
        yield Ground(settings, stores, SystemdUnits(bus), clock, Heartbeat(), exits)


# --- each service's loops, in pipeline order


async def trigger_monitor_loops(on: Ground) -> Loops:
    from ai_sysadmin.trigger_monitor.daemon import Stores, TriggerMonitor

    monitor = TriggerMonitor(
        on.settings.host_name,
        Stores(on.stores.notices, on.stores.templates, on.stores.metrics, on.stores.notes),
        on.units,
        on.clock,
        on.heart,
        on.settings.trigger_monitor,
    )
    return dict(monitor.loops())


def _gathering(on: Ground) -> "Gathering":
    from ai_sysadmin.context.claims import Gathering
    from ai_sysadmin.sources.journal import unit_log

    return Gathering(on.units, unit_log, on.settings.review_model.log_lines, on.clock)


async def review_model_loops(on: Ground) -> Loops:
    from ai_sysadmin.actions import courier
    from ai_sysadmin.actions.client import ExecutorClient
    from ai_sysadmin.context.condition import Condition, watch
    from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
    from ai_sysadmin.review_model import daemon
    from ai_sysadmin.trigger_monitor.labels import Labeller

    model = LlamaCpp("review", on.settings.backends.review)
    on.exits.push_async_callback(model.close)
    condition = Condition(daemon.SERVICE, on.stores.notes, on.clock)
    reviewer = daemon.Reviewer.build(
        host=on.settings.host_name,
        store=on.stores.reviews,
        gathering=_gathering(on),
        model=model,
        condition=condition,
        clock=on.clock,
        heart=on.heart,
        settings=on.settings.review_model,
    )
    executor = ExecutorClient(on.settings.propose_socket)
    trigger_model = LlamaCpp("trigger", on.settings.backends.trigger)
    on.exits.push_async_callback(trigger_model.close)
    labeller = Labeller.build(on.stores.templates, trigger_model, on.stores.notes, on.clock, on.heart)
    return {
        "reviews": partial(backing_off, "reviews", reviewer.review_forever),
        "review model": partial(backing_off, "review model", partial(watch, condition, model, daemon.WITHOUT_MODEL)),
        "labels": partial(backing_off, "labels", labeller.label_forever),
        "courier out": partial(
            backing_off,
            "courier out",
            partial(courier.submit_forever, on.stores.outbox, executor, on.clock, on.heart),
            most_seconds=2,
        ),
        "courier back": partial(
            backing_off,
            "courier back",
            partial(courier.follow_forever, on.stores.outbox, executor, on.heart),
            most_seconds=2,
        ),
    }


async def meta_model_loops(on: Ground) -> Loops:
    from ai_sysadmin.context.condition import Condition, watch
    from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
    from ai_sysadmin.meta_model import daemon

    settings = on.settings
    model = LlamaCpp("meta", settings.backends.meta)
    on.exits.push_async_callback(model.close)
    condition = Condition(daemon.SERVICE, on.stores.notes, on.clock)
    investigations = daemon.Investigations(
        host=settings.host_name,
        store=on.stores.investigations,
        gathering=_gathering(on),
        investigator=daemon.Investigator.of(
            model, condition, on.clock, settings.meta_model, settings.review_model.max_model_calls_per_incident
        ),
        clock=on.clock,
        heart=on.heart,
        settings=settings.meta_model,
    )
    return {
        "investigations": partial(backing_off, "investigations", investigations.investigate_forever),
        "meta model": partial(backing_off, "meta model", partial(watch, condition, model, daemon.WITHOUT_MODEL)),
    }


async def api_loops(on: Ground) -> Loops:
    from ai_sysadmin.actions.client import ExecutorClient
    from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
    from ai_sysadmin.meta_model.chat import Chat
    from ai_sysadmin.openai_api_server import app, keys, server

    settings, backends = on.settings, on.settings.backends
    keys.ensure_api_key(settings.api_key_file)
    keys.ensure_ingest_key(settings.ingest_key_file)
    models = {
        name: LlamaCpp(name, backend)
        for name, backend in (("trigger", backends.trigger), ("review", backends.review), ("meta", backends.meta))
    }
    for model in models.values():
        on.exits.push_async_callback(model.close)
    chat = Chat(models["meta"], settings.meta_model.max_reply_tokens)
    executor = ExecutorClient(settings.propose_socket)
    listening = on.exits.enter_context(server.sockets(settings))
    application = app.build(settings, on.stores, chat, executor, models, on.clock)
    return {"api": partial(server.serve, application, listening)}


# --- each service as a process


async def _serve(name: str, settings: Settings, build: Callable[[Ground], Awaitable[Loops]]) -> None:
    async with ground(settings) as on:
        await run_service(name, await build(on), on.heart)


async def trigger_monitor(settings: Settings) -> None:
    gc.set_threshold(20_000, 20, 100)  # entries come and go by the thousand, and are never part of a cycle
    await _serve("trigger-monitor", settings, trigger_monitor_loops)


async def review_model(settings: Settings) -> None:
    await _serve("review-model", settings, review_model_loops)


async def meta_model(settings: Settings) -> None:
    await _serve("meta-model", settings, meta_model_loops)


async def api(settings: Settings) -> None:
    await _serve("api", settings, api_loops)


async def executor(settings: Settings, policy_file: Path | None = None, proposers: int = -1) -> None:
    """Be the privileged process; ``policy_file`` is the file that the settings came from."""
    from ai_sysadmin.executor import daemon

    await daemon.run(settings, policy_file, proposers)


async def suite(settings: Settings, also: Callable[[SqliteStores], Loops]) -> None:
    """Run all services but the executor in this process, and ``also`` what the terminal wants to show."""

    async def everything(on: Ground) -> Loops:
        parts = (trigger_monitor_loops, review_model_loops, meta_model_loops, api_loops)
        loops = also(on.stores)
        for part in parts:
            loops |= await part(on)
        return loops

    await _serve("ai-sysadmin", settings, everything)
