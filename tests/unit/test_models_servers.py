"""Servers that are wrong, busy or elsewhere: no page is taken for a model, and no secret goes where it should not."""

import hashlib
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from ai_sysadmin.core.errors import NotFound, SettingsError
from ai_sysadmin.llm_backend.weights.download import NotAModel
from ai_sysadmin.llm_backend.weights.pull import ChecksumMismatch
from ai_sysadmin.llm_backend.weights.web import (
    ModelFileError,
    ServerAway,
    Token,
    Web,
    open_web,
    origin_of,
    wait_asked_for,
)
from tests.file_server import Answer, File, file_server
from tests.pulling import DATA, NAME, PLAIN, REPOSITORY, puller, running, server

__all__ = ["puller", "running", "server"]


def test_a_wrong_byte_is_found_and_nothing_is_kept(server, puller):
    wrong = DATA[:150_000] + bytes([DATA[150_000] ^ 1]) + DATA[150_001:]
    server.hub_file(REPOSITORY, NAME, File(wrong), said=DATA)
    with pytest.raises(ChecksumMismatch, match=hashlib.sha256(DATA).hexdigest()):
        puller("qwen3-4b")
    assert puller.left() == []


def test_a_length_that_is_too_long_is_not_believed(server, puller):
    server.pages[PLAIN] = File(DATA, length=len(DATA) + 10, ranges=False)
    with pytest.raises(ServerAway):
        puller(server.url + PLAIN)
    assert "some.gguf" not in puller.left()


def test_a_length_that_is_too_short_is_not_believed(server, puller):
    server.hub_file(REPOSITORY, NAME, File(DATA, length=1000))
    with pytest.raises(ModelFileError, match=f"1000 bytes long, but .* says {len(DATA)}"):
        puller("qwen3-4b")
    assert puller.left() == []


def test_more_than_there_is_is_not_kept(server, puller):
    chunked = Answer(200, DATA, {"ETag": '"v1"'}, chunked=True)
    server.hub_file(REPOSITORY, NAME, File(DATA, first=[chunked]), said=DATA[:-1])
    with pytest.raises(ModelFileError, match="sent more than"):
        puller("qwen3-4b")
    assert puller.left() == []


def test_without_a_length_the_end_must_be_provable(server, puller):
    server.pages[PLAIN] = File(b"", first=[Answer(200, DATA, length=-1)])
    with pytest.raises(ModelFileError, match="does not say how long"):
        puller(server.url + PLAIN)
    server.pages[PLAIN] = File(b"", first=[Answer(200, DATA, length=-1)])
    assert puller(server.url + PLAIN, hashlib.sha256(DATA).hexdigest()).file.read_bytes() == DATA
    (puller.directory / "some.gguf").unlink()
    server.pages[PLAIN] = File(b"", first=[Answer(200, DATA, chunked=True)])
    assert puller(server.url + PLAIN).file.read_bytes() == DATA


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>sign in</html>", {"Content-Type": "text/html; charset=utf-8"}),
        Answer(200, b"<html>sign in</html>", {"Content-Type": "application/octet-stream"}),
        Answer(200, b"GG", {"Content-Type": "application/octet-stream"}),
        Answer(200, b"", {"Content-Type": "application/octet-stream"}),
    ],
)
def test_a_page_is_never_taken_for_a_model(server, puller, answer):
    server.pages[PLAIN] = lambda _: answer
    with pytest.raises(NotAModel):
        puller(server.url + PLAIN)
    assert puller.left() == []


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (Answer(404), NotFound, "404"),
        (Answer(403), ModelFileError, "HF_TOKEN"),
        (Answer(418), ModelFileError, "418"),
        (Answer(200, DATA, {"Content-Encoding": "gzip"}), ModelFileError, "compressed"),
        (Answer(206, DATA, {"Content-Range": "bytes 5-9/10"}), ModelFileError, "nobody asked for"),
        (Answer(302, b"", {"Location": "ftp://127.0.0.1/x"}), ModelFileError, "no URL that can be fetched"),
        (Answer(302, b"", {"Location": PLAIN}), ModelFileError, "redirects more than"),
    ],
)
def test_what_will_not_work_later_is_not_tried_again(server, puller, answer, error, text):
    server.pages[PLAIN] = lambda _: answer
    with pytest.raises(error, match=text):
        puller(server.url + PLAIN)
    assert (puller.slept, puller.left()) == ([], [])


