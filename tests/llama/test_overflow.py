"""More than a model can hold: long conversations, long messages, long results, on a real llama-server.

What a person gets is an answer that says what was left out of it, or a report that says why: never a failure.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from ai_sysadmin.testing.http_server import HttpReply, HttpRequest
from tests.llama.server import serve
from tests.scripted_llama import CHAT, ScriptedLlama, scripted_llama
from tests.suite_up import SuiteUp, suite_up

MODEL, FAST = "ai-sysadmin", "ai-sysadmin-fast"
REPORT = "This is a report without a model: "
LINES = 140_000
WORDS = "the disk was nearly full and then it was not any more "
LONG_TALK = [
    {"role": "assistant" if number % 2 else "user", "content": f"message {number}: {WORDS * 4}"}
    for number in range(500)
] + [{"role": "user", "content": "What is wrong with nginx?"}]
LONG_MESSAGES: Mapping[str, Sequence[Mapping[str, str]]] = {
    "500 messages": LONG_TALK,
    "1.5 MB of words": [{"role": "user", "content": "why is the disk full? " * 68_000}],
    "1.5 MB of one letter": [{"role": "user", "content": "x" * 1_500_000}],
    "a system prompt of 200 KB": [
        {"role": "system", "content": "Be brief. " * 20_000},
        {"role": "user", "content": "How is this host?"},
    ],
}
SAID_OF = {
    "500 messages": "earlier messages",
    "1.5 MB of words": "characters of the newest message",
    "1.5 MB of one letter": "characters of the newest message",
    "a system prompt of 200 KB": "characters of the front end's instructions",
}


def flags(tokens: int) -> tuple[str, ...]:
    """Return the flags of a server of two slots, each of so many tokens."""
    return ("--port", "0", "-c", str(2 * tokens), "-np", "2", "-t", "1", "-cram", "64", "--alias", "tiny")


class Answer:
    """A streamed answer, taken apart."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == httpx.codes.OK, response.text
        events = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
        assert events[-1] == "[DONE]"
        self.frames: list[dict[str, Any]] = [json.loads(each) for each in events[:-1]]
        choices = [choice for frame in self.frames for choice in frame.get("choices", ())]
        self.text = "".join(choice["delta"].get("content") or "" for choice in choices)
        self.ended = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        told = [frame["event"]["data"] for frame in self.frames if frame.get("event", {}).get("type") == "status"]
        self.status = [each["description"] for each in told]

    @property
    def outputs(self) -> list[str]:
        """Return what the tools said, as a person is shown it."""
        items = (frame["item"] for frame in self.frames if "item" in frame)
        return [item["output"][0]["text"] for item in items if item["type"] == "function_call_output"]

    def ends_well(self) -> None:
        assert self.ended in (["stop"], ["length"]), self.frames[-3:]
        assert self.text.strip()


def ask(suite: SuiteUp, messages: Sequence[Mapping[str, str]], model: str = MODEL) -> Answer:
    body = {"model": model, "messages": messages, "stream": True, "seed": 3, "max_tokens": 100}
    headers = {"Authorization": f"Bearer {suite.key}", "X-AI-Sysadmin-Progress": "events"}
    return Answer(httpx.post(f"{suite.base_url}/chat/completions", headers=headers, json=body, timeout=90))


def nothing_broke(suite: SuiteUp) -> None:
    log = suite.log.read_text()
    assert "Traceback" not in log and " broke" not in log, log[-5000:]


@pytest.fixture(scope="module", params=[8192, 2048])
def suite(tiny_model, request) -> Iterator[SuiteUp]:
    pytest.importorskip("xllamacpp", reason="the embedded model server needs x86-64 with AVX2", exc_type=ImportError)
    with serve(tiny_model, flags(request.param)) as models, suite_up(models) as up:
        yield up


@pytest.mark.parametrize("model", [MODEL, FAST])
@pytest.mark.parametrize("what", LONG_MESSAGES)
def test_what_is_too_long_is_answered_and_what_was_left_out_is_said(suite, what, model):
    answer = ask(suite, LONG_MESSAGES[what], model)
    answer.ends_well()
    assert REPORT not in answer.text
    assert any(SAID_OF[what] in line for line in answer.status), answer.status
    nothing_broke(suite)


def test_without_a_stream_it_is_one_whole_answer(suite):
    body = {"model": MODEL, "messages": LONG_TALK, "max_tokens": 50}
    headers = {"Authorization": f"Bearer {suite.key}"}
    answer = httpx.post(f"{suite.base_url}/chat/completions", headers=headers, json=body, timeout=90)
    assert answer.status_code == httpx.codes.OK
    (choice,) = answer.json()["choices"]
    assert choice["message"]["content"].strip()
    assert choice["finish_reason"] in {"stop", "length"}


