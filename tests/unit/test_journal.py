"""sources/export.py and sources/journal.py: any cutting gives the same entries; a child that dies is started again."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources import journal
from ai_sysadmin.sources.export import VALUE_BYTES, ExportParser, entry_of, numbered
from ai_sysadmin.sources.journal import lost_between, lost_within, trouble_in

FIXTURE = Path(__file__).parents[1] / "fixtures/journal/failing-units.export"
REMOTE = Path("/lib/systemd/systemd-journal-remote")
needs_files = pytest.mark.skipif(
    not (REMOTE.exists() and shutil.which("journalctl")), reason="needs journalctl and systemd-journal-remote"
)


@dataclass(frozen=True)
class At:
    cursor: str
    sequence_id: str = "aa"
    sequence: int = 0


def text(name: str, value: str) -> bytes:
    return f"{name}={value}\n".encode()


def binary(name: str, value: bytes) -> bytes:
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def cursor(number: int) -> str:
    return f"s=aa;i={number:x};b=bb;m=1;t=1;x=1"


def entry(number: int, *fields: bytes) -> bytes:
    head = text("__CURSOR", cursor(number)) + text("__REALTIME_TIMESTAMP", str(1_795_331_618_000_000 + number))
    return head + b"".join(fields) + b"\n"


def parse(data: bytes, *cuts: int) -> list[JournalEntry]:
    parser = ExportParser()
    edges = [0, *sorted(cuts), len(data)]
    return [each for start, end in pairwise(edges) for each in parser.feed(data[start:end])]


# --- the parser


names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True).filter(lambda name: name != "__CURSOR")
texts = st.builds(lambda n, v: text(n, v.replace("\n", " ")), names, st.text(max_size=60))
binaries = st.builds(
    binary,
    names,
    st.one_of(st.binary(max_size=80), st.integers(0, 3).map(lambda n: b"\n" * n + b"x" * VALUE_BYTES * n)),
)
streams = st.lists(st.lists(st.one_of(texts, binaries), max_size=6), min_size=1, max_size=6).map(
    lambda entries: b"".join(entry(number, *fields) for number, fields in enumerate(entries, 1))
)


@given(data=streams, cut=st.lists(st.integers(0, 4000), max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_cutting_of_the_stream_gives_the_same_entries(data: bytes, cut: list[int]) -> None:
    whole = parse(data)
    assert [each.sequence for each in whole] == list(range(1, len(whole) + 1))
    assert parse(data, *(min(each, len(data)) for each in cut)) == whole


@given(data=st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_rubbish_is_refused_or_passed_over_but_never_kept_growing(data: bytes) -> None:
    parser = ExportParser()
    try:
        parser.feed(data)
    except JournalUnavailable:
        return
    assert len(parser._rest) <= len(data)


def test_a_recorded_journal_byte_by_byte() -> None:
    data = FIXTURE.read_bytes()
    whole = parse(data)
    assert len(whole) == 70
    parser = ExportParser()
    assert [each for byte in data for each in parser.feed(bytes([byte]))] == whole


def test_an_entry_is_about_the_unit_that_the_manager_names() -> None:
    about = {each.message: each for each in parse(FIXTURE.read_bytes())}
    failed = about["e2e-fail.service: Failed with result 'exit-code'."]
    assert (failed.unit, failed.priority, failed.fields["UNIT_RESULT"]) == ("e2e-fail.service", 4, "exit-code")
    assert failed.message_id == "d9b373ed55a64feb8242e02dbe79a49c"
    assert about["boom"].unit == "e2e-segv.service"
    assert failed.at == datetime(2026, 11, 22, 7, 53, 38, 286450, UTC) or failed.at.tzinfo is UTC


@pytest.mark.parametrize(
    ("fields", "unit"),
    [
        ({"_SYSTEMD_UNIT": "a.service"}, "a.service"),
        ({"_SYSTEMD_UNIT": "init.scope", "_PID": "1", "UNIT": "b.service"}, "b.service"),
        (
            {"_SYSTEMD_UNIT": "b.service", "_PID": "7", "_UID": "0", "_COMM": "(nginx)", "UNIT": "b.service"},
            "b.service",
        ),
        ({"_SYSTEMD_UNIT": "evil.service", "_PID": "7", "_UID": "33", "UNIT": "sshd.service"}, "evil.service"),
        ({"_SYSTEMD_UNIT": "evil.service", "_UID": "33", "_COMM": "systemd", "UNIT": "sshd.service"}, "evil.service"),
        ({"_SYSTEMD_UNIT": "evil.service", "_UID": "33", "OBJECT_SYSTEMD_UNIT": "sshd.service"}, "evil.service"),
        ({"_SYSTEMD_UNIT": "a.service", "_UID": "0", "OBJECT_SYSTEMD_UNIT": "c.service"}, "c.service"),
        ({"_TRANSPORT": "driver", "OBJECT_SYSTEMD_UNIT": "c.service"}, "c.service"),
        ({"_SYSTEMD_UNIT": "evil.service", "COREDUMP_UNIT": "d.service"}, "evil.service"),
        ({"_SYSTEMD_UNIT": "systemd-coredump@1-2-3.service", "COREDUMP_UNIT": "d.service"}, "d.service"),
        ({}, ""),
    ],
)
def test_only_the_manager_and_root_may_speak_of_another_unit(fields: dict[str, str], unit: str) -> None:
    made = entry_of(fields)
    assert made.unit == unit
    assert made.fields.get("UNIT", unit) == unit


def test_invalid_utf8_is_replaced_in_both_forms() -> None:
    found = parse(entry(1, b"MESSAGE=a\xffb\n") + entry(2, binary("MESSAGE", b"a\xff\nb")))
    assert [each.message for each in found] == ["a\ufffdb", "a\ufffd\nb"]


@pytest.mark.parametrize("size", [VALUE_BYTES, VALUE_BYTES + 1, 1 << 20])
@pytest.mark.parametrize("chunk", [1000, 65536])
def test_a_huge_message_is_cut_and_its_entry_still_counts(size: int, chunk: int) -> None:
    huge = b"m" * size
    data = entry(1, binary("MESSAGE", huge)) + entry(2, b"MESSAGE=" + huge + b"\n") + entry(3, text("MESSAGE", "end"))
    parser = ExportParser()
    found = []
    for start in range(0, len(data), chunk):
        found += parser.feed(data[start : start + chunk])
        assert len(parser._rest) < 200_000
    assert [(each.sequence, len(each.message)) for each in found] == [(1, VALUE_BYTES), (2, VALUE_BYTES), (3, 3)]


def test_an_entry_cut_short_ends_where_the_next_begins() -> None:
    cut = text("__CURSOR", cursor(1)) + text("__REALTIME_TIMESTAMP", "1") + text("MESSAGE", "half")
    found = parse(cut + entry(2, text("MESSAGE", "whole")) + cut + entry(3, binary("MESSAGE", b"x\ny")))
    assert [each.message for each in found] == ["half", "whole", "half", "x\ny"]


def test_what_is_not_the_export_format_is_said() -> None:
    with pytest.raises(JournalUnavailable, match="not the journal export format"):
        ExportParser().feed(b"x" * 100_000)
    with pytest.raises(JournalUnavailable, match="not the journal export format"):
        ExportParser().feed(b"MESSAGE\n" + b"\xff" * 8 + b"\n\n")


@pytest.mark.parametrize("broken", ["", "rubbish", "s=aa", "s=aa;i=", "s=aa;i=zz;b=1", "i=1;s=aa"])
def test_a_broken_cursor_has_no_number(broken: str) -> None:
    assert numbered(broken)[1] == 0


@pytest.mark.parametrize("value", ["", "x", "-1", "9" * 30, "²"])
def test_a_broken_number_is_as_if_it_had_never_been(value: str) -> None:
    assert entry_of({"PRIORITY": value, "__REALTIME_TIMESTAMP": value}).priority == 6


def test_forty_thousand_entries_per_processor_second() -> None:
    data = FIXTURE.read_bytes() * 200
    parser = ExportParser()
    began = time.process_time()
    entries = sum(len(parser.feed(data[start : start + 65536])) for start in range(0, len(data), 65536))
    assert entries / (time.process_time() - began) > 40_000


# --- what was lost


def numbered_entry(number: int, name: str = "aa") -> JournalEntry:
    return JournalEntry(cursor(number), datetime.now(UTC), "", sequence_id=name, sequence=number)


@pytest.mark.parametrize(
    ("before", "number", "name", "lost"),
    [
        (At("c", sequence=5), 6, "aa", 0),
        (At("c", sequence=5), 9, "aa", 3),
        (At("c", sequence=5), 5, "aa", 0),
        (At("c", sequence=5), 2, "aa", 0),
        (At("c", sequence=5), 9, "bb", 0),
        (At("c", sequence_id="", sequence=5), 9, "", 0),
        (None, 9, "aa", 0),
    ],
)
def test_a_jump_in_the_numbers_is_an_exact_count(before: At | None, number: int, name: str, lost: int) -> None:
    assert lost_between(before, numbered_entry(number, name)) == lost


def test_jumps_within_a_batch_add_up() -> None:
    batch = [numbered_entry(1), numbered_entry(2), numbered_entry(5), numbered_entry(1, "bb"), numbered_entry(3, "bb")]
    assert lost_within(batch) == 2 + 1
    assert lost_within(batch[:1]) == lost_within([]) == 0


# --- a journalctl of our own making


FAKE = """#!{python}
import json, os, sys, time
step = int(open({count!r}).read() or 0); open({count!r}, "w").write(str(step + 1))
open({log!r}, "a").write(json.dumps(sys.argv[1:]) + "\\n")
plan = json.load(open({plan!r}))[step]
sys.stderr.write(plan.get("stderr", "")); sys.stderr.flush()
sys.stdout.buffer.write(bytes.fromhex(plan.get("stdout", ""))); sys.stdout.flush()
time.sleep(plan.get("sleep", 0)); sys.exit(plan.get("status", 0))
"""


class Journalctl:
    """A program named journalctl that does one thing after another, and notes how it was called."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def plan(self, *steps: dict[str, object]) -> None:
        import json

        (self._directory / "plan").write_text(json.dumps(steps))
        (self._directory / "count").write_text("0")
        (self._directory / "log").write_text("")
        places = {name: str(self._directory / name) for name in ("count", "log", "plan")}
        program = self._directory / "journalctl"
        program.write_text(FAKE.format(python=sys.executable, **places))
        program.chmod(0o755)

    def calls(self) -> list[list[str]]:
        import json

        return [json.loads(line) for line in (self._directory / "log").read_text().splitlines()]


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journalctl:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Journalctl(tmp_path)


