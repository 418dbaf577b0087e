"""A ChromaDB server of our own, as `up` runs it: on its directory, alone, and back when it dies."""

import asyncio
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from ai_sysadmin.core.context_settings import Knowledge
from ai_sysadmin.core.errors import IndexUnavailable
from ai_sysadmin.core.settings import Backend, Backends, Settings
from ai_sysadmin.stores.chroma import ChromaIndex
from ai_sysadmin.stores.chroma_server import own_chroma, program
from tests.contracts.test_knowledge_stores import fill

pytestmark = pytest.mark.skipif(not program(), reason="ChromaDB is not installed (ai-sysadmin[vectors])")


def settings_for(tmp_path, **knowledge) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        backends=Backends(embedding=Backend(url="http://127.0.0.1:8084")),
        knowledge=Knowledge(**knowledge),
    )


async def test_up_has_one_of_its_own_which_keeps_what_it_holds(tmp_path):
    settings = settings_for(tmp_path)
    for expected in ({}, {"a": "hash of a"}):
        async with own_chroma(settings) as own:
            assert own.url.startswith("http://127.0.0.1:")
            assert "served here" in own.said
            index = ChromaIndex(own.url, lambda: "m")
            assert await index.hashes() == expected
            await fill(index, {"a": [1, 0]})
            await index.close()
        with pytest.raises(httpx.ConnectError):
            await heartbeat(own.url)


async def heartbeat(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        (await client.get("/api/v2/heartbeat")).raise_for_status()


async def test_one_process_owns_the_directory(tmp_path):
    settings = settings_for(tmp_path)
    async with own_chroma(settings) as own, own_chroma(settings) as second:
        assert own.url
        assert (second.url, "another process" in second.said) == ("", True)


async def test_one_that_dies_or_loses_its_files_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr("ai_sysadmin.stores.chroma_server._BACK_SECONDS", (0.1,))
    monkeypatch.setattr("ai_sysadmin.stores.chroma_server._LOOK_AFTER_FILES_SECONDS", 0.2)
    settings = settings_for(tmp_path)
    async with own_chroma(settings) as own:
        index = ChromaIndex(own.url, lambda: "m")
        await fill(index, {"a": [1, 0]})
        for harm in (kill_whoever_serves, shutil.rmtree):
            harm(settings.state_dir / "chroma")
            await gone_and_back(index)
            await fill(index, {"a": [1, 0]})
        await index.close()


def kill_whoever_serves(directory: Path) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(directory).encode() in (process / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
                return
    raise AssertionError(f"nobody serves {directory}")


async def gone_and_back(index) -> None:
    seen: list[bool] = []
    async with asyncio.timeout(30):
        while seen[-2:] != [False, True]:
            try:
                await index.hashes()
                answers = True
            except IndexUnavailable:
                answers = False
            seen += [answers] if seen[-1:] != [answers] else []
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "knowledge", [{"chroma_in_up": False}, {"chroma_url": "http://127.0.0.1:8000"}], ids=["switched off", "another"]
)
async def test_none_is_run_where_it_is_not_wanted(tmp_path, knowledge):
    async with own_chroma(settings_for(tmp_path, **knowledge)) as own:
        assert (own.url, own.said) == ("", "")
    async with own_chroma(Settings(state_dir=tmp_path / "state")) as own:
        assert (own.url, own.said) == ("", "")
    assert not (tmp_path / "state").exists()


async def test_where_it_is_not_installed_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("ai_sysadmin.stores.chroma_server.program", lambda: "")
    async with own_chroma(settings_for(tmp_path)) as own:
        assert own.url == ""
        assert "ai-sysadmin[vectors]" in own.said


async def test_one_that_cannot_start_is_said_with_where_it_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("ai_sysadmin.stores.chroma_server.program", lambda: "/bin/false")
    async with own_chroma(settings_for(tmp_path)) as own:
        assert own.url == ""
        assert "chroma.log" in own.said
