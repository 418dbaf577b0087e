"""`ai-sysadmin keys` against a real API and a real executor, both of which may be away."""

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import JSONResponse, Response
from typer.testing import CliRunner

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.cli.keys import app as keys_app
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import AiSysadminError, ApiUnavailable, ExecutorUnavailable, NotFound, Refused
from ai_sysadmin.core.settings import Api, Executor, Settings
from ai_sysadmin.openai_api_server.errors import Faulty, fault_of
from ai_sysadmin.openai_api_server.gate.gate import Gate
from ai_sysadmin.openai_api_server.gate.keys import ensure_api_key, hash_of
from ai_sysadmin.openai_api_server.server import serve, sockets
from ai_sysadmin.openai_api_server.system import key_paths
from ai_sysadmin.stores.key_store import Scope
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from ai_sysadmin.testing.memory_keys import MemoryKeys
from tests.builders import HOST, UNIT, request
from tests.services.test_api_gate import free_port
from tests.services.test_executor_sockets import serving


class Installation:
    """An API and an executor of one installation, each of which can be started and stopped."""

    def __init__(self, settings, file):
        self.settings, self.file = settings, file
        self.store = MemoryKeys()
        self.propose = ExecutorClient(settings.propose_socket, timeout_seconds=5)
        self.operate = ExecutorClient(settings.operate_socket, timeout_seconds=5)

    @asynccontextmanager
    async def api(self):
        application = FastAPI(openapi_url=None)
        application.include_router(key_paths.router(self.store, self.settings, SystemClock()), prefix="/v1/system")

        @application.exception_handler(Faulty)
        async def faulty(_request, error) -> Response:
            return error.fault.response()

        @application.exception_handler(AiSysadminError)
        async def ours(_request, error) -> Response:
            return fault_of(error).response()

        @application.get("/v1/models")
        async def models() -> Response:
            return JSONResponse({})

        with sockets(self.settings) as listening:
            running = asyncio.create_task(serve(Gate(application, self.settings, self.store), listening))
            try:
                yield
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    @asynccontextmanager
    async def executor(self):
        systemd = FakeSystemd()
        systemd.add(UNIT, active="failed", result="exit-code")
        async with serving(self.settings, systemd):
            yield

    async def cli(self, *arguments):
        """Return what the command line says; raise what it raises."""
        given = [*arguments, "--settings", str(self.file)]
        result = await asyncio.to_thread(CliRunner().invoke, keys_app, given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    async def key(self, name, *scopes, more=()):
        arguments = [part for scope in scopes for part in ("--scope", scope)]
        code, out = await self.cli("create", name, *arguments, *more, "--json")
        assert code == 0, out
        return json.loads(out)

    async def lets_in(self, key):
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False, verify=False) as client:
            answer = await client.get(f"http://127.0.0.1:{self.settings.api.port}/v1/models")
            return answer.status_code == 200

    async def approves(self, key):
        action = request()
        await self.propose.propose(action)
        try:
            await self.propose.approve_by_key(action.id, action.digest, key)
        except Refused:
            return False
        return True


@pytest.fixture
def host(tmp_path):
    settings = Settings(
        host_name=HOST,
        state_dir=tmp_path,
        runtime_dir=tmp_path / "run",
        api=Api(port=free_port()),
        executor=Executor(state_dir=tmp_path, post_check_seconds=0.05),
    )
    file = tmp_path / "settings.json"
    file.write_text(settings.model_dump_json(exclude_defaults=True))
    ensure_api_key(settings.api_key_file)
    return Installation(settings, file)


async def test_a_key_is_made_shown_once_listed_and_revoked(host):
    async with host.api(), host.executor():
        code, out = await host.cli("create", "open-webui", "--scope", "chat", "--scope", "read", "--expires", "30")
        assert code == 0
        (key,) = [line.strip() for line in out.splitlines() if line.startswith("  sk-")]
        assert f"http://127.0.0.1:{host.settings.api.port}/v1" in out
        (kept,) = await host.store.keys()
        assert (kept.hash, kept.scopes) == (hash_of(key), {Scope.CHAT, Scope.READ})
        assert (kept.expires_at - kept.at).days in {29, 30}
        assert await host.lets_in(key)
        code, out = await host.cli("list")
        assert "open-webui" in out and "chat read" in out
        assert key not in out and kept.hash not in out
        code, out = await host.cli("revoke", "open-webui")
        assert (code, "opens nothing any more" in out) == (0, True)
        assert not await host.lets_in(key)
        _code, out = await host.cli()
        assert "revoked" in out


async def test_a_key_that_approves_is_known_to_both_and_revoked_with_both(host):
    async with host.api(), host.executor():
        made = await host.key("phone", "chat", "approve")
        assert await host.lets_in(made["key"])
        assert await host.approves(made["key"])
        (known,) = await host.operate.keys()
        assert (known.id, known.name) == (made["about"]["id"], "phone")
        _code, out = await host.cli("revoke", made["about"]["id"], "--json")
        assert json.loads(out) == {"id": known.id, "name": "phone", "approved": True}
        assert not await host.lets_in(made["key"])
        assert not await host.approves(made["key"])


