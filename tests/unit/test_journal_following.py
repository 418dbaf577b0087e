"""sources/journal_following.py: a reader that dies is started again where it was; a file that kills it is found."""

import json
import os
import sys
import time
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources import journal, journal_children, journal_following
from ai_sysadmin.sources.journal import SkippedFile, lost_within, trouble_in
from ai_sysadmin.sources.journal_children import Journalctl
from tests.journals import At, cursor, entry, text

CTL = Journalctl()

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
        (self._directory / "plan").write_text(json.dumps(steps))
        (self._directory / "count").write_text("0")
        (self._directory / "log").write_text("")
        places = {name: str(self._directory / name) for name in ("count", "log", "plan")}
        program = self._directory / "journalctl"
        program.write_text(FAKE.format(python=sys.executable, **places))
        program.chmod(0o755)

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self._directory / "log").read_text().splitlines()]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_children, "IDLE_SECONDS", 0.15)
    monkeypatch.setattr(journal_following, "RESTART_SECONDS", 0.01)


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journalctl:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Journalctl(tmp_path)


async def read(many: int, position: At | None = None) -> list[JournalEntry]:
    """Follow until there are so many entries, and a moment more."""
    found: list[JournalEntry] = []
    async with aclosing(
        journal.follow(position, history=timedelta(hours=1), directory=Path("/x"), reader=CTL)
    ) as batches:
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


# --- files that kill

DEADLY = """#!{python}
import os, signal, sys, time
from pathlib import Path
HELD = {{"good": [1, 2, 6, 7], "bad": [3, 4, 5], "next": [8]}}
asked = dict(each.split("=", 1) for each in sys.argv[1:] if "=" in each)
files = [Path(each.split("=", 1)[1]) for each in sys.argv[1:] if each.startswith("--file=")]
files = files or list(Path(asked["--directory"]).iterdir())
after = int(asked.get("--cursor", "i=0;").split("i=")[1].split(";")[0], 16)
for number in sorted(number for file in files for number in HELD[file.stem]):
    if number < after:
        continue
    if number in {deadly}:
        os.kill(os.getpid(), signal.SIGBUS)
    print(f"__CURSOR=s={{'aa' * 16}};i={{number:x}};b=bb\\nMESSAGE=m{{number}}\\n", flush=True)
if "--follow" in sys.argv:
    time.sleep(60)
"""


def journal_file(file: Path, first: int, last: int, entries: int) -> None:
    """Make a file with a journal file's header, and nothing in it."""
    head = b"LPKSHHRH" + bytes(16) + file.stem.encode().ljust(16) + bytes(32) + b"\xaa" * 16
    numbers = (208, 0, 0, 0, 0, 0, 0, 0, entries, last, first, 0, 0, 0, 0)
    file.write_bytes(head + b"".join(number.to_bytes(8, "little") for number in numbers))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "journal"
    directory.mkdir()
    journal_file(directory / "good.journal", 1, 7, 4)
    journal_file(directory / "bad.journal", 3, 5, 3)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return directory


def put_deadly(directory: Path, *deadly: int) -> None:
    program = directory.parent / "journalctl"
    program.write_text(DEADLY.format(python=sys.executable, deadly=list(deadly)))
    program.chmod(0o755)


async def test_a_file_that_kills_is_found_and_the_others_are_read(
    files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_deadly(files, 4)
    skipped: list[SkippedFile] = []
    found: list[JournalEntry] = []
    follow = journal.follow(None, history=timedelta(hours=1), directory=files, reader=CTL, on_skip=skipped.append)
    async with aclosing(follow) as batches:
        async for batch in batches:
            found += batch
            if not batch and len(found) == 5:
                journal_file(files / "next.journal", 8, 8, 1)  # a rotation
            if len(found) == 6:
                break
    assert [each.message for each in found] == ["m1", "m2", "m3", "m6", "m7", "m8"]
    assert lost_within(found) == 2
    assert [(each.path.name, each.entries) for each in skipped] == [("bad.journal", 2)]
    assert "SIGBUS" in skipped[0].why
    (said,) = [each for each in caplog.records if getattr(each, "event", "") == "journal_file_skipped"]
    assert "bad.journal is skipped, with up to 2 entries" in said.message


async def test_where_no_file_is_to_blame_the_journal_is_unavailable(files: Path) -> None:
    put_deadly(files)
    program = files.parent / "journalctl"
    program.write_text(program.read_text().replace("if number < after", "if '--directory' in asked:\n" + DIES))
    with pytest.raises(JournalUnavailable, match="SIGBUS, 3 times at one place; no one file is to blame"):
        await collect(files)


DIES = "        os.kill(os.getpid(), signal.SIGBUS)\n    if number < after"


async def collect(directory: Path) -> list[JournalEntry]:
    follow = journal.follow(None, history=timedelta(hours=1), directory=directory, reader=CTL)
    async with aclosing(follow) as batches:
        return [each async for batch in batches for each in batch]
