"""More than a model can hold: what goes first, that it is said, and that there is an answer all the same."""

from contextlib import aclosing
from datetime import timedelta

import pytest

from ai_sysadmin.core.settings import MetaModel
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.meta_model.chat import NOW_ANSWER, Chat, LiveState
from ai_sysadmin.meta_model.conversation import shortened
from ai_sysadmin.meta_model.talk import LookEnded, Progress, Question, Words
from ai_sysadmin.meta_model.transcript import Transcript
from ai_sysadmin.testing.scripted_model import ScriptedModel
from ai_sysadmin.testing.tools import fixed_tool
from tests.builders import HOST, NOW, incident
from tests.judging import FAILED, claim, facts, investigator, toolbox

LEFT_OUT = "An earlier look-up is left out here"
PAGE = "a line of words that nobody needs\n" * 60
DIAGNOSIS = {
    "findings": [{"claim": "It looks for a file that is not there.", "evidence": "e1"}],
    "cause": "a missing file",
    "ruled_out": [],
    "next": "Look where the file went.",
    "action": "restart_unit",
    "confidence": 70,
}

NO_MORE = "You may look up nothing more"


class Forgetful(ScriptedModel):
    """A model that tells nobody how much it holds."""

    async def health(self):
        return (await super().health()).model_copy(update={"context_tokens": 0})


def user(text):
    return Message(role="user", content=text)


def live(*incidents):
    return LiveState(host=HOST, incidents=incidents, actions=(), notes=(), now=NOW + timedelta(minutes=5))


async def answered(model, *tools, messages=(), state=None, **settings):
    talker = Chat(model, ScriptedModel(), toolbox(*tools), MetaModel(**settings), output_tokens=1500)
    question = Question(messages=messages or (user("What is wrong?"),))
    async with aclosing(talker.answer(question, state or live())) as events:
        return [event async for event in events]


def words(events):
    return "".join(event.text for event in events if isinstance(event, Words))


def progress(events):
    return [event.text for event in events if isinstance(event, Progress)]


def pages(count):
    return [fixed_tool(f"page_{number}", text=PAGE) for number in range(count)]


def steps(tools):
    return [{"plan": "read on", "do": tool.name} for tool in tools]


async def test_forty_look_ups_end_where_the_context_does():
    tools = pages(40)
    model = ScriptedModel(*steps(tools), name="meta", context_tokens=8192)
    model._answer = lambda asked: "all is read [t1]" if NO_MORE in asked.messages[-1].content else None
    events = await answered(model, *tools, max_steps=40, max_tokens=10_000_000)
    assert words(events) == "all is read [t1]"
    assert 3 < sum(isinstance(event, LookEnded) for event in events) < 40
    assert "there is no room for more" in model.asked[-1].text
    assert LEFT_OUT not in model.asked[-1].text


async def test_where_nobody_knows_the_context_the_server_ends_the_looking():
    tools = pages(40)
    model = Forgetful(*steps(tools), name="meta", context_tokens=8192)
    model._answer = lambda asked: "all is read [t1]" if NO_MORE in asked.messages[-1].content else None
    events = await answered(model, *tools, max_steps=40, max_tokens=10_000_000)
    assert words(events) == "all is read [t1]"
    last = model.asked[-1]
    assert LEFT_OUT in last.text
    assert "there is no room for more" in last.text
    assert last.messages[-1].content.endswith(NOW_ANSWER)


async def test_a_context_too_small_for_the_tools_answers_without_them_and_says_so():
    tools = [fixed_tool(f"tool_{number}_with_quite_a_long_name_that_says_what_it_does") for number in range(60)]
    model = ScriptedModel("I know as much as that.", name="meta", context_tokens=1500)
    events = await answered(model, *tools)
    assert words(events) == "I know as much as that."
    assert model.asked[0].schema is None
    assert "tool_7_with" not in model.asked[0].text
    assert any("nothing is looked up for this answer" in line for line in progress(events))


async def test_the_answer_never_takes_more_than_a_share_of_a_small_context():
    model = ScriptedModel("fine", context_tokens=2000)
    await answered(model, max_reply_tokens=1200)
    assert model.asked[0].max_tokens == 666


