"""Fetching a large file: wherever it breaks off, what has the file's name in the end is the whole of it."""

import fcntl
import hashlib
import json
import os
import random
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.llm_backend.weights.download import Limits
from ai_sysadmin.llm_backend.weights.model_files import read_record
from ai_sysadmin.llm_backend.weights.partial_file import DiskFull, held, record_of
from ai_sysadmin.llm_backend.weights.web import ModelFileError, ServerAway
from tests.file_server import File
from tests.pulling import DATA, NAME, OTHER, PLAIN, REPOSITORY, Puller, puller, running, server, starts

__all__ = ["puller", "running", "server"]


def test_a_catalogue_name_comes_from_the_hub_and_is_checked_against_its_metadata(server, puller):
    server.hub_file(REPOSITORY, NAME, File(DATA))
    pulled = puller("qwen3-4b")
    assert pulled.file.read_bytes() == DATA
    assert pulled.record == read_record(pulled.file)
    assert pulled.record.sha256 == hashlib.sha256(DATA).hexdigest()
    assert pulled.record.size == len(DATA)
    assert pulled.record.url == f"{server.url}/{REPOSITORY}/resolve/main/{NAME}"
    assert pulled.record.checked_against == f"{server.url.removeprefix('http://')}'s metadata"
    assert puller.left() == [NAME, f"{NAME}.json"]
    assert stat.S_IMODE(pulled.file.stat().st_mode) == 0o644
    assert puller.watch.marks[-1] == (len(DATA), len(DATA))


def test_what_is_there_is_not_fetched_again_and_what_changed_upstream_is(server, puller):
    url = server.hub_file(REPOSITORY, NAME, File(DATA))
    path = url.removeprefix(server.url)
    puller("qwen3-4b")
    assert puller("qwen3-4b").was_there
    assert puller(url).was_there
    assert len(server.asked(path)) == 1
    server.hub_file(REPOSITORY, NAME, File(OTHER, etag='"v2"'))
    pulled = puller("qwen3-4b")
    assert (pulled.was_there, pulled.file.read_bytes()) == (False, OTHER)
    assert read_record(pulled.file).sha256 == hashlib.sha256(OTHER).hexdigest()


def test_a_file_without_record_is_adopted_where_its_hash_is_right_and_else_left_alone(server, puller):
    server.hub_file(REPOSITORY, NAME, File(DATA))
    (puller.directory / NAME).write_bytes(DATA)
    assert puller("qwen3-4b").was_there
    assert puller.left() == [NAME, f"{NAME}.json"]
    (puller.directory / f"{NAME}.json").unlink()
    (puller.directory / NAME).write_bytes(OTHER)
    with pytest.raises(ModelFileError, match="is another file: move it away"):
        puller("qwen3-4b")
    assert (puller.directory / NAME).read_bytes() == OTHER


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 5000), max_size=3), size=st.integers(0, 5000))
def test_wherever_it_breaks_off_it_goes_on_there(running, cuts, size):
    running.seen.clear()
    data = b"GGUF" + random.Random(size).randbytes(size)
    running.pages[PLAIN] = File(data, cuts=[*cuts])
    directory = Path(tempfile.mkdtemp())
    try:
        pulled = Puller(running, directory, limits=Limits(attempts=4, first_attempts=4))(running.url + PLAIN)
        assert pulled.file.read_bytes() == data
        assert pulled.record.sha256 == hashlib.sha256(data).hexdigest()
        wanted_starts, at = [0], 0
        for cut in cuts:
            if at + cut >= len(data):
                break
            at += cut
            wanted_starts.append(at)
        assert starts(running) == wanted_starts
    finally:
        shutil.rmtree(directory)


def test_the_next_pull_goes_on_where_the_last_gave_up(server, puller):
    server.pages[PLAIN] = File(DATA, cuts=[100_000, 0, 0, 0])
    with pytest.raises(ServerAway, match=r"127\.0\.0\.1 .* 100 kB are kept, and the same command goes on from there"):
        puller(server.url + PLAIN)
    assert puller.left() == ["some.gguf.part", "some.gguf.part.json"]
    assert puller.slept == [1, 2, 4]
    pulled = puller(server.url + PLAIN)
    assert pulled.file.read_bytes() == DATA
    assert starts(server) == [0, 100_000, 100_000, 100_000, 100_000]
    assert server.asked(PLAIN)[-1].headers["if-range"] == '"v1"'


def test_progress_forgives_what_failed_before(server, puller):
    data = b"GGUF" + bytes(9 << 20)
    server.pages[PLAIN] = File(data, cuts=[1 << 20] * 8)
    assert puller(server.url + PLAIN).file.stat().st_size == len(data)
    assert puller.slept == [1] * 8


