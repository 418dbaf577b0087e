"""What an operator declares: filled argument by argument, checked to the letter, bounded, with a bare environment."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.errors import AiSysadminError, Refused
from ai_sysadmin.core.tool_settings import DeclaredTool
from ai_sysadmin.llm_backend.structured import schema_of
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut
from ai_sysadmin.tools.declared import declared_tools, filled
from ai_sysadmin.tools.tool import Told


class NoScene:
    def names(self, target: str) -> bool:
        return False


def script(directory: Path, text: str) -> str:
    path = directory / "look"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def declared(*argv: str, parameters: dict | None = None, **changes) -> DeclaredTool:
    given = {"name": "look", "description": "Looks.", "argv": argv, "parameters": parameters or {}} | changes
    return DeclaredTool.model_validate(given)


async def ask(tool: DeclaredTool, most_bytes: int = 1 << 20, **given) -> Told:
    (made,) = declared_tools([tool], most_bytes=most_bytes)
    return await made.look(made.parsed(given).model_dump(), NoScene())


async def test_arguments_are_filled_whole_and_never_split(tmp_path):
    program = script(tmp_path, 'for each in "$@"; do echo "<$each>"; done')
    any_text = {"type": "string", "pattern": r"[^-].{0,100}"}
    tool = declared(program, "--of={a}", "{a}", "x{b}y", parameters={"a": any_text, "b": {"type": "integer"}})
    told = await ask(tool, a="one two; echo $(id) *", b=7)
    head, *lines = told.text.split("\n")
    assert head.endswith(": exit status 0")
    assert lines == ["<--of=one two; echo $(id) *>", "<one two; echo $(id) *>", "<x7y>"]


@pytest.mark.parametrize("value", ["", "a b", "a\n", "a\nb", "-x", "--help", "x" * 201, "a\0b", "ä", "$(id)"])
async def test_a_value_that_does_not_fit_is_not_run(tmp_path, value):
    program = script(tmp_path, f"touch {tmp_path}/ran")
    tool = declared(program, "{unit}", parameters={"unit": {}})
    with pytest.raises(Refused):
        await ask(tool, unit=value)
    assert not (tmp_path / "ran").exists()
    await ask(tool, unit="nginx.service")
    assert (tmp_path / "ran").exists()


async def test_line_ends_are_refused_even_where_a_pattern_takes_them(tmp_path):
    tool = declared(script(tmp_path, "echo"), "{a}", parameters={"a": {"pattern": r"x[\s\S]*"}})
    for value in ("x\ny", "x\0", "x\r"):
        with pytest.raises(Refused, match="line end or NUL"):
            await ask(tool, a=value)


@pytest.mark.parametrize(
    ("parameter", "value", "is_taken"),
    [
        ({"pattern": ".{2}"}, "-x", False),
        ({"pattern": "(?:-|x)[a-z]"}, "-x", True),
        ({"pattern": "-[0-9]"}, "-5", True),
        ({"type": "integer", "minimum": -3}, -3, True),
        ({"type": "integer"}, -1, False),
        ({"type": "choice", "choices": ["-a", "b"]}, "-a", True),
        ({"type": "choice", "choices": ["a", "b"]}, "c", False),
        ({"type": "integer", "maximum": 5}, 6, False),
        ({"type": "integer"}, "5; id", False),
    ],
)
async def test_a_dash_begins_a_value_only_where_the_operator_said_so(tmp_path, parameter, value, is_taken):
    tool = declared(script(tmp_path, 'echo "<$1>"'), "{a}", parameters={"a": parameter})
    if is_taken:
        assert f"<{value}>" in (await ask(tool, a=value)).text
    else:
        with pytest.raises(Refused):
            await ask(tool, a=value)


@given(st.text(min_size=1, max_size=50))
def test_whatever_the_value_the_argv_keeps_its_shape(value):
    tool = declared("/bin/x", "--a={a}", "fixed", "b{a}", parameters={"a": {}})
    assert filled(tool, {"a": value}) == ("/bin/x", f"--a={value}", "fixed", f"b{value}")


async def test_how_it_ended_and_what_it_said_on_stderr_is_told(tmp_path):
    told = await ask(declared(script(tmp_path, "echo out; echo oops >&2; exit 3")))
    assert told.text.split("\n")[1:] == ["out", "on stderr:", "oops"]
    assert told.text.split("\n")[0].endswith(": exit status 3")
    assert "signal 9 ended it" in (await ask(declared(script(tmp_path, "kill -9 $$")))).text


async def test_the_services_environment_and_stdin_are_not_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEY", "hunter2")
    told = await ask(declared(script(tmp_path, "env; cat; echo end")))
    assert "hunter2" not in told.text
    assert "LC_ALL=C" in told.text
    assert told.text.endswith("end")


async def test_time_and_size_are_bounded(tmp_path):
    began = time.monotonic()
    with pytest.raises(CommandTimedOut):
        await ask(declared(script(tmp_path, "sleep 60"), timeout_seconds=0.3))
    assert time.monotonic() - began < 3
    told = await ask(declared(script(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x")), most_bytes=100_000)
    assert len(told.text) < 101_000
    assert "more than 97 KiB" in told.truncated


async def test_a_program_that_cannot_be_started_is_told(tmp_path):
    with pytest.raises(CommandMissing):
        await ask(declared("/nowhere/look"))
    bare = tmp_path / "bare"
    bare.write_bytes(b"\x00\x01 no program")
    bare.chmod(0o755)
    with pytest.raises(AiSysadminError, match="cannot be started"):
        await ask(declared(str(bare)))


def test_a_model_is_told_what_it_takes():
    kinds = {
        "a": {"description": "a unit"},
        "b": {"type": "integer", "maximum": 9},
        "c": {"type": "choice", "choices": ["x", "y"]},
    }
    (tool,) = declared_tools([declared("/bin/x", "{a}{b}{c}", parameters=kinds)], 1000)
    schema = schema_of(tool.arguments)
    assert schema["required"] == ["a", "b", "c"]
    assert schema["properties"]["b"] == {"description": "b", "minimum": 0, "maximum": 9, "type": "integer"}
    assert schema["properties"]["c"]["enum"] == ["x", "y"]
    assert schema["properties"]["a"]["description"].startswith("a unit, as ")
    assert tool.title(tool.parsed({"a": "nginx", "b": 1, "c": "x"})) == "look nginx 1 x"