async def read(many: int, position: At | None = None) -> list[JournalEntry]:
    """Follow until there are so many entries, and a moment more."""
    found: list[JournalEntry] = []
    async with aclosing(journal.follow(position, history=timedelta(hours=1), directory=Path("/x"))) as batches:
        async for batch in batches:
            found += batch
            if len(found) >= many and not batch:
                break
    return found


def hexed(*numbers: int) -> str:
    return b"".join(entry(number, text("MESSAGE", f"m{number}")) for number in numbers).hex()


async def test_following_catches_up_first_and_then_drops_the_entry_it_knows(journalctl: Journalctl) -> None:
    journalctl.plan({"stdout": hexed(1, 2, 3)}, {"stdout": hexed(3, 4), "sleep": 60})
    found = await read(3, At(cursor(1), sequence=1))
    assert [each.sequence for each in found] == [2, 3, 4]
    first, second = journalctl.calls()
    assert f"--cursor={cursor(1)}" in first
    assert "--follow" not in first
    assert {f"--cursor={cursor(3)}", "--follow", "--no-tail"} <= set(second)


async def test_an_entry_that_is_no_longer_there_is_not_dropped_by_mistake(journalctl: Journalctl) -> None:
    journalctl.plan({"stdout": hexed(7, 8)}, {"stdout": hexed(8), "sleep": 60})
    assert [each.sequence for each in await read(2, At(cursor(1), sequence=1))] == [7, 8]


