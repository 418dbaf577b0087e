"""Who is let in, for what, and how often: the gate on real sockets before a small app, and the functions behind it."""

import asyncio
import grp
import json
import os
import pwd
import socket
import stat
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from ai_sysadmin.core.errors import ApiUnavailable, NotFound, Refused, SettingsError, StoreUnavailable
from ai_sysadmin.core.settings import Api, Settings
from ai_sysadmin.openai_api_server.callers import Caller, caller_of
from ai_sysadmin.openai_api_server.errors import fault_of
from ai_sysadmin.openai_api_server.gate.gate import Gate, is_local, scopes_for
from ai_sysadmin.openai_api_server.gate.keys import ensure_api_key, ensure_ingest_key, hash_of, opens
from ai_sysadmin.openai_api_server.gate.origins import host_fault, known_hosts
from ai_sysadmin.openai_api_server.gate.peers import may_enter, uid_of, uids_of
from ai_sysadmin.openai_api_server.server import bind_tcp, bind_unix, serve, sockets
from ai_sysadmin.stores.key_store import ApiKey, Scope
from ai_sysadmin.testing.memory_keys import MemoryKeys
from tests.builders import NOW


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    path = tmp_path / "new" / "api-key"
    key = ensure_api_key(path)
    assert len(key) > 30
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_api_key(path) == key
    assert list(path.parent.iterdir()) == [path]


async def test_all_who_start_at_once_agree_on_the_key(tmp_path):
    keys = await asyncio.gather(*(asyncio.to_thread(ensure_api_key, tmp_path / "api-key") for _ in range(20)))
    assert len(set(keys)) == 1


def test_a_file_without_a_key_opens_nothing(tmp_path):
    path = tmp_path / "api-key"
    path.write_text("# nothing here\n\n")
    with pytest.raises(SettingsError, match="holds no key"):
        ensure_api_key(path)
    assert not opens(path, "")
    assert not opens(path, "# nothing here")


def test_a_key_file_that_cannot_be_had_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be used"):
        ensure_api_key(tmp_path / "file" / "api-key")
    with pytest.raises(StoreUnavailable):
        opens(tmp_path / "none", "key")


@pytest.mark.parametrize(
    ("uid", "welcome"), [(0, True), (990, True), (1000, True), (1001, False), (991, False), (65534, False)]
)
def test_root_the_operators_and_the_api_itself_may_enter(uid, welcome):
    assert may_enter(uid, own_uid=990, operators={1000}) is welcome


def test_only_the_kernel_says_who_a_peer_is():
    assert uid_of(("uid:1000", 0)) == 1000
    assert uid_of(("127.0.0.1", 5000)) is None
    assert uid_of(None) is None


def test_operators_are_looked_up_and_strangers_are_nobody():
    me = pwd.getpwuid(os.getuid()).pw_name
    assert uids_of((me, "no-such-user-here")) == {os.getuid()}


def test_the_operators_of_a_group_are_all_its_members(monkeypatch):
    """Those that the group names, and those whose first group it is."""
    users = [pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh")) for name, uid, gid in _USERS]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(grp, "getgrnam", {"wheel": grp.struct_group(("wheel", "x", 10, ["ada"]))}.__getitem__)
    assert uids_of(("@wheel", "@no-such-group")) == {1001, 1002}


_USERS = (("ada", 1001, 100), ("bob", 1002, 10), ("eve", 1003, 100))


def test_further_names_come_from_the_settings():
    known = known_hosts(Settings(api=Api(host="::1", allowed_hosts=("Box.Lan", "[fd00::1]"))))
    for host in ("box.lan:8083", "BOX.LAN", "[fd00::1]:8083", "[::1]", "localhost"):
        assert host_fault([host], known) is None, host
    for hosts in ([], ["lan"], ["box.lan", "box.lan"], ["box.lan/x"], ["box.lan@evil"], [""]):
        assert host_fault(hosts, known) is not None, hosts


@pytest.mark.parametrize(
    ("error", "status"), [(NotFound(), 404), (Refused(), 403), (StoreUnavailable(), 503), (SettingsError(), 500)]
)
def test_our_errors_have_their_status(error, status):
    fault = fault_of(error)
    assert (fault.status, fault.message) == (status, str(error))
    assert ("Retry-After" in fault.headers) is (status == 503)


def test_a_port_that_is_taken_is_said_so():
    with bind_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ApiUnavailable, match=rf"127.0.0.1:{port}: another program"):
            bind_tcp("127.0.0.1", port)


