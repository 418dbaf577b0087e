"""Model files on this host: which are there, which are as recorded, which layer uses which, and what `up` starts."""

import hashlib
import json
import random
from contextlib import closing
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.settings import Models
from ai_sysadmin.llm_backend.local_servers import choices, files_by_layer
from ai_sysadmin.llm_backend.weights.catalogue import CATALOGUE, LAYERS, entry_of
from ai_sysadmin.llm_backend.weights.download import Means, sized
from ai_sysadmin.llm_backend.weights.model_files import (
    ModelRecord,
    dangling,
    give_to_layer,
    locate,
    models_in,
    read_record,
    verify,
)
from ai_sysadmin.llm_backend.weights.partial_file import DiskFull, record_of
from ai_sysadmin.llm_backend.weights.publishers import Hub, HubFile
from ai_sysadmin.llm_backend.weights.pull import ChecksumMismatch, pull, wanted
from ai_sysadmin.llm_backend.weights.web import ModelFileError, open_web

GGUF = b"GGUF" + random.Random(3).randbytes(5000)


class Silent:
    def progress(self, done: int, total: int | None) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def fetch(what, directory, sha256=None, free=10**12):
    web = open_web()
    with closing(web):
        means = Means(Silent(), free_bytes=lambda _: free)
        return pull(wanted(str(what), Hub()), directory, web, Hub(), means, sha256)


def model(directory: Path, name: str, size: int = 100) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_bytes(b"GGUF" + bytes(size - 4))
    return path


def nothing(done: int, total: int | None) -> None:
    pass


# --- the catalogue, and what a person may write ------------------------------------------------------------------


def test_every_layer_has_a_model_and_names_are_apart():
    assert {entry.layer for entry in CATALOGUE} == set(LAYERS)
    names = [name for entry in CATALOGUE for name in (entry.name, *entry.aliases, entry.file)]
    assert len(names) == len(set(names))
    assert all(entry_of(entry.name) is entry for entry in CATALOGUE)


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("qwen3-4b", "Qwen3-4B-Q4_K_M.gguf"),
        ("Qwen3:14B", "Qwen3-14B-Q4_K_M.gguf"),
        ("qwen3:1b", "Qwen3-1.7B-Q8_0.gguf"),
    ],
)
def test_short_names_are_also_written_as_ollama_does(text, file):
    assert wanted(text, Hub()).file_name == file


def test_a_hubs_own_url_is_fetched_from_the_mirror_that_stands_for_it():
    asked = wanted("https://huggingface.co/a/b/resolve/main/c.gguf", Hub("https://mirror.example/hf"))
    assert asked.url == "https://mirror.example/hf/a/b/resolve/main/c.gguf"
    assert wanted(asked.url, Hub("https://mirror.example/hf")).hub_file == asked.hub_file


@pytest.mark.parametrize(
    ("url", "hub_file", "name"),
    [
        ("https://huggingface.co/a/b-GGUF/resolve/main/c.gguf", HubFile("a/b-GGUF", "c.gguf"), "c.gguf"),
        ("https://huggingface.co/a/b/blob/v1/d/c.gguf?download=true", HubFile("a/b", "d/c.gguf", "v1"), "c.gguf"),
        ("https://huggingface.co/a/b/resolve/main/d%20e/c.gguf", HubFile("a/b", "d e/c.gguf"), "c.gguf"),
        ("https://huggingface.com.evil.example/a/b/resolve/main/c.gguf", None, "c.gguf"),
        ("https://elsewhere.example/files/c.gguf?sig=1", None, "c.gguf"),
        ("https://elsewhere.example/files/c", None, "c.gguf"),
        ("https://elsewhere.example/meta.gguf", None, "meta-model.gguf"),
    ],
)
def test_a_url_is_a_file_of_the_hub_or_not(url, hub_file, name):
    asked = wanted(url, Hub())
    assert (asked.hub_file, asked.file_name) == (hub_file, name)
    assert asked.url == (Hub().url(hub_file) if hub_file else url)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("qwen9", NotFound),
        ("/nowhere/x.gguf", NotFound),
        ("file:///nowhere/x.gguf", NotFound),
        ("ftp://host/x.gguf", ModelFileError),
        ("https://host/", ModelFileError),
        ("https://host/..%2f..%2f.ssh", ModelFileError),
        ("https://host/.hidden.gguf", ModelFileError),
    ],
)
def test_what_cannot_be_fetched_is_said(text, error):
    with pytest.raises(error):
        wanted(text, Hub())


