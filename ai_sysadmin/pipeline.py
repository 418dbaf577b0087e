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
from ai_sysadmin.sources.units import SystemdUnits
from ai_sysadmin.stores.sqlite import SqliteStores, open_stores

if TYPE_CHECKING:
    from ai_sysadmin.context.claims import Gathering
    from ai_sysadmin.context.condition import Condition
    from ai_sysadmin.context.knowledge.indexing import Indexer
    from ai_sysadmin.context.knowledge.retrieval import Retrieval
    from ai_sysadmin.llm_backend.door import OpenModel, Turn

Loops = dict[str, Loop]


@dataclass(frozen=True)
class Ground:
    """What every service stands on."""

    settings: Settings
    stores: SqliteStores
    bus: SystemBus
    units: SystemdUnits
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
        yield Ground(settings, stores, bus, SystemdUnits(bus), clock, Heartbeat(), exits)


# --- each service's loops, in pipeline order


async def trigger_monitor_loops(on: Ground) -> Loops:
    from ai_sysadmin.context.redact import Redactor
    from ai_sysadmin.trigger_monitor.daemon import Stores, TriggerMonitor

    stores = on.stores
    monitor = TriggerMonitor(
        on.settings.host_name,
        Stores(stores.notices, stores.templates, stores.metrics, stores.notes, stores.health),
        on.units,
        on.clock,
        on.heart,
        on.settings.trigger_monitor,
        redactor=Redactor(on.settings.context.redaction),
    )
    return dict(monitor.loops())


def _model(on: Ground, layer: str, turn: "Turn") -> "OpenModel":
    from ai_sysadmin.llm_backend.door import open_model

    backend = getattr(on.settings.backends, layer)
    model = open_model(layer, backend, leases=on.stores.leases, turn=turn, clock=on.clock)
    on.exits.push_async_callback(model.close)
    return model


@dataclass(frozen=True)
class Known:
    """All that is known, as it is searched, and as its index is kept in step."""

    retrieval: "Retrieval"
    indexer: "Indexer"


def _known(on: Ground) -> Known:
    from ai_sysadmin.context.knowledge.indexing import Indexer
    from ai_sysadmin.context.knowledge.retrieval import Retrieval
    from ai_sysadmin.llm_backend.door import open_embedder
    from ai_sysadmin.stores.chroma import ChromaIndex

    settings, store = on.settings.knowledge, on.stores.knowledge
    embedder, index = open_embedder(on.settings), None
    if embedder is not None:
        on.exits.push_async_callback(embedder.close)
        if settings.chroma_url:
            index = ChromaIndex(settings.chroma_url, lambda: embedder.id)
            on.exits.push_async_callback(index.close)
    return Known(
        Retrieval(store, index, embedder, minimum_similarity=settings.minimum_similarity),
        Indexer(store, index, embedder),
    )


def _gathering(on: Ground, known: Known) -> "Gathering":
    from ai_sysadmin.context.claims import Gathering
    from ai_sysadmin.context.evidence import EvidenceSources
    from ai_sysadmin.context.pieces.host import HostFacts
    from ai_sysadmin.context.redact import Redactor
    from ai_sysadmin.sources.changes.host_changes import HostChanges
    from ai_sysadmin.sources.journal import SystemJournal
    from ai_sysadmin.sources.sysstat import Sysstat

    limits = on.settings.context
    sources = EvidenceSources(
        units=on.units,
        journal=SystemJournal(),
        redactor=Redactor(limits.redaction),
        limits=limits,
        metrics=on.stores.metrics,
        sysstat=Sysstat() if limits.sysstat else None,
        changes=HostChanges(limits.changes_directories, on.clock, limit_seconds=limits.gather_seconds, bus=on.bus),
        past=on.stores.reader,
        knowledge=known.retrieval,
        documents=on.stores.knowledge,
        host=HostFacts(on.units, on.settings.host_name),
    )
    return Gathering(sources, on.clock)


