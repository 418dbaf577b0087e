"""What an action wrote: the newest of it, in bounded memory, whatever the journal holds."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.executor.output import CUT, last_line, newest, written


@given(st.binary(max_size=400), st.integers(len(CUT.encode()), 300))
def test_never_more_than_asked_for_and_always_the_end(said: bytes, most: int):
    whole = said.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    kept = newest(said, most)
    assert len(kept.encode()) <= most
    if len(whole.encode()) <= most:
        assert kept == whole
    else:
        assert kept.startswith(CUT)
        assert whole.endswith(kept.removeprefix(CUT))


def test_it_is_cut_at_a_lines_beginning():
    said = b"".join(b"line %d\n" % number for number in range(10))
    assert newest(said, len(CUT.encode()) + 10) == CUT + "line 9\n"


@pytest.mark.parametrize(
    ("output", "line"),
    [('noise\n{"a": 1}\n', '{"a": 1}'), ("only", "only"), ("told\n\n  \n", "told"), ("", ""), ("\n", "")],
)
def test_a_preparation_tells_it_in_its_last_line(output: str, line: str):
    assert last_line(output) == line


def journalctl(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program in journalctl's place; return the file that it writes its arguments to."""
    program, said = directory / "journalctl", directory / "said"
    program.write_text(f'#!/bin/sh\necho "$*" >> {said}\n[ "$1" = --sync ] && exit 0\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return said


async def test_lines_come_oldest_first_of_one_unit_and_run(tmp_path, monkeypatch):
    asked = journalctl(tmp_path, "printf 'three\\ntwo\\none\\n'", monkeypatch)
    assert await written("a.service", 100, "c0ffee") == "one\ntwo\nthree\n"
    sync, read = asked.read_text().splitlines()
    assert sync == "--sync"
    assert read.endswith("-r -o cat _SYSTEMD_UNIT=a.service _TRANSPORT=stdout _SYSTEMD_INVOCATION_ID=c0ffee")


async def test_a_journal_without_end_is_read_only_as_far_as_it_is_kept(tmp_path, monkeypatch):
    journalctl(tmp_path, "exec yes 0123456789", monkeypatch)
    began = time.monotonic()
    kept = await written("a.service", 1000)
    assert len(kept.encode()) <= 1000
    assert kept.startswith(CUT + "0123456789\n")
    assert time.monotonic() - began < 5


async def test_without_a_journal_there_is_no_output(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await written("a.service", 100) == ""
