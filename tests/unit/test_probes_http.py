"""sources/probes: web pages, asked for from real servers on this host."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.probing import checked
from tests.serving import Made, Web, make, says, serving, tls_server, trust


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    return trust(tmp_path, monkeypatch)


async def test_a_page_that_is_there() -> None:
    web = Web()
    web.page("/health?x=1", body=b"all is well")
    async with serving(web) as port:
        found = await checked("http", url=f"http://127.0.0.1:{port}/health?x=1", expect_text="is well")
    assert found.ok
    assert found.why == f"http://127.0.0.1:{port}/health?x=1 answered with status 200"
    assert found.observed == {"status": "200", "body_bytes": "11"}
    assert 0 < found.seconds < 5
    assert len(web.requests) == 1
    assert "authorization" not in web.requests[0].lower()


@pytest.mark.parametrize(
    ("page", "settings", "why"),
    [
        ((503, {}, b""), {}, "answered with status 503"),
        ((200, {}, b""), {"expect_status": [204]}, "answered with status 200"),
        ((200, {}, b"down"), {"expect_text": "up"}, "answered without the text “up”"),
        ((302, {"Location": "/elsewhere"}, b""), {"expect_status": ["200-299"]}, "answered with status 302"),
    ],
)
async def test_a_page_that_is_not_as_it_should_be(page: Any, settings: dict[str, object], why: str) -> None:
    web = Web()
    web.pages["/"] = page
    async with serving(web) as port:
        found = await checked("http", url=f"http://127.0.0.1:{port}/", **settings)
    assert not found.ok
    assert why in found.why
    assert found.observed["status"] == str(page[0])


async def test_head_asks_for_no_body() -> None:
    web = Web()
    web.page("/", body=b"x" * 100)
    async with serving(web) as port:
        assert (await checked("http", url=f"http://127.0.0.1:{port}/", method="HEAD")).ok
    assert web.requests[0].startswith("HEAD / ")


async def test_the_body_is_read_to_64_kib_and_no_further() -> None:
    web = Web()
    web.page("/near", body=b"x" * 65_000 + b"here")
    web.page("/far", body=b"x" * 66_000 + b"here")
    async with serving(web) as port:
        near = await checked("http", url=f"http://127.0.0.1:{port}/near", expect_text="here")
        far = await checked("http", url=f"http://127.0.0.1:{port}/far", expect_text="here")
    assert (near.ok, far.ok, far.observed["body_bytes"]) == (True, False, "65536")


async def test_a_body_without_end_ends() -> None:
    async def forever(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 4096)
            await writer.drain()

    async with serving(forever) as port:
        found = await checked("http", url=f"http://127.0.0.1:{port}/", expect_text="y")
    assert "without the text" in found.why


@pytest.mark.parametrize(
    ("charset", "ok"), [("latin-1", True), ("utf-8", False), ("rubbish", False)], ids=["fits", "does not", "is none"]
)
async def test_the_text_is_read_in_the_pages_own_charset(charset: str, ok: bool) -> None:
    web = Web()
    web.page("/", body="Grüße".encode("latin-1"), Content_Type=f"text/plain; charset={charset}")
    async with serving(web) as port:
        assert (await checked("http", url=f"http://127.0.0.1:{port}/", expect_text="Grüße")).ok is ok


async def test_redirects_are_followed_where_they_may() -> None:
    web = Web()
    web.page("/", 302, Location="/next")
    web.page("/next", 200, b"there")
    async with serving(web) as port:
        url = f"http://127.0.0.1:{port}/"
        stays = await checked("http", url=url)
        follows = await checked("http", url=url, follow_redirects=True, expect_text="there")
    assert (stays.ok, stays.observed["status"]) == (True, "302")
    assert (follows.ok, follows.observed["status"], follows.observed["url"]) == (True, "200", f"{url}next")


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("/", "redirects more than 5 times"),
        ("file:///etc/passwd", "redirects from http to file"),
        ("gopher://127.0.0.1:70/", "redirects from http to gopher"),
        ("http://[", "does not answer"),
    ],
)
async def test_redirects_that_are_not_followed(location: str, why: str) -> None:
    web = Web()
    web.page("/", 302, Location=location)
    async with serving(web) as port:
        found = await checked("http", url=f"http://127.0.0.1:{port}/", follow_redirects=True)
    assert (found.ok, len(web.requests) <= 6) == (False, True)
    assert why in found.why


async def test_a_redirect_never_leads_away_from_tls(tmp_path: Path) -> None:
    web = Web()
    web.page("/", 302, Location="http://127.0.0.1:1/")
    async with tls_server(tmp_path, make("leaf", 9), talk=web) as port:
        found = await checked("http", url=f"https://127.0.0.1:{port}/", follow_redirects=True, verify_tls=False)
    assert "redirects from https to http://127.0.0.1:1/" in found.why


async def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    async with tls_server(tmp_path, make("leaf", 90)) as port:
        url = f"https://localhost:{port}/"
        strict, lenient = await checked("http", url=url), await checked("http", url=url, verify_tls=False)
    assert (strict.ok, lenient.ok) == (False, True)
    assert "self-signed certificate" in strict.why


async def test_a_certificate_of_a_trusted_authority(tmp_path: Path, authority: Made) -> None:
    async with tls_server(tmp_path, make("leaf", 90, authority)) as port:
        assert (await checked("http", url=f"https://localhost:{port}/", expect_text="hello")).ok


@pytest.mark.parametrize("said", [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
async def test_a_server_that_does_not_speak_http(said: bytes) -> None:
    async with serving(says(said)) as port:
        found = await checked("http", url=f"http://127.0.0.1:{port}/", expect_text="xx")
    assert not found.ok
    assert "does not answer: " in found.why