def test_a_server_that_is_busy_is_waited_for_as_long_as_it_asks(server, puller):
    busy = [Answer(429, headers={"Retry-After": "7"}), Answer(503)]
    server.pages[PLAIN] = File(DATA, first=busy)
    assert puller(server.url + PLAIN).file.read_bytes() == DATA
    assert puller.slept == [7, 2]
    assert "429" in puller.watch.notes[0]


def test_a_server_that_asks_for_too_long_is_left_and_the_wait_is_said(server, puller):
    server.pages[PLAIN] = File(DATA, first=[Answer(429, headers={"Retry-After": "86400"})])
    with pytest.raises(ServerAway, match="429"):
        puller(server.url + PLAIN)
    assert puller.slept == []


def test_a_server_that_stays_broken_is_left_after_some_attempts(server, puller):
    server.pages[PLAIN] = lambda _: Answer(500)
    with pytest.raises(ServerAway, match="500"):
        puller(server.url + PLAIN)
    assert len(server.asked(PLAIN)) == 3


@pytest.mark.parametrize(
    ("header", "seconds"), [("120", 120), ("", None), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)]
)
def test_retry_after_is_a_number_or_a_date(header, seconds):
    assert wait_asked_for(header) == seconds


def test_retry_after_may_be_a_date_to_come():
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < wait_asked_for(moment) <= 90


# --- who may see what --------------------------------------------------------------------------------------------


def test_the_token_is_for_the_hub_alone(server, puller):
    puller.token = "hf_secret"
    with file_server() as cdn:
        cdn.pages["/blob"] = File(DATA)
        server.hub_file(REPOSITORY, NAME, File(DATA))
        there = Answer(302, b"", {"Location": f"{cdn.url}/blob"})
        server.pages[f"/{REPOSITORY}/resolve/main/{NAME}"] = lambda _: there
        assert puller("qwen3-4b").file.read_bytes() == DATA
        assert {asked.headers.get("authorization") for asked in server.seen} == {"Bearer hf_secret"}
        assert [asked.headers.get("authorization") for asked in cdn.seen] == [None]
        cdn.pages["/other.gguf"] = File(DATA)
        puller(f"{cdn.url}/other.gguf")
        assert all("authorization" not in asked.headers for asked in cdn.seen)


def test_tls_is_not_given_up_by_a_redirect():
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": "http://cdn.example/blob"})

    web = Web(httpx.Client(transport=httpx.MockTransport(answer)), Token("https://hub.example", "s"))
    with (
        closing(web),
        pytest.raises(ModelFileError, match="without TLS"),
        web.stream("GET", "https://hub.example/x", {}),
    ):
        pass


def test_a_redirect_that_comes_back_to_the_hub_carries_the_token_again_and_others_never():
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url), request.headers.get("authorization")))
        follow = {"/a": "https://hub.example:8443/b", "/b": "https://hub.example/c"}
        there = follow.get(request.url.path)
        return httpx.Response(302, headers={"Location": there}) if there else httpx.Response(200)

    web = Web(httpx.Client(transport=httpx.MockTransport(answer)), Token("https://hub.example", "s"))
    with closing(web), web.stream("GET", "https://hub.example/a", {}):
        pass
    assert [token for _, token in seen] == ["Bearer s", None, "Bearer s"]


def test_the_environments_proxy_is_used(server, puller, monkeypatch):
    server.pages["http://models.example/some.gguf"] = File(DATA)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", "")
    assert puller("http://models.example/some.gguf").file.read_bytes() == DATA
    assert {asked.path for asked in server.seen} == {
        "http://models.example/some.gguf.sha256",
        "http://models.example/some.gguf",
    }


def test_a_proxy_that_cannot_be_used_is_a_mistake_in_the_settings(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "gopher://x")
    with pytest.raises(SettingsError, match="HTTPS_PROXY"):
        open_web()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://huggingface.co/x", "https://huggingface.co"),
        ("https://huggingface.co:443", "https://huggingface.co"),
        ("http://127.0.0.1:81/", "http://127.0.0.1:81"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin):
    assert origin_of(url) == origin