async def test_the_first_start_is_bounded(journalctl: Journalctl) -> None:
    journalctl.plan({"stdout": hexed(1)}, {"sleep": 60})
    await read(1)
    (since,) = [argument for argument in journalctl.calls()[0] if argument.startswith("--since=@")]
    assert abs(int(since.removeprefix("--since=@")) - (time.time() - 3600)) < 60


async def test_a_journalctl_that_dies_is_started_again_after_the_last_entry(journalctl: Journalctl) -> None:
    half = (text("__CURSOR", cursor(3)) + text("MESSAGE", "half")).hex()
    journalctl.plan(
        {"stdout": hexed(1)},
        {"stdout": hexed(1, 2) + half, "status": 74},
        {"stdout": hexed(2, 3)},
        {"stdout": hexed(3, 4), "sleep": 60},
    )
    assert [each.message for each in await read(4)] == ["m1", "m2", "m3", "m4"]
    assert f"--cursor={cursor(2)}" in journalctl.calls()[2]


async def test_one_that_ends_at_once_is_unavailable(journalctl: Journalctl) -> None:
    journalctl.plan({"status": 1, "stderr": "Failed to seek to cursor: Invalid argument\n"})
    with pytest.raises(JournalUnavailable, match="ended with status 1: Failed to seek"):
        await read(1)


