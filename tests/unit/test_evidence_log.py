"""A unit's log as evidence: kinds of line with their numbers, the newest as they are, bounded whatever was logged."""

import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ai_sysadmin.context.evidence import gather
from ai_sysadmin.context.pieces.alike import Line, kinds_of, masked
from ai_sysadmin.context.pieces.drafts import MOST_PIECE_CHARACTERS
from ai_sysadmin.context.pieces.key_blocks import without_key_blocks
from ai_sysadmin.core.context_settings import Context
from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import Evidence, JournalEntry
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.export import VALUE_BYTES
from ai_sysadmin.sources.journal import SystemJournal
from tests.builders import NOW, UNIT, incident
from tests.journals import REMOTE, USEC, binary, stored, text, write_file
from tests.judging import FixedJournal, sources, symptom


def line(seconds: float, message: str, priority: int = 6, identifier: str = "web") -> JournalEntry:
    return JournalEntry(
        cursor="",
        at=NOW + timedelta(seconds=seconds),
        message=message,
        unit=UNIT,
        priority=priority,
        identifier=identifier,
    )


async def log_piece(entries: list[JournalEntry], about: Any = None, **limits: Any) -> Evidence:
    journal = FixedJournal(sorted(entries, key=lambda entry: entry.at))
    pack = await gather(about or incident(), [symptom()], sources(journal=journal, limits=Context(**limits)), NOW)
    return next(piece for piece in pack.pieces if piece.kind in {"unit_log", "unavailable"})


async def test_equal_lines_are_told_once_with_their_number_and_the_newest_is_last() -> None:
    told = (await log_piece([line(n, "same", 3) for n in range(1, 29)] + [line(30, "other")])).text
    assert told.count("same") == 1
    assert "err web: same (28 times)" in told
    assert told.splitlines()[-1].endswith("other")


async def test_what_came_before_the_fault_is_told_from_what_came_after() -> None:
    entries = [line(-2, "before"), line(0, "at"), line(1, "after"), line(2, "later")]
    told = (await log_piece(entries)).text.splitlines()
    assert [each.rpartition(" ")[2] for each in told] == ["before", "at", "---", "after", "later"]
    assert (await log_piece(entries[2:])).text.splitlines()[0].endswith("---")
    assert "the fault was noticed" in told[2]
    assert all("---" not in each for each in (await log_piece([line(-2, "before")])).text.splitlines())


async def test_many_lines_are_summed_up_by_kind_the_worst_first() -> None:
    chatter = [line(n / 10 - 300, f"GET /items/{n} 200 in {n * 3} ms") for n in range(1500)]
    told = await log_piece([*chatter, line(-1, "cannot bind to port 8080", 3), line(-0.5, "WARNING low on space")])
    head, first, second, third, *rest = told.text.splitlines()
    assert head.startswith("1502 lines since 2026-11-20T02:55:00Z in 3 kinds")
    assert first == "1 × 02:59:59Z err web: cannot bind to port 8080"
    assert second.endswith("info web: WARNING low on space")
    assert third.startswith("1500 × 02:55:00Z to 02:57:29Z info web: GET /items/1499")
    assert rest[0] == "the newest lines:"
    assert len(told.text) <= MOST_PIECE_CHARACTERS
    assert told.left_out == "older lines; all: journalctl -u web.service --since '2026-11-20 02:30:00 UTC'"


async def test_only_so_many_lines_from_so_long_before_are_read_and_that_is_said() -> None:
    entries = [line(-n, f"line {n}") for n in range(3000)]
    few = await log_piece(entries, log_lines=10, log_before_seconds=600)
    assert [int(each.rpartition(" ")[2]) for each in few.text.splitlines()] == list(range(9, -1, -1))
    assert few.left_out
    early = await log_piece(entries, log_lines=2000, log_before_seconds=5)
    assert [int(each.rpartition(" ")[2]) for each in early.text.splitlines()] == [5, 4, 3, 2, 1, 0]
    assert early.left_out == ""
    nothing = await log_piece([line(-3000, "long ago")])
    assert nothing.text == "(no lines since 2026-11-20T02:30:00Z)"


