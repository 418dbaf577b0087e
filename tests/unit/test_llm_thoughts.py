"""What a model thinks, and where its answer ends: however a server cuts it into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Extras, Message
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.llm_backend.ollama import Ollama
from ai_sysadmin.llm_backend.openai_compatible import OpenAICompatible
from ai_sysadmin.llm_backend.thoughts import Stops, Thoughts
from ai_sysadmin.testing.fake_ollama import FakeOllama
from ai_sysadmin.testing.fake_openai import FakeOpenAI
from ai_sysadmin.testing.misbehaving_server import Fault, MisbehavingServer
from ai_sysadmin.testing.scripted_model import Scripted, ScriptedModel

HELLO = (Message(role="user", content="hello"),)
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
WRITTEN = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<", "<th", "</", "think>", "ink>", " ", "\n", "a", "the end", "STOP", "ST"]
    )
).map("".join)
CUTS = st.lists(st.integers(0, 200))


def pieces(text: str, cuts: list[int]) -> list[str]:
    ends = [*sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def split(parts: list[str]) -> tuple[str, str]:
    thoughts = Thoughts()
    said = [*map(thoughts.add, parts), thoughts.rest()]
    return "".join(thought for thought, _ in said), "".join(text for _, text in said)


@pytest.mark.parametrize(
    ("written", "thought", "answer"),
    [
        ("<think>\nhm\n</think>\n\nyes", "hm\n", "yes"),
        ("\n <think>hm</think>yes", "hm", "yes"),
        ("<think>\n\n</think>\n\nyes", "", "yes"),
        ("<think>never ends", "never ends", ""),
        ("<think>a </thin b</think>c", "a </thin b", "c"),
        ("<think>a</think>b <think>c</think>", "a", "b <think>c</think>"),
        ("yes <think>no</think>", "", "yes <think>no</think>"),
        ("<thinking>", "", "<thinking>"),
        ("<thin", "", "<thin"),
        ("  indented", "", "  indented"),
        (" \n", "", " \n"),
        ("", "", ""),
    ],
)
def test_thoughts_stand_at_the_very_start(written, thought, answer):
    assert split([written]) == (thought, answer)
    assert split(list(written)) == (thought, answer)


@given(WRITTEN, CUTS)
def test_how_a_text_is_cut_does_not_matter(text, cuts):
    assert split(pieces(text, cuts)) == split([text])


@given(WRITTEN, CUTS)
def test_nothing_is_lost_but_marks_and_blanks(text, cuts):
    thought, answer = split(pieces(text, cuts))
    plain = "".join((thought + answer).split())
    whole = "".join(text.split())
    assert plain in {whole, whole.replace("<think>", "", 1), whole.replace("<think>", "", 1).replace("</think>", "", 1)}


@given(WRITTEN, CUTS)
def test_an_answer_ends_before_the_first_stop(text, cuts):
    stops = Stops(("STOP", "the end", "</think>"))
    said = "".join(map(stops.add, pieces(text, cuts))) + stops.rest()
    first = min((at for each in ("STOP", "the end", "</think>") if (at := text.find(each)) >= 0), default=len(text))
    assert said == text[:first]
    assert stops.reached == (first < len(text))


def test_a_text_that_cannot_be_a_mark_is_not_held_back():
    thoughts, stops = Thoughts(), Stops(("STOP",))
    assert thoughts.add("Hello") == ("", "Hello")
    assert thoughts.add(" <think") == ("", " <think")
    assert stops.add("it ST") == "it "
    assert stops.add("ays") == "STays"


async def test_whether_a_model_may_think_is_told_each_kind_of_server_in_its_way():
    fake, ollama = FakeOpenAI(models=("default",)), FakeOllama()
    async with fake.serving() as url, ollama.serving() as ollama_url:
        for server, asked, off, on in (
            (LlamaCpp("meta", Backend(url=url)), fake.asked, _template(False), _template(True)),
            (OpenAICompatible("meta", Backend(url=url, type="openai")), fake.asked, _template(False), {}),
            (
                Ollama("meta", Backend(url=ollama_url, type="ollama")),
                ollama.openai.asked,
                {"reasoning_effort": "none"},
                {},
            ),
        ):
            for thinking, schema, sent in ((False, None, off), (True, None, on), (True, SCHEMA, off)):
                extras = Extras(thinking=thinking)
                assert [delta async for delta in server.stream(HELLO, max_tokens=9, schema=schema, extras=extras)]
                assert {name: asked[-1][name] for name in _ABOUT_THINKING & asked[-1].keys()} == sent
            await server.close()


_ABOUT_THINKING = {"chat_template_kwargs", "reasoning_effort"}


def _template(thinks: bool) -> dict[str, object]:
    return {"chat_template_kwargs": {"enable_thinking": thinks}}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking", ""])
async def test_thoughts_are_found_wherever_a_server_puts_them(field):
    script = ScriptedModel(Scripted("it is full", reasoning="the disk, perhaps"))
    async with FakeOpenAI(script, reasoning_in=field).serving() as url:
        server = OpenAICompatible("meta", Backend(url=url, type="openai"))
        done = await server.complete(HELLO, max_tokens=50)
        assert (done.text, done.reasoning.strip()) == ("it is full", "the disk, perhaps")
        await server.close()


async def test_a_model_that_only_thinks_has_no_answer():
    script = ScriptedModel(Scripted("it is full", reasoning="so many thoughts"))
    async with FakeOpenAI(script).serving() as url:
        server = OpenAICompatible("meta", Backend(url=url, type="openai"))
        done = await server.complete(HELLO, max_tokens=3)
        assert (done.text, done.reasoning, done.finish_reason) == ("", "so many thoughts", "length")
        await server.close()


async def test_a_stop_does_not_end_thoughts():
    script = ScriptedModel(Scripted("it is full; stop; now", reasoning="when do I stop; never"))
    fake = FakeOpenAI(script)
    async with fake.serving() as url:
        server = OpenAICompatible("meta", Backend(url=url, type="openai"))
        extras = Extras(thinking=True, stop=("stop;",))
        deltas = [delta async for delta in server.stream(HELLO, max_tokens=50, extras=extras)]
        done = deltas[-1].completion
        assert (done.reasoning, done.text, done.finish_reason) == ("when do I stop; never", "it is full; ", "stop")
        assert "stop" not in fake.asked[-1]
        assert done.completion_tokens > 0
        await server.close()


async def test_thoughts_without_end_are_cut():
    async with MisbehavingServer(Fault.ENDLESS_THOUGHTS).serving() as url:
        server = LlamaCpp("meta", Backend(url=url, timeout_seconds=5))
        done = await server.complete(HELLO, max_tokens=50)
        assert (done.text, done.finish_reason) == ("", "length")
        assert 0 < len(done.reasoning) <= 50 * 64
        await server.close()