async def test_an_answer_does_not_wait_for_an_acknowledgement():
    accepted = asyncio.Queue()

    async def serve_one(_reader, writer):
        accepted.put_nowait(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with bind_tcp("127.0.0.1", 0) as sock:
        async with await asyncio.start_server(serve_one, sock=sock):
            _reader, writer = await asyncio.open_connection(*sock.getsockname())
            assert await asyncio.wait_for(accepted.get(), 5)
            writer.close()


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path):
    path = tmp_path / "run" / "api.sock"
    bind_unix(path).close()
    assert path.is_socket()
    with bind_unix(path), pytest.raises(ApiUnavailable, match="another program"):
        bind_unix(path)


def test_a_socket_never_takes_the_place_of_a_file(tmp_path):
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(ApiUnavailable):
        bind_unix(path)
    assert path.read_text() == "precious"


# --- the gate before a small app that says who it heard


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Said:
    """An app that says who asks; a chat goes on until it may end, or its client goes."""

    def __init__(self):
        self.under_way, self.may_end = 0, asyncio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        caller = caller_of(scope)
        while (await receive()).get("more_body"):
            pass
        if scope["path"].endswith("/chat/completions"):
            self.under_way += 1
            gone, ended = asyncio.create_task(receive()), asyncio.create_task(self.may_end.wait())
            await asyncio.wait({gone, ended}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            ended.cancel()
            self.under_way -= 1
        said = caller.model_dump(mode="json") | {"scopes": sorted(caller.scopes)}
        await JSONResponse(said)(scope, receive, send)


class Gated:
    """A gate on real sockets, and who knocks."""

    def __init__(self, settings, app, keys, files):
        self.settings, self.app, self.keys, self.files = settings, app, keys, files
        self.url = f"http://127.0.0.1:{settings.api.port}"

    def knock(self, key="", **headers):
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            given["Authorization"] = f"Bearer {key}"
        return httpx.AsyncClient(base_url=self.url, headers=given, timeout=10, trust_env=False, verify=False)

    def peer(self):
        transport = httpx.AsyncHTTPTransport(uds=str(self.settings.api_socket), verify=False)
        return httpx.AsyncClient(transport=transport, base_url="http://local", timeout=10)

    async def under_way(self, number):
        async with asyncio.timeout(5):
            while self.app.under_way != number:
                await asyncio.sleep(0.01)


def a_key(name, *scopes, **changes):
    given = {"id": f"{name}2222"[:8], "hash": hash_of(f"sk-{name}"), "by": "ada", "at": NOW} | changes
    return ApiKey(name=name, scopes=frozenset(scopes), **given)


@asynccontextmanager
async def gated(tmp_path, **api):
    settings = Settings(state_dir=tmp_path, runtime_dir=tmp_path / "run", api=Api(port=free_port(), **api))
    files = ensure_api_key(settings.api_key_file), ensure_ingest_key(settings.ingest_key_file)
    keys = MemoryKeys(
        a_key("chatter", Scope.CHAT),
        a_key("reader", Scope.READ),
        a_key("sender", Scope.INGEST),
        a_key("approver", Scope.APPROVE),
        a_key("expired", *Scope, expires_at=NOW),
        a_key("revoked", *Scope, revoked_at=NOW),
    )
    app = Said()
    with sockets(settings) as listening:
        serving = asyncio.create_task(serve(Gate(app, settings, keys), listening))
        try:
            yield Gated(settings, app, keys, files)
        finally:
            app.may_end.set()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


CHAT_PATHS = ["/v1/models", "/models", "/v1/models/ai-sysadmin", "/v1/embeddings", "/v1/responses/resp_1"]
SYSTEM_PATHS = ["/v1/system/status", "/v1/system", "/v1/system/keys"]
OPEN_PATHS = ["/ready", "/openapi.json"]
ALERTS = ["/alerts/alertmanager"]
NOWHERE = ["/v1/audio/speech", "/", "/v1"]
MATRIX = {
    "chatter": CHAT_PATHS + OPEN_PATHS + NOWHERE,
    "reader": SYSTEM_PATHS + OPEN_PATHS + NOWHERE,
    "sender": ALERTS + OPEN_PATHS,
    "approver": OPEN_PATHS + NOWHERE,
    "expired": [],
    "revoked": [],
    "nobody": [],
    "": [],
}


@pytest.mark.parametrize("name", MATRIX)
async def test_each_scope_opens_its_own_paths_and_no_other(tmp_path, name):
    async with gated(tmp_path) as gate, gate.knock(f"sk-{name}" if name else "") as client:
        for path in CHAT_PATHS + SYSTEM_PATHS + OPEN_PATHS + ALERTS + NOWHERE:
            answer = await client.get(path)
            if path in MATRIX[name]:
                assert (answer.status_code, answer.json()["name"]) == (200, name), path
            elif name in {"expired", "revoked", "nobody", ""}:
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), path
                assert "revoked" not in answer.text and "expired" not in answer.text
                assert answer.headers["www-authenticate"] == "Bearer"
            else:
                error = answer.json()["error"]
                assert (answer.status_code, error["code"], error["type"]) == (403, "wrong_scope", "permission_error"), (
                    path
                )
                assert "ai-sysadmin keys create" in error["message"]
        assert (await client.get("/health")).json()["scopes"] == []


