"""trigger_monitor/lines/scores.py: what words weigh, and how all that is known of a line adds up."""

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.records import Judgement, Label
from ai_sysadmin.sources.levels import NO_LEVEL, level_of
from ai_sysadmin.trigger_monitor.lines.scores import DOUBTFUL, FAILING, GRAVE, Known, is_forgotten, score, weigh
from tests.builders import NOW


@pytest.mark.parametrize(
    ("message", "level"),
    [
        ("FATAL: the index is gone", 2),
        ("12 WARN [main] a.b.C: slow", 4),
        ("[error] child died", 3),
        ("[core:notice] resuming", 5),
        ('time=x level=warning msg="slow"', 4),
        ('{"level":"error","msg":"x"}', 3),
        ("error: bind failed", 3),
        ("Info    SET  loaded the set", 6),
        ("E1122 09:00:00 1 a.go:7] x", 3),
        ("1702 2105 W Power: low", 4),
        ("<crit> the pool is gone", 2),
        ("the errors of youth", NO_LEVEL),
        ("GET /ERROR/page.html", NO_LEVEL),
        ("nothing", NO_LEVEL),
    ],
)
def test_the_level_that_a_head_names(message: str, level: int) -> None:
    assert level_of(message) == level


@pytest.mark.parametrize(
    ("message", "least", "most"),
    [
        ("the journal of block 7 is corrupt", GRAVE, 100),
        ("kernel panic - not syncing", GRAVE, 100),
        ("mail could not be sent", FAILING, GRAVE),
        ("connection to db timed out", FAILING, GRAVE),
        ("java.io.FileLockException: busy", FAILING, GRAVE),
        ("retrying in 5 s", DOUBTFUL, DOUBTFUL),
        ("copied 17 files", 0, 0),
        ("scrub ended with 0 errors", 0, 0),
        ("no errors were found", 0, 0),
        ("ok=12 changed=1 unreachable=0 failed=0", 0, 0),
        ("started with --error-log=/var/log/web/error.log", 0, 0),
        ("OnFailure=tell@web.service", 0, 0),
        ("parity error corrected by the controller", 1, 29),
        ("link recovered after an error", 0, 29),
        ("INFO the last try failed", 1, 29),
        ("failover to node b ended", 0, 0),
        ("the deadline is near", 0, 0),
    ],
)
def test_what_words_weigh(message: str, least: int, most: int) -> None:
    assert least <= weigh(message).points <= most


def test_a_level_is_no_word_and_a_second_bad_word_weighs_more() -> None:
    assert weigh("ERROR: the cat sat").points == 0
    assert weigh("write failed: access denied").points > weigh("write failed").points


def test_no_text_takes_long() -> None:
    pieces = ("x" * 10 + "/", "error ", "-", "--fail", "no ", "error:", "1 ", "E ", "<", "on", "not a ", "x=error")
    began = time.process_time()
    for piece in pieces:
        weigh((piece * 512)[:512])
    assert time.process_time() - began < 0.2


@given(st.text(max_size=800))
def test_any_text_has_a_weight(message: str) -> None:
    assert 0 <= weigh(message).points <= 100


# --- together


def label(**changes: object) -> Label:
    given: dict[str, object] = {"category": "noise", "severity": 80, "matters": False, "summary": "s"}
    return Label(**(given | {"model": "m", "prompt_version": "1", "at": NOW} | changes))


FAILED = {"points": FAILING, "words": ("failed",)}


@pytest.mark.parametrize(
    ("known", "forwarded", "why"),
    [
        (Known(priority=6), False, ()),
        (Known(priority=6, is_novel=True), False, ("unheard of",)),
        (Known(priority=6, is_novel=True, **FAILED), True, ("says 'failed'", "unheard of")),
        (Known(priority=6, **FAILED), False, ("says 'failed'",)),
        (Known(priority=3, is_novel=True), True, ("priority err", "unheard of")),
        (Known(priority=3), False, ("priority err",)),
        (Known(priority=2), True, ("priority crit",)),
        (Known(priority=2, is_heard=True), False, ("priority crit", "told before")),
        (Known(priority=3, is_heard=True, is_burst=True), True, ("priority err", "burst")),
        (Known(priority=6, rule="io_error", severity=85), True, ("rule io_error",)),
        (Known(priority=6, rule="io_error", severity=85, is_heard=True), False, ("rule io_error", "told before")),
        (
            Known(priority=6, is_novel=True, label=label(), **FAILED),
            False,
            ("says 'failed'", "labelled noise, harmless", "unheard of"),
        ),
        (Known(priority=3, is_novel=True, label=label()), True, ("priority err", "unheard of")),
        (
            Known(priority=6, rule="no_space", severity=70, label=label()),
            True,
            ("rule no_space",),
        ),
        (
            Known(priority=6, points=DOUBTFUL, words=("slow",), is_novel=True, label=label(matters=True)),
            True,
            ("says 'slow'", "labelled noise", "unheard of"),
        ),
        (Known(priority=6, judgement=Judgement.MATTERS, is_heard=True), True, ("judged to matter",)),
        (Known(priority=0, judgement=Judgement.BENIGN, rule="x", severity=99), False, ("judged benign",)),
    ],
)
def test_what_is_known_adds_up(known: Known, forwarded: bool, why: tuple[str, ...]) -> None:
    scored = score(known)
    assert (scored.forwarded, scored.why) == (forwarded, why)
    assert 0 <= scored.score <= 100


@given(st.integers(0, 7), st.integers(0, 100), st.booleans(), st.booleans())
def test_a_harmless_label_hides_no_error_and_no_rule(priority: int, points: int, novel: bool, ruled: bool) -> None:
    known = Known(priority=priority, points=points, is_novel=novel, rule="x" if ruled else "", severity=60)
    if ruled or priority <= 3:
        assert score(known._replace(label=label())).score == score(known).score
    assert score(known._replace(label=label())).score <= score(known).score


@pytest.mark.parametrize(
    ("silence_hours", "usual_hours", "forgotten"), [(23, 0, False), (24, 0, True), (24, 3, False), (30, 3, True)]
)
def test_news_after_a_long_silence(silence_hours: int, usual_hours: int, forgotten: bool) -> None:
    assert is_forgotten(timedelta(hours=silence_hours), timedelta(hours=usual_hours)) is forgotten
