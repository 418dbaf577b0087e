"""tools/toolbox.py: what a model may call, and what it gets to see of the answer."""

import asyncio
import re
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import Refused, SettingsError
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.llm_backend.structured import schema_of
from ai_sysadmin.testing.tools import asking_tool, failing_tool, fixed_tool, hanging_tool
from ai_sysadmin.tools.pages import keep
from ai_sysadmin.tools.tool import Tool, ToolResult
from ai_sysadmin.tools.toolbox import Looks, Toolbox

KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join(["MIIEowIBAAKCAQEAx" * 3] * 5) + "\n-----END RSA PRIVATE KEY-----"


def box(*tools: Tool, **settings: object) -> Toolbox:
    return Toolbox(tools, Redactor(), Tools.model_validate(settings))


def looks_of(*tools: Tool, named: tuple[str, ...] = (), **settings: object) -> Looks:
    return box(*tools, **settings).open(named)


async def look(looks: Looks, name: str, most: int = 10_000, **arguments: object) -> ToolResult:
    return await looks.look(looks.call(name, arguments), most)


def numbered(lines: int) -> str:
    return "\n".join(f"line number {number}" for number in range(1, lines + 1))


def test_more_comes_last_where_there_is_any_tool() -> None:
    assert list(box(fixed_tool("one"), fixed_tool("two")).tools) == ["one", "two", "more"]
    assert not box().tools


def test_tools_that_are_off_are_left_out() -> None:
    assert list(box(fixed_tool("one"), fixed_tool("two"), off=("one", "more")).tools) == ["two"]
    with pytest.raises(SettingsError, match=r"'three'.*one, two"):
        box(fixed_tool("one"), fixed_tool("two"), off=("three",))


@pytest.mark.parametrize("names", [("one", "one"), ("more",)])
def test_names_are_unique(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=names[-1]):
        box(*map(fixed_tool, names))


def test_tools_are_described_on_a_line_each() -> None:
    one, more = box(fixed_tool("one")).described().splitlines()
    assert one == 'one(about = "" (what to look at), number: 0 to 1000 = 0): Look at something.'
    assert more == (
        "more(handle (of an earlier result, such as t3), from_line: 1 to 100000000 = 1 (first line), "
        'contains = "" (only lines with this text, whatever its case)): '
        "Read on in an earlier result that was cut, or search all of it."
    )


def test_every_tools_arguments_can_be_constrained_at_the_decoder() -> None:
    for tool in box(fixed_tool("one")).tools.values():
        assert schema_of(tool.arguments)["additionalProperties"] is False


