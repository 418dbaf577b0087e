"""sources/export.py: any cutting of the stream gives the same entries; what was lost is counted."""

import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources.export import READ_FIELDS, VALUE_BYTES, ExportParser, entry_of, numbered
from ai_sysadmin.sources.journal import lost_between, lost_within
from tests.journals import At, binary, cursor, entry, text

FIXTURE = Path(__file__).parents[1] / "fixtures/journal/failing-units.export"


def parse(data: bytes, *cuts: int) -> list[JournalEntry]:
    parser = ExportParser()
    edges = [0, *sorted(cuts), len(data)]
    return [each for start, end in pairwise(edges) for each in parser.feed(data[start:end])]


# --- the parser


names = st.one_of(
    st.sampled_from(READ_FIELDS),
    st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True).filter(lambda name: name != "__CURSOR"),
)
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


@pytest.mark.parametrize(
    ("numbers", "lost"),
    [([1, 900, 3, 4], 0), ([1, 2, 900], 897), ([1, 900, 901], 898), ([1, 1 << 40, (1 << 40) + 1], 0), ([5, 4, 5], 0)],
)
def test_a_number_that_cannot_be_counts_for_nothing(numbers: list[int], lost: int) -> None:
    assert lost_within([numbered_entry(each) for each in numbers]) == lost
    assert lost_between(At("c", sequence=1), numbered_entry(1 << 47)) == 0


def test_a_damaged_entry_has_no_number() -> None:
    assert numbered(cursor(1 << 63)) == ("", 0, "bb")
    assert numbered(cursor((1 << 48) - 1)) == ("aa", (1 << 48) - 1, "bb")


def test_entries_are_values() -> None:
    one = parse(entry(1, text("MESSAGE", "a")))[0]
    assert one == one._replace()
