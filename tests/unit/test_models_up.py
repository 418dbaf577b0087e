"""What `up` serves itself: the files of the models' directory, each layer's own, and embeddings."""

import asyncio
import os

import pytest

from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend import local_servers
from ai_sysadmin.llm_backend.local_servers import serving
from ai_sysadmin.llm_backend.weights.model_files import give_to_layer
from tests.serving import unused_port
from tests.unit.test_models_files import GGUF, fetch, model


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A llama-server that takes note of how it was started; return the notes."""
    notes = tmp_path / "started"
    notes.mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "llama-server"
    script.write_text(f'#!/bin/sh\necho "$@" > {notes}/$$.new && mv {notes}/$$.new {notes}/$$\nexec sleep 60\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    async def read(count):
        while len(found := [path for path in notes.iterdir() if path.suffix != ".new"]) < count:
            await asyncio.sleep(0.01)
        return sorted(path.read_text() for path in found)

    return read


async def ports_apart(tmp_path, embedding=None, **more):
    names = ("trigger", "review", "meta")
    backends = {layer: {"url": f"http://127.0.0.1:{await unused_port()}"} for layer in names}
    backends |= {"embedding": embedding} if embedding else {}
    return Settings.model_validate({"state_dir": tmp_path / "state", "backends": backends, **more})


async def test_after_a_pull_up_serves_with_nothing_else_to_say(tmp_path, started):
    settings = await ports_apart(tmp_path)
    settings.models_directory.mkdir(parents=True)
    source = tmp_path / "source.gguf"
    source.write_bytes(GGUF)
    fetch(source, settings.models_directory)
    async with serving(settings) as models:
        (line,) = await started(1)
    assert "source.gguf --alias source --host 127.0.0.1" in line
    assert "-c 24576 -np 3" in line
    assert models.without == ()
    assert models.backends.embedding is None
    assert len({models.backends.trigger.url, models.backends.review.url, models.backends.meta.url}) == 1


async def test_a_file_for_embeddings_is_served_as_such_beside_the_layers(tmp_path, started, monkeypatch):
    assert local_servers.EMBEDDING_URL == "http://127.0.0.1:8084"
    port = await unused_port()
    monkeypatch.setattr(local_servers, "EMBEDDING_URL", f"http://127.0.0.1:{port}")
    settings = await ports_apart(tmp_path)
    settings.state_dir.mkdir()
    directory = settings.models_directory
    give_to_layer("embedding", model(directory, "e.gguf"), directory)
    async with serving(settings) as models:
        (line,) = await started(1)
    assert f"-m {directory}/e.gguf --alias e --host 127.0.0.1 --port {port} --embeddings -c 2048 -np 1" in line
    assert models.backends.embedding.url == f"http://127.0.0.1:{port}"
    assert models.without == ("trigger", "review", "meta")
    url = f"http://127.0.0.1:{await unused_port()}"
    settings = await ports_apart(tmp_path, embedding={"url": url, "model": "mine"})
    async with serving(settings) as models:
        assert (models.backends.embedding.url, models.backends.embedding.model) == (url, "mine")


async def test_embeddings_by_chromadbs_own_model_need_no_server(tmp_path):
    settings = await ports_apart(tmp_path, knowledge={"onnx_archive": "/onnx.tar.gz"})
    settings.state_dir.mkdir()
    directory = settings.models_directory
    give_to_layer("embedding", model(directory, "e.gguf"), directory)
    async with serving(settings) as models:
        assert models.backends.embedding is None


async def test_what_is_not_on_this_host_or_of_another_kind_is_never_started_here(tmp_path, started):
    backends = {
        "trigger": {"url": "http://127.0.0.1:9", "type": "ollama"},
        "review": {"url": "http://192.0.2.1:1", "allow_remote": True, "type": "openai"},
        "meta": {"url": f"http://127.0.0.1:{await unused_port()}"},
    }
    settings = Settings.model_validate({"state_dir": tmp_path / "state", "backends": backends})
    settings.state_dir.mkdir()
    model(settings.models_directory, "m.gguf")
    async with serving(settings) as models:
        assert len(await started(1)) == 1
    assert models.backends.trigger.url == "http://127.0.0.1:9"
    assert models.backends.review.url == "http://192.0.2.1:1"
    assert models.said[:2] == (
        "trigger: http://127.0.0.1:9 (ollama), used as it is",
        "review: http://192.0.2.1:1 (openai), used as it is",
    )


async def test_a_server_of_another_host_that_is_away_is_not_stood_in_for(tmp_path, started):
    elsewhere = {"url": f"http://127.0.0.2:{await unused_port()}", "allow_remote": True}
    backends = dict.fromkeys(("trigger", "review", "meta"), elsewhere)
    settings = Settings.model_validate({"state_dir": tmp_path / "state", "backends": backends})
    settings.state_dir.mkdir()
    model(settings.models_directory, "m.gguf")
    async with serving(settings) as models:
        assert await started(0) == []
    assert (models.backends.review.url, models.without) == (elsewhere["url"], ("trigger", "review", "meta"))


async def test_a_link_to_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    settings = await ports_apart(tmp_path)
    settings.state_dir.mkdir()
    file = model(settings.models_directory, "m.gguf")
    give_to_layer("meta", file, settings.models_directory)
    file.unlink()
    async with serving(settings) as models:
        assert models.said == (f"meta: its link names {file}, which is not there",)
    assert models.without == ("trigger", "review", "meta")
