"""A running API on real sockets, and who calls it."""

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import openai

from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.records import Trigger
from ai_sysadmin.core.settings import Api, Settings
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.meta_model.proposals import Proposals
from ai_sysadmin.openai_api_server.app import Knowing, Parts, build
from ai_sysadmin.openai_api_server.gate.keys import ensure_api_key
from ai_sysadmin.openai_api_server.server import serve, sockets
from ai_sysadmin.stores import JournalPosition, Noticed
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.api import FixedExecutor, FixedHealth, ScriptedChat
from ai_sysadmin.testing.host import FakeUnits
from tests.builders import PLACING

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def nothing_to_index():
    return "no index"


class Running:
    """A server that runs, and who calls it."""

    def __init__(self, settings, key, chat, stores):
        self.settings, self.key, self.chat, self.stores = settings, key, chat, stores
        self.url = f"http://127.0.0.1:{settings.api.port}"
        self.timeout = httpx.Timeout(10)

    def http(self, key=None, **headers):
        headers |= {"Authorization": f"Bearer {self.key if key is None else key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=self.timeout, trust_env=False)

    def anonymous(self):
        return httpx.AsyncClient(base_url=self.url, timeout=self.timeout, trust_env=False)

    def local(self):
        transport = httpx.AsyncHTTPTransport(uds=str(self.settings.api_socket))
        return httpx.AsyncClient(transport=transport, base_url="http://local", timeout=self.timeout)

    def openai(self, key=None):
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key=key or self.key, max_retries=0, http_client=http, timeout=10
        )


@asynccontextmanager
async def running(tmp_path, *, chat=None, probes=None, executor=None, reindex=None, embedder=None, units=None, **api):
    limits = {"requests_per_minute": 100_000, "concurrent_answers": 1000}
    settings = Settings(
        host_name="thishost",
        state_dir=tmp_path,
        runtime_dir=tmp_path / "run",
        api=Api(port=free_port(), **limits | api),
    )
    chat = chat or ScriptedChat()
    probes = probes or {layer: FixedHealth() for layer in ("trigger", "review", "meta")}
    async with open_stores(settings.store_place, "thishost") as stores:
        key = ensure_api_key(settings.api_key_file)
        search = Retrieval(stores.knowledge, None, None, minimum_similarity=0.2)
        knowing = Knowing(search, reindex or nothing_to_index)
        proposals = Proposals(settings, stores.proposals, stores.reader, units or FakeUnits(), SystemClock())
        executor = executor or FixedExecutor()
        parts = Parts(settings, stores, chat, executor, probes, knowing, proposals, embedder)
        app = build(parts)
        with sockets(settings) as listening:
            serving = asyncio.create_task(serve(app, listening))
            try:
                yield Running(settings, key, chat, stores)
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
    assert not settings.api_socket.exists()


async def an_incident(server, unit="nginx.service"):
    trigger = Trigger(
        host="thishost", unit=unit, kind=SymptomKind.UNIT_FAILED, template="", opens=True, at=NOW, text="exit 1"
    )
    position = JournalPosition(cursor="c", sequence=7, entries_read=7, updated_at=NOW)
    noticed = Noticed(position=position, read=7, triggers=[trigger])
    opened = await server.stores.notices.commit(noticed, PLACING)
    return opened[0]