async def test_where_much_was_logged_since_the_fault_the_lines_up_to_it_are_looked_up_too() -> None:
    entries = [line(-1, "the very cause", 2), *(line(n, f"retry {n}") for n in range(1, 500))]
    told = (await log_piece(entries, log_lines=100)).text.splitlines()
    around = told.index("the last lines up to the fault:")
    assert told[around + 1].endswith("crit web: the very cause")
    assert told[-1].endswith("retry 499")


async def test_the_kernel_is_asked_where_no_unit_is_and_its_kind_of_fault() -> None:
    journal = FixedJournal(kernel=[line(-1, "I/O error, dev sda, sector 123", 3, "kernel")])
    about = incident(unit="", about="/dev/sda", kind=SymptomKind.STORAGE_ERROR)
    pack = await gather(about, [], sources(journal=journal), NOW)
    assert [piece.kind for piece in pack.pieces] == ["symptoms", "unit_log"]
    assert "err kernel: I/O error, dev sda" in pack.pieces[1].text
    other = await gather(incident(unit="", kind=SymptomKind.PROBE_FAILED), [], sources(journal=journal), NOW)
    assert [piece.kind for piece in other.pieces] == ["symptoms"]
    quiet = await gather(about, [], sources(journal=FixedJournal()), NOW)
    assert [piece.kind for piece in quiet.pieces] == ["symptoms"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("worker 17 died", "worker 4711 died"),
        ("took 1.5 ms", "took 17,250.75 ms"),
        ("request deadbeef01 lost", "request 0123456789abcdef lost"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-0000-4000-8000-000000000000"),
        ("at 0xff", "at 0x00007f"),
        ("client 10.0.0.1:80", "client 192.168.100.200:65535"),
    ],
)
def test_lines_that_differ_in_numbers_and_ids_are_alike(one: str, other: str) -> None:
    assert masked(one) == masked(other)


def test_lines_that_differ_in_words_are_not_alike() -> None:
    assert len({masked(each) for each in ("feed failed", "read failed", "defaced 1", "decade 1")}) == 4


def test_kinds_keep_program_and_priority_apart_and_the_newest_example() -> None:
    entries = [Line(NOW + timedelta(seconds=n), 6, "web", f"job {n}") for n in range(3)]
    entries += [Line(NOW, 3, "web", "job 9"), Line(NOW, 6, "db", "job 9")]
    kinds = kinds_of(entries)
    assert [(kind.level, kind.identifier, kind.count, kind.first, kind.last) for kind in kinds] == [
        (3, "web", 1, "job 9", "job 9"),
        (6, "web", 3, "job 0", "job 2"),
        (6, "db", 1, "job 9", "job 9"),
    ]


BEGIN, END = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
BODY = ["QUJD" * 16, "REVG" * 16, "R0hJSktMTU5PUA=="]


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        (["a", BEGIN, *BODY, END, "b"], "a ? ? ? ? ? b"),
        (["a", BEGIN, BODY[0], "GET / 200", BODY[1], END, "b"], "a ? ? GET / 200 ? ? b"),
        (["a", *BODY, END, "b"], "a ? ? ? ? b"),
        (["a", BEGIN, *BODY], "a ? ? ? ?"),
        (["key: " + BEGIN, f"key: {BODY[0]}", END + " done"], "key: ? key: ? ? done"),
        (["a", BODY[0], "b"], f"a {BODY[0]} b"),
        ([f"{BEGIN} {BODY[0]} {END}", "b"], f"{BEGIN} {BODY[0]} {END} b"),
    ],
)
def test_a_private_key_that_was_logged_line_by_line_goes_and_the_lines_between_stay(
    messages: list[str], shown: str
) -> None:
    counts: Counter[str] = Counter()
    found = " ".join(without_key_blocks(messages, counts)).replace("[redacted: private key]", "?")
    assert found == shown
    assert sum(counts.values()) == shown.count("?") // max(1, shown.count("?"))


async def test_no_part_of_a_key_or_of_a_secret_at_a_cut_is_in_the_pack() -> None:
    secret = "QUJDREVGR0hJ" * 8
    entries = [line(n, each) for n, each in enumerate([BEGIN, *BODY, END])]
    entries += [line(20, f"{'x ' * 975}password={secret}{secret}"), line(21, f"password={secret}")]
    told = await log_piece(entries)
    for each in (*BODY, secret[:20]):
        assert each not in told.text
    assert told.redacted["private key"] == 1
    assert "password=[redacted: " in told.text


