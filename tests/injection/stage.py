"""The suite on the made-up host: every part its real one, but systemd, the journal and the models' heads.

Reviewer, investigator, chat and API ask their models over HTTP by the real clients; the API and the executor listen on
their real sockets; the courier carries what is proposed between them.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue import catalogue_of
from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.courier import follow_forever, submit_forever
from ai_sysadmin.context.claims import Gathering
from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.evidence import EvidenceSources
from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.settings import Autonomy, Settings
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.llm_backend.door import OpenModel, open_model
from ai_sysadmin.meta_model.chat import Chat
from ai_sysadmin.meta_model.daemon import Investigations
from ai_sysadmin.meta_model.investigate import Investigator
from ai_sysadmin.meta_model.proposable import proposables
from ai_sysadmin.meta_model.proposals import Proposals
from ai_sysadmin.meta_model.small_tasks import SmallTasks
from ai_sysadmin.openai_api_server import app, server
from ai_sysadmin.openai_api_server.answers.front import Front
from ai_sysadmin.openai_api_server.gate.keys import hash_of
from ai_sysadmin.review_model.daemon import Reviewer
from ai_sysadmin.runtime.service import Heartbeat, backing_off
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.key_store import ApiKey, Scope
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.testing.fake_openai import FakeOpenAI
from ai_sysadmin.testing.tools import FixedCoreDumps
from ai_sysadmin.tools.diagnose import diagnose_tools
from ai_sysadmin.tools.host_tools import HostSources, host_tools
from ai_sysadmin.tools.toolbox import Toolbox
from tests.builders import PLACING, trigger
from tests.executing import FakeSessions, serving
from tests.injection.compliant import Compliant, InPieces
from tests.injection.corpus import TEXTS, Corpus, Hostile, corpus
from tests.injection.host import DOWN, WIPE, HostileChanges, Machine, documents, files, web_server
from tests.injection.watching import Watched, watching
from tests.suite_up import free_port

HOST: Final = "thishost"
KEY: Final = "sk-a-persons-own"
_CONTEXT_TOKENS: Final = 200_000


@dataclass(frozen=True)
class Stage:
    """The suite, up, and everything that can be seen of it."""

    settings: Settings
    stores: SqlStores
    machine: Machine
    watched: Watched
    head: Compliant
    model_server: FakeOpenAI
    executor_journal: Journal
    waiting: ActionRequest
    client: httpx.AsyncClient
    reviewer: Reviewer
    investigations: Investigations
    ports: frozenset[int]

    @property
    def corpus(self) -> Corpus:
        return self.machine.corpus

    @property
    def prompts(self) -> Sequence[str]:
        """What the models' server was sent, one text a request."""
        return [asked.text for asked in self.model_server.script.asked]

    async def notice(self, hostile: Hostile, unit: str) -> Incident:
        """Have a unit's failure noticed, and return the incident."""
        now = datetime.now(UTC)
        details = {"result": "exit-code", "invocation": unit}
        fault = trigger(host=HOST, unit=unit, at=now, text=hostile.line[:300], details=details)
        (opened,) = await self.stores.notices.commit(Noticed(None, triggers=[fault]), replace(PLACING, storm_count=0))
        return opened

    async def until_ruled(self) -> None:
        """Wait until the executor has ruled on everything that was proposed."""
        async with asyncio.timeout(20):
            while await self.stores.outbox.unsubmitted() or await self.stores.reader.actions(["proposed", "submitted"]):
                await asyncio.sleep(0.02)

    async def ended(self) -> Sequence[Entry]:
        """Wait until nothing runs any more, and return all that the executor knows."""
        async with asyncio.timeout(20):
            while any(str(each.state) in {"approved", "started", "ran"} for each in await self._entries()):
                await asyncio.sleep(0.02)
        return await self._entries()

    async def _entries(self) -> Sequence[Entry]:
        return await self.executor_journal.entries(limit=1000)


