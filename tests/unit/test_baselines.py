"""What is unusual at this hour: nothing in ordinary days, and what does not belong there is found."""

import math
import random
from datetime import timedelta

import pytest

from ai_sysadmin.core.records import Sample
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.host.baselines import Baselines
from tests.builders import HOST, NOW

DAY = 1440
"""In minutes."""

METRICS = (
    ("memory_available_percent", ""),
    ("load_per_processor", ""),
    ("cpu_used_percent", ""),
    ("pressure_some_percent", "io"),
    ("network_drops_per_second", "eth0"),
    ("file_system_used_percent", "/var"),
)


def course(seed: int, minutes: int, level: float = 40.0, swing: float = 15.0, noise: float = 2.0) -> list[float]:
    """Return a figure per minute: a pattern of the day, a busier hour, noise that hangs together, flatter weekends."""
    rng = random.Random(seed)
    phase, busy, wander, values = rng.random() * DAY, rng.randrange(24), 0.0, []
    for minute in range(minutes):
        wander = 0.97 * wander + rng.gauss(0, 0.24 * noise)
        quiet = 0.8 if minute // DAY % 7 >= 5 else 1.0
        value = level + quiet * swing * math.sin(2 * math.pi * (minute + phase) / DAY)
        value += 0.3 * swing * (minute // 60 % 24 == busy)
        values.append(max(0.0, value + wander + rng.gauss(0, noise)))
    return values


def run(baselines, values, metric="cpu_used_percent", about="", start=0):
    """Let minutes pass; return the minutes at which something was unusual."""
    return [
        start + number
        for number, value in enumerate(values)
        if baselines.take([Sample(metric, value, about, "percent")], NOW + timedelta(minutes=start + number))
    ]


def test_a_hundred_ordinary_series_days_are_never_unusual():
    false = {seed: run(Baselines(HOST), course(seed, 9 * DAY), *METRICS[seed % len(METRICS)]) for seed in range(15)}
    assert not {seed: minutes for seed, minutes in false.items() if minutes}


def test_nine_of_ten_injected_events_are_found():
    found, total = 0, 40
    for seed in range(total):
        rng = random.Random(1000 + seed)
        values = course(seed, 4 * DAY)
        begin, lasts = 3 * DAY + rng.randrange(DAY - 200), rng.choice((10, 20, 60, 180))
        size = rng.choice((-1, 1)) * rng.uniform(16, 45)
        for minute in range(begin, begin + lasts):
            values[minute] = max(0.0, values[minute] + size)
        found += any(begin <= minute <= begin + lasts + 2 for minute in run(Baselines(HOST), values))
    assert found >= 0.9 * total


def test_what_is_unusual_only_supports_and_says_what_is_usual():
    baselines = Baselines(HOST)
    run(baselines, course(1, 3 * DAY))
    triggers = [
        trigger
        for minute in range(3 * DAY, 3 * DAY + 30)
        for trigger in baselines.take(
            [Sample("cpu_used_percent", 99.0, "", "percent")], NOW + timedelta(minutes=minute)
        )
    ]
    assert {(trigger.kind, trigger.opens, trigger.subject) for trigger in triggers} == {
        (SymptomKind.UNUSUAL, False, "processors")
    }
    assert 2 <= len(triggers) <= 8  # said again while it lasts, and not every minute
    assert triggers[0].why.startswith("cpu used percent is 99.0 %, at this hour usually ")


def test_one_odd_minute_is_not_unusual():
    values = course(1, 4 * DAY)
    values[int(3.2 * DAY)] += 60
    assert run(Baselines(HOST), values) == []


def test_the_first_two_days_only_learn():
    values = course(1, 2 * DAY - 1)
    for minute in range(DAY + 300, DAY + 360):
        values[minute] += 50
    assert run(Baselines(HOST), values) == []


def test_a_level_that_has_changed_for_good_stops_being_unusual():
    values = course(2, 12 * DAY)
    shifted = [*values[: 4 * DAY], *(value + 30 for value in values[4 * DAY :])]
    unusual = run(Baselines(HOST), shifted)
    assert unusual
    assert min(unusual) < 4 * DAY + 30
    assert max(unusual) < 4 * DAY + 8 * 60


def test_what_was_learnt_outlives_a_restart():
    before, after = Baselines(HOST), Baselines(HOST)
    values = course(3, 4 * DAY)
    run(before, values[: 3 * DAY])
    after.recall(before.remember())
    rest = [value + 40 for value in values[3 * DAY : 3 * DAY + 60]]
    assert run(after, rest, start=3 * DAY)
    assert run(Baselines(HOST), rest, start=3 * DAY) == []


def test_other_metrics_and_more_than_so_many_series_are_not_learnt():
    baselines = Baselines(HOST)
    baselines.take([Sample("open_files_used_percent", 1.0)], NOW)
    assert baselines.remember() == "[]"
    for number in range(1000):
        baselines.take([Sample("file_system_used_percent", 5.0, f"/mnt/{number}", "percent")], NOW)
    assert len(baselines.remember()) < 200_000


@pytest.mark.parametrize("text", ["", "no JSON", "{}", '[{"name": "x"}]'])
def test_a_memory_that_cannot_be_read_is_an_error(text):
    with pytest.raises(ValueError, match="cannot be read"):
        Baselines(HOST).recall(text)


def test_a_clock_that_jumps_is_not_unusual():
    baselines = Baselines(HOST)
    values = course(4, 5 * DAY)
    assert run(baselines, values[: 3 * DAY]) == []
    assert run(baselines, values[:30], start=2 * DAY) == []
    assert run(baselines, values[:30], start=4 * DAY) == []
