"""Which courses of free space are a file system that fills up, and which are none."""

import math
import random
from datetime import timedelta

import pytest

from ai_sysadmin.core.records import Sample
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.stores.relational.placing import merged
from ai_sysadmin.trigger_monitor.host.forecast import Forecasts, fit
from tests.builders import HOST, NOW

TOTAL = 100e9
STEP = 60
HOUR = 3600


def hears_all(*_said: str) -> bool:
    return False


def samples(free: float, about: str = "/var", total: float = TOTAL) -> list[Sample]:
    return [
        Sample("file_system_used_percent", 100 * (1 - free / total), about, "percent"),
        Sample("file_system_free_bytes", free, about, "bytes"),
        Sample("file_system_total_bytes", total, about, "bytes"),
    ]


def run(forecasts, free_at, hours, start=0.0, step=STEP):
    """Let hours pass; return what was told, each with the second at which it was."""
    return [
        (second, trigger)
        for second in range(int(start * HOUR), int((start + hours) * HOUR), step)
        for trigger in forecasts.take(samples(free_at(second)), NOW + timedelta(seconds=second))
    ]


def test_a_steady_leak_is_told_once_with_when_it_will_be_full():
    rng = random.Random(1)
    told = run(Forecasts(HOST, hears_all), lambda s: 30e9 - 2e9 * s / HOUR + rng.gauss(0, 2e7), 10)
    ((second, trigger),) = told
    assert (trigger.kind, trigger.subject, trigger.unit, trigger.opens) == (
        SymptomKind.DISK_FILLING,
        "/var",
        "var.mount",
        True,
    )
    assert HOUR <= second < 5 * HOUR  # ten hours before it is full, at the latest
    assert trigger.why.startswith("/var fills up: 2")
    assert "shrink by 2 GB an hour" in trigger.why


COURSES = {
    "constant": lambda s: 10e9,
    "noise": lambda s: 10e9 + 5e8 * math.sin(s * 12.9898) % 1e9,
    "grows too slowly": lambda s: 30e9 - 0.5e9 * s / HOUR,
    "logs rotated every two hours": lambda s: 20e9 - 2e9 * (s % (2 * HOUR)) / HOUR,
    "logs rotated every 50 minutes": lambda s: 20e9 - 6e9 * (s % 3000) / HOUR,
    "one big copy that ended": lambda s: 30e9 - 15e9 * min(max(s - 2 * HOUR, 0) / 1800, 1),
    "a day's pattern": lambda s: 25e9 + 5e9 * math.cos(2 * math.pi * s / (24 * HOUR)),
    "plenty of room still": lambda s: 70e9 - 1e9 * s / HOUR,
    "it empties": lambda s: 10e9 + 1e9 * s / HOUR,
}


@pytest.mark.parametrize("course", COURSES)
def test_what_is_no_leak_is_not_told(course):
    assert run(Forecasts(HOST, hears_all), COURSES[course], 24) == []


def test_a_leak_that_stops_is_over_only_when_it_has_been_calm():
    forecasts = Forecasts(HOST, hears_all)

    def course(second: float) -> float:
        return 30e9 - 4e9 * min(second, 3 * HOUR) / HOUR

    ((_, trigger),) = run(forecasts, course, 3)
    fault = merged(None, trigger)
    assert forecasts.over(fault, NOW + timedelta(hours=3)) is None
    assert run(forecasts, course, 4, start=3) == []
    assert forecasts.over(fault, NOW + timedelta(hours=7)).startswith("/var does not fill up any more: 18 GB")


def test_a_file_system_that_is_unmounted_is_over():
    forecasts = Forecasts(HOST, hears_all)
    ((_, trigger),) = run(forecasts, lambda s: 30e9 - 4e9 * s / HOUR, 3)
    later = NOW + timedelta(hours=3, minutes=15)
    assert forecasts.over(merged(None, trigger), later) is None
    forecasts.take(samples(5e9, "/home"), later)
    assert forecasts.over(merged(None, trigger), later) == "/var is not there any more"


def test_what_is_quiet_is_told_when_it_is_not_quiet_any_more():
    quiet = [True]
    forecasts = Forecasts(HOST, lambda *_: quiet[0])
    assert run(forecasts, lambda s: 39e9 - 6e9 * s / HOUR, 4) == []
    quiet[0] = False
    assert len(run(forecasts, lambda s: 39e9 - 6e9 * s / HOUR, 2, start=4)) == 1


def test_a_restart_goes_on_from_the_means_of_before_and_repeats_nothing():
    before = [(NOW + timedelta(seconds=s), 30e9 - 4e9 * s / HOUR) for s in range(150, 3 * HOUR, 300)]
    restarted = Forecasts(HOST, hears_all)
    restarted.restore("/var", before)
    ((second, _),) = run(restarted, lambda s: 30e9 - 4e9 * s / HOUR, 1, start=3)
    assert second < 3.5 * HOUR
    again = Forecasts(HOST, hears_all)
    again.restore("/var", before)
    again.recall(restarted.remember())
    assert run(again, lambda s: 30e9 - 4e9 * s / HOUR, 2, start=3) == []


def test_a_clock_that_jumps_is_no_leak():
    forecasts = Forecasts(HOST, hears_all)
    run(forecasts, lambda s: 10e9, 3)
    assert run(forecasts, lambda s: 10e9, 1, start=-20) == []
    assert run(forecasts, lambda s: 10e9, 2, start=400) == []


def test_a_clock_that_is_set_back_begins_anew():
    forecasts = Forecasts(HOST, hears_all)
    assert run(forecasts, lambda s: 30e9 - 4e9 * s / HOUR, 1.3) == []
    ((second, _),) = run(forecasts, lambda s: 25e9 - 4e9 * s / HOUR, 4)
    assert second > HOUR


def test_a_file_system_made_larger_is_no_leak():
    forecasts = Forecasts(HOST, hears_all)
    run(forecasts, lambda s: 30e9 - 2e9 * s / HOUR, 0.9)
    told = [
        trigger
        for second in range(int(0.9 * HOUR), 2 * HOUR, STEP)
        for trigger in forecasts.take(samples(128e9, total=2 * TOTAL), NOW + timedelta(seconds=second))
    ]
    assert told == []


def test_a_fit_needs_an_hour():
    points = [(300.0 * n, 50e9 - 1e8 * n) for n in range(13)]
    assert fit(points[:11], TOTAL) is None
    found = fit(points, TOTAL)
    assert found.bytes_per_second == pytest.approx(1e8 / 300)
    assert found.full_in.total_seconds() == pytest.approx((50e9 - 12e8) / (1e8 / 300))


def test_a_memory_that_cannot_be_read_is_an_error():
    with pytest.raises(ValueError, match="cannot be read"):
        Forecasts(HOST, hears_all).recall("no JSON")
