"""`ai-sysadmin metrics` as a process, against a running API."""

import asyncio
import json
import os
import pty
import sys
from datetime import UTC, datetime, timedelta

import pytest

from ai_sysadmin.core.records import Sample
from tests.services.api_harness import running
from tests.services.test_api_cli import cli


async def cli_in(state_dir, *arguments, **environment):
    """Run the command line in an environment; return its exit code and stdout."""
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LC_ALL", "LANG", "LC_CTYPE"}}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ai_sysadmin", *arguments, "--state-dir", str(state_dir)),
        stdout=asyncio.subprocess.PIPE,
        env=kept | {"TZ": "UTC"} | environment,
    )
    out, _ = await process.communicate()
    return process.returncode, out


@pytest.fixture
async def kept(tmp_path):
    """A day of figures: of a memory that fills, and of eight disks."""
    async with running(tmp_path) as api:
        now = datetime.now(UTC)
        for minutes in range(24 * 60, -1, -15):
            share = 1 - minutes / 1440
            disks = [Sample("file_system_used_percent", 40 + 50 * share, f"/disk{n}", "percent") for n in range(8)]
            memory = Sample("memory_available_bytes", (16 - 12 * share) * 2**30, unit="bytes")
            await api.stores.metrics.write([*disks, memory], now - timedelta(minutes=minutes))
        yield api


async def test_list_and_show(kept, tmp_path):
    code, out, _ = await cli("metrics", "list", state_dir=tmp_path)
    head, *rows = out.splitlines()
    assert (code, head.split(), len(rows)) == (0, ["NAME", "NEWEST", "AGE", "ABOUT"], 9)
    assert rows[-1].split()[:3] == ["memory_available_bytes", "4", "GiB"]
    code, out, _ = await cli("metrics", "list", "memory", "--json", state_dir=tmp_path)
    assert (code, [each["name"] for each in json.loads(out)["metrics"]]) == (0, ["memory_available_bytes"])
    code, out, _ = await cli("metrics", "show", "memory_available_bytes", "--since", "24h", state_dir=tmp_path)
    assert code == 0
    assert out.startswith("memory_available_bytes, 20")
    assert " +0000 to 20" in out.splitlines()[0]
    assert "newest 4 GiB (" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = await cli("metrics", "show", "memory_available_bytes", "--json", state_dir=tmp_path)
    document = json.loads(out)
    assert (code, document["bucket_seconds"], len(document["series"])) == (0, 600, 1)
    assert 90 <= len(document["series"][0]["points"]) <= 98


async def test_several_things_are_drawn_six_at_most_and_one_alone(kept, tmp_path):
    name = "file_system_used_percent"
    code, out, _ = await cli("metrics", "show", name, state_dir=tmp_path)
    drawn = [line for line in out.splitlines() if line.startswith("/disk")]
    assert (code, drawn) == (0, [f"/disk{number}" for number in range(6)])
    assert "It is measured on 2 more" in out
    code, out, _ = await cli("metrics", "show", name, "--json", state_dir=tmp_path)
    assert (code, len(json.loads(out)["series"]), json.loads(out)["left_off"]) == (0, 8, 0)
    code, out, _ = await cli("metrics", "show", name, "/disk7", "--since", "4h", state_dir=tmp_path)
    assert [line for line in out.splitlines() if line.startswith("/disk")] == ["/disk7"]
    assert "most 90.0 %" in out


async def test_what_cannot_be_answered_has_the_exit_code_of_its_kind(kept, tmp_path):
    code, out, err = await cli("metrics", "show", "memory_avail_bytes", state_dir=tmp_path)
    assert (code, out) == (1, "")
    assert "there is no metric 'memory_avail_bytes'; near it: memory_available_bytes" in err
    code, out, err = await cli("metrics", "show", "file_system_used_percent", "/disk9", "--json", state_dir=tmp_path)
    assert (code, json.loads(out)["error"]["kind"]) == (1, "NotFound")
    assert "is not measured on '/disk9', but on /disk" in err
    code, _, err = await cli("metrics", "show", "memory_available_bytes", "--since", "yesterday", state_dir=tmp_path)
    assert (code, "24h, 7d or 4w" in " ".join(err.split())) == (2, True)
    odd = ("", "..", "../status", "a/b?since=1h#x")
    ended = await asyncio.gather(*(cli("metrics", "show", each, state_dir=tmp_path) for each in odd))
    assert [code for code, _, _ in ended] == [1] * len(odd)
    assert (await cli("metrics", "list", "zzz", state_dir=tmp_path))[0] == 0


async def test_without_an_api_it_is_exit_4(tmp_path):
    for arguments in (["list"], ["show", "used"]):
        code, out, err = await cli("metrics", *arguments, state_dir=tmp_path)
        assert (code, out) == (4, "")
        assert "the API does not answer" in err


async def test_ascii_alone_where_the_locale_or_the_output_has_no_more(kept, tmp_path):
    show = ("metrics", "show", "memory_available_bytes")
    for environment in ({"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"}):
        code, out = await cli_in(tmp_path, *show, **environment)
        assert (code, out.isascii(), out.count(b"*") > 50) == (0, True, True), environment
    code, out = await cli_in(tmp_path, *show, LC_ALL="C.UTF-8")
    assert (code, any("\u2800" <= mark <= "\u28ff" for mark in out.decode())) == (0, True)


@pytest.mark.parametrize(("columns", "widest"), [("", 80), ("60", 60), ("120", 120)])
async def test_a_chart_is_as_wide_as_it_may_be(kept, tmp_path, columns, widest):
    given = {"COLUMNS": columns} if columns else {}
    _, out = await cli_in(tmp_path, "metrics", "show", "memory_available_bytes", LC_ALL="C.UTF-8", **given)
    assert max(map(len, out.decode().splitlines())) == widest


async def test_linuxs_console_has_no_braille(kept, tmp_path):
    leader, follower = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ai_sysadmin", "metrics", "show", "memory_available_bytes"),
            *("--state-dir", str(tmp_path)),
            stdout=follower,
            env=os.environ | {"TERM": "linux", "LC_ALL": "C.UTF-8"},
        )
        assert await process.wait() == 0
        shown = os.read(leader, 1 << 16)
    finally:
        os.close(leader)
        os.close(follower)
    assert shown.isascii()
    assert b"*" in shown