async def review_model_loops(on: Ground) -> Loops:
    from ai_sysadmin.context.condition import Condition, watch
    from ai_sysadmin.review_model import daemon
    from ai_sysadmin.trigger_monitor.labels import Labeller

    settings, stores = on.settings.review_model, on.stores
    model = _model(on, "review", "background")
    condition = Condition(daemon.SERVICE, stores.notes, on.clock)
    known = _known(on)
    reviewer = daemon.Reviewer.build(
        host=on.settings.host_name,
        store=stores.reviews,
        gathering=_gathering(on, known),
        model=model,
        condition=condition,
        clock=on.clock,
        heart=on.heart,
        settings=settings,
    )
    labeller = Labeller.build(stores.templates, _model(on, "trigger", "background"), stores.notes, on.clock, on.heart)
    return {
        "reviews": partial(backing_off, "reviews", reviewer.review_forever),
        "review model": partial(backing_off, "review model", partial(watch, condition, model, daemon.WITHOUT_MODEL)),
        "labels": partial(backing_off, "labels", labeller.label_forever),
        **_host_review_loops(on, model, condition),
        **_knowledge_loops(on, known),
        **_courier_loops(on),
    }


def _host_review_loops(on: Ground, model: "OpenModel", condition: "Condition") -> Loops:
    from ai_sysadmin.context.pieces.host import HostFacts
    from ai_sysadmin.review_model.host_look import HostLook
    from ai_sysadmin.review_model.host_review import HostReviews

    stores = on.stores
    facts = HostFacts(on.units, on.settings.host_name)
    reviews = HostReviews.build(
        store=stores.health,
        look=HostLook(stores.reader, on.units, stores.metrics, stores.templates, on.clock, facts.facts),
        spent=stores.reviews.spent,
        model=model,
        condition=condition,
        clock=on.clock,
        heart=on.heart,
        settings=on.settings.review_model,
    )
    return dict(reviews.loops())


def _knowledge_loops(on: Ground, known: Known) -> Loops:
    from ai_sysadmin.context.knowledge import keeping
    from ai_sysadmin.context.redact import Redactor

    settings = on.settings.knowledge
    keeper = keeping.build(
        settings,
        on.stores.knowledge,
        on.stores.reader,
        Redactor(on.settings.context.redaction),
        on.clock,
        on.units.failed,
    )
    keep = partial(keeping.keep_forever, keeper, known.indexer.sync, settings.index_every_seconds)
    return {"knowledge": partial(backing_off, "knowledge", keep)}


def _courier_loops(on: Ground) -> Loops:
    from ai_sysadmin.actions import courier
    from ai_sysadmin.actions.client import ExecutorClient

    executor = ExecutorClient(on.settings.propose_socket)
    out = partial(courier.submit_forever, on.stores.outbox, executor, on.clock, on.heart)
    back = partial(courier.follow_forever, on.stores.outbox, executor, on.heart)
    return {
        "courier out": partial(backing_off, "courier out", out, most_seconds=2),
        "courier back": partial(backing_off, "courier back", back, most_seconds=2),
    }


async def meta_model_loops(on: Ground) -> Loops:
    from ai_sysadmin.context.condition import Condition, watch
    from ai_sysadmin.meta_model import daemon

    settings = on.settings
    model = _model(on, "meta", "background")
    condition = Condition(daemon.SERVICE, on.stores.notes, on.clock)
    investigations = daemon.Investigations(
        host=settings.host_name,
        store=on.stores.investigations,
        gathering=_gathering(on, _known(on)),
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
    from ai_sysadmin.meta_model.chat import Chat
    from ai_sysadmin.openai_api_server import app, keys, knowledge, server

    settings = on.settings
    keys.ensure_api_key(settings.api_key_file)
    keys.ensure_ingest_key(settings.ingest_key_file)
    probes = {layer: _model(on, layer, "plain") for layer in ("trigger", "review", "meta")}
    chat = Chat(_model(on, "meta", "foreground"), settings.meta_model.max_reply_tokens)
    executor = ExecutorClient(settings.propose_socket)
    known = _known(on)
    listening = on.exits.enter_context(server.sockets(settings))
    application = app.build(
        settings,
        on.stores,
        chat,
        executor,
        probes,
        app.Knowing(known.retrieval, knowledge.reindexing(known.indexer)),
        on.clock,
    )
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
