"""Builds each service from the settings. What it needs is imported where it is built, in pipeline order.

Every service is: open what it stands on, run its loops until told to stop, close in reverse. ``suite`` runs the
loops of all of them in one process.
"""

import gc
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ai_sysadmin.core.settings import Settings
from ai_sysadmin.ground import Ground, Known, gathering_of, ground, known_of, model_of, toolbox_of
from ai_sysadmin.runtime.service import Loop, backing_off, run_service
from ai_sysadmin.stores import ServiceNote
from ai_sysadmin.stores.relational import SqlStores

if TYPE_CHECKING:
    from ai_sysadmin.actions.client import ExecutorClient
    from ai_sysadmin.context.condition import Condition
    from ai_sysadmin.llm_backend.door import OpenModel
    from ai_sysadmin.meta_model.proposals import Proposals
    from ai_sysadmin.openai_api_server.answers.front import Front

Loops = dict[str, Loop]


# --- each service's loops, in pipeline order


async def trigger_monitor_loops(on: Ground) -> Loops:
    from ai_sysadmin.context.redact import Redactor
    from ai_sysadmin.stores.retention_store import forget_forever
    from ai_sysadmin.trigger_monitor.daemon import Stores, TriggerMonitor
    from ai_sysadmin.trigger_monitor.spool import Spool

    stores, noticing = on.stores, on.settings.trigger_monitor
    most_bytes, most_age = noticing.spool_mebibytes << 20, timedelta(days=noticing.spool_days)
    spool = Spool(on.settings.state_dir / "spool", most_bytes, most_age, on.clock)
    on.exits.callback(spool.close)
    monitor = TriggerMonitor(
        on.settings.host_name,
        Stores(stores.notices, stores.templates, stores.metrics, stores.notes, stores.health, spool),
        on.units,
        on.clock,
        on.heart,
        noticing,
        redactor=Redactor(on.settings.context.redaction),
    )
    forget = partial(forget_forever, stores.retention, on.settings.retention, on.clock)
    return {**monitor.loops(), "retention": partial(backing_off, "retention", forget)}


