"""Who vouches for a file's SHA-256, and what comes of it."""

import hashlib

import pytest

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.llm_backend.weights.publishers import sha256_in
from ai_sysadmin.llm_backend.weights.pull import ChecksumMismatch
from tests.file_server import Answer, File, file_server
from tests.pulling import DATA, NAME, OTHER, PLAIN, REPOSITORY, puller, running, server

__all__ = ["puller", "running", "server"]


def test_a_mirror_without_the_list_says_the_hash_in_its_redirect(server, puller):
    url = server.hub_file(REPOSITORY, NAME, File(DATA))
    del server.pages[f"/api/models/{REPOSITORY}/tree/main"]
    sha256 = hashlib.sha256(DATA).hexdigest()
    with file_server() as cdn:
        cdn.pages["/blob"] = File(OTHER)
        headers = {"Location": f"{cdn.url}/blob", "X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(len(DATA))}
        server.pages[url.removeprefix(server.url)] = lambda _: Answer(302, b"", headers)
        with pytest.raises(ChecksumMismatch, match=sha256):
            puller(url)
        cdn.pages["/blob"] = File(DATA)
        assert puller(url).record.checked_against is not None


def test_a_hub_that_is_away_for_a_moment_is_asked_again_for_the_hash(server, puller):
    server.hub_file(REPOSITORY, NAME, File(DATA))
    tree = f"/api/models/{REPOSITORY}/tree/main"
    listed, busy = server.pages[tree], [Answer(503)]
    server.pages[tree] = lambda asked: busy.pop() if busy else listed(asked)
    assert puller("qwen3-4b").record.checked_against is not None
    assert puller.slept == [1]


def test_a_hub_that_says_nothing_leaves_the_file_unchecked(server, puller):
    url = server.hub_file(REPOSITORY, NAME, File(DATA))
    server.pages[f"/api/models/{REPOSITORY}/tree/main"] = lambda _: Answer(200, b"<html>")
    assert puller(url).record.checked_against is None


def test_what_the_hub_does_not_have_is_not_fetched(server, puller):
    with pytest.raises(NotFound, match="404"):
        puller("qwen3-4b")


def test_a_hash_beside_the_file_is_used(server, puller):
    server.pages[PLAIN] = File(DATA)
    server.pages[PLAIN + ".sha256"] = lambda _: Answer(200, f"{'0' * 64}  some.gguf\n".encode())
    with pytest.raises(ChecksumMismatch):
        puller(server.url + PLAIN)
    right = hashlib.sha256(DATA).hexdigest()
    server.pages[PLAIN + ".sha256"] = lambda _: Answer(200, f"{right}  some.gguf\n".encode())
    assert puller(server.url + PLAIN).record.checked_against == f"{server.url}{PLAIN}.sha256"


def test_a_hash_given_by_hand_counts_and_must_agree_with_the_publisher(server, puller):
    server.pages[PLAIN] = File(DATA)
    with pytest.raises(ChecksumMismatch):
        puller(server.url + PLAIN, "0" * 64)
    assert puller(server.url + PLAIN, hashlib.sha256(DATA).hexdigest()).record.checked_against == "--sha256"
    server.hub_file(REPOSITORY, NAME, File(DATA))
    with pytest.raises(ChecksumMismatch, match="nothing was fetched"):
        puller("qwen3-4b", "0" * 64)


SHA = "ab" * 32


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SHA, SHA),
        (f"{SHA.upper()}  m.gguf\n", SHA),
        (f"{SHA} *m.gguf", SHA),
        (f"{'0' * 64}  other.gguf\n{SHA}  dist/m.gguf\n", SHA),
        (f"{SHA}  other.gguf", None),
        (f"{SHA}\n{SHA}\n", None),
        ("<html>404</html>", None),
        ("", None),
        ("abc  m.gguf", None),
    ],
)
def test_a_list_of_hashes_is_read_as_sha256sum_writes_it(text, found):
    assert sha256_in(text, "m.gguf") == found
