"""trigger_monitor/lines/miner.py: lines that are alike share a template, for good, at a bounded cost."""

import random
import string
import time
import tracemalloc
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.records import Judgement, Label
from ai_sysadmin.trigger_monitor.lines.masks import DIGITS_AWAY, LOOKED_AT
from ai_sysadmin.trigger_monitor.lines.mined import OTHER_LINES, OTHER_SOURCES, Bucket, Grade, Mined, Source
from ai_sysadmin.trigger_monitor.lines.miner import MOST_OF_A_SOURCE, MOST_SOURCES, MOST_TEMPLATES, Miner
from tests.builders import NOW


def grade(_source: Source, message: str) -> Grade:
    return Grade(weight=40, words=("failed",)) if "failed" in message else Grade()


def fed(miner: Miner, message: str, source: str = "web.service", at: datetime = NOW) -> Mined:
    """Mine a line as the noticer does."""
    found = miner.source(source, at)
    cheap = message[:LOOKED_AT].translate(DIGITS_AWAY)
    mined = found.seen.get(cheap) or miner.find(found, message, cheap, at)
    mined.count += 1
    mined.last_at = at
    if not mined.is_changed:
        miner.touch(mined)
    return mined


def texts(messages: list[str]) -> list[str]:
    miner = Miner(grade)
    found = [fed(miner, message) for message in messages]
    return [each.text for each in found]


@pytest.mark.parametrize(
    "messages",
    [
        [f"job {n} took {n * 3} ms" for n in range(5)],
        ["session opened for user anna by (uid=0)", "session opened for user bert by (uid=0)"],
        ["accepted key ab12cd34ef for host alpha-1", "accepted key 99ffee00aa for host beta-22"],
    ],
)
def test_lines_that_differ_in_what_varies_are_one_template(messages: list[str]) -> None:
    assert len(set(texts(messages)[1:])) == 1


@pytest.mark.parametrize(
    "messages",
    [
        ["machine started normally", "machine stopped normally"],
        ["copy of set finished", "copy of set failed"],
        ["0 errors in the archive", "5 errors in the archive"],
        ["one two three", "one two three four"],
    ],
)
def test_lines_that_say_different_things_are_not(messages: list[str]) -> None:
    assert len(set(texts(messages))) == len(messages)


def test_a_word_of_many_values_becomes_a_wildcard() -> None:
    names = ("anna", "bert", "carl", "dora", "emil", "fred", "gina", "hans")
    assert texts([f"greeting {name} in the hall" for name in names])[-1] == "greeting <*> in the hall"


def test_an_id_is_the_same_after_a_restart_and_whoever_comes_first() -> None:
    lines = [*(f"job {n} took {n} ms" for n in range(3)), "session opened for user anna", "session opened for user bob"]
    before = Miner(grade)
    ids = [fed(before, line).id for line in lines]
    after = Miner(grade)
    after.seed(before.changed(NOW))
    assert [fed(after, line).id for line in lines] == ids
    assert [fed(Miner(grade), line).id for line in lines[:1]] == ids[:1]
    assert len(after) == len(before) == 2


def test_counts_labels_and_judgements_come_back() -> None:
    before = Miner(grade)
    for _ in range(7):
        mined = fed(before, "job 1 failed")
    (kept,) = before.changed(NOW)
    label = Label(category="x", severity=9, matters=True, summary="s", model="m", prompt_version="1", at=NOW)
    after = Miner(grade)
    after.seed([kept.model_copy(update={"label": label, "judgement": Judgement.MATTERS})])
    again = fed(after, "job 2 failed")
    assert (again.id, again.count, again.label, again.judgement) == (mined.id, 8, label, Judgement.MATTERS)
    after.hear({})
    assert (again.label, again.judgement) == (None, None)


