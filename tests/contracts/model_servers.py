"""Model servers of every kind, as the contract suite drives them."""

from contextlib import asynccontextmanager

import httpx
import pytest

from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend.door import open_model
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.llm_backend.ollama import Ollama
from ai_sysadmin.llm_backend.openai_compatible import OpenAICompatible
from ai_sysadmin.testing.fake_ollama import FakeOllama, OllamaModel
from ai_sysadmin.testing.fake_openai import FakeOpenAI
from ai_sysadmin.testing.memory_leases import MemoryLeases
from ai_sysadmin.testing.scripted_model import ScriptedModel


class Rig:
    """A server as the suite drives it. ``script`` is what answers, where a script does."""

    script: ScriptedModel | None = None
    context_tokens = 8192
    knows_slots = True

    def __init__(self, server, gone) -> None:
        self.server = server
        self.gone = gone

    def answers_for_long(self) -> None:
        if self.script:  # a real model does so by itself, given LONG_ANSWER
            self.script.enqueue("word " * 1000)

    async def busy(self) -> int:
        assert self.script is not None
        return self.script.busy


class InMemory(Rig):
    def __init__(self) -> None:
        self.script = ScriptedModel(pause_seconds=0.001)
        super().__init__(self.script, ScriptedModel())
        self.gone.state = "away"


class Real(Rig):
    """A llama-server process; ``url`` is where it is asked how busy it is."""

    def __init__(self, url: str, server, gone) -> None:
        super().__init__(server, gone)
        self._url = url

    async def busy(self) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            return sum(slot["is_processing"] for slot in (await client.get(f"{self._url}/slots")).json())


NOBODY = "http://127.0.0.1:9"
OLLAMA_MODEL = OllamaModel(name="qwen3:4b", num_ctx=8192, capabilities=("completion", "tools", "thinking"))


@asynccontextmanager
async def _scripted(_):
    yield InMemory()


@asynccontextmanager
async def _llama_cpp(request):
    url = request.getfixturevalue("llama")
    yield Real(url, LlamaCpp("review", Backend(url=url)), LlamaCpp("review", Backend(url=NOBODY)))


@asynccontextmanager
async def _through_the_door(request):
    url = request.getfixturevalue("llama")
    around = {"leases": MemoryLeases(), "clock": SystemClock(), "turn": request.param.rpartition(" ")[2]}
    rig = Real(
        url, open_model("review", Backend(url=url), **around), open_model("review", Backend(url=NOBODY), **around)
    )
    yield rig


@asynccontextmanager
async def _llama_as_openai(request):
    url = request.getfixturevalue("llama")
    settings = {"type": "openai", "context_tokens": 8192}
    rig = Real(
        url,
        OpenAICompatible("review", Backend(url=url, **settings)),
        OpenAICompatible("review", Backend(url=NOBODY, **settings)),
    )
    rig.knows_slots = False
    yield rig


@asynccontextmanager
async def _openai(request):
    marks = {"reasoning_in": ""} if "marks" in request.param else {}
    fake = FakeOpenAI(ScriptedModel(pause_seconds=0.001), **marks)
    settings = {"type": "openai", "context_tokens": 8192}
    async with fake.serving() as url:
        rig = Rig(
            OpenAICompatible("review", Backend(url=url, **settings)),
            OpenAICompatible("review", Backend(url=NOBODY, **settings)),
        )
        rig.script, rig.knows_slots = fake.script, False
        yield rig


def _ollama_at(url: str) -> Ollama:
    return Ollama("review", Backend(url=url, type="ollama"))


@asynccontextmanager
async def _ollama(_):
    fake = FakeOllama([OLLAMA_MODEL], ScriptedModel(pause_seconds=0.001, context_tokens=1 << 30))
    fake.loaded.add(OLLAMA_MODEL.name)
    async with fake.serving() as url:
        rig = Rig(_ollama_at(url), _ollama_at(NOBODY))
        rig.script = fake.script
        yield rig


@asynccontextmanager
async def _ollama_on_llama(request):
    llama = request.getfixturevalue("llama")
    fake = FakeOllama([OLLAMA_MODEL], proxy_to=llama)
    fake.loaded.add(OLLAMA_MODEL.name)
    async with fake.serving() as url:
        yield Real(llama, _ollama_at(url), _ollama_at(NOBODY))


KINDS = {
    "scripted": _scripted,
    "openai": _openai,
    "openai, thoughts between marks": _openai,
    "ollama": _ollama,
    "llama-cpp": _llama_cpp,
    "llama-cpp as openai": _llama_as_openai,
    "ollama on llama-cpp": _ollama_on_llama,
    "llama-cpp, plain": _through_the_door,
    "llama-cpp, foreground": _through_the_door,
    "llama-cpp, background": _through_the_door,
}


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.llama if "llama-cpp" in kind else ()) for kind in KINDS])
async def rig(request):
    async with KINDS[request.param](request) as made:
        yield made
        await made.server.close()
        await made.gone.close()
