"""sources/journal_reader.py and the decoder of its frames: an entry is cut, patched up or passed over, never fatal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources import journal_children
from ai_sysadmin.sources.export import READ_FIELDS, VALUE_BYTES, entry_of
from ai_sysadmin.sources.journal_children import FrameDecoder, Journalctl, Library, Mode, Start, reader_for
from ai_sysadmin.sources.journal_reader import Gatherer, frames
from tests.journals import USEC, cursor

CONTEXT = tuple(name for name in READ_FIELDS if name != "MESSAGE")
Stored = dict[str, bytes | list[bytes]]


@dataclass
class Scripted:
    """A journal of entries. ``bad`` fields cannot be read; ``cut``: only the first fields are shown all at once."""

    entries: list[Stored]
    bad: frozenset[str] = frozenset()
    cut: int | None = None
    late: list[list[Stored]] = field(default_factory=list)
    data_threshold: int = 0
    at: int = -1
    waited: int = 0

    def seek_cursor(self, cursor: str) -> None: ...
    def seek_realtime(self, usec: int) -> None: ...
    def fileno(self) -> int:
        return 0

    def process(self) -> int:
        return 0

    def pause(self, seconds: float) -> None:
        self.waited += 1
        self.entries += self.late.pop(0)

    def _next(self) -> int:
        self.at = min(self.at + 1, len(self.entries))
        if self.at == len(self.entries):
            self.at -= 1
            return 0
        return 1

    def _get(self, field: str) -> bytes:
        if field in self.bad:
            raise OSError(74, "Bad message")
        value = self.entries[self.at][field]
        return value[0] if isinstance(value, list) else value

    def _get_all(self) -> Stored:
        return dict(list(self.entries[self.at].items())[: self.cut])

    def _get_cursor(self) -> str:
        if "cursor" in self.bad:
            raise OSError(74, "Bad message")
        return cursor(self.at + 1)

    def _get_realtime(self) -> int:
        return USEC + self.at


def framed(journal: Scripted, batch: int = 10, *, careful: bool = False, follow: bool = False) -> Iterator[bytes]:
    """Return the frames, without their lengths."""
    gatherer = Gatherer(journal, CONTEXT, VALUE_BYTES)
    for frame in frames(journal, gatherer, batch=batch, careful=careful, follow=follow, pause=journal.pause):
        assert int.from_bytes(frame[:4], "little") == len(frame) - 4
        yield frame[4:]


def gathered(journal: Scripted, batch: int = 10) -> list[JournalEntry]:
    decoder = FrameDecoder()
    return [entry for frame in framed(journal, batch) for entry in decoder.entries(frame)]


names = st.one_of(st.sampled_from(READ_FIELDS), st.from_regex(r"[A-Z][A-Z_]{0,9}", fullmatch=True))
stretches = st.lists(
    st.builds(
        lambda message, others: {**others, "MESSAGE": message},
        st.binary(max_size=30),
        st.dictionaries(names, st.binary(max_size=10), max_size=6),
    ),
    max_size=8,
)


@given(entries=stretches, batch=st.integers(1, 5))
def test_what_comes_out_is_what_the_export_format_would_say(entries: list[dict[str, bytes]], batch: int) -> None:
    def expected(number: int, entry: dict[str, bytes]) -> JournalEntry:
        fields = {name: value.decode(errors="replace") for name, value in entry.items()}
        marks = {"__CURSOR": cursor(number + 1), "__REALTIME_TIMESTAMP": str(USEC + number), "_BOOT_ID": "bb"}
        return entry_of(fields | marks)

    stored: list[Stored] = [dict(each) for each in entries]
    found = gathered(Scripted(stored), batch)
    wanted = [expected(number, each) for number, each in enumerate(entries)]
    assert [each._replace(cursor="") for each in found] == [each._replace(cursor="") for each in wanted]
    ends = {*range(0, len(found), batch), *range(batch - 1, len(found), batch), len(found) - 1} - {-1}
    assert all(found[number].cursor == wanted[number].cursor for number in ends)


@pytest.mark.parametrize("name", ["MESSAGE", "UNIT", "CONTAINER_NAME"])
def test_of_a_huge_value_the_head_is_kept(name: str) -> None:
    (frame,) = framed(Scripted([{"MESSAGE": b"m", name: b"x" * 5_000_000}]))
    assert VALUE_BYTES < len(frame) < VALUE_BYTES + 1000


def test_frames_are_bounded_in_bytes_too() -> None:
    entries: list[Stored] = [{"MESSAGE": b"x" * VALUE_BYTES, "_PID": str(n).encode()} for n in range(200)]
    assert max(map(len, framed(Scripted(entries), 1000))) < 600_000
    assert len(gathered(Scripted(entries), 1000)) == 200


def test_a_field_that_is_there_twice_counts_as_the_last() -> None:
    (entry,) = gathered(Scripted([{"MESSAGE": [b"a", b"b"], "PRIORITY": [b"3", b"4"], "_SYSTEMD_UNIT": b"u.service"}]))
    assert (entry.message, entry.priority, entry.unit) == ("b", 4, "u.service")


def test_an_entry_whose_fields_break_off_is_read_field_by_field() -> None:
    stored: Stored = {"_SYSTEMD_UNIT": b"u.service", "PRIORITY": b"3", "MESSAGE": b"m"}
    (entry,) = gathered(Scripted([stored], cut=1))
    assert (entry.message, entry.priority, entry.unit) == ("m", 3, "u.service")


@pytest.mark.parametrize("bad", ["MESSAGE", "PRIORITY", "cursor"])
def test_an_entry_that_cannot_be_read_is_passed_over(bad: str) -> None:
    stored: Stored = {"_SYSTEMD_UNIT": b"u.service", "PRIORITY": b"3", "MESSAGE": b"m"}
    assert gathered(Scripted([stored, stored], cut=1, bad=frozenset({bad}))) == []


def test_following_a_careful_reader_sends_entry_by_entry_and_waits_at_the_end() -> None:
    one: Stored = {"MESSAGE": b"m"}
    journal = Scripted([one, one], late=[[one], [], [one, one]])
    following = framed(journal, careful=True, follow=True)
    found = [FrameDecoder().entries(next(following)) for _ in range(5)]
    assert [each.sequence for frame in found for each in frame] == [1, 2, 3, 4, 5]
    assert [len(each) for each in found] == [1] * 5
    assert journal.waited == 3


def test_contexts_do_not_pile_up() -> None:
    decoder = FrameDecoder()
    entries: list[Stored] = [{"MESSAGE": b"m", "_PID": str(n).encode()} for n in range(5000)]
    for frame in framed(Scripted(entries), 100):
        pids = [each.fields["_PID"] for each in decoder.entries(frame)]
        assert len(set(pids)) == 100
    assert len(decoder._contexts) <= 2048


SPINNING = """
import signal, sys
from ai_sysadmin.sources import journal_reader
class Spinning:
    def _next(self):
        while True: pass
    _get_all = _get_cursor = _get_realtime = None
    process = int