async def test_results_are_numbered_in_order_refused_ones_too() -> None:
    looks = looks_of(fixed_tool("one"), failing_tool("two"))
    first = await look(looks, "one", about="disks")
    second = looks.refused("three", {"x": [1, 2]}, "there is no such tool")
    third = await look(looks, "two")
    assert [result.id for result in looks.results] == ["t1", "t2", "t3"]
    assert looks.results == (first, second, third)
    assert (first.title, first.text, first.failed) == ("one of disks", "all is well", False)
    assert (second.failed, second.arguments, second.text) == (True, {"x": "[1, 2]"}, "there is no such tool")
    assert (third.failed, third.text) == (True, "there is no such thing")


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("on", {}, "no tool 'on'; did you mean one\\? There are: one, more"),
        ("one", {"number": 1001}, "number: .*less than or equal to 1000.*It takes about, number"),
        ("one", {"lines": 5}, "lines: Extra"),
        ("one", {"about": "x" * 201}, "about: .*at most 200"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(name: str, arguments: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why):
        looks_of(fixed_tool("one")).call(name, arguments)


async def test_nothing_is_an_argument_left_out() -> None:
    assert (await look(looks_of(fixed_tool("one")), "one", about=None)).arguments == {"about": "", "number": 0}


async def test_an_identical_call_is_refused_with_the_earlier_handle() -> None:
    looks = looks_of(fixed_tool("one"), failing_tool("two"))
    await look(looks, "one", about="x", number=0)
    with pytest.raises(Refused, match="asked this already: t1"):
        looks.call("one", {"about": "x"})
    looks.call("one", {"about": "y"})
    await look(looks, "two")
    with pytest.raises(Refused, match="t2"):
        looks.call("two", {})
    await look(looks, "more", handle="t1")
    await look(looks, "more", handle="t1")


async def test_a_tool_that_hangs_is_ended_in_time() -> None:
    looks = looks_of(hanging_tool("slow", limit_seconds=0.05))
    began = time.monotonic()
    result = await look(looks, "slow")
    assert time.monotonic() - began < 1
    assert result.failed
    assert "slow took longer than 0.05 s" in result.text


async def test_cancelling_ends_the_tool() -> None:
    began = asyncio.Event()
    looks = looks_of(hanging_tool("slow", began=began))
    task = asyncio.create_task(look(looks, "slow"))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert looks.results == ()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")])
async def test_an_odd_host_ends_in_a_failed_result(error: Exception) -> None:
    result = await look(looks_of(failing_tool("odd", error)), "odd")
    assert result.failed
    assert type(error).__name__ in result.text


async def test_what_is_shown_is_cut_on_whole_lines_and_can_be_read_on() -> None:
    looks = looks_of(fixed_tool("much", numbered(100), narrow="ask for a unit"))
    result = await look(looks, "much", most=60)
    assert result.text == "line number 1\nline number 2\nline number 3\nline number 4"
    assert result.left_out == (
        "lines 1 to 4 of 100 are shown; the next ones: more(handle='t1', from_line=5); to see less: ask for a unit"
    )
    onward = await look(looks, "more", most=45, handle="t1", from_line=5)
    assert onward.text == "line number 5\nline number 6\nline number 7"
    assert "more(handle='t1', from_line=8)" in onward.left_out
    again = await look(looks, "more", handle="[t2]", from_line=100)
    assert again.text == "line number 100"


async def test_of_a_log_the_newest_lines_are_shown() -> None:
    looks = looks_of(fixed_tool("log", numbered(100), newest_last=True))
    result = await look(looks, "log", most=50)
    assert result.text == "line number 98\nline number 99\nline number 100"
    assert result.left_out == "lines 98 to 100 of 100 are shown; those before: more(handle='t1', from_line=95)"
    before = await look(looks, "more", most=45, handle="t1", from_line=95)
    assert before.text.splitlines()[0] == "line number 95"


async def test_everything_is_reachable_page_by_page() -> None:
    looks = looks_of(fixed_tool("much", numbered(200)))
    result = await look(looks, "much", most=200)
    seen = result.text.splitlines()
    while result.left_out and (line := int(result.left_out.split("from_line=")[1].rstrip(")"))) > len(seen):
        result = await look(looks, "more", most=200, handle="t1", from_line=line)
        seen += result.text.splitlines()
    assert "\n".join(seen) == numbered(200)


async def test_more_finds_lines_that_contain_a_text() -> None:
    looks = looks_of(fixed_tool("much", numbered(100) + "\nAn ERROR here\npassword=hunter2secret"))
    await look(looks, "much", most=20)
    found = await look(looks, "more", handle="t1", contains="error")
    assert (found.text, found.left_out) == ("101: An ERROR here", "")
    many = await look(looks, "more", most=50, handle="t1", contains="number 1")
    assert many.text.splitlines()[:2] == ["1: line number 1", "10: line number 10"]
    assert "lines 1 to 2 of 12 are shown" in many.left_out
    assert "more(handle='t3', from_line=3)" in many.left_out
    onward = await look(looks, "more", handle="t3", from_line=3)
    assert onward.text.splitlines()[0] == "11: line number 11"
    none = await look(looks, "more", handle="t1", contains="hunter2secret")
    assert none.text == "(none of the lines 1 to 102 of t1 contains that)"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [({"handle": "t9"}, "no result 't9'.*t1"), ({"handle": "t1", "from_line": 3}, "t1 has only 2 lines")],
)
async def test_more_of_what_there_is_not(arguments: dict[str, object], why: str) -> None:
    looks = looks_of(fixed_tool("one", "a\nb"))
    await look(looks, "one")
    result = await look(looks, "more", **arguments)
    assert result.failed
    assert re.search(why, result.text)


async def test_the_oldest_texts_go_first_and_say_so() -> None:
    looks = looks_of(fixed_tool("one", numbered(3)))
    for number in range(33):
        await look(looks, "one", number=number)
    assert "t1 is not kept any more" in (await look(looks, "more", handle="t1")).text
    assert (await look(looks, "more", handle="t3")).text == numbered(3)


async def test_secrets_are_taken_out_and_counted() -> None:
    looks = looks_of(fixed_tool("one", f"user=root password=hunter2secret\n{KEY}\nlast"))
    result = await look(looks, "one", about="password=hunter2secret")
    assert "hunter2secret" not in result.model_dump_json()
    assert "MIIE" not in result.text
    assert result.text.endswith("last")
    assert result.redacted == {"password": 1, "private key": 1}