async def test_what_the_app_learns_of_a_caller(tmp_path):
    async with gated(tmp_path) as gate:
        async with gate.knock("sk-chatter", x_openwebui_user_jwt="a.b.c") as client:
            said = (await client.get("/v1/models")).json()
            assert (said["key_id"], said["key"], said["identity"]) == ("chatter2", "sk-chatter", "a.b.c")
            assert (said["scopes"], said["uid"], said["may_change"]) == (["chat"], None, False)
        async with gate.knock(gate.files[0]) as client:
            assert (await client.get("/v1/models")).json()["scopes"] == ["chat", "read"]
        async with gate.knock(gate.files[1]) as client:
            assert (await client.get("/v1/models")).status_code == 403
        async with gate.peer() as client:
            said = (await client.get("/v1/models")).json()
            assert (said["uid"], said["may_change"], said["key"]) == (os.geteuid(), True, "")
            assert said["scopes"] == ["chat", "ingest", "read"]


async def test_a_callers_secrets_are_in_no_text_of_it(tmp_path):
    async with gated(tmp_path) as gate, gate.knock("sk-chatter", x_openwebui_user_jwt="a.b.c") as client:
        said = (await client.get("/v1/models")).json()
    caller = Caller.model_validate(said)
    for text in (repr(caller), str(caller), f"{caller}", f"{[caller]}"):
        assert "sk-chatter" not in text and "a.b.c" not in text


async def test_a_key_that_is_revoked_opens_nothing_from_the_next_request_on(tmp_path):
    async with gated(tmp_path) as gate, gate.knock("sk-chatter") as client:
        assert (await client.get("/v1/models")).status_code == 200
        await gate.keys.revoke("chatter", "ada", NOW)
        assert (await client.get("/v1/models")).status_code == 401


async def test_keys_that_cannot_be_read_let_nobody_in_but_the_files_do(tmp_path):
    async with gated(tmp_path) as gate:
        gate.keys.away = True
        async with gate.knock("sk-chatter") as client:
            answer = await client.get("/v1/models")
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        async with gate.knock(gate.files[0]) as client:
            assert (await client.get("/v1/models")).status_code == 200


async def test_without_a_key_a_program_on_this_host_may_chat_if_that_is_set(tmp_path):
    async with gated(tmp_path, keyless_chat=True) as gate:
        async with gate.knock() as client:
            said = (await client.get("/v1/models")).json()
            assert (said["name"], said["scopes"], said["key"]) == ("keyless", ["chat"], "")
            for path in SYSTEM_PATHS + ALERTS:
                assert (await client.get(path)).status_code == 403, path
            evil = await client.get("/v1/models", headers={"Origin": "https://evil.example"})
            assert evil.status_code == 403
            proxied = await client.get("/v1/models", headers={"X-Forwarded-For": "203.0.113.7"})
            assert proxied.status_code == 401
        async with gate.knock("sk-nobody") as client:
            assert (await client.get("/v1/models")).status_code == 401


@pytest.mark.parametrize(
    ("client", "local"),
    [
        (("127.0.0.1", 1), True),
        (("127.8.9.1", 1), True),
        (("::1", 1), True),
        (("::ffff:127.0.0.1", 1), True),
        (("10.0.0.1", 1), False),
        (("::ffff:10.0.0.1", 1), False),
        (("fe80::1", 1), False),
        (("localhost", 1), False),
        (("uid:0", 0), False),
        (None, False),
    ],
)
def test_which_addresses_are_this_host(client, local):
    assert is_local(client, Headers()) is local
    for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"):
        assert not is_local(client, Headers({name: "x"}))


def test_a_path_that_nobody_listed_is_not_for_senders_of_alerts():
    assert Scope.INGEST not in scopes_for("/v1/whatever")
    assert Scope.INGEST not in scopes_for("//v1/alerts/alertmanager") | scopes_for("/v1/../system")
    assert scopes_for("/v1/systematic") == scopes_for("/nothing")
    assert scopes_for("/v1/system/x") == scopes_for("/v1/system") == {Scope.READ}
    assert scopes_for("/v1/system/actions", "POST") == scopes_for("/system/actions/", "POST") == {Scope.CHAT}
    assert scopes_for("/v1/system/actions/a/approve", "POST") == {Scope.APPROVE}
    assert scopes_for("/v1/system/actions/a/reject", "POST") == {Scope.APPROVE}
    assert scopes_for("/v1/system/actions/a/approve") == scopes_for("/v1/system/actions") == {Scope.READ}
    assert scopes_for("/v1/chat/completions") == scopes_for("/chat/completions/") == {Scope.CHAT}