def test_a_body_over_the_limit_is_told_its_size(suite):
    headers = {"Authorization": f"Bearer {suite.key}"}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x" * (3 << 20)}]}
    refused = httpx.post(f"{suite.base_url}/chat/completions", headers=headers, json=body, timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")


def test_a_context_that_holds_next_to_nothing_gets_a_report_that_says_so(tiny_model):
    pytest.importorskip("xllamacpp", reason="the embedded model server needs x86-64 with AVX2", exc_type=ImportError)
    with serve(tiny_model, flags(1000)) as models, suite_up(models) as suite:
        answer = ask(suite, LONG_TALK)
        answer.ends_well()
        first = answer.text.splitlines()[0]
        assert first.startswith(f"{REPORT}the prompt has ") and "the model's context holds" in first
        nothing_broke(suite)


# --- what a tool says


class HonestLlama(ScriptedLlama):
    """A script whose prompts the real server has to be able to hold, and counts."""

    async def handle(self, request: HttpRequest, reply: HttpReply) -> None:
        body = request.content
        if (request.method, request.path) == ("POST", CHAT):
            tried = {"messages": body["messages"], "max_tokens": 1, "stream": False}
            answer = await self._upstream.post(CHAT, json=tried)
            if answer.status_code != httpx.codes.OK:
                await reply.whole(answer.content, "application/json", answer.status_code)
                return
            counted = {**body, "prompt_tokens": answer.json()["usage"]["prompt_tokens"]}
            request = replace(request, body=json.dumps(counted).encode())
        await super().handle(request, reply)


@contextmanager
def looking_suite(tiny_model: Path, tokens: int, **meta: Any) -> Iterator[tuple[ScriptedLlama, SuiteUp]]:
    """Run a suite with a tool that says 5 MB, and one that says its argument and a page of words."""
    pytest.importorskip("xllamacpp", reason="the embedded model server needs x86-64 with AVX2", exc_type=ImportError)
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        directory.chmod(0o755)
        (directory / "long").write_text(
            "".join(f"line {number:08d} of a file that is long\n" for number in range(LINES))
        )
        page = directory / "page"
        page.write_text("a page of words that fill the context\n" * 40)
        number = {"number": {"type": "integer", "minimum": 1, "maximum": 100}}
        declared = [
            {"name": "five_megabytes", "description": "Says much.", "argv": ["/usr/bin/cat", str(directory / "long")]},
            {
                "name": "page",
                "description": "Says a page.",
                "argv": ["/usr/bin/head", "-n", "{number}", str(page)],
                "parameters": number,
            },
        ]
        settings = {"tools": {"declared": declared}, "meta_model": meta}
        with (
            serve(tiny_model, flags(tokens)) as server,
            scripted_llama(server, HonestLlama) as (script, url),
            suite_up(url, settings) as suite,
        ):
            yield script, suite


def look(do: str, **arguments: object) -> dict[str, object]:
    return {"plan": "see", "do": do, **arguments}


def test_five_megabytes_of_a_tool_are_cut_and_read_on_in(tiny_model):
    with looking_suite(tiny_model, 12_288) as (script, suite):
        course = script.course(
            "the whole file",
            "I read it [t1].",
            look("five_megabytes"),
            look("more", handle="t1", from_line=100_001, contains=""),
            look("more", handle="t1", from_line=1, contains="line 00123456 "),
        )
        answer = ask(suite, [{"role": "user", "content": "Read the whole file."}])
        answer.ends_well()
        first, on, found = answer.outputs
        assert "line 00000000 " in first and f"of {LINES + 1} are shown" in first
        assert "line 00099999 " in on
        assert "line 00123456 " in found
        window = course.prompts[-1]
        assert "Not shown: lines 1 to " in window and "more(handle='t1', from_line=" in window
        assert len(window) < 40_000
        nothing_broke(suite)


@pytest.mark.parametrize("tokens", [12_288, 8192])
def test_forty_look_ups_fill_the_context_and_are_followed_by_an_answer(tiny_model, tokens):
    with looking_suite(tiny_model, tokens, max_steps=40, max_tokens=1_000_000) as (script, suite):
        steps = [look("page", number=number) for number in range(1, 41)]
        course = script.course("page by page", "That is all of it [t1].", *steps)
        answer = ask(suite, [{"role": "user", "content": "Read it page by page."}])
        answer.ends_well()
        assert "That is all of it" in answer.text
        assert REPORT not in answer.text
        print(f"{len(answer.outputs)} look-ups fit into {tokens} tokens")
        assert len(answer.outputs) < 40
        assert "You may look up nothing more: there is no room for more" in course.prompts[-1]
        nothing_broke(suite)