async def test_a_private_key_is_not_read_in_pieces() -> None:
    looks = looks_of(fixed_tool("one", f"first\n{KEY}\nlast"))
    await look(looks, "one", most=5)
    shown = [(await look(looks, "more", most=60, handle="t1", from_line=line)).text for line in (2, 3)]
    assert "MIIE" not in "".join(shown)


async def test_a_failure_tells_no_secret() -> None:
    looks = looks_of(failing_tool("two", Refused("it said password=hunter2secret \x1b[31mred")))
    assert (await look(looks, "two")).text == "it said password=[redacted: password] red"


async def test_what_acts_on_a_terminal_is_dropped() -> None:
    hostile = "\x1b[2Jcleared\n\x1b]0;title\nnext\u202egnp\u200b.exe\tx\r\nlast\x07"
    result = await look(looks_of(fixed_tool("one", hostile)), "one")
    assert result.text == "cleared\n\nnextgnp.exe  x\nlast "


async def test_a_name_in_zero_width_pieces_hides_no_secret() -> None:
    result = await look(looks_of(fixed_tool("one", "pass\u200bword=hunter2secret")), "one")
    assert "hunter2" not in result.text


@pytest.mark.parametrize("newest_last", [False, True])
async def test_5_mb_cost_little(newest_last: bool) -> None:
    text = "\n".join(
        f"18:00:{n % 60:02d} nginx[{n}]: request {n} from 10.0.0.{n % 255} took {n} ms" for n in range(90_000)
    )
    looks = looks_of(fixed_tool("one", text, newest_last=newest_last))
    call = looks.call("one", {})
    tracemalloc.start()
    await looks.look(call, 5000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * len(text)
    call = looks.call("one", {"number": 1})
    began = time.perf_counter()
    result = await looks.look(call, 5000)
    assert time.perf_counter() - began < 0.3
    assert result.text.startswith("18:00:00") is not newest_last
    assert 4000 < len(result.text) <= 5000


@pytest.mark.parametrize("text", ["x" * 3_000_000, "ab cd " * 500_000, "\x1b[1mß\t" * 400_000, "a\n" * 1_500_000])
async def test_odd_3_mb_cost_little(text: str) -> None:
    looks = looks_of(fixed_tool("one", text))
    began = time.perf_counter()
    result = await look(looks, "one", most=2000)
    assert time.perf_counter() - began < 2
    assert 0 < len(result.text) <= 2000
    assert "more(handle='t1'" in result.left_out


async def test_more_than_is_kept_says_so() -> None:
    text = numbered(2000)
    first = await look(looks_of(fixed_tool("one", text), kept_bytes=1000), "one")
    last = await look(looks_of(fixed_tool("one", text, newest_last=True), kept_bytes=1000), "one")
    assert first.text.splitlines()[0] == "line number 1"
    assert last.text.splitlines()[-1] == "line number 2000"
    assert all(line.startswith("line number ") for line in (first.text + "\n" + last.text).splitlines())
    assert "was not kept" in first.left_out
    assert "was not kept" in last.left_out


@settings(max_examples=150, deadline=None)
@given(st.text(), st.integers(1, 200), st.integers(1, 5000), st.booleans())
def test_a_page_is_never_longer_than_asked_for(text: str, most: int, most_bytes: int, newest_last: bool) -> None:
    kept = keep(text, Redactor(), most_bytes, newest_last=newest_last)
    for page in (kept.page(1, most), kept.last_page(most)):
        assert len(page.text) <= most
        assert 1 <= page.first <= page.last <= kept.lines


async def test_targets_come_from_evidence_and_earlier_results_not_from_the_model() -> None:
    echo = fixed_tool("echo", lambda about, _: f"nothing about {about}, but mirror.example.org is down")
    looks = looks_of(echo, asking_tool("reach"), named=("db.example.org:5432 refused",))
    assert (await look(looks, "reach", target="db.example.org")).text == "db.example.org answers"
    refused = await look(looks, "reach", target="evil.example.net")
    assert refused.failed
    assert not looks.names("evil.example.net"), "a refusal names nothing"
    await look(looks, "echo", about="ask evil.example.net and e\u200bvil2.example.net")
    assert not looks.names("evil.example.net"), "what was asked for is not what was found"
    assert not looks.names("evil2.example.net")
    assert looks.names("mirror.example.org")
