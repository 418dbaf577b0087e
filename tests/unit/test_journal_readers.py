"""The readers of the journal on real files: whatever happens to the files, both show the same, once and in order."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources import journal, journal_children, journal_following
from ai_sysadmin.sources.export import VALUE_BYTES
from ai_sysadmin.sources.journal import SkippedFile, lost_between, lost_within
from ai_sysadmin.sources.journal_children import Journalctl, Library, Reader, has_binding
from tests.journals import (
    EVERYTHING,
    REMOTE,
    USEC,
    At,
    Journald,
    binary,
    can_run_journald,
    followed,
    journald,
    stored,
    text,
    write_file,
)

FIXTURE = Path(__file__).parents[1] / "fixtures/journal/failing-units.export"
needs_library = pytest.mark.skipif(not has_binding(), reason="needs systemd-python")
needs_journald = pytest.mark.skipif(not can_run_journald(), reason="needs root and systemd-journald")
pytestmark = pytest.mark.skipif(
    not (REMOTE.exists() and shutil.which("journalctl")), reason="needs journalctl and systemd-journal-remote"
)


@pytest.fixture(
    params=[
        Journalctl,
        pytest.param(Library, marks=needs_library),
        pytest.param(partial(Library, by_ctypes=True), id="by ctypes"),
    ]
)
def reader(request: pytest.FixtureRequest) -> Reader:
    made: Reader = request.param()
    return made


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_children, "IDLE_SECONDS", 0.15)
    monkeypatch.setattr(journal_following, "RESTART_SECONDS", 0.02)


def lines(first: int, last: int, boot: str = "b") -> bytes:
    return b"".join(stored(USEC + n, text("MESSAGE", f"m{n}"), boot=boot) for n in range(first, last + 1))


def messages(entries: list[JournalEntry]) -> list[str]:
    return [each.message for each in entries]


def place(entry: JournalEntry) -> At:
    return At(entry.cursor, entry.sequence_id, entry.sequence)


async def test_a_journal_of_two_boots_is_read_whole_and_resumed(tmp_path: Path, reader: Reader) -> None:
    huge = stored(
        USEC + 2, binary("MESSAGE", b"\x1b[31m" + b"z" * 1_500_000), text("_SYSTEMD_UNIT", "web.service"), boot="a"
    )
    write_file(tmp_path / "x.journal", lines(1, 1, "a") + huge + lines(3, 3, "a") + lines(4, 6, "b"))
    whole = await followed(tmp_path, reader)
    assert [each[:9] for each in messages(whole)] == ["m1", "\x1b[31mzzzz", "m3", "m4", "m5", "m6"]
    assert (len(whole[1].message), whole[1].unit) == (VALUE_BYTES, "web.service")
    assert [each.boot_id[0] for each in whole] == list("bbbbbb") or [each.boot_id[0] for each in whole] == list(
        "aaabbb"
    )
    assert await followed(tmp_path, reader, place(whole[1])) == whole[2:]
    past = [each async for batch in journal.past(EVERYTHING, directory=tmp_path) for each in batch]
    assert past == whole[::-1]  # the newest first
    assert await journal.unit_log("nginx.service", 2, directory=tmp_path) == []


@needs_library
async def test_both_readers_show_the_same(tmp_path: Path) -> None:
    odd = [
        [b"MESSAGE=a\xffb\n"],
        [binary("MESSAGE", b"\x00\n\xff" * 3)],
        [text("MESSAGE", "twice"), text("MESSAGE", "said"), text("PRIORITY", "3"), text("PRIORITY", "4")],
        [text("SYSLOG_IDENTIFIER", "speechless")],
        [text("MESSAGE", "")],
        [text("MESSAGE", "x"), text("PRIORITY", "loud"), text("UNIT", "spoofed.service"), text("_UID", "33")],
        [text("MESSAGE", "y"), text("UNIT", "true.service"), text("_PID", "1"), text("N_RESTARTS", "n" * 20_000)],
        [text("MESSAGE", "z"), text("_SYSTEMD_USER_UNIT", "app.service"), text("EXTRA_FIELD", "passed over")],
    ]
    data = FIXTURE.read_bytes() + b"".join(stored(USEC + 10**12 + n, *each) for n, each in enumerate(odd))
    write_file(tmp_path / "x.journal", data)
    by_journalctl = await followed(tmp_path, Journalctl())
    assert len(by_journalctl) == 70 + len(odd)
    assert await followed(tmp_path, Library()) == by_journalctl


@pytest.mark.parametrize(("said", "priority", "within"), [("it failed", "6", 0.4), ("m", "3", 0.4), ("m", "6", 1.6)])
async def test_what_may_matter_comes_at_once_and_the_rest_soon(
    tmp_path: Path, reader: Reader, said: str, priority: str, within: float
) -> None:
    file = tmp_path / "x.journal"
    write_file(file, lines(1, 2))
    found: list[JournalEntry] = []
    loop = asyncio.get_running_loop()
    written_at = 0.0
    async with aclosing(journal.follow(None, history=EVERYTHING, directory=tmp_path, reader=reader)) as batches:
        async for batch in batches:
            found += batch
            if len(found) == 3:
                break
            if not batch and not written_at:
                late = stored(USEC + 3, text("MESSAGE", said), text("PRIORITY", priority))
                await asyncio.to_thread(write_file, file, late)
                written_at = loop.time()
    assert loop.time() - written_at < within
    assert messages(found) == ["m1", "m2", said]


async def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, reader: Reader) -> None:
    usecs = [USEC, USEC + 10**10, USEC - 10**12, USEC - 10**12 + 1, USEC + 5]
    data = [stored(usec, text("MESSAGE", f"m{n}")) for n, usec in enumerate(usecs)]
    data = [each.replace(b"__MONOTONIC_TIMESTAMP=", b"__MONOTONIC_TIMESTAMP=9\nX=") for each in data]
    write_file(tmp_path / "x.journal", b"".join(data))
    whole = await followed(tmp_path, reader)
    assert messages(whole) == ["m0", "m1", "m2", "m3", "m4"]
    every = await followed(tmp_path, Journalctl())  # which gives each entry its cursor
    assert messages(await followed(tmp_path, reader, place(every[2]))) == ["m3", "m4"]


async def test_a_cursor_that_is_none_is_said(tmp_path: Path, reader: Reader) -> None:
    write_file(tmp_path / "x.journal", lines(1, 1))
    with pytest.raises(JournalUnavailable, match=r"ended with status \d+: .*[Ii]nvalid"):
        await followed(tmp_path, reader, At("rubbish"))


@needs_library
async def test_journalctl_takes_over_where_the_binding_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "x.journal", lines(1, 2))
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 69\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    assert messages(await followed(tmp_path, None)) == ["m1", "m2"]


# --- files that are damaged


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x8fgarbage" * 100_000, "does not begin as a journal file does"),
        (None, "cut short"),
    ],
)
async def test_a_file_that_no_reader_opens_is_told_of(
    tmp_path: Path, reader: Reader, content: bytes | None, why: str
) -> None:
    write_file(tmp_path / "good.journal", lines(1, 3))
    bad = tmp_path / "bad.journal"
    write_file(bad, lines(4, 9))
    if content is None:
        os.truncate(bad, 10_000)
    else:
        bad.write_bytes(content)
    skipped: list[SkippedFile] = []
    follow = journal.follow(None, history=EVERYTHING, directory=tmp_path, reader=reader, on_skip=skipped.append)
    found: list[JournalEntry] = []
    async with aclosing(follow) as batches:
        async for batch in batches:
            found += batch
            if found and not batch:
                break
    assert messages(found) == ["m1", "m2", "m3"]
    ((path, said, entries),) = [(each.path, each.why, each.entries) for each in skipped]
    assert (path, entries) == (bad, None if content else 6)
    assert why in said


async def test_garbage_inside_a_file_costs_no_more_than_that_file(tmp_path: Path, reader: Reader) -> None:
    bad = tmp_path / "bad.journal"
    write_file(bad, lines(1, 400))
    write_file(tmp_path / "good.journal", lines(1001, 1003))
    rng = random.Random(3)
    with bad.open("r+b") as file:
        file.seek(bad.stat().st_size // 3)
        file.write(rng.randbytes(bad.stat().st_size // 6))
    found = messages(await followed(tmp_path, reader))
    assert found[-3:] == ["m1001", "m1002", "m1003"]
    assert len(set(found)) == len(found)


async def test_a_file_cut_short_under_its_reader_kills_nobody_else(
    tmp_path: Path, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = tmp_path / "bad.journal", tmp_path / "good.journal"
    write_file(bad, lines(1, 40_000))
    found: list[JournalEntry] = []
    skipped: list[SkippedFile] = []
    follow = journal.follow(None, history=EVERYTHING, directory=tmp_path, reader=reader, on_skip=skipped.append)
    async with aclosing(follow) as batches:
        async for batch in batches:
            found += batch
            if not good.exists():  # it has not read ahead to the end yet
                write_file(good, lines(50_001, 50_003))
                os.truncate(bad, 8192)
            if found[-1].message == "m50003":
                break
    read = len(found) - 3
    assert messages(found) == [f"m{n}" for n in range(1, read + 1)] + ["m50001", "m50002", "m50003"]
    assert read < 40_000
    if isinstance(reader, Library):  # the other one shields itself
        assert [(each.path, each.entries) for each in skipped] == [(bad, 40_000 - read)]
        assert "killed by SIGBUS" in caplog.text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk so small that it can be filled: then to read a hole in a file on it is SIGBUS, every time."""
    disk = tmp_path / "disk"
    disk.mkdir()
    umount = shutil.which("umount") or "umount"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs to be allowed to mount")
    try:
        yield disk
    finally:
        subprocess.run([umount, disk], check=True)


