"""Maintenance windows and silences."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from ai_sysadmin.core.noticing_settings import Maintenance, Silence
from ai_sysadmin.trigger_monitor.quiet import in_maintenance, is_silenced

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone=UTC, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


@pytest.mark.parametrize(
    ("window", "now", "inside"),
    [
        (Maintenance(start="02:00", end="03:00"), "2026-11-20 01:59", False),
        (Maintenance(start="02:00", end="03:00"), "2026-11-20 02:00", True),
        (Maintenance(start="02:00", end="03:00"), "2026-11-20 02:59:59", True),
        (Maintenance(start="02:00", end="03:00"), "2026-11-20 03:00", False),
        (Maintenance(start="23:00", end="01:00"), "2026-11-20 23:30", True),
        (Maintenance(start="23:00", end="01:00"), "2026-11-21 00:30", True),
        (Maintenance(start="23:00", end="01:00"), "2026-11-21 01:30", False),
        # 2026-11-20 is a Friday: the window that began on it reaches into the Saturday, no other does
        (Maintenance(start="23:00", end="01:00", days=("fri",)), "2026-11-21 00:30", True),
        (Maintenance(start="23:00", end="01:00", days=("fri",)), "2026-11-20 00:30", False),
        (Maintenance(start="23:00", end="01:00", days=("sat",)), "2026-11-21 00:30", False),
        (Maintenance(start="04:00", end="04:00"), "2026-11-20 03:59", True),  # a whole day
    ],
)
def test_a_window_is_the_stretch_from_its_start_to_its_end(window, now, inside):
    assert in_maintenance([window], "web.service", at(now), UTC) is inside


@pytest.mark.parametrize(
    ("start", "end", "now", "fold", "inside"),
    [
        # clocks go from 03:00 back to 02:00 on 2026-10-25: 02:45 comes twice, and both are between the two moments
        ("02:30", "03:30", "2026-10-25 02:15", 0, False),
        ("02:30", "03:30", "2026-10-25 02:45", 0, True),
        ("02:30", "03:30", "2026-10-25 02:15", 1, True),
        ("02:30", "03:30", "2026-10-25 02:45", 1, True),
        ("02:30", "03:30", "2026-10-25 03:30", 0, False),
        ("01:00", "02:30", "2026-10-25 02:10", 1, True),
        ("01:00", "02:30", "2026-10-25 02:40", 1, False),
        # clocks go from 02:00 on to 03:00 on 2026-03-29: a window inside the missing hour comes an hour later
        ("02:15", "02:45", "2026-03-29 01:50", 0, False),
        ("02:15", "02:45", "2026-03-29 03:30", 0, True),
        ("02:15", "02:45", "2026-03-29 03:50", 0, False),
        ("01:00", "04:00", "2026-03-29 03:30", 0, True),
    ],
)
def test_a_window_holds_across_a_change_of_the_clocks(start, end, now, fold, inside):
    window = Maintenance(start=start, end=end)
    assert in_maintenance([window], "web.service", at(now, BERLIN, fold), BERLIN) is inside


def test_the_moment_may_be_given_in_any_zone():
    window = Maintenance(start="02:00", end="03:00")
    assert in_maintenance([window], "web.service", at("2026-07-01 00:30"), BERLIN)  # 02:30 there
    assert not in_maintenance([window], "web.service", at("2026-07-01 02:30"), BERLIN)


def test_a_window_is_for_some_subjects():
    windows = [Maintenance(start="02:00", end="03:00", units=("backup-*", "/var"))]
    now = at("2026-11-20 02:30")
    meant = {name: in_maintenance(windows, name, now, UTC) for name in ("backup-db.service", "/var", "web.service")}
    assert meant == {"backup-db.service": True, "/var": True, "web.service": False}
    assert not in_maintenance([], "/var", now, UTC)


@pytest.mark.parametrize(
    ("silence", "is_heard_no_more"),
    [
        (Silence(unit="web.*"), True),
        (Silence(unit="db.*"), False),
        (Silence(pattern="REFUSED by"), True),
        (Silence(pattern="^refused"), False),
        (Silence(rule="io_error"), True),
        (Silence(rule="other"), False),
        (Silence(unit="web.*", pattern="refused", rule="io_error"), True),
        (Silence(unit="web.*", pattern="accepted", rule="io_error"), False),
    ],
)
def test_a_silence_holds_where_all_that_it_names_agrees(silence, is_heard_no_more):
    text = "connection refused by upstream"
    assert is_silenced([silence], "web.service", text, "io_error") is is_heard_no_more
    assert is_silenced([Silence(unit="x"), silence], "web.service", text, "io_error") is is_heard_no_more
    assert not is_silenced([], "web.service", text, "io_error")
