"""trigger_monitor/lines/decide.py and bursts.py: from batches to triggers, with exact counts however they are cut."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.core.noticing_settings import LogRule, Maintenance, Silence, TriggerMonitor
from ai_sysadmin.core.records import JournalEntry, Judgement, Label, Symptom, Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.export import ExportParser
from ai_sysadmin.trigger_monitor.lines.bursts import BURST_OVER, JUMP, MOST_TEMPLATES, USUAL_AFTER
from ai_sysadmin.trigger_monitor.lines.decide import Decided, Noticer
from ai_sysadmin.trigger_monitor.rules import Says, is_watched
from tests.builders import HOST, NOW
from tests.noticing import FAILED, START_FAILED, SUPPRESSED, Writer

SETTINGS = TriggerMonitor(burst_count=100, burst_window_seconds=10)
LATER = NOW + timedelta(seconds=30)
LONG_AGO = NOW - timedelta(days=30)


def noticer(settings: TriggerMonitor = SETTINGS, **changes: object) -> Noticer:
    """Return a noticer that began long before the entries."""
    given: dict[str, object] = {"now": LONG_AGO} | changes
    return Noticer(HOST, settings, **given)


def judged(entries: list[JournalEntry], by: Noticer | None = None) -> Decided:
    return (by or noticer()).decide(entries, LATER)


def of(kind: SymptomKind, decided: Decided) -> list[Trigger]:
    return [trigger for trigger in decided.triggers if trigger.kind is kind]


# --- error lines


def test_equal_error_lines_of_a_unit_are_one_supporting_trigger() -> None:
    write = Writer()
    decided = judged([*write.lines(40), *write.lines(5, "other {}"), *write.lines(7, unit="db.service")])
    found = {(each.unit, each.text): each.count for each in of(SymptomKind.SEVERE_LOG, decided)}
    assert found == {
        ("web.service", "upstream 0 refused"): 40,
        ("web.service", "other 0"): 5,
        ("db.service", "upstream 0 refused"): 7,
    }
    assert len({each.template for each in decided.triggers}) == 3
    assert not any(each.opens for each in decided.triggers)


@pytest.mark.parametrize(
    "line",
    [
        Writer().line("only a warning", priority=4),
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
    decided = judged([Writer().line(line.message, "web.service", 3, fields=line.fields)])
    (trigger,) = of(SymptomKind.SEVERE_LOG, decided)
    assert (trigger.unit, trigger.count) == ("web.service", 1)


@pytest.mark.parametrize("unit", ["llama-cpp.service", "runner.service", "user@1000.service", "mnt-data.mount"])
def test_units_of_others_with_similar_names_are_watched(unit: str) -> None:
    assert is_watched(unit)


# --- bursts


@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=40), count=st.integers(1, 1500))
@settings(max_examples=100, deadline=None)
def test_a_burst_counts_exactly_its_lines_however_it_is_cut(sizes: list[int], count: int) -> None:
    entries = Writer().lines(count)
    by, severe, bursts, start = noticer(), 0, 0, 0
    for size in [*sizes, count]:
        decided = judged(entries[start : start + size], by)
        start += size
        severe += sum(each.count for each in of(SymptomKind.SEVERE_LOG, decided))
        bursts += len(of(SymptomKind.BURST, decided))
        assert sum(each.count for each in of(SymptomKind.BURST, decided)) == 0
    assert severe == count
    assert bursts == (1 if count >= SETTINGS.burst_count else 0)


def test_lines_that_come_slowly_are_no_burst() -> None:
    write, by = Writer(), noticer()
    for _ in range(30):
        decided = judged([write.later(1).line("refused")] * 9, by)
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
    write, by, raised = Writer(), noticer(), 0
    for _ in range(25):
        raised += len(of(SymptomKind.BURST, judged(write.later(1).lines(100), by)))
    assert raised == 3


def test_what_is_usual_for_a_noisy_unit_is_no_burst_and_a_jump_above_it_is() -> None:
    write, by = Writer(at=NOW - timedelta(days=1)), noticer()
    for _ in range(int(USUAL_AFTER.total_seconds()) + 20):
        by.decide(write.later(1).lines(20), write.at)
    usual = by.decide(write.later(1).lines(50), write.at)
    assert of(SymptomKind.BURST, usual) == []
    jump = by.decide(write.later(1).lines(20 * 10 * JUMP * 2), write.at)
    assert [each.opens for each in of(SymptomKind.BURST, jump)] == [True]


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
    assert len(of(SymptomKind.BURST, judged(entries[60:], noticer(waiting=[waiting])))) == 1
    spread = waiting.model_copy(update={"first_at": before.at - timedelta(seconds=100)})
    assert of(SymptomKind.BURST, judged(entries[60:], noticer(waiting=[spread]))) == []


def test_a_flood_of_different_lines_is_folded_and_still_counted() -> None:
    names = ["".join(chr(97 + int(digit)) for digit in str(n)) for n in range(3000)]
    entries = [Writer().line(" ".join([name] * (1 + n % 40))) for n, name in enumerate(names)]
    by, total, templates = noticer(), 0, set()
    for start in range(0, 3000, 500):
        decided = judged(entries[start : start + 500], by)
        total += sum(each.count for each in decided.triggers)
        templates |= {each.template for each in decided.triggers}
    assert total == 3000
    assert len(templates) == MOST_TEMPLATES + 1


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
    assert first.candidates == ()
    second = judged([write.restart(), write.failed()])
    assert [each.unit for each in second.candidates] == ["web.service"]


@pytest.mark.parametrize("cut", range(4))
def test_the_start_limit_is_known_whatever_the_batches(cut: int) -> None:
    write, by = Writer(), noticer()
    entries = [
        write.restart(),
        write.line("web.service: Start request repeated too quickly.", priority=4, fields={"UNIT": "web.service"}),
        write.failed(),
    ]
    candidates = [*judged(entries[:cut], by).candidates, *judged(entries[cut:], by).candidates]
    assert [each.at_limit for each in candidates] == [True]
    assert [each.at_limit for each in judged([write.failed()], by).candidates] == [False]


def test_units_of_no_interest_do_not_fail() -> None:
    write = Writer()
    names = ("run-u7.service", "ai-sysadmin-api.service", "llama-review.service", "session-1.scope", "dev-sda.device")
    decided = judged([write.failed(name) for name in names])
    assert (decided.candidates, decided.said) == ((), ())


def test_what_the_manager_says_is_passed_on_in_order() -> None:
    write = Writer()
    entries = [
        write.manager("de5b426a63be47a7b6ac3eaac82e2f6f", "Stopping."),
        write.manager("9d1aaa27d60140bd96365438aad20286", "Stopped."),
        write.manager(START_FAILED, "Dependency failed.", JOB_RESULT="dependency"),
        write.manager(START_FAILED, "Failed to start.", JOB_RESULT="failed"),
        write.failed(),
    ]
    said = judged(entries).said
    assert [each.what for each in said] == [
        Says.STOPPING,
        Says.STOPPED,
        Says.DEPENDENCY,
        Says.START_FAILED,
        Says.UNIT_FAILED,
    ]
    assert {(each.unit, each.invocation) for each in said} == {("web.service", "a1" * 16)}


def test_nobody_else_is_believed_to_be_the_manager() -> None:
    forged = Writer().line("web.service: Stopping.", message_id="de5b426a63be47a7b6ac3eaac82e2f6f", fields={})
    assert judged([forged, Writer().line("x", message_id=FAILED)]).said == ()


def test_a_recorded_evening_of_failing_units() -> None:
    data = (Path(__file__).parents[1] / "fixtures/journal/failing-units.export").read_bytes()
    entries = ExportParser().feed(data)
    decided = noticer(TriggerMonitor(burst_count=4)).decide(entries, entries[-1].at)
    assert {each.unit: each.at_limit for each in decided.candidates} == {
        "e2e-fail.service": False,
        "e2e-flap.service": True,
        "e2e-segv.service": False,
        "e2e-watchdog.service": False,
        "e2e-timeout.service": False,
        "e2e-disk.service": False,
        "e2e-oomsim.service": False,
    }
    severe = {each.unit: each.count for each in of(SymptomKind.SEVERE_LOG, decided) if each.unit}
    assert severe == {"e2e-fail.service": 1, "e2e-flap.service": 4, "e2e-watchdog.service": 1}
    assert [each.unit for each in of(SymptomKind.BURST, decided)] == ["e2e-flap.service"]


# --- rules

KERNEL: dict[str, object] = {"unit": "", "transport": "kernel", "identifier": "kernel"}
OOM = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/system.slice/shop.service"
    ",task_memcg=/system.slice/shop.service,task=java,pid=412,uid=0"
)


@pytest.mark.parametrize(
    ("line", "kind", "unit", "about", "opens"),
    [
        (("I/O error, dev sdb, sector 881 op 0x0", KERNEL), SymptomKind.STORAGE_ERROR, "", "disk sdb", True),
        ((OOM, KERNEL), SymptomKind.OOM_KILL, "shop.service", "", True),
        (("java[412]: segfault at 0 ip 0 sp 0", KERNEL), SymptomKind.CRASHED, "", "process java", False),
        (("task jbd2:77 blocked for more than 120 seconds.", KERNEL), SymptomKind.KERNEL_FAULT, "", "kernel", True),
        (("bind: Address already in use", {"priority": 6}), SymptomKind.PORT_TAKEN, "web.service", "", True),
        (("write: No space left on device", {}), SymptomKind.DISK_FULL, "web.service", "", False),
        (
            ("bind: Address already in use", {"fields": {"CONTAINER_NAME": "shop"}}),
            SymptomKind.PORT_TAKEN,
            "",
            "container shop",
            True,
        ),
        (
            ("bind: Address already in use", {"fields": {"_SYSTEMD_USER_UNIT": "a.service"}, "unit": "user@7.service"}),
            SymptomKind.PORT_TAKEN,
            "user@7.service",
            "",
            False,
        ),
    ],
)
def test_a_rule_names_its_subject(
    line: tuple[str, dict[str, object]], kind: SymptomKind, unit: str, about: str, opens: bool
) -> None:
    (found,) = of(kind, judged([Writer().line(line[0], **line[1])]))
    assert (found.unit, found.about, found.opens) == (unit, about, opens)


def test_the_two_lines_of_one_kill_are_one_symptom() -> None:
    write = Writer()
    killed = "Memory cgroup out of memory: Killed process 412 (java) total-vm:1kB"
    (found,) = of(SymptomKind.OOM_KILL, judged([write.line(OOM, **KERNEL), write.line(killed, **KERNEL)]))
    assert (found.unit, found.count) == ("shop.service", 2)


@pytest.mark.parametrize("changes", [{}, {"identifier": "kernel"}, {"unit": "", "identifier": "kernel"}])
def test_a_program_cannot_speak_for_the_kernel(changes: dict[str, object]) -> None:
    decided = judged([Writer().line("I/O error, dev sdb, sector 881", **changes)])
    assert not any(each.opens or each.about.startswith("disk") for each in decided.triggers)


def test_a_unit_nobody_watches_opens_nothing() -> None:
    write = Writer()
    lines = [write.line("bind: Address already in use", unit) for unit in ("session-3.scope", "run-u1.service", "")]
    assert not any(each.opens for each in judged(lines).triggers)


def test_an_error_of_nobody_knows_whom_is_a_symptom_of_its_own() -> None:
    (trigger,) = of(SymptomKind.SEVERE_LOG, judged([Writer().line("it has failed", unit="")]))
    assert (trigger.subject, trigger.opens) == ("program unknown", False)


def test_the_operators_rules_and_silences_stand_above_the_table() -> None:
    settings = SETTINGS.model_copy(
        update={
            "rules": (
                LogRule(name="port_taken", pattern="already in use", opens=False, why="that is known"),
                LogRule(name="code_42", pattern="code 42", unit="shop*", severity=90),
            ),
            "silences": (Silence(unit="noisy.service"), Silence(pattern="chatter")),
        }
    )
    write, by = Writer(), noticer(settings)
    taken = of(SymptomKind.LOG_RULE, judged([write.line("bind: Address already in use")], by))
    assert [(each.template, each.opens, each.why) for each in taken] == [("port_taken", False, "that is known")]
    codes = [write.line(f"ended with code {n}", "shop.service", 6) for n in (41, 42, 43, 42)]
    (found,) = of(SymptomKind.LOG_RULE, judged(codes, by))
    assert (found.template, found.opens, found.count, found.text) == ("code_42", True, 2, "ended with code 42")
    silent = [*write.lines(200, unit="noisy.service"), *write.lines(200, "chatter {} failed")]
    assert judged(silent, by).triggers == ()


def test_in_a_maintenance_window_a_rule_opens_nothing() -> None:
    window = Maintenance(units=("web*",), start="00:00", end="23:59")
    by = noticer(SETTINGS.model_copy(update={"maintenance": (window,)}))
    lines = [Writer().line("bind: Address already in use"), *Writer().lines(100)]
    noon = LATER.replace(hour=12)
    assert not any(each.opens for each in by.decide(lines, noon).triggers)
    assert any(each.opens for each in judged(lines).triggers)


# --- what is unheard of, and what is thought of it

BAD = "cache of region {} is corrupt, rebuilding"


def novel(by: Noticer, at: Writer) -> list[Trigger]:
    return of(SymptomKind.NOVEL_LOG, by.decide([at.line(BAD.format(7), priority=6)], at.at))


def test_an_unheard_of_bad_line_supports_once() -> None:
    write, by = Writer(), noticer()
    (found,) = novel(by, write)
    assert (found.opens, found.unit) == (False, "web.service")
    assert "unheard of" in found.why
    assert novel(by, write.later(60)) == []


def test_novelty_alone_is_nothing() -> None:
    assert judged([Writer().line("the cat sat on the mat", priority=6)]).triggers == ()


def test_nothing_is_unheard_of_while_learning_nor_after_having_been_learned() -> None:
    first = noticer(now=NOW)
    assert novel(first, Writer(at=NOW - timedelta(hours=3))) == []
    assert novel(first, Writer(at=NOW + timedelta(days=1))) == []
    kept = first.changed(LATER)
    assert [each.known for each in kept] == [True]
    again = noticer(now=NOW, templates=kept, memory=first.memory())
    late = Writer(at=NOW + timedelta(days=8))
    assert novel(again, late) == []
    assert (
        len(of(SymptomKind.NOVEL_LOG, again.decide([late.line("the queue is broken, giving up", priority=6)], late.at)))
        == 1
    )


def label(**changes: object) -> Label:
    given: dict[str, object] = {"category": "noise", "severity": 10, "matters": False, "summary": "a line"}
    return Label(**(given | {"model": "m", "prompt_version": "1", "at": NOW} | changes))


def test_judged_benign_a_line_is_nothing_but_its_units_failure_still_counts() -> None:
    write, by = Writer(), noticer()
    judged(write.lines(3), by)
    (template,) = by.changed(LATER)
    by.hear({template.id: (None, Judgement.BENIGN)})
    decided = judged([*write.lines(500), write.failed()], by)
    assert decided.triggers == ()
    assert [each.unit for each in decided.candidates] == ["web.service"]
    by.hear({})
    assert len(judged(write.lines(3), by).triggers) == 1


def test_judged_to_matter_a_harmless_line_supports_each_time() -> None:
    write, by = Writer(), noticer()
    judged(write.lines(20, "tick {}", priority=6), by)
    (template,) = by.changed(LATER)
    by.hear({template.id: (None, Judgement.MATTERS)})
    (found,) = judged(write.lines(4, "tick {}", priority=6), by).triggers
    assert (found.kind, found.count, found.opens) == (SymptomKind.NOVEL_LOG, 4, False)


def test_a_label_hides_neither_errors_nor_rules() -> None:
    write, by = Writer(), noticer()
    lines = [write.line("disk is on fire"), write.line("bind: Address already in use", priority=6)]
    judged(lines, by)
    by.hear({each.id: (label(), None) for each in by.changed(LATER)})
    assert {each.kind for each in judged(lines, by).triggers} == {SymptomKind.SEVERE_LOG, SymptomKind.PORT_TAKEN}


def test_an_error_in_words_alone_is_an_error() -> None:
    (found,) = judged([Writer().line("ERROR cannot reach the index", priority=6)]).triggers
    assert (found.kind, found.priority) == (SymptomKind.SEVERE_LOG, 3)


def test_what_happened_before_the_first_start_opens_nothing() -> None:
    by = noticer(now=NOW)
    old, late = Writer(at=NOW - timedelta(hours=2)), Writer(at=NOW + timedelta(seconds=1))
    failed = ("I/O error, dev sdb, sector 881", KERNEL)
    assert [each.opens for each in judged([old.line(failed[0], **failed[1])], by).triggers] == [False]
    both = [old.line(failed[0], **failed[1]), late.line(failed[0], **failed[1])]
    assert [(each.opens, each.count) for each in judged(both, by).triggers] == [(True, 2)]


# --- what hostile writers cost


def test_a_flood_of_kernel_lines_hides_no_fault_of_the_kernel() -> None:
    write, by = Writer(), noticer()
    words = (f"{n:x}".translate(str.maketrans("0123456789", "ghijklmnop")) for n in range(6000))
    judged([write.line(" ".join([word] * (n % 30 + 1)), priority=6, **KERNEL) for n, word in enumerate(words)], by)
    (found,) = judged([write.line("I/O error, dev sdb, sector 881", priority=6, **KERNEL)], by).triggers
    assert (found.about, found.opens) == ("disk sdb", True)


def test_a_flood_in_one_unit_leaves_the_others_and_its_own_known_lines_as_they_were() -> None:
    write, by = Writer(), noticer()
    judged([*write.lines(5, "job {} refused"), *write.lines(5, "pool {} refused", unit="db.service")], by)
    words = (f"{n:x}".translate(str.maketrans("0123456789", "ghijklmnop")) for n in range(20_000))
    flood = [write.line(" ".join([word] * (n % 30 + 1)), priority=6) for n, word in enumerate(words)]
    judged(flood, by)
    after = judged([*write.lines(4, "job {} refused"), *write.lines(4, "pool {} refused", unit="db.service")], by)
    assert {(each.unit, each.text, each.count) for each in after.triggers} == {
        ("web.service", "job 0 refused", 4),
        ("db.service", "pool 0 refused", 4),
    }
    (fresh,) = judged([write.line("mail is stuck", "mail.service")], by).triggers
    assert fresh.text == "mail is stuck"