async def test_a_key_without_the_scope_is_nothing_to_the_executor(host):
    async with host.api(), host.executor():
        made = await host.key("reader", "read", "chat")
        assert await host.operate.keys() == ()
        assert not await host.approves(made["key"])


async def test_no_key_is_made_that_the_executor_does_not_know(host):
    async with host.api():
        with pytest.raises(ExecutorUnavailable, match="no key was made"):
            await host.cli("create", "phone", "--scope", "chat", "--scope", "approve")
        assert not [key for key in await host.store.keys() if key.revoked_at is None]
        assert (await host.key("phone", "chat"))["about"]["name"] == "phone"  # its name is free


async def test_without_the_api_no_key_is_made(host):
    async with host.executor():
        with pytest.raises(ApiUnavailable):
            await host.cli("create", "phone", "--scope", "chat", "--scope", "approve")
        assert await host.operate.keys() == ()


async def test_revoking_says_when_the_executor_still_takes_the_key_and_ends_it_later(host):
    async with host.api():
        async with host.executor():
            made = await host.key("phone", "chat", "approve")
        with pytest.raises(ExecutorUnavailable, match="would still take its yes: run `ai-sysadmin keys revoke phone`"):
            await host.cli("revoke", "phone")
        assert not await host.lets_in(made["key"])
        async with host.executor():
            _code, out = await host.cli("list")
            assert "still takes a yes from phone" in " ".join(out.split())
            code, _out = await host.cli("revoke", "phone")
            assert code == 0
            assert not await host.approves(made["key"])


async def test_revoking_says_when_the_api_would_still_let_it_in_and_approves_nothing_at_once(host):
    async with host.executor():
        async with host.api():
            made = await host.key("phone", "chat", "approve")
        with pytest.raises(ApiUnavailable, match="the executor takes no yes from phone any more"):
            await host.cli("revoke", "phone")
        assert not await host.approves(made["key"])
        async with host.api():
            assert await host.lets_in(made["key"])
            assert (await host.cli("revoke", "phone"))[0] == 0
            assert not await host.lets_in(made["key"])


async def test_a_key_that_never_approved_is_revoked_without_the_executor(host):
    async with host.api():
        made = await host.key("reader", "chat")
        assert (await host.cli("revoke", "reader"))[0] == 0
        assert not await host.lets_in(made["key"])


async def test_a_key_that_only_the_executor_knows_can_be_revoked(host):
    async with host.api(), host.executor():
        await host.operate.register_key("keyabc22", "lost", hash_of("sk-lost"))
        assert (await host.cli("revoke", "lost"))[0] == 0
        assert not await host.approves("sk-lost")


async def test_what_is_not_there_or_there_already_is_said(host):
    async with host.api(), host.executor():
        with pytest.raises(NotFound, match="no key 'phone'"):
            await host.cli("revoke", "phone")
        await host.key("phone", "chat")
        with pytest.raises(Refused, match="revoke it first"):
            await host.key("phone", "chat")
        for wrong in (
            ["bad name", "--scope", "chat"],
            ["phone2"],
            ["phone2", "--scope", "root"],
            ["p2", "--scope", "chat", "--expires", "0"],
        ):
            assert (await host.cli("create", *wrong))[0] == 2
        assert len(await host.store.keys()) == 1


async def test_nobody_makes_keys_over_tcp(host):
    async with host.api():
        made = await host.key("all", "chat", "read", "ingest")
        headers = {"Authorization": f"Bearer {made['key']}"}
        url = f"http://127.0.0.1:{host.settings.api.port}/v1/system/keys"
        async with httpx.AsyncClient(headers=headers, trust_env=False, verify=False) as client:
            body = {"id": "keyabc22", "name": "mine", "hash": hash_of("x"), "scopes": ["approve"]}
            for answer in (
                await client.get(url),
                await client.post(url, json=body),
                await client.delete(f"{url}/all"),
            ):
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_an_operator")
        assert len(await host.store.keys()) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"id": "keyabc22", "name": "x", "hash": "short", "scopes": ["chat"]}',
        json.dumps({"id": "keyabc22", "name": "x", "hash": "0" * 64, "scopes": []}).encode(),
        json.dumps({"id": "keyabc22", "name": "x", "hash": "0" * 64, "scopes": ["root"]}).encode(),
        json.dumps({"id": "../etc", "name": "x", "hash": "0" * 64, "scopes": ["chat"]}).encode(),
        json.dumps({"id": "keyabc22", "name": "x\n", "hash": "0" * 64, "scopes": ["chat"]}).encode(),
    ],
)
async def test_a_body_that_is_no_key_is_a_400(host, body):
    async with host.api():
        transport = httpx.AsyncHTTPTransport(uds=str(host.settings.api_socket), verify=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
            answer = await client.post("/v1/system/keys", content=body)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert await host.store.keys() == ()