def put_hole(file: Path) -> None:
    used = int.from_bytes(file.read_bytes()[136:144], "little")
    place = ["-o", str(used * 2 // 3 // 4096 * 4096), "-l", "4096"]
    subprocess.run(["fallocate", "--punch-hole", *place, file], check=True)
    with (file.parent / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            return


@needs_library
@pytest.mark.parametrize("has_journalctl", [True, False])
async def test_a_page_that_cannot_be_read_costs_what_is_lost_and_no_more(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, has_journalctl: bool
) -> None:
    bad = small_disk / "bad.journal"
    write_file(bad, lines(1, 1000))
    write_file(small_disk / "good.journal", lines(2001, 2003))
    put_hole(bad)
    if not has_journalctl:
        monkeypatch.setenv("PATH", "/nowhere")
    skipped: list[SkippedFile] = []
    found: list[JournalEntry] = []
    follow = journal.follow(None, history=EVERYTHING, directory=small_disk, reader=Library(), on_skip=skipped.append)
    async with aclosing(follow) as batches:
        async for batch in batches:
            found += batch
            if found and not batch:
                break
    assert messages(found)[-3:] == ["m2001", "m2002", "m2003"]
    numbers = [each.sequence for each in found[:-3]]
    assert numbers == sorted(set(numbers))
    if has_journalctl:
        assert messages(found)[-4] == "m1000"
        assert lost_within(found) == 1003 - len(found) < 200
        assert skipped == []
    else:
        assert [(each.path, each.entries) for each in skipped] == [(bad, 1003 - len(found))]
        assert "SIGBUS" in skipped[0].why


# --- a journald


@needs_journald
async def test_rotation_vacuum_and_a_restart_lose_nothing(reader: Reader) -> None:
    with journald("test-rotation") as daemon:
        steps = iter([daemon.rotate, lambda: vacuum(daemon), lambda: restart(daemon)])
        daemon.log("m0")
        number, found = 0, []
        follow = journal.follow(None, history=EVERYTHING, directory=daemon.directory, reader=reader)
        async with aclosing(follow) as batches:
            async for batch in batches:
                found += [each for each in batch if each.message.startswith("m")]
                if len(found) < 3 * number + 1:
                    continue
                step = next(steps, None)
                if step is None:
                    break
                daemon.log(f"m{3 * number + 1}", f"m{3 * number + 2}")
                step()
                daemon.log(f"m{3 * number + 3}")
                number += 1
    assert messages(found) == [f"m{n}" for n in range(10)]


@needs_journald
async def test_what_was_vacuumed_before_it_was_read_is_counted(reader: Reader) -> None:
    with journald("test-vacuum") as daemon:
        daemon.log("first")
        (start,) = [each for each in await followed(daemon.directory, reader, many=1) if each.message == "first"]
        daemon.log(*(f"m{n}" for n in range(50)))
        await followed(daemon.directory, reader, place(start), many=50)
        daemon.rotate()
        daemon.log("last")
        whole = await followed(daemon.directory, reader, place(start), many=51)
        vacuum(daemon)
        rest = await followed(daemon.directory, reader, place(start), many=1)
    assert lost_between(place(start), whole[0]) + lost_within(whole) == 0
    assert lost_between(place(start), rest[0]) == len(whole) - len(rest) >= 50
    assert lost_within(rest) == 0


def vacuum(daemon: Journald) -> None:
    for file in daemon.directory.glob("system@*.journal"):
        file.unlink()


def restart(daemon: Journald) -> None:
    daemon.stop()
    daemon.start()
