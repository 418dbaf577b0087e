"""core/probe_settings.py and sources/probes: what may be declared; ports and certificates; what holds for all."""

import asyncio
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ai_sysadmin.core.probe_settings import CertificateProbe, HttpProbe, ProbeSettings
from ai_sysadmin.sources.host import Aside, Hung
from ai_sysadmin.sources.probes import certificate, check
from ai_sysadmin.sources.probes.seen import ProbeFailed, Seen
from ai_sysadmin.testing.host import FakeClock
from tests.probing import ANY, CLOCK, checked, probe
from tests.serving import NOW, Made, is_silent, make, naming, says, serving, tls_server, trust, unused_port


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    return trust(tmp_path, monkeypatch)


# --- settings ------------------------------------------------------------------------------------------------

HTTP = {"type": "http", "name": "web", "url": "http://localhost/"}
TCP = {"type": "tcp", "name": "mail", "host": "localhost", "port": 25}
CERTIFICATE = {"type": "certificate", "name": "cert"}


def test_a_probe_is_checked_every_half_minute_and_fails_three_times() -> None:
    for given_ in (HTTP, TCP, {"type": "dns", "name": "x", "query": "example.org"}):
        made = ANY.validate_python(given_)
        assert (made.every_seconds, made.failures, made.of) == (30, 3, 3)


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ({**HTTP, "name": "Web"}, "name"),
        ({**HTTP, "name": "-web"}, "name"),
        ({**HTTP, "name": "web/../x"}, "name"),
        ({**HTTP, "url": "ftp://localhost/"}, "http:// or https:// URL"),
        ({**HTTP, "url": "file:///etc/passwd"}, "http:// or https:// URL"),
        ({**HTTP, "url": "http://"}, "http:// or https:// URL"),
        ({**HTTP, "url": "http://local host/"}, "http:// or https:// URL"),
        ({**HTTP, "url": "http://me:secret@localhost/"}, "password"),
        ({**HTTP, "method": "POST"}, "'GET' or 'HEAD'"),
        ({**HTTP, "method": "HEAD", "expect_text": "x"}, "no body"),
        ({**HTTP, "expect_status": []}, "expect_status"),
        ({**HTTP, "expect_status": ["2xx"]}, "expect_status"),
        ({**HTTP, "body": "x"}, "body"),
        ({**HTTP, "failures": 4, "of": 3}, "never be reached"),
        ({**HTTP, "severity": 101}, "severity"),
        ({**HTTP, "every_seconds": 0}, "every_seconds"),
        ({**TCP, "port": 0}, "port"),
        ({**TCP, "host": "a b"}, "host"),
        (CERTIFICATE, "either host"),
        ({**CERTIFICATE, "host": "x", "path": "/x"}, "either host"),
        ({**CERTIFICATE, "path": "x.pem"}, "absolute"),
        ({"type": "command", "name": "x", "command": "true"}, "command"),
        ({"name": "x"}, "type"),
    ],
)
def test_what_cannot_be_meant_is_refused(given_: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ANY.validate_python(given_)


def test_a_probe_survives_json() -> None:
    for given_ in (HTTP, TCP, {**CERTIFICATE, "path": "/x.pem"}, {"type": "dns", "name": "x", "query": "example.org"}):
        made = ANY.validate_python(given_)
        assert ANY.validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("statuses", "good", "bad"),
    [(None, {200, 204, 302, 399}, {199, 400, 500}), ([204, "300-302"], {204, 300, 302}, {200, 205, 303})],
)
def test_good_statuses(statuses: list[object] | None, good: set[int], bad: set[int]) -> None:
    made = HttpProbe.model_validate(HTTP if statuses is None else {**HTTP, "expect_status": statuses})
    assert {status for status in good | bad if made.accepts(status)} == good


# --- tcp -----------------------------------------------------------------------------------------------------


async def test_a_port_that_takes_connections() -> None:
    async with serving(is_silent) as port:
        found = await checked("tcp", host="localhost", port=port)
    assert (found.ok, found.why) == (True, f"localhost:{port} takes connections")
    assert found.observed == {"address": "127.0.0.1"}


@pytest.mark.parametrize(
    ("parts", "ok"),
    [((b"SSH-2.0-x\r\n",), True), ((b"SSH", b"-2.0-", b"x"), True), ((b"HTTP/1.1 400",), False), ((b"SSH-",), False)],
)
async def test_a_greeting(parts: tuple[bytes, ...], ok: bool) -> None:
    async with serving(says(*parts)) as port:
        found = await checked("tcp", host="127.0.0.1", port=port, expect_banner="SSH-2.0-")
    assert found.ok is ok
    assert found.observed["banner"] == b"".join(parts)[: len(found.observed["banner"])].decode()
    assert ok or "does not begin with “SSH-2.0-” but with “" in found.why


