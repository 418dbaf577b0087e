"""sources/certificates.py: expiry of certificates in files and of those that real TLS servers show."""

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources import certificates
from ai_sysadmin.sources.certificates import CertificateUnreadable, Expiry
from tests.serving import NOW, Made, make, tls_server, trust


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    return trust(tmp_path, monkeypatch)


# --- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "days"),
    [
        pytest.param(lambda: make("one", 30.5).pem, 30.5, id="PEM"),
        pytest.param(lambda: make("one", 30.5).der, 30.5, id="DER"),
        pytest.param(lambda: make("one", -2).pem, -2, id="expired"),
        pytest.param(lambda: make("one", 90).pem + make("two", 8).pem + make("three", 900).pem, 8, id="chain"),
        pytest.param(lambda: (made := make("one", 5)).key_pem + b"# text\n" + made.pem, 5, id="with its key"),
    ],
)
def test_a_file_is_as_good_as_its_first_certificate_to_expire(tmp_path: Path, content, days: float) -> None:
    (tmp_path / "file").write_bytes(content())
    assert certificates.of_file(tmp_path / "file").days_left(NOW) == days


@pytest.mark.parametrize("content", [b"", b"rubbish", make("one", 9).key_pem, make("one", 9).pem[:200]])
def test_a_file_without_a_certificate(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CertificateUnreadable, match="holds no certificate"):
        certificates.of_file(tmp_path / "file")


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CertificateUnreadable, match="No such file"):
        certificates.of_file(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(CertificateUnreadable, match="is no file"):
            certificates.of_file(path)


# --- servers -------------------------------------------------------------------------------------------------


async def _shown(port: int, *, verify: bool = True) -> Expiry:
    return await certificates.of_endpoint("localhost", port, NOW, timeout_seconds=5, verify=verify)


async def test_a_server_that_this_host_trusts(tmp_path: Path, authority: Made) -> None:
    async with tls_server(tmp_path, make("leaf", 40, authority)) as port:
        found = await _shown(port)
    assert (found.days_left(NOW), found.subject, found.fault) == (40, "CN=leaf", "")


async def test_an_intermediate_may_expire_first(tmp_path: Path, authority: Made) -> None:
    between = make("Between", 7, authority, is_authority=True)
    async with tls_server(tmp_path, make("leaf", 40, between), between) as port:
        found = await _shown(port)
    assert (found.days_left(NOW), found.subject, found.fault) == (7, "CN=Between", "")


async def test_what_is_shown_beyond_need_does_not_count(tmp_path: Path, authority: Made) -> None:
    old_root = make("Old Root", -100, is_authority=True)
    unneeded = make("Unneeded", -50, old_root, is_authority=True)
    async with tls_server(tmp_path, make("leaf", 40, authority), unneeded, old_root) as port:
        assert await _shown(port) == Expiry(NOW + timedelta(days=40), "CN=leaf")
        unverified = await _shown(port, verify=False)
    assert unverified.subject == "CN=Unneeded"


@pytest.mark.parametrize(
    ("days", "signed", "fault"), [(-3, True, "certificate has expired"), (90, False, "self-signed certificate")]
)
async def test_a_server_that_does_not_verify_is_read_all_the_same(
    tmp_path: Path, authority: Made, days: float, signed: bool, fault: str
) -> None:
    async with tls_server(tmp_path, make("leaf", days, authority if signed else None)) as port:
        strict, lenient = await _shown(port), await _shown(port, verify=False)
    assert strict.days_left(NOW) == lenient.days_left(NOW) == days
    assert (strict.fault, lenient.fault) == (fault, "")


async def test_the_name_must_fit(tmp_path: Path, authority: Made) -> None:
    async with tls_server(tmp_path, make("leaf", 40, authority)) as port:
        found = await certificates.of_endpoint(
            "127.0.0.1", port, NOW, timeout_seconds=5, server_name="elsewhere.example"
        )
    assert "elsewhere.example" in found.fault


async def test_nobody_there_no_tls_and_no_answer() -> None:
    async def in_plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 a plain greeting\r\n")
        writer.close()

    async def in_silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for talk, timeout_seconds, why in ((in_plain, 5, "no TLS connection"), (in_silence, 0.1, "within 0.1 s")):
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            with pytest.raises(CertificateUnreadable, match=why):
                await certificates.of_endpoint("127.0.0.1", port, NOW, timeout_seconds=timeout_seconds)
    with pytest.raises(CertificateUnreadable, match="cannot be reached"):
        await certificates.of_endpoint("127.0.0.1", port, NOW, timeout_seconds=5)


async def test_a_server_that_closes_first_is_left_in_peace(tmp_path: Path) -> None:
    async def goes(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with tls_server(tmp_path, make("leaf", 40), talk=goes) as port:
        context = certificates.tls_context(verify=False)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        with suppress(ConnectionError):
            await reader.read()
        while not writer.is_closing():  # until the transport knows that it is lost
            await asyncio.sleep(0)
        await certificates.farewell(writer)
        writer.transport.abort()


def test_samples() -> None:
    good = Expiry(NOW + timedelta(days=3), "CN=x")
    assert certificates.samples_of(good, "/x.pem", NOW) == [Sample("certificate_days_left", 3.0, "/x.pem", "days")]
    bad = Expiry(NOW - timedelta(days=3), "CN=x", "certificate has expired")
    assert certificates.samples_of(bad, "x:443", NOW, verified=True) == [
        Sample("certificate_days_left", -3.0, "x:443", "days"),
        Sample("certificate_valid", 0.0, "x:443", "bool"),
    ]
