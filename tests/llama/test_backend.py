"""The llama.cpp client on the real server: sleep, limits of its own, schemas, and turns across processes."""

import asyncio
import json
import sys
import time
from contextlib import aclosing, asynccontextmanager
from importlib.resources import files
from typing import Annotated, Literal

import httpx
import pytest
from pydantic import BaseModel, Field, RootModel

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Extras, Message, PromptTooLong, ToolSpec
from ai_sysadmin.llm_backend.door import open_model
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.llm_backend.structured import schema_of
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational
from ai_sysadmin.stores.relational.leases import SqlLeases
from ai_sysadmin.testing.memory_leases import MemoryLeases
from tests.llama.server import serve

pytestmark = pytest.mark.llama

HELLO = (Message(role="user", content="hello"),)
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["act", "escalate"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}
LONG_ANSWER = {"type": "array", "items": {"type": "integer"}, "minItems": 900, "maxItems": 1000}


async def until(state: str, server) -> float:
    began = time.monotonic()
    while (await server.health()).state != state:
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.2)
    return time.monotonic() - began


async def test_a_sleeping_model_is_woken_by_a_request_and_by_nothing_else(tiny_model):
    flags = ("--port", "0", "-c", "4096", "-np", "2", "-t", "1", "-cram", "64", "--sleep-idle-seconds", "1")
    with serve(tiny_model, flags) as url:
        server = open_model("review", Backend(url=url))
        await until("asleep", server)
        for _ in range(3):
            assert not (await server.count_tokens("some text")).exact
            health = await server.health()
            assert (health.state, health.slots, health.context_tokens) == ("asleep", 2, 2048)
        assert (await server.complete(HELLO, max_tokens=4)).text
        assert (await server.health()).state == "ready"
        await server.close()


async def test_schemas_are_tried_out_on_the_real_server(llama):
    server = open_model("review", Backend(url=llama))
    assert (await server.health()).schemas == "unknown"
    done = await server.complete(HELLO, max_tokens=40, schema=SCHEMA, seed=1)
    assert json.loads(done.text)["verdict"] in {"act", "escalate"}
    assert (await server.health()).schemas == "honoured"
    assert server.figures.calls == 2
    await server.complete(HELLO, max_tokens=40, schema=SCHEMA, seed=1)
    assert server.figures.calls == 3
    await server.close()


Plan = Annotated[str, Field(max_length=40)]


class Answer(BaseModel):
    do: Literal["answer"]


class UnitLog(BaseModel):
    plan: Plan
    do: Literal["unit_log"]
    unit: Annotated[str, Field(max_length=20)]
    lines: Annotated[int, Field(ge=1, le=200)]


class Disk(BaseModel):
    plan: Plan
    do: Literal["disk"]
    path: Annotated[str, Field(max_length=20)] | None


class Step(RootModel[Answer | UnitLog | Disk]):
    """What an agent does next."""


async def test_a_choice_of_objects_is_kept_to_at_the_decoder(llama):
    server = open_model("meta", Backend(url=llama))
    schema, chosen = schema_of(Step), set()
    for seed in range(20):
        done = await server.complete(HELLO, max_tokens=300, schema=schema, seed=seed, temperature=1)
        assert done.finish_reason == "stop"
        said = json.loads(done.text)
        fitting = [branch for branch in schema["anyOf"] if branch["properties"]["do"]["const"] == said["do"]]
        assert [set(branch["required"]) for branch in fitting] == [set(said)]
        Step.model_validate_json(done.text)
        chosen.add(said["do"])
    assert len(chosen) > 1
    assert (await server.health()).schemas == "honoured"
    await server.close()


