"""Replies that a program reads: their schema, their validation, their one repair."""

import json
import re
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, RootModel

from ai_sysadmin.core.errors import ReplyUnusable
from ai_sysadmin.llm_backend import Message, ReplyDoesNotFit
from ai_sysadmin.llm_backend.structured import list_of, one_of, reply_as, schema_of, with_schema_shown
from ai_sysadmin.testing.scripted_model import ScriptedModel, smallest

HELLO = (Message(role="user", content="judge"),)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Judgement(BaseModel):
    colour: Colour
    kind: Literal["a", "b"]
    why: Annotated[str, Field(max_length=20)]
    seen: Annotated[tuple[Annotated[str, Field(max_length=4)], ...], Field(max_length=3)] = ()
    severity: Annotated[int, Field(ge=0, le=100)]


GOOD = {"colour": "red", "kind": "a", "why": "so", "seen": ["e1"], "severity": 5}


def test_a_schema_is_flat_and_everything_in_it_is_required():
    schema = schema_of(Judgement)
    assert "$ref" not in json.dumps(schema)
    assert "$defs" not in schema
    assert schema["properties"]["colour"]["enum"] == ["red", "blue"]
    assert schema["required"] == ["colour", "kind", "why", "seen", "severity"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["seen"]["maxItems"] == 3


def test_a_field_may_be_called_like_a_keyword_of_the_schema():
    class Odd(BaseModel):
        title: Annotated[str, Field(max_length=5)]
        default: Annotated[str, Field(max_length=5)]

    assert list(schema_of(Odd)["properties"]) == ["title", "default"]


class NoLength(BaseModel):
    text: str


class NoItems(BaseModel):
    items: tuple[Colour, ...]


class NoItemLength(BaseModel):
    items: Annotated[tuple[str, ...], Field(max_length=3)]


class NoMaximum(BaseModel):
    number: Annotated[int, Field(ge=0)]


@pytest.mark.parametrize("model", [NoLength, NoItems, NoItemLength, NoMaximum])
def test_a_field_without_a_bound_is_a_mistake(model):
    with pytest.raises(TypeError, match="needs"):
        schema_of(model)


def test_closed_lists():
    class Choice(BaseModel):
        one: one_of(["x", "y"])
        some: list_of(["e1", "e2"])

    schema = schema_of(Choice)
    assert schema["properties"]["one"]["enum"] == ["x", "y"]
    assert schema["properties"]["some"]["items"]["enum"] == ["e1", "e2"]
    assert schema["properties"]["some"]["minItems"] == 1
    assert Choice(one="x", some=["e9"]).some == ("e9",)
    assert Choice(one="x", some=[]).some == ()


async def test_a_good_reply_takes_one_call():
    model = ScriptedModel(json.dumps(GOOD))
    reply, completion, calls = await reply_as(model, HELLO, Judgement, max_tokens=100)
    assert reply == Judgement(**GOOD)
    assert (completion.model, calls) == ("scripted", 1)
    assert model.asked[0].schema == schema_of(Judgement)


async def test_a_bad_reply_is_shown_to_the_model_and_repaired():
    model = ScriptedModel('{"colour": "green"}', json.dumps(GOOD))
    _, _, calls = await reply_as(model, HELLO, Judgement, max_tokens=100)
    assert calls == 2
    *head, bad, fault = model.asked[1].messages
    assert tuple(head) == HELLO
    assert (bad.role, bad.content) == ("assistant", '{"colour": "green"}')
    assert "colour" in fault.content
    assert "severity" in fault.content


@pytest.mark.parametrize("bad", ["", "All is well.", "[]", '{"colour": "green"}', json.dumps(GOOD | {"severity": 101})])
async def test_two_bad_replies_are_unusable_and_counted(bad):
    with pytest.raises(ReplyUnusable) as caught:
        await reply_as(ScriptedModel(bad, bad), HELLO, Judgement, max_tokens=100)
    assert isinstance(caught.value, ReplyDoesNotFit)
    assert (caught.value.calls, caught.value.model) == (2, "scripted")


async def test_the_tokens_of_all_calls_are_added_up():
    model = ScriptedModel("All is well.", json.dumps(GOOD))
    _, spent, calls = await reply_as(model, HELLO, Judgement, max_tokens=100)
    assert calls == 2
    assert spent.text == json.dumps(GOOD)
    assert spent.prompt_tokens == sum(len(asked.text) // 4 + 1 for asked in model.asked)
    assert spent.completion_tokens == 3 + len(spent.text.split())
    model = ScriptedModel("All is well.", "All is well.")
    with pytest.raises(ReplyDoesNotFit) as caught:
        await reply_as(model, HELLO, Judgement, max_tokens=100)
    assert caught.value.completion_tokens == 6
    assert caught.value.prompt_tokens == sum(len(asked.text) // 4 + 1 for asked in model.asked)


async def test_a_repair_that_does_not_fit_the_context_is_unusable_and_what_it_took_is_known():
    model = ScriptedModel("x" * 300, context_tokens=60)
    with pytest.raises(ReplyDoesNotFit, match="no room to say so") as caught:
        await reply_as(model, HELLO, Judgement, max_tokens=100)
    assert (caught.value.calls, caught.value.completion_tokens) == (1, 1)


async def test_a_reply_in_a_code_fence_is_a_reply():
    model = ScriptedModel(f"```json\n{json.dumps(GOOD)}\n```")
    assert (await reply_as(model, HELLO, Judgement, max_tokens=100))[2] == 1


async def test_what_a_model_is_shown_of_its_own_bad_reply_is_bounded():
    model = ScriptedModel("y" * 9000, json.dumps(GOOD))
    await reply_as(model, HELLO, Judgement, max_tokens=100)
    assert len(model.asked[1].text) < 6000


async def test_a_reply_that_was_cut_off_is_unusable_even_where_it_parses():
    whole = json.dumps(GOOD)
    model = ScriptedModel(whole + " and more words", whole + " and more words")
    with pytest.raises(ReplyDoesNotFit, match="cut off"):
        await reply_as(model, HELLO, Judgement, max_tokens=len(whole.split()))


def test_the_smallest_instance_of_a_schema_fits_it():
    assert smallest({"type": "boolean"}) is False
    assert Judgement.model_validate(smallest(schema_of(Judgement))).severity == 0


class Answer(BaseModel):
    do: Literal["answer"]


class UnitLog(BaseModel):
    do: Literal["unit_log"]
    unit: Annotated[str, Field(max_length=20)]
    lines: Annotated[int, Field(ge=1, le=200)] = 50


class Step(RootModel[Annotated[Answer | UnitLog, Field(discriminator="do")]]):
    """One of several."""


class LooseStep(RootModel[Answer | UnitLog]):
    """One of several, without a word for what tells them apart."""


@pytest.mark.parametrize("model", [Step, LooseStep])
async def test_a_choice_of_objects_is_asked_for_and_read(model):
    schema = schema_of(model)
    assert list(schema) == ["anyOf"]
    assert [branch["required"] for branch in schema["anyOf"]] == [["do"], ["do", "unit", "lines"]]
    assert all(branch["additionalProperties"] is False for branch in schema["anyOf"])
    assert smallest(schema) == {"do": "answer"}
    server = ScriptedModel('{"do": "reboot"}', {"do": "unit_log", "unit": "web", "lines": 5})
    step, _, calls = await reply_as(server, HELLO, model, max_tokens=100)
    assert (step.root, calls) == (UnitLog(do="unit_log", unit="web", lines=5), 2)


def test_a_branch_without_bounds_is_a_mistake():
    class Unbounded(BaseModel):
        text: str

    class Maybe(BaseModel):
        text: str | None

    with pytest.raises(TypeError, match="text needs maxLength"):
        schema_of(RootModel[Answer | Unbounded])
    with pytest.raises(TypeError, match="text needs maxLength"):
        schema_of(Maybe)


def test_a_long_choice_is_shown_in_outline():
    branch = {"do": {"type": "string", "const": "unit_log"}, "unit": {"type": "string", "description": "x" * 7000}}
    schema = {"anyOf": [{"properties": {"do": {"const": "answer"}}}, {"properties": branch}]}
    shown = with_schema_shown(HELLO, schema)[0].content
    assert shown.endswith('exactly the fields of one of these: {"do": "answer"}\n{"do": "unit_log", "unit": …}')


def test_a_choice_too_long_even_in_outline_says_how_many_there_are_beyond():
    branches = [{"properties": {"do": {"const": f"tool_{n}"}, "argument": {"type": "string"}}} for n in range(500)]
    shown = with_schema_shown(HELLO, {"anyOf": branches})[0].content
    assert len(shown) < 6300
    last = shown.splitlines()[-1]
    number = int(re.search(r"tool_(\d+)", last)[1])
    assert last.endswith(f"}} (and {499 - number} more)")


def test_a_long_object_is_shown_by_its_fields():
    schema = {"properties": {"verdict": {"enum": ["x" * 7000]}, "why": {"type": "string"}}}
    assert with_schema_shown(HELLO, schema)[0].content.endswith('exactly the fields of this: {"verdict": …, "why": …}')
