"""What every service stands on: the store, the buses, the models, what is known, what may be looked at.

``pipeline`` builds the services out of it. What each needs is imported where it is built.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_sysadmin.core.acting import Origin
from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.runtime.restoring import refuse_interrupted
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.sources.units import SystemdUnits
from ai_sysadmin.stores.relational import SqlStores, open_stores

if TYPE_CHECKING:
    from ai_sysadmin.context.claims import Gathering
    from ai_sysadmin.context.knowledge.indexing import Indexer
    from ai_sysadmin.context.knowledge.retrieval import Retrieval
    from ai_sysadmin.llm_backend.door import OpenModel, Turn
    from ai_sysadmin.llm_backend.embeddings import Embedder
    from ai_sysadmin.sources.changes.host_changes import HostChanges
    from ai_sysadmin.tools.toolbox import Toolbox


@dataclass(frozen=True)
class Ground:
    """What every service stands on."""

    settings: Settings
    stores: SqlStores
    bus: SystemBus
    units: SystemdUnits
    clock: Clock
    heart: Heartbeat
    exits: AsyncExitStack


def _stores(settings: Settings, clock: Clock) -> AbstractAsyncContextManager[SqlStores]:
    return open_stores(settings.store_place, settings.host_name, clock, settings.database.wait_seconds)


@asynccontextmanager
async def ground(settings: Settings) -> AsyncIterator[Ground]:
    """Open the store and the system bus. Raises: StoreUnavailable."""
    clock = SystemClock()
    refuse_interrupted(settings.state_dir)
    async with AsyncExitStack() as exits:
        bus = SystemBus()
        exits.callback(bus.close)
        stores = await exits.enter_async_context(_stores(settings, clock))
        yield Ground(settings, stores, bus, SystemdUnits(bus), clock, Heartbeat(), exits)


def model_of(on: Ground, layer: str, turn: "Turn") -> "OpenModel":
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
    embedder: "Embedder | None"


def known_of(on: Ground) -> Known:
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
        embedder,
    )


def gathering_of(on: Ground, known: Known) -> "Gathering":
    from ai_sysadmin.context.claims import Gathering
    from ai_sysadmin.context.evidence import EvidenceSources
    from ai_sysadmin.context.pieces.host import HostFacts
    from ai_sysadmin.context.redact import Redactor
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
        changes=changes_of(on),
        past=on.stores.reader,
        knowledge=known.retrieval,
        documents=on.stores.knowledge,
        host=HostFacts(on.units, on.settings.host_name),
        outcomes=on.stores.outcomes,
        breakers=on.settings.policy.breakers,
    )
    return Gathering(sources, on.clock)


def changes_of(on: Ground) -> "HostChanges":
    from ai_sysadmin.sources.changes.host_changes import HostChanges

    limits = on.settings.context
    return HostChanges(limits.changes_directories, on.clock, limit_seconds=limits.gather_seconds, bus=on.bus)


def toolbox_of(on: Ground, known: Known, origin: Origin = Origin.INVESTIGATION) -> "Toolbox":
    """Return what the meta model may look at; ``origin`` is in whose name it has the executor look.

    Raises: SettingsError: a tool's name is taken, or unknown.
    """
    from ai_sysadmin.actions.catalogue import catalogue_of
    from ai_sysadmin.actions.client import ExecutorClient
    from ai_sysadmin.context.redact import Redactor
    from ai_sysadmin.sources.coredumps import SystemCoreDumps
    from ai_sysadmin.sources.journal import SystemJournal
    from ai_sysadmin.sources.unit_lists import SystemdUnitLists
    from ai_sysadmin.tools.diagnose import diagnose_tools
    from ai_sysadmin.tools.host_tools import HostSources, host_tools
    from ai_sysadmin.tools.toolbox import Toolbox

    sources = HostSources(
        units=on.units,
        lists=SystemdUnitLists(on.bus),
        journal=SystemJournal(),
        dumps=SystemCoreDumps(),
        metrics=on.stores.metrics,
        reader=on.stores.reader,
        search=known.retrieval,
        documents=on.stores.knowledge,
        changes=changes_of(on),
        clock=on.clock,
    )
    settings, executor = on.settings, ExecutorClient(on.settings.propose_socket)
    diagnose = diagnose_tools(executor, catalogue_of(settings), settings.host_name, on.clock, origin)
    tools = (*host_tools(sources, settings), *diagnose)
    return Toolbox(tools, Redactor(settings.context.redaction), settings.tools)