async def test_a_limit_of_ones_own_is_kept_by_the_servers_own_count(llama):
    server = LlamaCpp("review", Backend(url=llama, context_tokens=300))
    text = " ".join(["word"] * 100)
    prompt = (await LlamaCpp("review", Backend(url=llama)).complete([_user(text)], max_tokens=1)).prompt_tokens
    assert prompt < 300
    assert (await server.health()).context_tokens == 300
    assert (await server.complete([_user(text)], max_tokens=300 - prompt)).text
    with pytest.raises(PromptTooLong) as caught:
        await server.complete([_user(text)], max_tokens=301 - prompt)
    assert (caught.value.n_prompt_tokens, caught.value.n_ctx) == (prompt, 300)
    await server.close()


def _user(text: str) -> Message:
    return Message(role="user", content=text)


WORKER = """
import asyncio, sys
from pathlib import Path
from tests.llama.test_backend import HELLO, LONG_ANSWER, leases_in
from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend.door import open_model

async def main():
    async with leases_in(Path(sys.argv[2])) as leases:
        server = open_model("review", Backend(url=sys.argv[1]), leases=leases, turn="background")
        print("begun", flush=True)
        await server.complete(HELLO, max_tokens=6000, schema=LONG_ANSWER)

asyncio.run(main())
"""


@asynccontextmanager
async def leases_in(path):
    database = Database(path, files("ai_sysadmin.stores.relational") / "migrations" / "sqlite")
    await database.open()
    yield SqlLeases(SqliteRelational(database), "a-host")
    await database.close()


async def test_a_person_is_answered_while_another_process_works_on_the_only_slot(tiny_model, tmp_path):
    flags = ("--port", "0", "-c", "16384", "-np", "1", "-t", "1", "-cram", "64")
    with serve(tiny_model, flags) as url:
        async with leases_in(tmp_path / "state.db") as leases:
            chat = open_model("meta", Backend(url=url), leases=leases, turn="foreground")
            await chat.complete(HELLO, max_tokens=1)
            await asyncio.sleep(5)  # the lease lingers
            argv = (sys.executable, "-c", WORKER, url, str(tmp_path / "state.db"))
            worker = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
            assert worker.stdout is not None
            assert (await worker.stdout.readline()).strip() == b"begun"
            await asyncio.sleep(2)  # it is in the middle of an answer that takes far longer
            began = time.monotonic()
            async with aclosing(chat.stream(HELLO, max_tokens=50, seed=1)) as deltas:
                await anext(deltas)
                waited = time.monotonic() - began
                assert [delta async for delta in deltas][-1].completion
            assert waited < 3
            assert worker.returncode is None
            worker.kill()
            await worker.wait()
            await chat.close()


NUMBERS = ToolSpec(
    name="numbers",
    description="Takes many numbers.",
    parameters={"type": "object", "properties": {"numbers": LONG_ANSWER}, "required": ["numbers"]},
)


async def busy(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return sum(slot["is_processing"] for slot in (await client.get(f"{url}/slots")).json())


@pytest.mark.parametrize("how", ["left", "cancelled"])
@pytest.mark.parametrize("extras", [Extras(), Extras(thinking=True), Extras(tools=(NUMBERS,)), Extras(stop=("never",))])
async def test_an_answer_to_a_person_that_is_not_wanted_any_more_frees_the_slot(llama, extras, how):
    chat = open_model("meta", Backend(url=llama), leases=MemoryLeases(), turn="foreground")
    schema = None if extras.tools else LONG_ANSWER
    began = asyncio.Event()

    async def read() -> None:
        async with aclosing(chat.stream(HELLO, max_tokens=6000, schema=schema, seed=1, extras=extras)) as deltas:
            if schema is None:  # a call is no piece of an answer: nothing comes until it is whole
                asyncio.get_running_loop().call_later(0.5, began.set)
            async for _ in deltas:
                began.set()
                if how == "left":
                    return

    reading = asyncio.create_task(read())
    await asyncio.wait({reading, asyncio.create_task(began.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if how == "cancelled" or not reading.done():
        assert await busy(llama) == 1
        reading.cancel()
    stopped = time.monotonic()
    while await busy(llama):
        assert time.monotonic() - stopped < 2, "the slot is still held"
        await asyncio.sleep(0.1)
    await asyncio.wait({reading})
    await chat.close()
