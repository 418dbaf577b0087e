"""sources/lines.py, line_heads.py, lines_follow.py: log files in every form, whatever bytes they hold."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources import lines_follow
from ai_sysadmin.sources.line_heads import HeadReader
from ai_sysadmin.sources.lines import LINE_BYTES, Format, LineReader, form_of
from ai_sysadmin.sources.lines_follow import FileBatch, FilePosition, follow_file
from tests.builders import NOW


def read(data: bytes, form: Format = "auto", *, size: int = 1 << 16, trusting: bool = False) -> list[JournalEntry]:
    reader = LineReader(form, NOW, trusting=trusting)
    found = [line for start in range(0, len(data), size) for line in reader.feed(data[start : start + size])]
    found += reader.end()
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    return [line.entry for line in found]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "at", "message"),
    [
        ("2026-11-19 10:20:30,250 WARN [a] slow", utc(2026, 11, 19, 10, 20, 30, 250000), "WARN [a] slow"),
        ("2026-11-19T10:20:30.5+02:00 slow", utc(2026, 11, 19, 8, 20, 30, 500000), "slow"),
        ("2026-11-19T10:20:30Z slow", utc(2026, 11, 19, 10, 20, 30), "slow"),
        ("[2026-11-19 10:20:30] slow", utc(2026, 11, 19, 10, 20, 30), "slow"),
        ("2026/11/19 10:20:30 [error] 7#7: slow", utc(2026, 11, 19, 10, 20, 30), "[error] 7#7: slow"),
        (
            "[Thu Nov 19 10:20:30.123 2026] [core:error] slow",
            utc(2026, 11, 19, 10, 20, 30, 123000),
            "[core:error] slow",
        ),
        ("Nov 19 10:20:30 slow", utc(2026, 11, 19, 10, 20, 30), "slow"),
        ("Dec 19 10:20:30 slow", utc(2025, 12, 19, 10, 20, 30), "slow"),
        ("11-19 10:20:30.123  17  21 W Power: slow", utc(2026, 11, 19, 10, 20, 30, 123000), "17  21 W Power: slow"),
        ("26/11/19 10:20:30 INFO a.B: slow", utc(2026, 11, 19, 10, 20, 30), "INFO a.B: slow"),
        ("261119 102030 17 INFO slow", utc(2026, 11, 19, 10, 20, 30), "17 INFO slow"),
        ("20261119-10:20:30:123|Part|slow", utc(2026, 11, 19, 10, 20, 30, 123000), "Part|slow"),
        ("1795083630 slow", utc(2026, 11, 19, 10, 20, 30), "slow"),
        ("1795083630.250 slow", utc(2026, 11, 19, 10, 20, 30, 250000), "slow"),
        ("1795083630250 slow", utc(2026, 11, 19, 10, 20, 30, 250000), "slow"),
        ("- 1795083630 2026.11.19 n7 2026-11-19-10.20.30.5 n7 slow", utc(2026, 11, 19, 10, 20, 30, 500000), "n7 slow"),
        ("ALERTED 1795083630 2026.11.19 slow", utc(2026, 11, 19), "slow"),
        ("ERROR 2026-11-19 10:20:30 slow", utc(2026, 11, 19, 10, 20, 30), "ERROR slow"),
        ("2026-99-99 10:20:30 slow", NOW, "slow"),
        ("10.0.0.1 refused", NOW, "10.0.0.1 refused"),
        ("slow since 10:20:30", NOW, "slow since 10:20:30"),
        ("", NOW, ""),
    ],
)
def test_a_time_is_no_part_of_the_message(line: str, at: datetime, message: str) -> None:
    head = HeadReader(NOW, UTC).read(line, is_syslog=False)
    assert (head.at or NOW) == at
    text = f"{head.level_word} {line[head.rest :]}" if head.level_word else line[head.rest :]
    assert text == message


@pytest.mark.parametrize(
    ("line", "priority", "program", "host", "message"),
    [
        ("Nov 19 10:20:30 alpha sshd[77]: Failed password", 6, "sshd", "alpha", "Failed password"),
        ("<11>Nov 19 10:20:30 alpha web: gone", 3, "web", "alpha", "gone"),
        ("Nov 19 10:20:30 alpha su(pam_unix)[7]: opened", 6, "su(pam_unix)", "alpha", "opened"),
        ("Nov 19 10:20:30 alpha /usr/sbin/cron[7]: ran", 6, "cron", "alpha", "ran"),
        ("Nov 19 10:20:30 alpha Big Word[7]: ran", 6, "Big Word", "alpha", "ran"),
        ("2026-11-19T10:20:30.1+00:00 alpha web[1]: gone", 6, "web", "alpha", "gone"),
        ("<27>1 2026-11-19T10:20:30Z alpha web 1 - - gone", 3, "web", "alpha", "gone"),
        ('<27>1 2026-11-19T10:20:30Z alpha web 1 ID [a@1 b="c\\]"] gone', 3, "web", "alpha", "gone"),
        ("<13>1 - - - - - - gone", 5, "", "", "gone"),
        ("Nov 19 10:20:30 alpha last message repeated 2 times", 6, "", "", "alpha last message repeated 2 times"),
    ],
)
def test_syslog_heads(line: str, priority: int, program: str, host: str, message: str) -> None:
    (entry,) = read(line.encode(), "syslog")
    assert (entry.priority, entry.identifier, entry.hostname, entry.message) == (priority, program, host, message)


@pytest.mark.parametrize(
    "line",
    ["Nov 19 10:20:30 alpha kernel: oops", "<2>kernel: oops", "[    7.123456] oops", "<0>Nov 19 10:20:30 a b: c"],
)
def test_only_a_vouched_for_file_holds_the_kernels_word(line: str) -> None:
    assert [each.transport for each in read(line.encode(), "syslog", trusting=True)] == ["kernel"]
    assert [each.transport for each in read(line.encode(), "syslog")] == [""]


EXPORT = (
    b"__CURSOR=s=a;i=1\n__REALTIME_TIMESTAMP=1795083630000000\nMESSAGE=gone\nPRIORITY=3\n_SYSTEMD_UNIT=web.service\n\n"
)
JSON = json.dumps(
    {"__CURSOR": "c", "__REALTIME_TIMESTAMP": "1795083630000000", "MESSAGE": "gone", "_SYSTEMD_UNIT": "web.service"}
).encode()


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (EXPORT * 3, "journal-export"),
        ((JSON + b"\n") * 3, "journal-json"),
        (b"Nov 19 10:20:30 alpha web[1]: gone\n" * 3, "syslog"),
        (b"17/06/09 20:10:40 INFO a.B: gone\n" * 3, "plain"),
        (b"gone\n" * 3, "plain"),
        (b"\n\n\n", "plain"),
        (b"{'not': json}\n", "plain"),
    ],
)
def test_the_form_is_found_out(data: bytes, form: Format) -> None:
    assert form_of(data.decode().split("\n"), NOW) == form
    for size in (7, 1 << 16):
        found = read(data, size=size)
        assert {each.message.strip()[-4:] for each in found if each.message} <= {"gone", "son}"}
        assert len(found) == 3 or not form.startswith("journal")


def test_journal_forms_keep_what_the_journal_knows() -> None:
    for data in (EXPORT, JSON):
        (entry,) = read(data)
        assert (entry.unit, entry.message, entry.at) == ("web.service", "gone", utc(2026, 11, 19, 10, 20, 30))


@pytest.mark.parametrize(
    ("value", "message"),
    [([103, 111, 110, 101], "gone"), (["first", "gone"], "gone"), (None, ""), ([], ""), (7, "7"), ([300], "")],
)
def test_journal_json_values_in_every_shape(value: object, message: str) -> None:
    (entry,) = read(json.dumps({"__CURSOR": "c", "MESSAGE": value}).encode(), "journal-json")
    assert entry.message == message


def test_a_line_that_is_no_json_is_a_line() -> None:
    found = read(JSON + b"\nnot json\n[1]\n" + JSON, "journal-json")
    assert [each.message for each in found] == ["gone", "not json", "[1]", "gone"]


def test_blank_lines_are_counted_and_say_nothing() -> None:
    reader = LineReader("plain", NOW)
    lines = reader.feed(b"one\n\n  \r\ntwo\r\n") + reader.end()
    assert [(line.number, line.blank, line.entry.message) for line in lines] == [
        (1, False, "one"),
        (2, True, ""),
        (3, True, ""),
        (4, False, "two"),
    ]


@pytest.mark.parametrize("form", ["plain", "syslog", "auto", "journal-json"])
def test_of_an_endless_line_the_head_is_kept(form: Format) -> None:
    reader = LineReader(form, NOW)
    found = reader.feed(b"one\nhead ")
    for _ in range(100):
        found += reader.feed(b"x" * 100_000)
    found += reader.feed(b"\ntwo") + reader.end()
    assert [line.entry.message[:4] for line in found] == ["one", "head", "two"]
    assert all(len(line.entry.message) <= LINE_BYTES for line in found)


@given(st.lists(st.binary(max_size=300), max_size=20), st.sampled_from(["auto", "plain", "syslog", "journal-json"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_lines_however_they_are_cut(pieces: list[bytes], form: Format) -> None:
    data = b"\n".join(pieces)
    if data.lstrip(b"\n").startswith(b"__CURSOR="):
        return
    whole = read(data, form)
    assert [each.message for each in read(data, form, size=7)] == [each.message for each in whole]
    assert len(whole) == len(data.split(b"\n")) - (1 if data.endswith(b"\n") or not data else 0)


# --- followed files


class Reading:
    """Reads a followed file until it is idle."""

    def __init__(self, path: Path, position: FilePosition | None = None, form: Format = "plain") -> None:
        self.position = position
        self._batches: AsyncGenerator[FileBatch, None] = follow_file(path, form, position)

    async def more(self) -> list[str]:
        found: list[str] = []
        async with asyncio.timeout(5):
            while (batch := await anext(self._batches)).entries:
                found += [entry.message for entry in batch.entries]
                self.position = batch.position
        self.position = batch.position
        return found

    async def close(self) -> None:
        await self._batches.aclose()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_follow, "IDLE_SECONDS", 0.005)


async def test_a_file_is_followed_line_by_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("one\ntwo\nhal")
    reading = Reading(path)
    assert await reading.more() == ["one", "two"]
    with path.open("a") as file:
        file.write("f\nthree\n")
    assert await reading.more() == ["half", "three"]
    await reading.close()
    again = Reading(path, reading.position)
    assert await again.more() == []
    await again.close()


async def test_a_file_that_is_rotated_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("one\n")
    reading = Reading(path)
    assert await reading.more() == ["one"]
    with path.open("a") as file:
        file.write("two\n")
    path.rename(tmp_path / "web.log.1")
    path.write_text("three\n")
    assert [*await reading.more(), *await reading.more()] == ["two", "three"]
    await reading.close()


async def test_a_file_that_was_rotated_meanwhile_is_read_to_its_end_first(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("one\n")
    reading = Reading(path)
    await reading.more()
    await reading.close()
    with path.open("a") as file:
        file.write("two\n")
    path.rename(tmp_path / "web.log.1")
    path.write_text("three\n")
    again = Reading(path, reading.position)
    assert [*await again.more(), *await again.more()] == ["two", "three"]
    await again.close()
    last = Reading(path, again.position)
    assert await last.more() == []
    await last.close()


async def test_a_file_that_is_cut_short_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("one\ntwo\n")
    reading = Reading(path)
    await reading.more()
    path.write_text("new\n")
    assert await reading.more() == ["new"]
    await reading.close()


async def test_a_file_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    reading = Reading(path)
    assert await reading.more() == []
    path.write_text("one\n")
    assert await reading.more() == ["one"]
    await reading.close()


async def test_of_a_long_file_the_end_is_read_at_first(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("".join(f"line {n}\n" for n in range(300_000)))
    reading = Reading(path)
    found = await reading.more()
    assert found[-1] == "line 299999"
    assert 50_000 < len(found) < 150_000
    assert all(each.startswith("line ") for each in found)
    await reading.close()


async def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    async with aclosing(follow_file(tmp_path, "plain", None)) as batches:
        with pytest.raises(JournalUnavailable, match="cannot be read"):
            await anext(batches)


def test_the_time_of_a_line_without_one_is_that_of_the_line_before() -> None:
    found = read(b"2026-11-19 10:20:30 one\n  at a.b.C\n")
    assert found[1].at == found[0].at == datetime(2026, 11, 19, 10, 20, 30).astimezone(UTC)
    assert found[0].at - timedelta(days=1) < NOW