async def test_a_strangers_greeting_steers_no_terminal() -> None:
    async with serving(says(b"\x1b[2J\xe2\x80\xaeevil\r\n" + b"x" * 300)) as port:
        found = await checked("tcp", host="127.0.0.1", port=port, expect_banner="y" * 250)
    assert found.observed["banner"].isprintable()
    assert found.why.isprintable()
    assert len(found.observed["banner"]) <= 200


# --- certificate ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "ok", "why"),
    [
        (90, True, "the certificate is good for 90 more days"),
        (10, False, "the certificate expires in 10.0 days, on "),
        (-1, False, "the certificate expired on "),
    ],
)
async def test_certificates_of_files_and_servers(
    tmp_path: Path, authority: Made, days: float, ok: bool, why: str
) -> None:
    leaf = make("leaf", days, authority)
    (tmp_path / "x.pem").write_bytes(leaf.pem)
    async with tls_server(tmp_path, leaf) as port:
        for place in ({"path": tmp_path / "x.pem"}, {"host": "localhost", "port": port}):
            found = await checked("certificate", **place)
            assert (found.ok, found.observed["days_left"]) == (ok, f"{days:.1f}")
            assert found.why.startswith(why)


async def test_a_certificate_is_judged_by_the_clock_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_bytes(make("leaf", 30).pem)
    in_a_month = FakeClock(NOW + timedelta(days=31))
    assert not (await check(probe("certificate", path=tmp_path / "x.pem"), in_a_month)).ok


async def test_a_file_that_cannot_be_looked_at_while_another_hangs(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_bytes(make("leaf", 30).pem)
    files, released = Aside(), threading.Event()
    with pytest.raises(Hung):
        await files.ask("/share/y.pem", lambda: released.wait(10), 0.02)
    asked = CertificateProbe(type="certificate", name="x", path=tmp_path / "x.pem")
    with pytest.raises(ProbeFailed, match=r"a look at /share/y\.pem does not come back"):
        await certificate.look(asked, NOW, Seen(), files)
    released.set()


async def test_a_certificate_that_does_not_verify(tmp_path: Path) -> None:
    async with tls_server(tmp_path, make("leaf", 90)) as port:
        place = {"host": "localhost", "port": port}
        strict, lenient = await checked("certificate", **place), await checked("certificate", **place, verify_tls=False)
    assert (strict.ok, strict.why) == (False, "the certificate is not valid: self-signed certificate")
    assert lenient.ok


# --- whatever is probed --------------------------------------------------------------------------------------


def _at(port: int) -> list[ProbeSettings]:
    limit = {"timeout_seconds": 0.15}
    return [
        probe("http", url=f"http://127.0.0.1:{port}/", **limit),
        probe("http", url=f"https://127.0.0.1:{port}/", **limit),
        probe("tcp", host="127.0.0.1", port=port, expect_banner="x", **limit),
        probe("certificate", host="127.0.0.1", port=port, **limit),
        probe("dns", query="example.org", server="127.0.0.1", server_port=port, **limit),
    ]


async def test_nobody_there_is_a_result() -> None:
    for each in _at(await unused_port()):
        found = await check(each, CLOCK)
        assert (found.ok, found.seconds < 1) == (False, True)
        assert "refused" in found.why or "failed" in found.why, found.why


async def test_a_target_that_is_silent_takes_no_longer_than_it_may() -> None:
    async with serving(is_silent) as port, naming(lambda _: []) as (dns_port, _server):
        for each in [*_at(port)[:-1], _at(dns_port)[-1]]:
            found = await check(each, CLOCK)
            assert not found.ok
            assert 0.1 <= found.seconds < 0.5
            assert "answer" in found.why or "within 0.15 s" in found.why


async def test_a_target_that_is_silent_keeps_no_connection_open() -> None:
    async with serving(is_silent) as port:
        for each in _at(port)[:-1]:
            asked = each.model_copy(update={"timeout_seconds": 0.03})
            before = _open_files()
            await check(asked, CLOCK)
            for _ in range(100):
                if _open_files() <= before:
                    break
                await asyncio.sleep(0.002)
            else:
                pytest.fail(f"a check of type {each.type} left a connection open")


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_few_hosts_need_is_loaded_when_it_is_needed() -> None:
    loaded = "any(name in sys.modules for name in ('httpx', 'cryptography'))"
    code = f"import sys, ai_sysadmin.sources.probes; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_name_that_leads_nowhere_is_a_result() -> None:
    for type_, where in (
        ("http", {"url": "http://nowhere.invalid/"}),
        ("tcp", {"host": "nowhere.invalid", "port": 1}),
        ("certificate", {"host": "nowhere.invalid"}),
    ):
        found = await checked(type_, **where)
        assert not found.ok
        assert "nowhere.invalid" in found.why


async def test_each_target_is_named_when_time_runs_out(tmp_path: Path) -> None:
    async with serving(is_silent) as port:
        found = await check(probe("tcp", host="127.0.0.1", port=port, expect_banner="x", timeout_seconds=0.05), CLOCK)
    assert found.why == f"127.0.0.1:{port} did not answer within 0.05 s"