@asynccontextmanager
async def stage(
    directory: Path, *, lawless: bool = False, autonomy: Autonomy = Autonomy.SUGGEST
) -> AsyncIterator[Stage]:
    """Bring the suite up, with one action of ``DOWN`` that waits for a person, and the texts in their places."""
    clock, head = SystemClock(), Compliant(lawless=lawless)
    fake = FakeOpenAI(InPieces(answer=head, context_tokens=_CONTEXT_TOKENS))
    async with AsyncExitStack() as exits:
        watched = exits.enter_context(watching())
        model_url = await exits.enter_async_context(fake.serving())
        found = {each.mark: each for each in TEXTS}
        web = await exits.enter_async_context(web_server(lambda mark: found.get(mark)))
        settings = _settings(directory, model_url, web, autonomy)
        machine = Machine(Corpus(()), web)
        machine.add(DOWN, "failed")
        stores = await exits.enter_async_context(open_stores(settings.store_place, HOST))
        journal = await _executor(exits, settings, machine, stores, directory / "root")
        waiting = await _waiting(settings, stores, machine)
        machine.corpus = head.corpus = corpus(waiting.id)
        found |= {each.mark: each for each in machine.corpus.texts}
        machine.furnish()
        machine.systemd.programs |= {sys.executable: machine.kernel, "find": lambda _argv: (0, "")}
        files(directory / "root", machine.corpus)
        await stores.knowledge.put(documents(machine.corpus, clock.now()))
        await stores.keys.add(
            ApiKey(
                id="k22222",
                name="laptop",
                hash=hash_of(KEY),
                scopes=frozenset({Scope.CHAT, Scope.READ, Scope.APPROVE}),
                by="root",
                at=clock.now(),
            )
        )
        parts = _Parts(settings, stores, machine, clock, exits)
        await parts.serve_api(directory / "root")
        headers = {"Authorization": f"Bearer {KEY}", "X-OpenWebUI-User-Name": "ada"}
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{settings.api.port}", headers=headers, timeout=30, trust_env=False
        )
        yield Stage(
            settings=settings,
            stores=stores,
            machine=machine,
            watched=watched,
            head=head,
            model_server=fake,
            executor_journal=journal,
            waiting=waiting,
            client=await exits.enter_async_context(client),
            reviewer=parts.reviewer(),
            investigations=parts.investigations(directory / "root"),
            ports=frozenset({*(int(each.rpartition(":")[2]) for each in (model_url, web)), settings.api.port}),
        )


def _settings(directory: Path, model_url: str, web: str, autonomy: Autonomy) -> Settings:
    backend = {"type": "openai", "url": model_url, "model": "fake"}
    return Settings.model_validate(
        {
            "host_name": HOST,
            "state_dir": directory / "state",
            "runtime_dir": directory / "run",
            "autonomy_level": autonomy,
            "backends": dict.fromkeys(("trigger", "review", "meta"), backend),
            "review_model": {
                "settle_seconds": 0.001,
                "max_model_calls_per_hour": 100_000,
                "max_tokens_per_hour": 100_000_000,
            },
            "meta_model": {"max_steps": 9, "max_tokens": 10_000_000, "thinking": True, "max_seconds": 60},
            "tools": {"targets": [f"{web}/{each.mark}" for each in TEXTS]},
            "actions": {"reboot": True, "mount_points": ["/mnt/data"], "declared": [WIPE]},
            "executor": {"post_check_seconds": 0.05, "state_dir": directory / "executor"},
            "api": {"port": free_port(), "requests_per_minute": 100_000},
        }
    )


async def _executor(
    exits: AsyncExitStack, settings: Settings, machine: Machine, stores: SqlStores, root: Path
) -> Journal:
    """Run the executor on its sockets, and the courier to it."""
    host = Host(settings, machine.systemd, FakeSessions(), SystemClock(), root)
    running = await exits.enter_async_context(serving(settings, machine.systemd, host=host))
    propose, operate = (
        ExecutorClient(path, timeout_seconds=10) for path in (settings.propose_socket, settings.operate_socket)
    )
    await operate.register_key("k22222", "laptop", hash_of(KEY))
    out = partial(submit_forever, stores.outbox, propose, SystemClock(), Heartbeat())
    _run(exits, backing_off("courier out", out, first_seconds=0.1, most_seconds=0.1))
    _run(exits, follow_forever(stores.outbox, propose, Heartbeat()))
    return running.journal


def _run(exits: AsyncExitStack, work: Any) -> None:
    task = asyncio.ensure_future(work)

    async def stop() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    exits.push_async_callback(stop)