def test_a_known_template_is_told_at_most_once_a_minute() -> None:
    miner = Miner(grade)
    fed(miner, "job 1 done")
    assert [each.count for each in miner.changed(NOW)] == [1]
    fed(miner, "job 2 done", at=NOW + timedelta(seconds=5))
    assert miner.changed(NOW + timedelta(seconds=5)) == ()
    fed(miner, "job 3 done", at=NOW + timedelta(seconds=30))
    assert [each.count for each in miner.changed(NOW + timedelta(seconds=60))] == [3]
    assert miner.changed(NOW + timedelta(hours=1)) == ()


def hostile(number: int, length: int = 300) -> list[str]:
    rng = random.Random(number)
    letters = string.ascii_letters + string.digits + "    "
    return ["".join(rng.choices(letters, k=length)) for _ in range(number)]


def test_hostile_lines_cost_a_bounded_time_and_memory() -> None:
    lines, miner = hostile(20_000), Miner(grade)
    began = time.process_time()
    for n, line in enumerate(lines):
        fed(miner, line, "evil.service", NOW + timedelta(microseconds=50 * n))
    assert time.process_time() - began < 2
    assert len(miner) <= MOST_OF_A_SOURCE
    assert fed(miner, hostile(1)[0], "evil.service", NOW + timedelta(seconds=1)).text == OTHER_LINES


def test_hostile_lines_take_a_few_megabytes() -> None:
    miner = Miner(grade)
    tracemalloc.start()
    for n, line in enumerate(hostile(2500)):
        fed(miner, line, f"evil{n % 40}.service", NOW + timedelta(seconds=n))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 30 << 20
    assert len(miner) <= MOST_TEMPLATES


def test_what_is_known_goes_on_during_a_flood_of_the_same_source() -> None:
    miner = Miner(grade)
    known = [fed(miner, "job 1 done").id, *(fed(miner, f"key {n:032x} taken").id for n in (10**30, 10**31))]
    for line in hostile(5000):
        fed(miner, line)
    assert fed(miner, "job 77 done").id == known[0]
    assert fed(miner, f"key {10**29:032x} taken").id == known[1] == known[2]
    assert fed(miner, "never heard of this before").text == OTHER_LINES
    assert fed(miner, "never heard of this before", "other.service").text == "never heard of this before"
    assert fed(miner, "this is heard later", at=NOW + timedelta(minutes=5)).text == "this is heard later"


def test_too_many_sources_are_one() -> None:
    miner = Miner(grade)
    names = {miner.source(f"program{n}", NOW).name for n in range(3 * MOST_SOURCES)}
    assert OTHER_SOURCES in names
    assert len(names) == MOST_SOURCES + 1


def test_what_was_seen_once_is_forgotten_before_what_was_seen_often() -> None:
    miner = Miner(grade)
    often = fed(miner, "this part is quite well today")
    fed(miner, "this part is quite well today")
    at = NOW
    for n in range(MOST_OF_A_SOURCE + 300):
        at += timedelta(seconds=1)
        words = f"{n:x}".translate(str.maketrans(string.digits, "ghijklmnop"))
        fed(miner, " ".join([words] * (n % 40 + 1)), at=at)
    assert len(miner) <= MOST_OF_A_SOURCE
    assert fed(miner, "this part is quite well today", at=at) is often


@given(st.lists(st.text(max_size=600), max_size=30))
def test_any_text_has_a_template_and_keeps_it(lines: list[str]) -> None:
    miner = Miner(grade)
    first = [fed(miner, line).id for line in lines]
    assert [fed(miner, line).id for line in lines] == first
    kept = miner.changed(NOW)
    assert {each.id for each in kept} == set(first)
    assert sum(each.count for each in kept) == 2 * len(lines)


@given(st.lists(st.integers(-5000, 5000), max_size=60))
def test_a_bucket_never_gives_more_than_it_holds_at_one_moment(seconds: list[int]) -> None:
    bucket = Bucket(3, 1)
    for second in seconds:
        at = NOW + timedelta(seconds=second)
        assert sum(bucket.take(at) for _ in range(10)) <= 3
