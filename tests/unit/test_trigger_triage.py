"""trigger_monitor/triage.py, cli/triage.py: any log judged without a daemon."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ai_sysadmin.cli.main import app
from ai_sysadmin.core.noticing_settings import TriggerMonitor
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources.lines import Line, LineReader
from ai_sysadmin.trigger_monitor.triage import Triage, Verdict
from tests.builders import NOW
from tests.noticing import Writer

QUIET = [f"2026-11-20 03:{n // 60:02}:{n % 60:02} INFO worker {n % 7}: item {n * 31} was stored" for n in range(600)]
FAULTS = {
    100: "2026-11-20 03:01:40 FATAL index 7 is gone",
    200: "2026-11-20 03:03:20 INFO EXT4-fs error (device sdb1): bad block 7",
    300: "2026-11-20 03:05:00 ERROR queue of region north lost its lock",
    400: "2026-11-20 03:06:40 INFO mail could not be sent to the relay",
}


def log() -> list[str]:
    lines = list(QUIET)
    for number, fault in FAULTS.items():
        lines[number : number + 3] = [fault] * 3
    return lines


def triaged(lines: list[str], size: int = 1000) -> tuple[Triage, list[Verdict]]:
    reader, judge = LineReader("auto", NOW, trusting=True), Triage(TriggerMonitor(), "host")
    found = reader.feed("\n".join(lines).encode()) + reader.end()
    return judge, [each for start in range(0, len(found), size) for each in judge.judge(found[start : start + size])]


@pytest.mark.parametrize("size", [1, 17, 1000])
def test_each_fault_is_forwarded_at_its_first_line_and_little_else(size: int) -> None:
    judge, verdicts = triaged(log(), size)
    forwarded = [each.line - 1 for each in verdicts if each.forwarded]
    assert set(FAULTS) - {400} <= set(forwarded)
    assert len(forwarded) <= len(FAULTS) + 1
    assert all(each.why for each in verdicts if each.forwarded)
    summary = judge.summary(1)
    assert (summary.lines, summary.forwarded, summary.incidents) == (600, len(forwarded), 1)


def test_a_column_of_labels_changes_nothing() -> None:
    lines = [f"- 1795083{n:03} 2026.11.20 {line[20:]}" for n, line in enumerate(log())]
    for number in FAULTS:
        lines[number] = "BROKEN" + lines[number][1:]
    _, labelled = triaged(lines)
    _, bare = triaged([line.split(" ", 1)[1] for line in lines])
    assert [each.forwarded for each in labelled] == [each.forwarded for each in bare]


def test_a_burst_is_forwarded_and_opens_one_incident() -> None:
    lines = ["2026-11-20 03:00:00 ERROR upstream 5 refused"] * 500
    judge, verdicts = triaged(lines)
    assert sum(each.forwarded for each in verdicts) == 2
    assert any("burst" in each.why for each in verdicts)
    assert judge.summary(1).incidents == 1


def units(entries: list[JournalEntry]) -> int:
    judge = Triage(TriggerMonitor(), "host")
    judge.judge([Line(number, entry) for number, entry in enumerate(entries, 1)])
    return judge.summary(1).incidents


def test_units_that_fail_and_stay_so_are_incidents() -> None:
    write = Writer()
    assert units([write.failed(), write.later(1).failed("db.service")]) == 2
    assert units([write.failed(), write.later(0.1).restart()]) == 0
    assert units([write.failed(), write.later(60).restart()]) == 1
    assert units([write.failed(), write.later(60).restart(), write.later(60).failed()]) == 1
    assert units([write.failed(), write.later(60).restart(), write.later(7200).failed()]) == 2


def test_blank_lines_are_lines() -> None:
    judge, verdicts = triaged(["one", "", "two", ""])
    assert [(each.line, each.forwarded) for each in verdicts] == [(1, False), (2, False), (3, False)]
    assert judge.summary(timedelta(seconds=2).total_seconds()).seconds == 2


# --- the command


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["triage", *arguments], input=stdin)


def test_json_is_one_object_a_line_and_a_summary(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("\n".join(log()) + "\n")
    result = run(str(path), "--json")
    *lines, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [each["line"] for each in lines] == list(range(1, 601))
    assert all(set(each) == {"line", "template", "forwarded", "why", "score"} for each in lines)
    summary = last["summary"]
    assert set(summary) == {"lines", "templates", "forwarded", "incidents", "seconds"}
    assert summary["forwarded"] == sum(each["forwarded"] for each in lines)
    assert summary["templates"] == len({each["template"] for each in lines})


def test_a_person_reads_a_table_without_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("\n".join([*log(), "2026-11-20 03:09:00 FATAL [red]\x1b[31mgone\x07"]))
    result = run(str(path))
    assert result.exit_code == 0
    assert "FATAL" in result.stdout
    assert "[red]" in result.stdout
    assert "601 lines" in result.stdout
    assert not {"\x1b", "\x07"} & set(result.stdout)


@pytest.mark.parametrize("name", ["missing.log", "."])
def test_a_file_that_cannot_be_read_is_a_mistake_of_usage(tmp_path: Path, name: str) -> None:
    result = run(str(tmp_path / name))
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_the_operators_rules_and_silences_count(tmp_path: Path) -> None:
    log_file, settings = tmp_path / "app.log", tmp_path / "settings.json"
    log_file.write_text("the cat sat on the mat\nFATAL the dog barks\n")
    rules = [{"name": "cat", "pattern": "cat sat"}]
    settings.write_text(json.dumps({"trigger_monitor": {"rules": rules, "silences": [{"pattern": "dog"}]}}))
    found = [json.loads(line) for line in run(str(log_file), "--json", "--settings", str(settings)).stdout.splitlines()]
    assert [each["forwarded"] for each in found[:2]] == [True, False]
    assert found[-1]["summary"]["incidents"] == 1


def test_stdin_in_pieces_and_a_reader_that_leaves(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ai_sysadmin", "triage", "-", "--json"]
    data = "\n".join(QUIET * 60)
    done = subprocess.run(command, input=data, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 60 * 600 + 1
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdout.close()
        try:
            child.stdin.write(data.encode())
            child.stdin.close()
        except BrokenPipeError:
            pass
        assert child.stderr.read() == b""
        assert child.wait() == 0
