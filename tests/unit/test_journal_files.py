"""sources/journal_files.py: headers tell what a file holds and why no reader opens it."""

import os
from pathlib import Path

import pytest

from ai_sysadmin.sources.journal_children import has_binding
from ai_sysadmin.sources.journal_files import (
    defect_of,
    files_in,
    header_of,
    held_after,
    identity_of,
    own_directory,
    readable,
    trouble_with,
)
from tests.journals import REMOTE, USEC, can_run_journald, stored, text, write_file

needs_files = pytest.mark.skipif(not REMOTE.exists(), reason="needs systemd-journal-remote")


def made(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).touch()
    return directory


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "x.journal"
    write_file(file, b"".join(stored(USEC + n, text("MESSAGE", f"m{n}")) for n in range(1, 11)))
    return file


@needs_files
def test_a_header_says_how_much_is_held_after_a_place(file: Path) -> None:
    header = header_of(file)
    assert header is not None
    assert (header.entries, header.last_sequence, header.last_usec) == (10, 10, USEC + 10)
    assert held_after(file, header.sequence_id, 0, 0) == 10
    assert held_after(file, header.sequence_id, 7, 0) == 3
    assert held_after(file, header.sequence_id, 12, 0) == 0
    assert held_after(file, "other", 7, 0) == 10
    assert held_after(file, "", 0, USEC + 11) == 0
    assert held_after(file, "", 0, USEC + 10) == 10


@needs_files
def test_what_keeps_a_file_from_being_opened(file: Path) -> None:
    whole = file.read_bytes()
    assert defect_of(file) == ""
    assert readable([file]) == (file,)
    file.write_bytes(whole[:5000])
    assert defect_of(file) == f"it is cut short: 5000 of {len(whole)} bytes are there"
    assert readable([file]) == ()
    file.write_bytes(b"\xff" * 5000)
    assert "does not begin" in defect_of(file)
    assert held_after(file, "", 0, 0) is None
    for young in (b"", whole[:100], bytes(5000)):
        file.write_bytes(young)
        assert defect_of(file) == ""
    assert defect_of(file.with_name("gone.journal")) == ""


@needs_files
def test_a_number_of_entries_that_cannot_be_is_not_believed(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:152] + b"\xff" * 8 + whole[160:])
    assert held_after(file, "", 0, 0) is None


@needs_files
def test_a_file_is_the_same_under_another_name(file: Path) -> None:
    before = identity_of(file)
    assert before is not None
    moved = file.rename(file.with_name("x@1.journal"))
    assert identity_of(moved) == before
    assert identity_of(file) is None


def test_the_files_that_a_reader_of_a_directory_sees(tmp_path: Path) -> None:
    made(tmp_path, "system.journal", "system@1.journal~", "notes.txt")
    made(tmp_path / ("a" * 32), "user-1000.journal")
    made(tmp_path / "other", "system.journal")
    assert [each.name for each in files_in(tmp_path)] == ["user-1000.journal", "system.journal", "system@1.journal~"]
    assert files_in(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("names", "unreadable", "trouble"),
    [
        (("system.journal", "user-1000.journal"), (), ""),
        (("system.journal", "user-1000.journal"), ("user-1000.journal",), ""),
        (("system.journal", "user-1000.journal"), ("system.journal",), "group systemd-journal"),
        (("x.journal",), (), ""),
        (("x.journal",), ("x.journal",), "group systemd-journal"),
        ((), (), "no journal files were found"),
    ],
)
def test_what_cannot_be_seen_is_said(
    tmp_path: Path, names: tuple[str, ...], unreadable: tuple[str, ...], trouble: str
) -> None:
    made(tmp_path, *names)
    said = trouble_with(tmp_path, lambda file: file.name not in unreadable)
    assert trouble in said
    assert bool(said) == bool(trouble)


def test_a_machine_s_own_directory(tmp_path: Path) -> None:
    assert own_directory(tmp_path) is None
    made(tmp_path / "etc")
    (tmp_path / "etc/machine-id").write_text("ab\n")
    assert own_directory(tmp_path) is None
    volatile = made(tmp_path / "run/log/journal/ab", "system.journal")
    assert own_directory(tmp_path) == volatile
    lasting = made(tmp_path / "var/log/journal/ab", "system.journal")
    assert own_directory(tmp_path) == lasting


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="a laptop may lack what the readers' tests need")
def test_in_ci_no_test_of_a_reader_is_left_out() -> None:
    assert REMOTE.exists()
    assert has_binding(), "systemd-python was not built: see tools/bootstrap"
    assert can_run_journald()