# --- pages in a browser

PAGE = "https://chat.example.org"
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-stainless-os"}


async def test_no_page_of_another_origin_is_let_in_unless_it_is_named(tmp_path):
    async with gated(tmp_path) as gate, gate.knock("sk-chatter", Origin=PAGE) as client:
        for answer in (await client.get("/v1/models"), await client.options("/v1/models", headers=ASKS)):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_page_that_is_named_may_ask_with_a_key_and_without_cookies(tmp_path):
    async with gated(tmp_path, allowed_origins=(PAGE,)) as gate:
        async with gate.knock(Origin=PAGE) as client:
            may = await client.options("/v1/chat/completions", headers=ASKS)
            assert (may.status_code, may.headers["access-control-allow-origin"]) == (204, PAGE)
            assert may.headers["access-control-allow-headers"] == ASKS["Access-Control-Request-Headers"]
            assert "access-control-allow-credentials" not in may.headers
            refused = await client.get("/v1/models")
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
            hidden = await client.get("/v1/models", headers={"Host": "evil.example"})
            assert hidden.json()["error"]["code"] == "host_not_allowed"
        async with gate.knock("sk-chatter", Origin=PAGE) as client:
            answer = await client.get("/v1/models")
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
            assert answer.headers["vary"] == "Origin"
        for other in ("https://evil.example", f"{PAGE}.evil.example", f"{PAGE}:444", "null", "http://chat.example.org"):
            async with gate.knock("sk-chatter", Origin=other) as client:
                for answer in (await client.get("/v1/models"), await client.options("/v1/models", headers=ASKS)):
                    assert answer.status_code == 403, other
                    assert "access-control-allow-origin" not in answer.headers
        async with gate.knock("sk-chatter") as client:
            assert "access-control-allow-origin" not in (await client.get("/v1/models")).headers


# --- how much


async def test_too_many_requests_are_told_when_to_come_again(tmp_path):
    async with gated(tmp_path, requests_per_minute=3) as gate:
        async with gate.knock("sk-reader") as client:
            answers = [await client.get("/v1/system/status") for _ in range(4)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
            error = answers[-1].json()["error"]
            assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
            assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
        async with gate.knock("sk-chatter") as client:
            assert {(await client.get("/v1/models")).status_code for _ in range(10)} == {200}
            assert {(await client.get("/health")).status_code for _ in range(10)} == {200}
        async with gate.peer() as client:
            assert {(await client.get("/v1/system/status")).status_code for _ in range(10)} == {200}


async def ask(client):
    return await client.post("/v1/chat/completions", json={})


async def test_answers_at_a_time_are_counted_and_their_places_come_back(tmp_path):
    async with gated(tmp_path, concurrent_answers=2) as gate, gate.knock("sk-chatter") as client:
        first, second = asyncio.create_task(ask(client)), asyncio.create_task(ask(client))
        await gate.under_way(2)
        answer = await ask(client)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_answers")
        assert answer.headers["retry-after"]
        assert (await client.get("/v1/models")).status_code == 200
        async with gate.knock(gate.files[0]) as other:
            third = asyncio.create_task(ask(other))
            await gate.under_way(3)
            third.cancel()  # this client goes away
            await asyncio.gather(third, return_exceptions=True)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await gate.under_way(1)
        fourth = asyncio.create_task(ask(client))
        await gate.under_way(2)
        gate.app.may_end.set()
        assert {each.status_code for each in await asyncio.gather(second, fourth)} == {200}
        assert (await ask(client)).status_code == 200


async def test_a_slow_or_large_body_holds_no_place(tmp_path):
    async with gated(tmp_path, concurrent_answers=1) as gate, gate.knock("sk-chatter") as client:
        _reader, writer = await asyncio.open_connection("127.0.0.1", gate.settings.api.port)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-chatter\r\n"
        writer.write(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        await writer.drain()
        large = await client.post("/v1/chat/completions", content=b"x" * (3 << 20))
        assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
        gate.app.may_end.set()
        assert (await ask(client)).status_code == 200
        writer.close()


async def test_every_refusal_has_the_one_shape(tmp_path):
    async with gated(tmp_path, requests_per_minute=1) as gate:
        async with gate.knock("sk-reader") as client:
            await client.get("/v1/system/status")
            refusals = [await client.get("/v1/system/status"), await client.get("/v1/models")]
        async with gate.knock() as client:
            refusals += [await client.get("/v1/models"), await client.get("/health", headers={"Host": "evil"})]
        assert [answer.status_code for answer in refusals] == [429, 403, 401, 403]
        for answer in refusals:
            assert set(json.loads(answer.text)["error"]) == {"message", "type", "code", "param"}