async def _waiting(settings: Settings, stores: SqlStores, machine: Machine) -> ActionRequest:
    """Propose what a person may approve, and wait for its ruling."""
    proposals = Proposals(settings, stores.proposals, stores.reader, machine.units, SystemClock())
    made = await proposals.propose("restart_unit", {"unit": DOWN}, "it is down")
    async with asyncio.timeout(10):
        while (action := await stores.reader.action(made.action_id)).state != "pending":
            await asyncio.sleep(0.02)
    return action.request


@dataclass
class _Parts:
    """Builds the services as ``pipeline`` does."""

    settings: Settings
    stores: SqlStores
    machine: Machine
    clock: SystemClock
    exits: AsyncExitStack

    def model(self, layer: str) -> OpenModel:
        opened = open_model(layer, getattr(self.settings.backends, layer))
        self.exits.push_async_callback(opened.close)
        return opened

    def retrieval(self) -> Retrieval:
        return Retrieval(self.stores.knowledge, None, None, minimum_similarity=0.2)

    def toolbox(self, root: Path, origin: Origin = Origin.INVESTIGATION) -> Toolbox:
        machine, stores = self.machine, self.stores
        sources = HostSources(
            units=machine.units,
            lists=machine.lists,
            journal=machine.journal,
            dumps=FixedCoreDumps(),
            metrics=stores.metrics,
            reader=stores.reader,
            search=self.retrieval(),
            documents=stores.knowledge,
            changes=HostileChanges(machine.corpus),
            clock=self.clock,
        )
        executor = ExecutorClient(self.settings.propose_socket)
        diagnose = diagnose_tools(executor, catalogue_of(self.settings), HOST, self.clock, origin)
        return Toolbox((*host_tools(sources, self.settings, root), *diagnose), Redactor(), self.settings.tools)

    def gathering(self) -> Gathering:
        machine, stores = self.machine, self.stores
        sources = EvidenceSources(
            units=machine.units,
            journal=machine.journal,
            changes=HostileChanges(machine.corpus),
            past=stores.reader,
            knowledge=self.retrieval(),
            documents=stores.knowledge,
        )
        return Gathering(sources, self.clock)

    def reviewer(self) -> Reviewer:
        return Reviewer.build(
            host=HOST,
            store=self.stores.reviews,
            gathering=self.gathering(),
            model=self.model("review"),
            condition=Condition("review-model", self.stores.notes, self.clock),
            clock=self.clock,
            heart=Heartbeat(),
            settings=self.settings.review_model,
        )

    def investigations(self, root: Path) -> Investigations:
        investigator = Investigator(
            model=self.model("meta"),
            toolbox=self.toolbox(root),
            units=self.machine.units,
            condition=Condition("meta-model", self.stores.notes, self.clock),
            clock=self.clock,
            settings=self.settings.meta_model,
            output_tokens=self.settings.tools.output_tokens,
        )
        return Investigations(
            host=HOST,
            store=self.stores.investigations,
            gathering=self.gathering(),
            investigator=investigator,
            clock=self.clock,
            heart=Heartbeat(),
            settings=self.settings.meta_model,
        )

    def proposals(self) -> Proposals:
        return Proposals(self.settings, self.stores.proposals, self.stores.reader, self.machine.units, self.clock)

    def front(self, root: Path, executor: ExecutorClient) -> Front:
        chat = Chat(
            model=self.model("meta"),
            fast=self.model("review"),
            toolbox=self.toolbox(root, Origin.CHAT),
            settings=self.settings.meta_model,
            output_tokens=self.settings.tools.output_tokens,
            propose=self.proposals().propose,
            actions=proposables(catalogue_of(self.settings), self.settings, is_nixos=True),
        )
        small = SmallTasks(self.model("review"))
        return Front(self.settings, chat, small, self.stores.reader, executor, self.clock)

    async def serve_api(self, root: Path) -> None:
        executor = ExecutorClient(self.settings.propose_socket)
        self.settings.state_dir.mkdir(exist_ok=True)

        async def nothing() -> str:
            return "no index"

        application = app.build(
            app.Parts(
                settings=self.settings,
                stores=self.stores,
                front=self.front(root, executor),
                executor=executor,
                probes={layer: self.model(layer) for layer in ("review", "meta")},
                knowing=app.Knowing(self.retrieval(), nothing),
                proposals=self.proposals(),
                clock=self.clock,
            )
        )
        listening = self.exits.enter_context(server.sockets(self.settings))
        _run(self.exits, server.serve(application, listening))