@pytest.mark.parametrize(
    ("stderr", "match"),
    [
        ("Hint: You are currently not seeing messages from other users and the system.\n", "group systemd-journal"),
        ("No journal files were opened due to insufficient permissions.\n", "group systemd-journal"),
        ("No journal files were found.\n", "no systemd journal here"),
    ],
)
async def test_what_cannot_be_seen_is_said_with_the_way_out(journalctl: Journalctl, stderr: str, match: str) -> None:
    journalctl.plan({"stderr": stderr, "sleep": 1}, {"sleep": 60}, {"stderr": stderr})
    with pytest.raises(JournalUnavailable, match=match):
        await read(1)
    journalctl.plan({"stderr": stderr})
    with pytest.raises(JournalUnavailable, match=match):
        await journal.unit_log("web.service", 5)
    assert trouble_in("Warning: some journal files were not opened\n") == ""


async def test_no_journalctl_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JournalUnavailable, match="no systemd journal here"):
        await read(1)
    with pytest.raises(JournalUnavailable, match="journalctl"):
        await journal.unit_log("web.service", 5)


async def test_a_unit_s_log(journalctl: Journalctl) -> None:
    journalctl.plan({"stdout": hexed(1, 2)}, {"stdout": b"-- No entries --\n".hex()}, {"status": 1, "stderr": "bad\n"})
    assert [each.message for each in await journal.unit_log("web.service", 5)] == ["m1", "m2"]
    assert {"--unit=web.service", "--lines=5"} <= set(journalctl.calls()[0])
    assert await journal.unit_log("web.service", 5) == []
    with pytest.raises(JournalUnavailable, match="status 1: bad"):
        await journal.unit_log("web.service", 5)


# --- real journal files


def write_journal(directory: Path, boots: str) -> None:
    """Make a real journal file of three entries in each boot."""
    data = b"".join(
        text("__REALTIME_TIMESTAMP", str(1_795_331_618_000_000 + 10 * index + n))
        + text("__MONOTONIC_TIMESTAMP", str(1000 + n))
        + text("_BOOT_ID", boot * 32)
        + text("_MACHINE_ID", "c" * 32)
        + text("_SYSTEMD_UNIT", "web.service")
        + text("PRIORITY", "3")
        + (binary("MESSAGE", b"\x1b[31m" + b"z" * 1_500_000) if n == 2 else text("MESSAGE", f"{boot}{n}"))
        + b"\n"
        for index, boot in enumerate(boots)
        for n in (1, 2, 3)
    )
    argv = [str(REMOTE), "-o", str(directory / "x.journal"), "-"]
    subprocess.run(argv, input=data, check=True, capture_output=True, timeout=30)


@needs_files
async def test_a_real_journal_of_two_boots_is_read_whole_and_resumed(tmp_path: Path) -> None:
    write_journal(tmp_path, "ab")
    everything = timedelta(days=36500)

    async def follow(position: At | None) -> list[JournalEntry]:
        found: list[JournalEntry] = []
        async with aclosing(journal.follow(position, history=everything, directory=tmp_path)) as batches:
            async for batch in batches:
                found += batch
                if found and not batch:
                    return found
        return found

    whole = await follow(None)
    assert [each.message[:9] for each in whole] == ["a1", "\x1b[31mzzzz", "a3", "b1", "\x1b[31mzzzz", "b3"]
    assert [len(each.message) for each in whole][1] == VALUE_BYTES
    second = whole[1]
    rest = await follow(At(second.cursor, second.sequence_id, second.sequence))
    assert rest == whole[2:]
    past = [each async for batch in journal.past(everything, directory=tmp_path) for each in batch]
    assert past == whole[::-1]  # the newest first
    assert await journal.unit_log("nginx.service", 2, directory=tmp_path) == []


def test_entries_are_values() -> None:
    one = parse(entry(1, text("MESSAGE", "a")))[0]
    assert one == replace(one)
