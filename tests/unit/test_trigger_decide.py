"""trigger_monitor/decide.py and bursts.py: from a batch to triggers, with exact counts however it is cut."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.core.records import JournalEntry, Symptom, SymptomKind, Trigger
from ai_sysadmin.sources.export import ExportParser
from ai_sysadmin.trigger_monitor.bursts import BURST_OVER, MOST_TEMPLATES, Burst
from ai_sysadmin.trigger_monitor.decide import Decided, Window, decide
from ai_sysadmin.trigger_monitor.rules import OTHER_LINES, is_watched
from tests.builders import HOST, NOW
from tests.noticing import START_FAILED, SUPPRESSED, Writer

BURST = Burst(count=100, seconds=10)


def judged(entries: list[JournalEntry], window: Window | None = None, burst: Burst = BURST) -> Decided:
    return decide(entries, window or Window(), HOST, burst, NOW + timedelta(seconds=30))


def of(kind: SymptomKind, decided: Decided) -> list[Trigger]:
    return [trigger for trigger in decided.triggers if trigger.kind is kind]


# --- error lines


def test_equal_error_lines_of_a_unit_are_one_supporting_trigger() -> None:
    write = Writer()
    decided = judged([*write.lines(40), *write.lines(5, "other {}"), *write.lines(7, unit="db.service")])
    found = {(each.unit, each.template): each.count for each in of(SymptomKind.SEVERE_LOG, decided)}
    assert found == {
        ("web.service", "upstream <n> refused"): 40,
        ("web.service", "other <n>"): 5,
        ("db.service", "upstream <n> refused"): 7,
    }
    assert not any(each.opens for each in decided.triggers)


@pytest.mark.parametrize(
    "line",
    [
        Writer().line("only a warning", priority=4),
        Writer().line("no unit", unit=""),
        Writer().line("a session", unit="session-3.scope"),
        Writer().line("a passing unit", unit="run-r12ab.service"),
        Writer().line("our own", unit="ai-sysadmin-review-model.service"),
        Writer().line("our model", unit="llama-meta.service"),
        Writer().line("our action", unit="web.service", fields={"_SYSTEMD_SLICE": "ai-sysadmin.slice"}),
        Writer().manager(START_FAILED, "Failed to start web.service."),
        Writer().failed(),
    ],
)
def test_what_is_no_symptom(line: JournalEntry) -> None:
    assert of(SymptomKind.SEVERE_LOG, judged([line])) == []


def test_what_a_service_says_before_it_runs_is_its_own_error() -> None:
    line = Writer().manager("641257651c1b4ec9a8624d7a40a9e1e7", "Failed at step EXEC spawning /bin/no", _PID="77")
    (trigger,) = judged([Writer().line(line.message, "web.service", 3, fields=line.fields)]).triggers
    assert (trigger.unit, trigger.count) == ("web.service", 1)


@pytest.mark.parametrize("unit", ["llama-cpp.service", "runner.service", "user@1000.service", "mnt-data.mount"])
def test_units_of_others_with_similar_names_are_watched(unit: str) -> None:
    assert is_watched(unit)


# --- bursts


@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=40), count=st.integers(1, 1500))
@settings(max_examples=100, deadline=None)
def test_a_burst_counts_exactly_its_lines_however_it_is_cut(sizes: list[int], count: int) -> None:
    entries = Writer().lines(count)
    window, severe, bursts, start = Window(), 0, 0, 0
    for size in [*sizes, count]:
        decided = judged(entries[start : start + size], window)
        window, start = decided.window, start + size
        severe += sum(each.count for each in of(SymptomKind.SEVERE_LOG, decided))
        bursts += len(of(SymptomKind.BURST, decided))
        assert sum(each.count for each in of(SymptomKind.BURST, decided)) == 0
    assert severe == count
    assert bursts == (1 if count >= BURST.count else 0)


def test_lines_that_come_slowly_are_no_burst() -> None:
    write = Writer()
    window = Window()
    for _ in range(30):
        decided = judged([write.later(1).line("refused")] * 9, window)
        window = decided.window
        assert of(SymptomKind.BURST, decided) == []


def test_a_burst_in_one_batch_that_spans_hours_is_found_at_its_time() -> None:
    write = Writer(at=NOW - timedelta(seconds=300))
    slow = [write.later(1).line("refused") for _ in range(150)]
    assert of(SymptomKind.BURST, judged(slow)) == []
    fast = slow + write.lines(100, "refused")
    (burst,) = of(SymptomKind.BURST, judged(fast))
    assert burst.opens
    assert sum(each.count for each in of(SymptomKind.SEVERE_LOG, judged(fast))) == 250


def test_a_burst_that_goes_on_is_raised_again_once_per_window() -> None:
    write, window, raised = Writer(), Window(), 0
    for _ in range(25):
        decided = judged(write.later(1).lines(100), window)
        window, raised = decided.window, raised + len(of(SymptomKind.BURST, decided))
    assert raised == 3


def test_a_burst_of_long_ago_opens_nothing_but_its_lines_are_kept() -> None:
    old = Writer(at=NOW - BURST_OVER).lines(500)
    assert [each.kind for each in judged(old).triggers] == [SymptomKind.SEVERE_LOG]


def test_a_restart_in_the_middle_of_a_burst_loses_nothing() -> None:
    entries = Writer().lines(120)
    (before,) = judged(entries[:60]).triggers
    waiting = Symptom(
        fingerprint=before.fingerprint,
        first_at=before.at,
        last_at=before.at,
        **before.model_dump(include={"host", "unit", "kind", "opens", "count", "priority", "text", "why"}),
    )
    window = Window.seeded([waiting], BURST)
    assert len(of(SymptomKind.BURST, judged(entries[60:], window))) == 1
    spread = waiting.model_copy(update={"first_at": before.at - timedelta(seconds=100)})
    assert of(SymptomKind.BURST, judged(entries[60:], Window.seeded([spread], BURST))) == []


def test_a_flood_of_different_lines_is_folded_and_still_counted() -> None:
    entries = [Writer().line("word " + "".join(chr(97 + int(digit)) for digit in str(n))) for n in range(3000)]
    window, total, kinds = Window(), 0, set()
    for start in range(0, 3000, 500):
        decided = judged(entries[start : start + 500], window)
        window = decided.window
        total += sum(each.count for each in decided.triggers)
        kinds |= {each.template for each in decided.triggers}
    assert total == 3000
    assert len(kinds) == MOST_TEMPLATES + 1
    assert OTHER_LINES in kinds
    assert len(window.recent) <= MOST_TEMPLATES + 1


def test_the_window_forgets() -> None:
    write = Writer()
    window = judged(write.lines(10, "a {}")).window
    assert len(judged(write.later(60).lines(1, "b {}"), window).window.recent) == 1


# --- journald's own word


def suppressed(message: str, **changes: object) -> JournalEntry:
    given = {"message_id": SUPPRESSED, "transport": "driver"} | changes
    return Writer().line(message, "", 6, **given)


@pytest.mark.parametrize(
    "entry",
    [
        suppressed("Suppressed 7250 messages from s1.service", fields={"N_DROPPED": "7250"}),
        suppressed("Suppressed 7250 messages from /system.slice/s1.service"),
    ],
)
def test_what_journald_dropped_is_counted(entry: JournalEntry) -> None:
    decided = judged([entry])
    (trigger,) = decided.triggers
    assert (trigger.kind, trigger.unit, trigger.count, trigger.opens) == (
        SymptomKind.SUPPRESSED,
        "s1.service",
        7250,
        False,
    )
    assert decided.suppressed == 7250


def test_only_journald_is_believed_about_it() -> None:
    forged = suppressed("Suppressed 9 messages from sshd.service", transport="journal")
    assert judged([forged]).suppressed == 0


def test_dropped_lines_of_a_unit_that_is_not_watched_are_counted_all_the_same() -> None:
    decided = judged([suppressed("Suppressed 5 messages from session-1.scope")])
    assert (decided.suppressed, decided.triggers) == (5, ())


# --- units


def test_a_failed_unit_is_a_candidate_not_a_trigger() -> None:
    decided = judged([Writer().failed(result="oom-kill")])
    (candidate,) = decided.candidates
    assert (candidate.unit, candidate.result, candidate.invocation) == ("web.service", "oom-kill", "a1" * 16)
    assert decided.triggers == ()


def test_a_process_cannot_say_that_a_unit_failed() -> None:
    forged = Writer().line("sshd.service: Failed.", "evil.service", 4, message_id=Writer().failed().message_id)
    assert judged([forged]).candidates == ()


def test_a_restart_settles_a_failure_before_it_and_not_one_after() -> None:
    write = Writer()
    first = judged([write.failed(), write.restart()])
    assert (first.candidates, first.settled) == ((), {"web.service"})
    second = judged([write.restart(), write.failed()])
    assert ([each.unit for each in second.candidates], second.settled) == (["web.service"], frozenset())


@pytest.mark.parametrize("cut", range(4))
def test_the_start_limit_is_known_whatever_the_batches(cut: int) -> None:
    write = Writer()
    entries = [
        write.restart(),
        write.line("web.service: Start request repeated too quickly.", priority=4, fields={"UNIT": "web.service"}),
        write.failed(),
    ]
    first = judged(entries[:cut])
    second = judged(entries[cut:], first.window)
    (candidate,) = [*first.candidates, *second.candidates]
    assert candidate.at_limit
    assert second.window.at_limit == frozenset()


def test_units_of_no_interest_do_not_fail() -> None:
    write = Writer()
    names = ("run-u7.service", "ai-sysadmin-api.service", "llama-review.service", "session-1.scope", "dev-sda.device")
    assert judged([write.failed(name) for name in names]).candidates == ()


def test_a_recorded_evening_of_failing_units() -> None:
    data = (Path(__file__).parents[1] / "fixtures/journal/failing-units.export").read_bytes()
    entries = ExportParser().feed(data)
    decided = decide(entries, Window(), HOST, Burst(4, 10), entries[-1].at)
    assert {each.unit: each.at_limit for each in decided.candidates} == {
        "e2e-fail.service": False,
        "e2e-flap.service": True,
        "e2e-segv.service": False,
        "e2e-watchdog.service": False,
        "e2e-timeout.service": False,
        "e2e-disk.service": False,
        "e2e-oomsim.service": False,
    }
    severe = {each.unit: each.count for each in of(SymptomKind.SEVERE_LOG, decided)}
    assert severe == {"e2e-fail.service": 1, "e2e-flap.service": 4, "e2e-watchdog.service": 1}
    assert [each.unit for each in of(SymptomKind.BURST, decided)] == ["e2e-flap.service"]