journal_reader._SPIN_SECONDS = 0.1
gatherer = journal_reader.Gatherer(Spinning(), (), 1)
alive = journal_reader.end_where_it_spins
list(journal_reader.frames(Spinning(), gatherer, batch=1, careful=False, follow=True, lives=alive))
"""


def test_a_library_that_goes_round_in_circles_is_ended() -> None:
    done = subprocess.run([sys.executable, "-c", SPINNING], timeout=20, check=False)
    assert done.returncode == -signal.SIGPROF


# --- how it is started


def test_the_child_finds_us_whatever_made_the_parent_find_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path(journal_children.__file__).parents[2]
    monkeypatch.setattr(sys, "path", ["", str(package), *sys.path])
    environment = Library().environment()
    assert environment is not None
    argv = [*Library().argv(Start("", timedelta(), tmp_path), Mode.CATCH_UP)[:5], "--help"]
    done = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--value-bytes" in done.stdout
    assert "" not in environment["PYTHONPATH"].split(os.pathsep)


def argument(argv: Sequence[str], name: str) -> list[str]:
    return [each.partition("=")[2] for each in argv if each.startswith(f"--{name}=")]


@pytest.mark.parametrize("reader", [Journalctl(), Library()])
def test_both_are_told_where_to_begin_and_what_to_read(reader: Journalctl | Library) -> None:
    files = (Path("/j/a.journal"), Path("/j/b.journal"))
    argv = reader.argv(Start("s=1", timedelta(hours=1), Path("/j"), files), Mode.FOLLOW)
    assert argument(argv, "file") == [str(each) for each in files]
    assert argument(argv, "directory") == []
    assert argument(argv, "cursor") == ["s=1"]
    assert "--follow" in argv
    argv = reader.argv(Start("", timedelta(hours=1), Path("/j")), Mode.CATCH_UP)
    assert argument(argv, "directory") == ["/j"]
    (since,) = argument(argv, "since") + argument(argv, "since-usec")
    usec = int(since[1:]) * 1_000_000 if since.startswith("@") else int(since)
    assert abs(usec / 1_000_000 - (datetime.now(UTC) - timedelta(hours=1)).timestamp()) < 10
    assert "--follow" not in argv


def test_without_the_binding_journalctl_catches_up_and_ctypes_follows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert isinstance(reader_for(None, Mode.FOLLOW), Journalctl)
    for name in [each for each in sys.modules if each.partition(".")[0] == "systemd"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    assert isinstance(reader_for(tmp_path, Mode.CATCH_UP), Journalctl)
    assert "--ctypes" in reader_for(tmp_path, Mode.FOLLOW).argv(Start("", timedelta(), tmp_path), Mode.FOLLOW)


def test_a_binding_that_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/__init__.py").write_text("raise ImportError('libsystemd.so.0: cannot open')")
    environment = {**(Library().environment() or {})}
    environment["PYTHONPATH"] = f"{tmp_path}:{environment['PYTHONPATH']}"
    argv = Library().argv(Start("", timedelta(), tmp_path), Mode.CATCH_UP)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (69, "libsystemd.so.0: cannot open\n")