async def test_a_key_whose_ends_are_not_shown_goes_as_well() -> None:
    body = [sha256(b"%d" % n).hexdigest() for n in range(150)]
    words = [f"{chr(97 + n)}{chr(97 + n)} went wrong" for n in range(26)]
    entries = [line(n, each, 3) for n, each in enumerate(words)]
    entries += [line(100 + n, each) for n, each in enumerate([BEGIN, *body])]
    told = await log_piece(entries)
    assert "zz went wrong" in told.text
    assert not [each for each in body if each[:20] in told.text]


async def test_a_secret_at_the_place_where_a_long_message_is_cut_is_not_shown_in_part() -> None:
    told = await log_piece([line(1, f"password={'s' * 1980} ghp_{'0aB9' * 9}")])
    assert "password=[redacted: password]" in told.text
    assert "ghp_" not in told.text


# --- the real journalctl

needs_journal = pytest.mark.skipif(
    not (REMOTE.exists() and shutil.which("journalctl")), reason="needs journalctl and systemd-journal-remote"
)
AT = datetime.fromtimestamp(USEC / 1e6, UTC)
FROM = text("_SYSTEMD_UNIT", UNIT)


@needs_journal
async def test_the_newest_of_a_unit_in_a_time_are_found_oldest_first(tmp_path: Path) -> None:
    entries = [stored(USEC + n * 1_000_000, text("MESSAGE", f"m{n}"), FROM) for n in range(20)]
    entries.append(stored(USEC + 19_500_000, text("MESSAGE", "other"), text("_SYSTEMD_UNIT", "db.service")))
    kernel = (text("_TRANSPORT", "kernel"), text("PRIORITY", "3"), text("MESSAGE", "I/O error"))
    entries.append(stored(USEC + 19_600_000, *kernel))
    write_file(tmp_path / "x.journal", b"".join(entries))
    journal = SystemJournal(tmp_path)
    seen = await journal.unit_log(UNIT, 3, AT)
    assert ([each.message for each in seen.entries], seen.more) == (["m17", "m18", "m19"], True)
    seen = await journal.unit_log(UNIT, 30, AT + timedelta(seconds=15), AT + timedelta(seconds=17))
    assert ([each.message for each in seen.entries], seen.more) == (["m15", "m16", "m17"], False)
    assert await journal.unit_log("none.service", 3, AT) == ([], False)
    assert [each.message for each in (await journal.kernel_log(5, AT)).entries] == ["I/O error"]


@needs_journal
async def test_many_huge_messages_do_not_fail_the_look_up(tmp_path: Path) -> None:
    huge = [stored(USEC + n, binary("MESSAGE", b"%d " % n + b"z" * 3_000_000), FROM) for n in range(4)]
    write_file(tmp_path / "x.journal", b"".join(huge) + stored(USEC + 9, text("MESSAGE", "last"), FROM))
    whole = await SystemJournal(tmp_path).unit_log(UNIT, 2000, AT)
    assert [len(each.message) for each in whole.entries] == [VALUE_BYTES] * 4 + [4]
    assert not whole.more
    seen = await SystemJournal(tmp_path, most_bytes=5_000_000).unit_log(UNIT, 2000, AT)
    assert seen.more
    assert [each.message[:4] for each in seen.entries][-2:] == ["3 zz", "last"]
    assert len(seen.entries) < 5


@needs_journal
async def test_a_journal_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JournalUnavailable, match=r"journalctl ended with status 1: .*nowhere"):
        await SystemJournal(tmp_path / "nowhere").unit_log(UNIT, 5, AT)
    hint = "Hint: You are currently not seeing messages from other users and the system."
    (tmp_path / "journalctl").write_text(f"#!/bin/sh\necho '{hint}' >&2\n")
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JournalUnavailable, match="group systemd-journal"):
        await SystemJournal(tmp_path).unit_log(UNIT, 5, AT)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(JournalUnavailable, match="there is no systemd journal here"):
        await SystemJournal(tmp_path).unit_log(UNIT, 5, AT)