async def review_model_loops(on: Ground) -> Loops:
    from ai_sysadmin.context.condition import Condition, watch
    from ai_sysadmin.review_model import daemon
    from ai_sysadmin.trigger_monitor.labels import Labeller

    settings, stores = on.settings.review_model, on.stores
    model = model_of(on, "review", "background")
    condition = Condition(daemon.SERVICE, stores.notes, on.clock)
    known = known_of(on)
    reviewer = daemon.Reviewer.build(
        host=on.settings.host_name,
        store=stores.reviews,
        gathering=gathering_of(on, known),
        model=model,
        condition=condition,
        clock=on.clock,
        heart=on.heart,
        settings=settings,
    )
    labeller = Labeller.build(stores.templates, model_of(on, "trigger", "background"), stores.notes, on.clock, on.heart)
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
    from ai_sysadmin.sources.readable_files import ReadableFiles

    settings = on.settings.knowledge
    keeper = keeping.build(
        settings,
        on.stores.knowledge,
        on.stores.reader,
        Redactor(on.settings.context.redaction),
        on.clock,
        on.units.failed,
        why_never=ReadableFiles((), on.settings.tools.never_files).why_never,
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
    from ai_sysadmin.meta_model.investigate import Investigator

    settings = on.settings
    model = model_of(on, "meta", "background")
    condition = Condition(daemon.SERVICE, on.stores.notes, on.clock)
    known = known_of(on)
    investigations = daemon.Investigations(
        host=settings.host_name,
        store=on.stores.investigations,
        gathering=gathering_of(on, known),
        investigator=Investigator(
            model=model,
            toolbox=toolbox_of(on, known),
            units=on.units,
            condition=condition,
            clock=on.clock,
            settings=settings.meta_model,
            output_tokens=settings.tools.output_tokens,
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
    from ai_sysadmin.meta_model.proposals import Proposals
    from ai_sysadmin.openai_api_server import app, server
    from ai_sysadmin.openai_api_server.gate import keys
    from ai_sysadmin.openai_api_server.system import knowledge

    settings = on.settings
    keys.ensure_api_key(settings.api_key_file)
    keys.ensure_ingest_key(settings.ingest_key_file)
    executor = ExecutorClient(settings.propose_socket)
    known = known_of(on)
    proposals = Proposals(settings, on.stores.proposals, on.stores.reader, on.units, on.clock)
    listening = on.exits.enter_context(server.sockets(settings))
    application = app.build(
        app.Parts(
            settings=settings,
            stores=on.stores,
            front=_front(on, known, executor, proposals),
            executor=executor,
            proposals=proposals,
            probes={layer: model_of(on, layer, "plain") for layer in ("trigger", "review", "meta")},
            knowing=app.Knowing(known.retrieval, knowledge.reindexing(known.indexer)),
            clock=on.clock,
            embedder=known.embedder,
        )
    )
    return {"api": partial(server.serve, application, listening)}


async def notifier_loops(on: Ground, *, units: bool = True) -> Loops:
    """Return who tells people; ``units``: the services are units, whose states systemd knows."""
    from ai_sysadmin.notifications import SERVICE
    from ai_sysadmin.notifications.daemon import Around, Notifier
    from ai_sysadmin.notifications.suite_watch import standing_of, states_of

    stores = on.stores

    async def standing() -> Mapping[str, str]:
        return standing_of(await stores.reader.notes(), await states_of(on.units.status) if units else {})

    async def say(state: str, text: str) -> None:
        await stores.notes.note(ServiceNote(service=SERVICE, state=state, text=text, at=on.clock.now()))

    ledger = on.settings.state_dir / "notifications.json"
    around = Around(stores.notifications, standing, say, on.clock, on.heart, ledger)
    return Notifier(on.settings.notifications, around).loops()


def _front(on: Ground, known: Known, executor: "ExecutorClient", proposals: "Proposals") -> "Front":
    """Return who answers people: chat over the meta model and its tools, small tasks by the review model."""
    from ai_sysadmin.actions.catalogue import catalogue_of
    from ai_sysadmin.core.acting import Origin
    from ai_sysadmin.meta_model.chat import Chat
    from ai_sysadmin.meta_model.proposable import proposables
    from ai_sysadmin.meta_model.small_tasks import SmallTasks
    from ai_sysadmin.openai_api_server.answers.front import Front
    from ai_sysadmin.tools.nixos import not_nixos

    settings, stores = on.settings, on.stores
    chat = Chat(
        model=model_of(on, "meta", "foreground"),
        fast=model_of(on, "review", "foreground"),
        toolbox=toolbox_of(on, known, Origin.CHAT),
        settings=settings.meta_model,
        output_tokens=settings.tools.output_tokens,
        propose=proposals.propose,
        actions=proposables(catalogue_of(settings), settings, is_nixos=not not_nixos(Path("/"))),
    )
    small = SmallTasks(model_of(on, "review", "background"))
    return Front(settings, chat, small, stores.reader, executor, on.clock)


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


async def notifier(settings: Settings) -> None:
    await _serve("notifier", settings, notifier_loops)


async def executor(settings: Settings, policy_file: Path | None = None, proposers: int = -1) -> None:
    """Be the privileged process; ``policy_file`` is the file that the settings came from."""
    from ai_sysadmin.executor import daemon

    await daemon.run(settings, policy_file, proposers)


async def suite(settings: Settings, also: Callable[[SqlStores], Loops]) -> None:
    """Run all services but the executor in this process, and ``also`` what the terminal wants to show."""

    async def everything(on: Ground) -> Loops:
        telling = partial(notifier_loops, units=False)
        parts = (trigger_monitor_loops, review_model_loops, meta_model_loops, api_loops, telling)
        loops = also(on.stores)
        for part in parts:
            loops |= await part(on)
        return loops

    await _serve("ai-sysadmin", settings, everything)