@pytest.mark.parametrize(
    ("count", "text"), [(512, "512 B"), (2000, "2 kB"), (639_000_000, "639 MB"), (9 * 10**9, "9.0 GB")]
)
def test_sizes_are_said_as_people_say_them(count, text):
    assert sized(count) == text


# --- files of this machine ---------------------------------------------------------------------------------------


def test_a_file_of_this_machine_is_linked_where_everybody_may_read_it_else_copied(tmp_path):
    source, directory = model(tmp_path, "mine.gguf"), tmp_path / "models"
    directory.mkdir()
    source.chmod(0o644)
    pulled = fetch(source, directory)
    assert pulled.file.samefile(source)
    assert pulled.record.checked_against is None
    assert pulled.record.url == source.as_uri()
    pulled.file.unlink()
    source.chmod(0o600)
    pulled = fetch(source.as_uri(), directory)
    assert not pulled.file.samefile(source)
    assert pulled.file.read_bytes() == source.read_bytes()
    assert pulled.file.stat().st_mode & 0o777 == 0o644
    assert pulled.record.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_wrong_hash_leaves_nothing_but_the_persons_own_file(tmp_path, mode):
    source, directory = model(tmp_path, "mine.gguf"), tmp_path / "models"
    directory.mkdir()
    source.chmod(mode)
    (tmp_path / "mine.gguf.sha256").write_text(f"{'0' * 64}  mine.gguf\n")
    with pytest.raises(ChecksumMismatch):
        fetch(source, directory)
    assert list(directory.iterdir()) == []
    assert source.exists()


def test_a_file_that_is_there_by_hand_gets_a_record(tmp_path):
    file = model(tmp_path, "mine.gguf")
    assert verify(file, nothing).state == "unrecorded"
    assert fetch(file, tmp_path).was_there
    assert verify(file, nothing).state == "matches"
    record_of(file).unlink()
    with pytest.raises(ChecksumMismatch, match="it stays there"):
        fetch(file, tmp_path, "0" * 64)
    assert file.exists()


def test_a_file_in_the_way_that_nobody_vouches_for_is_left_alone(tmp_path):
    directory = tmp_path / "models"
    source, there = model(tmp_path, "mine.gguf"), model(directory, "mine.gguf", 200)
    with pytest.raises(ModelFileError, match="is another file: move it away"):
        fetch(source, directory)
    assert there.stat().st_size == 200


def test_what_is_no_model_or_has_no_room_is_refused(tmp_path):
    directory = tmp_path / "models"
    directory.mkdir()
    page = tmp_path / "page.gguf"
    page.write_text("<html>")
    with pytest.raises(ModelFileError, match="no GGUF file"):
        fetch(page, directory)
    source = model(tmp_path, "mine.gguf")
    source.chmod(0o600)
    with pytest.raises(DiskFull, match="make room"):
        fetch(source, directory, free=1000)
    assert list(directory.iterdir()) == []


# --- what is there -----------------------------------------------------------------------------------------------


def test_links_of_layers_and_unfinished_files_are_no_models(tmp_path):
    model(tmp_path, "large.gguf", 300)
    model(tmp_path, "small.gguf", 200)
    model(tmp_path, "tiny.gguf.part", 10)
    (tmp_path / "gone.gguf").symlink_to("nowhere")
    give_to_layer("meta", tmp_path / "small.gguf", tmp_path)
    assert [found.path.name for found in models_in(tmp_path)] == ["small.gguf", "large.gguf"]
    assert models_in(tmp_path / "nowhere") == ()


def test_a_record_counts_for_the_file_it_was_made_of(tmp_path):
    file = model(tmp_path, "mine.gguf")
    record = fetch(file, tmp_path).record
    assert [found.record for found in models_in(tmp_path)] == [record]
    model(tmp_path, "mine.gguf", 200)
    assert [found.record for found in models_in(tmp_path)] == [None]
    record_of(file).write_text("{}")
    assert read_record(file) is None


def test_verify_finds_one_changed_byte_and_a_changed_length(tmp_path):
    file = model(tmp_path, "mine.gguf")
    fetch(file, tmp_path)
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"x")
    assert (verify(file, nothing).state, verify(file, nothing).text[:11]) == ("differs", "its SHA-256")
    file.write_bytes(good[:-1])
    assert (verify(file, nothing).state, verify(file, nothing).text[:8]) == ("differs", "99 bytes")
    file.write_bytes(good)
    assert verify(file, nothing).state == "matches"
    file.unlink()
    assert verify(file, nothing).state == "unreadable"


