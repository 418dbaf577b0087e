"""What ``open_model`` builds, and how many tokens a text is taken for."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import SettingsError
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.door import open_model
from ai_sysadmin.llm_backend.lanes import lane_of, server_key
from ai_sysadmin.llm_backend.tokens import estimate, estimate_prompt
from ai_sysadmin.testing.fake_ollama import FakeOllama
from ai_sysadmin.testing.fake_openai import FakeOpenAI
from ai_sysadmin.testing.memory_leases import MemoryLeases
from ai_sysadmin.testing.misbehaving_server import Fault, MisbehavingServer

HELLO = (Message(role="user", content="hello"),)


@pytest.mark.parametrize(
    ("kind", "server", "says"),
    [
        ("llama-cpp", MisbehavingServer(Fault.NONE), "is ready"),
        ("ollama", FakeOllama(), "is asleep"),
        ("openai", FakeOpenAI(), "is ready"),
    ],
)
@pytest.mark.parametrize("turn", ["plain", "foreground", "background"])
async def test_each_kind_of_server_is_opened_by_its_type(kind, server, says, turn, caplog):
    caplog.set_level(logging.INFO, "ai_sysadmin")
    if kind == "ollama":
        server.unload()
    async with server.serving() as url:
        model = open_model("review", Backend(url=url, type=kind), leases=MemoryLeases(), turn=turn)
        assert says in (await model.health()).text
        assert (await model.complete(HELLO, max_tokens=8)).text == "some words"
        assert [delta.text async for delta in model.stream(HELLO, max_tokens=8)] == ["some", " words", ""]
        assert model.figures.calls == 2
        await model.close()
    (told,) = [each.getMessage() for each in caplog.records if getattr(each, "event", "") == "model_figures"]
    assert told.startswith(f"review model at {url} was asked 2 times: ")


@pytest.mark.parametrize(("turn", "leased"), [("plain", False), ("foreground", True), ("background", False)])
async def test_only_who_answers_people_takes_the_lease(turn, leased):
    leases = MemoryLeases()
    async with MisbehavingServer(Fault.NONE).serving() as url:
        model = open_model("meta", Backend(url=url), leases=leases, turn=turn)
        await model.complete(HELLO, max_tokens=8)
        assert await leases.leased(server_key(url), SystemClock().now()) is leased
        await model.close()


async def test_nothing_is_sent_when_a_model_is_opened_and_nothing_is_needed_to_close_it():
    async with FakeOpenAI().serving() as url:
        await open_model("review", Backend(url=url, type="openai")).close()


def test_a_key_file_that_cannot_be_read_is_a_mistake_in_the_settings(tmp_path):
    with pytest.raises(SettingsError, match=r"backends\.review\.api_key_file"):
        open_model("review", Backend(url="http://127.0.0.1:9", type="ollama", api_key_file=tmp_path / "none"))


@pytest.mark.parametrize("url", ["http://localhost:8081", "http://127.0.0.1:8081", "http://LOCALHOST:8081"])
def test_a_server_is_one_however_its_url_is_spelt(url):
    lane = lane_of("http://127.0.0.1:8081")
    assert lane_of(url) is lane


# --- tokens


@given(st.text())
def test_an_estimate_is_never_under_a_third_of_the_bytes_nor_over_all_of_them(text):
    size = len(text.encode("utf-8", "replace"))
    assert -(-size // 3) <= estimate(text) <= size


@given(st.text(), st.text())
def test_more_text_is_never_fewer_tokens(one, other):
    assert max(estimate(one), estimate(other)) <= estimate(one + other) <= estimate(one) + estimate(other)


def test_a_prompt_counts_what_stands_around_its_messages():
    assert estimate_prompt([Message(role="user", content="")] * 3) >= 3 * 4


LOG = (
    "web.service: Main process exited, code=exited, status=1/FAILURE\n"
    "Failed password for root from 203.0.113.7 port 51122 ssh2\n"
    "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #131073: comm nginx: reading directory lblock 0\n"
)


def test_an_estimate_of_log_text_is_not_under_what_a_real_tokenizer_makes_of_it():
    wordllama = pytest.importorskip("wordllama")
    tokenizers = pytest.importorskip("tokenizers")
    found = next(Path(wordllama.__file__).parent.rglob("l2_supercat_tokenizer_config.json"))
    tokenizer = tokenizers.Tokenizer.from_str(found.read_text())
    for text in (LOG, LOG * 20, json.dumps({"cause": "the disk is full", "evidence": ["e1", "e2"]})):
        real = len(tokenizer.encode(text, add_special_tokens=False).ids)
        assert real <= estimate(text) <= 2.5 * real
