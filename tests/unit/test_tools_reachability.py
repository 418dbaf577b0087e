"""tools/reachability, targets and sources/reaching: what may be asked, at which address, and what comes of it."""

import asyncio
import errno
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources import reaching
from ai_sysadmin.sources.reaching import MOST_BODY_BYTES, SystemResolver, Unreached
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.tools.reachability import reachability_tools
from ai_sysadmin.tools.tool import Told, Tool
from tests.looking import looked
from tests.serving import NOW, Talk, Web, is_silent, make, says, serving, tls_server, trust, unused_port


class Names:
    """A name server in a dictionary; it keeps what it was asked."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        try:
            return self.addresses[name]
        except KeyError:
            raise Unreached(f"{name} does not resolve: no such name") from None


def _tools(*targets: str, names: Names | None = None, root: Path = Path("/"), **monitor: object) -> tuple[Tool, ...]:
    settings = Settings.model_validate({"tools": {"targets": targets}, "trigger_monitor": monitor})
    return reachability_tools(settings, FakeClock(NOW), root, names or Names())


async def _http(url: str, **how: object) -> Told:
    return await looked(_tools(url, **how), target=url, how="http")  # type: ignore[arg-type]


# --- what may be asked


@pytest.mark.parametrize("how", ["tcp", "dns"])
async def test_a_host_that_nothing_names_is_not_even_resolved(how: str) -> None:
    names = Names(evil_org=["127.0.0.1"])
    for target in ("evil.org:80", "sub.nas.lan:80", "nas.lan.evil.org:80", "1.2.3.4:80"):
        with pytest.raises(Refused, match=r"nothing here names it.*nas\.lan"):
            await looked(_tools("nas.lan", names=names), target=target, how=how)
    assert not names.asked


async def test_a_host_that_the_evidence_names_is_asked() -> None:
    async with serving(says(b"")) as port:
        names = Names(db_lan=["127.0.0.1"])
        for named in ({"db.lan"}, {f"db.lan:{port}"}):
            told = await looked(_tools(names=names), named=named, target=f"db.lan:{port}", how="tcp")
            assert f"127.0.0.1:{port} takes connections" in told.text


@pytest.mark.parametrize("how", ["tcp", "dns", "http"])
@pytest.mark.parametrize("addresses", [["169.254.169.254"], ["127.0.0.1", "fd00:ec2::254"]])
async def test_a_name_that_leads_to_metadata_is_refused_after_it_was_resolved(how: str, addresses: list[str]) -> None:
    target = {"tcp": "sneaky.lan:80", "dns": "sneaky.lan", "http": "http://sneaky.lan/latest"}[how]
    tools = _tools("sneaky.lan", "http://sneaky.lan/latest", names=Names(sneaky_lan=addresses))
    with pytest.raises(Refused, match=r"never asked: .*link-local"):
        await looked(tools, target=target, how=how)


@pytest.mark.parametrize(
    "target", ["169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fd00:ec2::254]:80", "fe80::1%eth0"]
)
async def test_metadata_is_refused_whoever_names_it(target: str) -> None:
    how = "tcp" if target.endswith(":80") else "dns"
    with pytest.raises(Refused):
        await looked(_tools(target), named={target}, target=target, how=how)
    with pytest.raises(Refused):
        await _http("http://169.254.169.254/latest/meta-data/")


async def test_the_name_is_resolved_once_and_the_connection_made_to_what_was_checked() -> None:
    web = Web()
    web.page("/", body=b"the right one")
    async with serving(web) as port:

        class Turning(Names):
            async def __call__(self, name: str) -> Sequence[str]:
                self.asked.append(name)
                return ["127.0.0.1"] if len(self.asked) == 1 else ["169.254.169.254"]

        names = Turning()
        told = await _http(f"http://turning.lan:{port}/", names=names)
    assert "the right one" in told.text
    assert names.asked == ["turning.lan"]
    assert f"Host: turning.lan:{port}\r\n" in web.requests[0]


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://app.lan/other",
            "http://app.lan/ok/",
            "http://app.lan/ok?x=1",
            "https://app.lan/ok",
            "http://app.lan",
        ),
        *("http://user:pw@app.lan/ok", "http://app.lan:81/ok", "file:///etc/passwd", "ftp://app.lan/ok", "app.lan/ok"),
        *("http://app.lan/ok\r\nX-Evil: 1", "http://[::1/ok", "http:///ok", "http://app.lan:99999/ok", "http://a b/"),
    ],
)
async def test_only_urls_of_the_settings_are_asked_for_and_exactly(url: str) -> None:
    names = Names(app_lan=["127.0.0.1"])
    with pytest.raises(Refused):
        await looked(_tools("http://app.lan/ok", names=names), named={url, "app.lan"}, target=url, how="http")
    assert not names.asked


# --- what comes of it


async def test_a_port_that_takes_no_connection() -> None:
    port = await unused_port()
    told = await looked(_tools(), target=f"localhost:{port}", how="tcp", named=())
    assert "localhost does not resolve" in told.text  # by the made-up name server
    told = await looked(_tools(), target=f"127.0.0.1:{port}", how="tcp")
    assert told.text == f"127.0.0.1:{port} takes no connection: Connection refused"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EPERM, "x"), "Operation not permitted (by this service's own sandbox"),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('192.0.2.1', 80)"), "No route to host"),
        (TimeoutError(), r"did not answer within 5 s (nor would it where this service's sandbox"),
    ],
)
async def test_why_nothing_answers_is_said_in_the_systems_words(
    monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio, "open_connection", fails)
    for how, target in (("tcp", "192.0.2.1:80"), ("http", "http://192.0.2.1/")):
        assert said in (await looked(_tools("http://192.0.2.1/"), target=target, how=how)).text


async def test_tcp_needs_a_port() -> None:
    with pytest.raises(Refused, match="needs a port"):
        await looked(_tools("nas.lan"), target="nas.lan", how="tcp")


async def test_names_that_resolve_and_that_do_not(tmp_path: Path) -> None:
    names = Names(nas_lan=["192.0.2.1", "2001:db8::1"])
    tools = _tools("nas.lan", "gone.lan", names=names, root=tmp_path)
    assert (await looked(tools, target="nas.lan", how="dns")).text == (
        "programs on this host find: 192.0.2.1, 2001:db8::1"
    )
    assert "no such name" in (await looked(tools, target="gone.lan", how="dns")).text
    with pytest.raises(Refused, match="an address already"):
        await looked(tools, target="127.0.0.1", how="dns")


async def test_the_first_page_of_a_port_here() -> None:
    web = Web()
    web.page("/", 503, b"<h1>down</h1>", Content_Type="text/html", Server="it")
    async with serving(web) as port:
        told = await looked(_tools(), target=f"http://localhost:{port}", how="http")
    assert told.text.splitlines() == [
        f"http://localhost:{port} at 127.0.0.1 answered 503 Said",
        *("content-type: text/html", "content-length: 13", "server: it", "", "<h1>down</h1>"),
    ]
    with pytest.raises(Refused, match="nothing on this host listens"):
        await looked(_tools(), target=f"http://127.0.0.1:{port}/", how="http")


async def test_a_redirect_is_told_and_not_followed() -> None:
    web, other = Web(), Web()
    async with serving(other) as elsewhere, serving(web) as port:
        web.page("/", 302, Location=f"http://127.0.0.1:{elsewhere}/latest")
        told = await looked(_tools(), target=f"http://127.0.0.1:{port}/", how="http")
    assert f"location: http://127.0.0.1:{elsewhere}/latest" in told.text
    assert "(the redirect was not followed)" in told.text
    assert not other.requests


async def test_a_body_is_read_to_64_kib() -> None:
    web = Web()
    web.page("/", body=b"x" * 300_000)
    async with serving(web) as port:
        told = await looked(_tools(), target=f"http://127.0.0.1:{port}/", how="http")
    assert told.text.count("x") >= MOST_BODY_BYTES
    assert len(told.text) < MOST_BODY_BYTES + 500
    assert told.truncated


async def test_what_is_no_text_is_not_shown() -> None:
    web = Web()
    web.page("/", body=b"\x89PNG secret", Content_Type="image/png")
    async with serving(web) as port:
        told = await looked(_tools(), target=f"http://127.0.0.1:{port}/", how="http")
    assert "(11 bytes that are no text)" in told.text
    assert "secret" not in told.text


def _answers(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    return talk


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"again " * 1000)
        await writer.drain()


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (_answers(b""), "closes the connection without an answer"),
        (_answers(b"SSH-2.0-x\r\n"), "which is not HTTP"),
        (_answers(b"HTTP/1.1 200 OK\r\nA: b\r\n"), "answered 200"),
        (_answers(b"HTTP/1.1 9999999999 \r\n\r\n"), "which is not HTTP"),
        (_answers(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nshort"), "short"),
        (_answers(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nshort"), "short"),
        (_answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nword\r\n0\r\n\r\n"), "word"),
        (_answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nword"), "(no body)"),
        (_answers(b"X" * 200_000), "which is not HTTP"),
        (_answers(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200), "which is not HTTP"),
        (_endless, "again"),
    ],
)
async def test_servers_that_answer_oddly(talk: Talk, said: str) -> None:
    async with serving(talk) as port:
        began = time.monotonic()
        told = await looked(_tools(), target=f"http://127.0.0.1:{port}/", how="http")
    assert said in told.text
    assert len(told.text) < MOST_BODY_BYTES + 500
    assert time.monotonic() - began < 3


async def test_a_server_that_never_answers_costs_no_more_than_its_time() -> None:
    async with serving(is_silent) as port:
        with pytest.raises(Unreached, match=r"did not answer within 0\.2 s"):
            await reaching.ask(f"http://127.0.0.1:{port}/", "127.0.0.1", timeout_seconds=0.2)


async def test_tls_at_a_checked_address_is_verified_by_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trust(tmp_path, monkeypatch)
    async with tls_server(tmp_path, make("localhost", 9, authority)) as port:
        names = Names(localhost=["127.0.0.1"], other_lan=["127.0.0.1"])
        assert "answered 200" in (await _http(f"https://localhost:{port}/", names=names)).text
        assert "certificate does not verify" in (await _http(f"https://other.lan:{port}/", names=names)).text


async def test_a_probes_url_is_asked_for_as_the_probe_does() -> None:
    web = Web()
    web.page("/ok", body=b"x")
    async with serving(web) as port:
        url = f"http://127.0.0.1:{port}/ok"
        probe = {"type": "http", "name": "a", "url": url, "method": "HEAD"}
        told = await looked(_tools(probes=[probe]), target=url, how="http")
    assert web.requests[0].startswith("HEAD /ok ")
    assert "answered 200" in told.text


async def test_the_systems_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = SystemResolver(0.2)
    assert "127.0.0.1" in await resolve("localhost")
    assert await resolve("0x7f.1") == ["127.0.0.1"]  # an address in disguise is found out
    with pytest.raises(Unreached):
        await resolve("x" * 300)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(0.4) or [])
    with pytest.raises(Unreached, match="does not resolve within"):
        await resolve("slow.lan")