def test_a_person_may_name_a_file_in_several_ways(tmp_path, monkeypatch):
    directory = tmp_path / "models"
    known, other = model(directory, "Qwen3-4B-Q4_K_M.gguf"), model(tmp_path, "other.gguf")
    monkeypatch.chdir(tmp_path)
    give_to_layer("review", known, directory)
    assert locate("qwen3-4b", directory) == known
    assert locate("Qwen3-4B-Q4_K_M.gguf", directory) == known
    assert locate("Qwen3-4B-Q4_K_M", directory) == known
    assert locate("review", directory).resolve() == known
    assert locate("other.gguf", directory) == other
    with pytest.raises(NotFound, match="models pull qwen3-14b"):
        locate("qwen3-14b", directory)
    with pytest.raises(NotFound, match="short names"):
        locate("nothing", directory)


# --- layers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "links", "named", "expected"),
    [
        ({}, {}, {}, {}),
        ({"a": 1}, {}, {}, {"trigger": "a", "review": "a", "meta": "a"}),
        ({"a": 1, "b": 2}, {}, {}, {"trigger": "a", "review": "b", "meta": "b"}),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, {}, {}, {"trigger": "a", "review": "b", "meta": "c"}),
        ({"a": 1, "b": 2}, {"review": "a"}, {}, {"trigger": "a", "review": "a", "meta": "b"}),
        ({"a": 1, "b": 2}, {"review": "a"}, {"review": "b"}, {"trigger": "a", "review": "b", "meta": "b"}),
        ({"a": 1, "e": 2}, {"embedding": "e"}, {}, {"trigger": "a", "review": "a", "meta": "a", "embedding": "e"}),
        ({"a": 1, "Qwen3-Embedding-0.6B-Q8_0": 2}, {}, {}, {"trigger": "a", "review": "a", "meta": "a"}),
    ],
)
def test_settings_go_before_links_and_links_before_size(tmp_path, files, links, named, expected):
    paths = {name: model(tmp_path, f"{name}.gguf", 100 * size) for name, size in files.items()}
    for layer, name in links.items():
        give_to_layer(layer, paths[name], tmp_path)
    models = Models(**{layer: paths[name] for layer, name in named.items()})
    found = files_by_layer(models, tmp_path)
    assert {layer: path.resolve().stem for layer, path in found.items()} == expected
    because = {layer: choice.because for layer, choice in choices(models, tmp_path).items()}
    assert because == {
        layer: "settings" if layer in named else "link" if layer in links else "size" for layer in expected
    }


def test_a_directory_that_is_not_there_is_empty(tmp_path):
    assert files_by_layer(Models(), tmp_path / "nowhere") == {}


def test_a_layer_can_be_given_another_file_and_one_from_elsewhere(tmp_path):
    directory = tmp_path / "models"
    first, second = model(directory, "first.gguf"), model(tmp_path, "second.gguf")
    assert give_to_layer("meta", first, directory).readlink() == Path("first.gguf")
    assert give_to_layer("meta", second, directory).readlink() == second
    assert [path.name for path in directory.iterdir() if path.name.startswith(".")] == []
    second.unlink()
    assert dangling(directory) == {"meta": second}
    assert files_by_layer(Models(), directory)["meta"] == first


def test_a_file_under_a_layers_name_is_the_layers_and_is_not_overwritten(tmp_path):
    own, other = model(tmp_path, "review.gguf", 200), model(tmp_path, "other.gguf", 300)
    assert files_by_layer(Models(), tmp_path) == {"trigger": other, "review": own, "meta": other}
    with pytest.raises(ModelFileError, match="is a file of its own"):
        give_to_layer("review", other, tmp_path)
    assert own.stat().st_size == 200


def test_a_layer_is_given_models_only(tmp_path):
    page = tmp_path / "page.gguf"
    page.write_text("<html>")
    with pytest.raises(ModelFileError, match="no GGUF file"):
        give_to_layer("review", page, tmp_path)
    assert not (tmp_path / "review.gguf").is_symlink()


def test_a_record_is_found_through_a_layers_link(tmp_path):
    file = model(tmp_path, "mine.gguf")
    record = fetch(file, tmp_path).record
    assert isinstance(record, ModelRecord)
    assert read_record(give_to_layer("meta", file, tmp_path)) == record


def test_a_record_is_plain_json_for_people(tmp_path):
    file = model(tmp_path, "mine.gguf")
    fetch(file, tmp_path)
    document = json.loads(record_of(file).read_text())
    assert set(document) == {"url", "size", "sha256", "checked_against", "at"}
