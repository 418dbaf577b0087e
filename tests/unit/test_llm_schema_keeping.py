"""Whether a server keeps to a schema is tried out once, and its model is helped where it does not."""

import asyncio
import json
from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import PLAIN, BackendAway, Extras, Message
from ai_sysadmin.llm_backend.door import OpenModel, around
from ai_sysadmin.llm_backend.lanes import Lane
from ai_sysadmin.llm_backend.schema_keeping import SchemaKeeping
from ai_sysadmin.llm_backend.structured import reply_as, schema_of, with_schema_shown
from ai_sysadmin.testing.scripted_model import ScriptedModel


class Word(BaseModel):
    word: Annotated[str, Field(max_length=20)]


HELLO = (Message(role="system", content="Judge."), Message(role="user", content="hello"))
GOOD = json.dumps({"word": "fine"})
SCHEMA = schema_of(Word)


@pytest.fixture
def lane():
    return Lane()


def keeping(model: ScriptedModel, lane: Lane) -> SchemaKeeping:
    return SchemaKeeping(model, lane, timeout_seconds=5)


async def test_a_server_that_keeps_to_schemas_gets_the_prompt_as_it_is(lane):
    model = ScriptedModel()
    server = keeping(model, lane)
    assert (await server.health()).schemas == "unknown"
    await reply_as(server, HELLO, Word, max_tokens=50)
    probe, asked = model.asked
    assert probe.max_tokens <= 64
    assert asked.messages == HELLO
    assert (await server.health()).schemas == "honoured"


@pytest.mark.parametrize("answer", ["Good morning!", "{}", '{"word": "hello"}', ""])
async def test_the_model_of_a_server_that_ignores_schemas_is_shown_them(lane, answer):
    model = ScriptedModel(answer, GOOD, GOOD)
    server = keeping(model, lane)
    reply, _, _ = await reply_as(server, HELLO, Word, max_tokens=50)
    assert reply.word == "fine"
    system, user = model.asked[1].messages
    assert system.content.startswith("Judge.\n")
    assert json.dumps(SCHEMA, separators=(",", ":")) in system.content.splitlines()[-1]
    assert user == HELLO[1]
    health = await server.health()
    assert health.schemas == "ignored"
    assert "it ignores schemas" in health.text


async def test_it_is_tried_out_once_for_all_layers_and_only_along_with_a_schema(lane):
    model = ScriptedModel()
    layers = [keeping(model, lane), keeping(model, lane)]
    await layers[0].health()
    await layers[0].complete(HELLO, max_tokens=5)
    assert len(model.asked) == 1
    asking = [layers[n % 2].complete(HELLO, max_tokens=50, schema=SCHEMA) for n in range(2)]
    await asyncio.gather(*asking[:1])
    await asyncio.gather(*asking[1:])
    assert len(model.asked) == 1 + 1 + 2


async def test_another_model_is_tried_out_anew(lane):
    model = ScriptedModel()
    server = keeping(model, lane)
    await server.complete(HELLO, max_tokens=50, schema=SCHEMA)
    model.model = "another"
    await server.complete(HELLO, max_tokens=50, schema=SCHEMA)  # its answer is how the change is seen
    model.enqueue("Good morning!", GOOD)
    await server.complete(HELLO, max_tokens=50, schema=SCHEMA)
    assert "JSON schema" in model.asked[-1].messages[0].content
    assert lane.keeps == {("scripted", "object"): "honoured", ("another", "object"): "ignored"}


async def test_a_server_that_is_away_while_it_is_tried_out_is_not_judged(lane):
    model = ScriptedModel(BackendAway("it is away"))
    server = keeping(model, lane)
    with pytest.raises(BackendAway):
        await server.complete(HELLO, max_tokens=50, schema=SCHEMA)
    assert lane.keeps == {}
    await server.complete(HELLO, max_tokens=50, schema=SCHEMA)
    assert lane.keeps == {("scripted", "object"): "honoured"}


async def test_trying_it_out_counts_as_a_call():
    server: OpenModel = around(ScriptedModel(), Backend(url="http://127.0.0.1:6"))
    await server.complete(HELLO, max_tokens=50, schema=SCHEMA)
    assert server.figures.calls == 2
    assert server.figures.prompt_tokens > 2


def test_a_prompt_without_a_system_part_gets_one():
    shown = with_schema_shown(HELLO[1:], SCHEMA)
    assert [message.role for message in shown] == ["system", "user"]


def test_what_is_shown_is_bounded():
    schema = {"type": "object", "properties": {f"field{n}": {"enum": ["x" * 40] * 9} for n in range(900)}}
    ((system, _), plain) = with_schema_shown(HELLO, schema), len(HELLO[0].content)
    assert len(system.content) < plain + 6200
    assert '"field7"' in system.content


CHOICE = {
    "anyOf": [
        {"type": "object", "properties": {"do": {"const": "answer"}}, "required": ["do"]},
        {
            "type": "object",
            "properties": {"do": {"const": "look"}, "at": {"type": "boolean"}},
            "required": ["do", "at"],
        },
    ]
}


async def test_a_choice_of_objects_is_tried_out_by_itself(lane):
    model = ScriptedModel()
    server = keeping(model, lane)
    await server.complete(HELLO, max_tokens=50, schema=SCHEMA)
    await server.complete(HELLO, max_tokens=50, schema=CHOICE)
    assert ["anyOf" in asked.schema for asked in model.asked] == [False, False, True, True]
    assert lane.keeps == {("scripted", "object"): "honoured", ("scripted", "anyOf"): "honoured"}
    await server.complete(HELLO, max_tokens=50, schema=CHOICE)
    assert len(model.asked) == 5


async def test_who_keeps_to_a_choice_keeps_to_one_object(lane):
    model = ScriptedModel()
    server = keeping(model, lane)
    await server.complete(HELLO, max_tokens=50, schema=CHOICE)
    await server.complete(HELLO, max_tokens=50, schema=SCHEMA)
    assert len(model.asked) == 3


async def test_who_ignores_one_object_ignores_a_choice(lane):
    model = ScriptedModel("Good morning!", GOOD)
    server = keeping(model, lane)
    await server.complete(HELLO, max_tokens=50, schema=SCHEMA)
    await server.complete(HELLO, max_tokens=50, schema=CHOICE)
    assert len(model.asked) == 3
    assert '"const":"look"' in model.asked[-1].messages[0].content


async def test_a_server_that_keeps_to_one_object_but_to_no_choice_is_shown_the_choice_only(lane):
    model = ScriptedModel(answer=lambda asked: "Good morning!" if "anyOf" in asked.schema else None)
    server = keeping(model, lane)
    await server.complete(HELLO, max_tokens=50, schema=CHOICE)
    assert '"const":"look"' in model.asked[-1].messages[0].content
    await server.complete(HELLO, max_tokens=50, schema=SCHEMA)
    assert model.asked[-1].messages == HELLO
    assert (await server.health()).schemas == "ignored"


async def test_trying_it_out_neither_thinks_nor_stops(lane):
    model = ScriptedModel()
    extras = Extras(thinking=True, stop=("r7",))
    server = keeping(model, lane)
    assert [delta async for delta in server.stream(HELLO, max_tokens=50, schema=SCHEMA, extras=extras)]
    assert [asked.extras for asked in model.asked] == [PLAIN, extras]
    assert (await server.health()).schemas == "honoured"