async def test_a_front_ends_long_instructions_are_cut_and_that_is_said():
    wishes = Message(role="system", content="Begin with ahoy. " + "Be brief. " * 20_000 + "End with over.")
    model = ScriptedModel("fine")
    events = await answered(model, messages=(wishes, user("hello")))
    assert words(events) == "fine"
    (line,) = progress(events)
    assert "characters of the front end's instructions" in line
    said = model.asked[0].messages[0].content
    assert "Begin with ahoy." in said and "End with over." in said
    assert len(model.asked[0].text) < 30_000


async def test_many_incidents_leave_room_for_the_question():
    many = [incident(title=f"unit {number} failed " + "of words " * 20) for number in range(30)]
    model = ScriptedModel("thirty of them", context_tokens=2500)
    events = await answered(model, messages=(user("How many incidents?"),), state=live(*many))
    assert words(events) == "thirty of them"
    assert "How many incidents?" in model.asked[-1].text


async def test_a_context_that_holds_nothing_is_tried_a_few_times_and_reported():
    model = ScriptedModel(context_tokens=100)
    tried = 0
    begin = model._begin

    def count(asked):
        nonlocal tried
        tried += 1
        return begin(asked)

    model._begin = count
    events = await answered(model, fixed_tool("web_log"))
    assert words(events).startswith("This is a report without a model: the prompt has")
    assert tried <= 5


def test_what_was_said_after_the_last_look_up_outlives_it():
    talk = Transcript([user("why?")])
    for number in range(2):
        talk.add_round(Message(role="assistant", content=f"step {number}"), user(f"result {number}"))
    talk.say("You may look up nothing more.")
    talk.say(NOW_ANSWER)
    while talk.forget_oldest_round():
        pass
    text = "\n".join(message.content for message in talk.messages)
    assert "result" not in text
    assert talk.messages[-1].content == f"Go on.\n\nYou may look up nothing more.\n\n{NOW_ANSWER}"
    assert [message.role for message in talk.messages] == ["user", "assistant", "user", "assistant", "user"]


def test_what_was_said_before_a_look_up_is_not_said_twice():
    talk = Transcript([user("why?")])
    talk.say("Think.")
    talk.add_round(Message(role="assistant", content="step"), user("result"))
    talk.forget_oldest_round()
    assert talk.messages[-1].content == "Go on."


@pytest.mark.parametrize("text", ["x" * 100_000, "words and words " * 5000, "\u00e4" * 30_000])
def test_a_shortened_text_says_how_much_of_it_is_gone(text):
    short, cut = shortened(text, 300)
    assert f"{cut} characters are left out here" in short
    assert len(short) < 1200 and cut > len(text) - 1200
    assert shortened("short", 300) == ("short", 0)


# --- investigations


async def test_an_investigation_too_large_for_its_tools_is_made_without_them():
    tools = [fixed_tool(f"tool_{number}_with_quite_a_long_name_that_says_what_it_does") for number in range(60)]
    model = ScriptedModel(DIAGNOSIS, name="meta", context_tokens=2600)
    found = (await investigator(model, *tools).investigate(await facts(FAILED), claim())).investigation
    assert (found.investigated_by, found.cause) == ("scripted", "a missing file")
    assert any(note.startswith("nothing was looked up: the prompt has") for note in found.notes)
    assert model.asked[0].max_tokens == 866


async def test_an_investigation_whose_look_ups_fill_the_context_ends_with_its_findings():
    tools = pages(40)
    for model in (ScriptedModel(*steps(tools), name="meta"), Forgetful(*steps(tools), name="meta")):
        model._answer = lambda asked: DIAGNOSIS if "End the investigation now" in asked.messages[-1].content else None
        investigating = investigator(model, *tools, max_steps=40, max_tokens=10_000_000)
        done = await investigating.investigate(await facts(FAILED), claim())
        assert (done.investigation.investigated_by, done.investigation.cause) == ("scripted", "a missing file")
        assert "t3" in done.facts.pack.ids()


async def test_five_megabytes_are_evidence_cut_with_a_way_to_the_rest():
    long = fixed_tool("long", text=lambda *_: "".join(f"line {number:08d} of a log\n" for number in range(200_000)))
    model = ScriptedModel({"plan": "", "do": "long"}, {}, DIAGNOSIS, name="meta")
    done = await investigator(model, long).investigate(await facts(FAILED), claim())
    (piece,) = [piece for piece in done.facts.pack.pieces if piece.kind == "looked_up"]
    assert len(piece.text) < 20_000
    assert "of 200001 are shown" in piece.left_out or "of 200000 are shown" in piece.left_out
    assert "more(handle='t1', from_line=" in piece.left_out