@pytest.mark.parametrize(
    ("second", "asked_from"),
    [
        (File(OTHER, etag='"v2"'), [0, 100_000]),  # If-Range is heeded: 200
        (File(OTHER, etag='"v2"', heeds_if_range=False), [0, 100_000, 0]),  # a piece of another file: its ETag says so
        (File(OTHER + b"more", etag=None, heeds_if_range=False), [0, 100_000, 0]),  # its length says so
        (File(OTHER[:50_000], etag=None, heeds_if_range=False), [0, 100_000, 0]),  # it ends before: 416
        (File(OTHER, etag='"v1"', ranges=False), [0, 100_000]),  # a server that cannot resume
    ],
)
def test_half_of_one_file_is_never_completed_with_half_of_another(server, puller, second, asked_from):
    first = File(DATA, cuts=[100_000])
    server.pages[PLAIN] = lambda asked: (first if len(server.asked(PLAIN)) == 1 else second)(asked)
    pulled = puller(server.url + PLAIN)
    assert pulled.file.read_bytes() == second.data
    assert pulled.record.sha256 == hashlib.sha256(second.data).hexdigest()
    assert starts(server) == asked_from


def test_bytes_that_may_be_of_another_file_are_forgotten(server, puller):
    part = puller.directory / "some.gguf.part"
    notes = ({}, {"url": server.url + "/else.gguf", "etag": '"v1"'}, {"url": server.url + PLAIN})
    for note in notes:  # none; another URL; nothing that could prove it is the same file
        server.seen.clear()
        server.pages[PLAIN] = File(DATA)
        part.write_bytes(OTHER[:1000])
        part.with_name("some.gguf.part.json").write_text(json.dumps(note))
        pulled = puller(server.url + PLAIN)
        assert (starts(server), pulled.file.read_bytes()) == ([0], DATA)
        pulled.file.unlink()


def test_another_hash_at_the_publisher_means_another_file(server, puller):
    url = server.hub_file(REPOSITORY, NAME, File(DATA, cuts=[1000, 0, 0, 0], etag=None))
    with pytest.raises(ServerAway):
        puller(url)
    server.seen.clear()
    server.hub_file(REPOSITORY, NAME, File(OTHER, etag=None))
    assert puller(url).file.read_bytes() == OTHER
    assert starts(server, url.removeprefix(server.url)) == [0]


def test_killed_between_the_last_byte_and_its_name_it_only_needs_the_name(server, puller):
    url = server.hub_file(REPOSITORY, NAME, File(DATA))
    (puller.directory / f"{NAME}.part").write_bytes(DATA)
    note = {"url": url, "sha256": hashlib.sha256(DATA).hexdigest(), "etag": '"v1"', "size": len(DATA)}
    (puller.directory / f"{NAME}.part.json").write_text(json.dumps(note))
    assert puller("qwen3-4b").file.read_bytes() == DATA
    assert server.asked(url.removeprefix(server.url)) == []


# --- this machine ------------------------------------------------------------------------------------------------


def test_a_file_that_would_fill_the_disk_is_refused_before_it_comes(server, puller):
    puller.free = len(DATA) + Limits().spare_bytes - 1
    server.pages[PLAIN] = File(DATA)
    with pytest.raises(DiskFull, match=r"has 537 MB free; some.gguf needs 300 kB more"):
        puller(server.url + PLAIN)
    assert puller.left() == []
    puller.free += 1
    assert puller(server.url + PLAIN).file.read_bytes() == DATA


def test_only_what_is_missing_needs_room(server, puller):
    server.pages[PLAIN] = File(DATA, cuts=[200_000, 0, 0, 0])
    with pytest.raises(ServerAway):
        puller(server.url + PLAIN)
    puller.free = len(DATA) - 200_000 + Limits().spare_bytes
    assert puller(server.url + PLAIN).file.read_bytes() == DATA


def test_a_planted_link_is_not_written_through(server, puller):
    server.pages[PLAIN] = File(DATA)
    victim = puller.directory / "victim"
    victim.write_text("precious")
    part = puller.directory / "some.gguf.part"
    part.symlink_to(victim)
    with pytest.raises(ModelFileError):
        puller(server.url + PLAIN)
    part.unlink()
    part.symlink_to(puller.directory / "not-there")
    with pytest.raises(ModelFileError):
        puller(server.url + PLAIN)
    assert not (puller.directory / "not-there").exists()
    part.unlink()
    os.link(victim, part)
    with pytest.raises(ModelFileError, match="no plain file of its own"):
        puller(server.url + PLAIN)
    assert victim.read_text() == "precious"


def test_one_process_at_a_time(server, puller):
    server.pages[PLAIN] = File(DATA)
    with (puller.directory / "some.gguf.part").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ModelFileError, match=r"another process fetches some\.gguf"):
            puller(server.url + PLAIN)
    assert puller(server.url + PLAIN).file.read_bytes() == DATA


def test_a_directory_that_cannot_be_written_is_said(server, puller):
    server.pages[PLAIN] = File(DATA)
    puller.directory = puller.directory / "nowhere"
    with pytest.raises(ModelFileError, match=r"some.gguf.part cannot be used: No such file"):
        puller(server.url + PLAIN)


def test_an_older_files_record_never_stands_beside_another_file(tmp_path):
    final = tmp_path / "m.gguf"
    record_of(final).write_text("of the older file")
    with held(final) as part:
        part.write(DATA)
        part.keep()
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_holding_without_writing_leaves_nothing(tmp_path):
    with held(tmp_path / "m.gguf"):
        assert (tmp_path / "m.gguf.part").exists()
    assert list(tmp_path.iterdir()) == []
