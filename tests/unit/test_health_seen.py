"""The whole host as pieces of evidence: what stands out, and what is only jitter."""

import math
import random
from datetime import timedelta

import pytest

from ai_sysadmin.core.records import Evidence, Judgement, Label, Template
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.review_model import host_seen, trends
from ai_sysadmin.review_model.host_seen import Notable
from ai_sysadmin.stores.metric_store import Point, Series
from tests.builders import NOW, incident
from tests.hosts_seen import DOWN, HOUR, seen


def series(name, about="", value=0.0, at=NOW):
    return Series(name=name, about=about, unit="percent", value=value, at=at)


def points(values, until=NOW):
    start = until - HOUR * (len(values) - 1)
    return [Point(start + HOUR * number, value, value, value) for number, value in enumerate(values)]


# --- what the figures do


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ([50 + 0.2 * hour for hour in range(192)], "file system used of /var full within a week"),
        ([95 + 0.02 * hour for hour in range(192)], "file system used of /var full within a week"),
        ([60 + 0.5 * hour for hour in range(72)], "file system used of /var full within a day"),
        ([50 + 0.06 * hour for hour in range(192)], "file system used of /var full within a month"),
        ([70 + 0.001 * hour for hour in range(192)], None),
        ([50 + 30 * (hour % 24) / 24 for hour in range(192)], None),  # a cache that is emptied every night
        ([90 - 0.2 * hour for hour in range(192)], None),
        ([50.0, 60.0, 70.0], None),
    ],
)
def test_what_grows_steadily_is_full_some_day(values, key):
    found = trends.trend(series("file_system_used_percent", "/var"), points(values), NOW)
    assert (found and found.key) == key


@pytest.mark.parametrize(
    ("last", "key"), [(85, "cpu used higher"), (5, "cpu used lower"), (48, None), (42, None), (30, None)]
)
def test_a_figure_is_unusual_against_the_same_hours_of_a_day_and_a_week_before(last, key):
    daily = [40 + 10 * math.sin(hour / 24 * 2 * math.pi) for hour in range(186)]
    found = trends.trend(series("cpu_used_percent"), points([*daily, *[last] * 7]), NOW)
    assert (found and found.key) == key


def test_ordinary_jitter_changes_no_word():
    rng = random.Random(5)
    for name, about, base in (("cpu_used_percent", "", 30), ("file_system_used_percent", "/", 71)):
        for _ in range(50):
            values = [base + rng.gauss(0, 2) for _ in range(192)]
            assert trends.trend(series(name, about), points(values), NOW) is None


def test_a_figure_that_is_not_measured_any_more_says_nothing():
    values = [50 + 0.2 * hour for hour in range(192)]
    assert trends.trend(series("file_system_used_percent", "/"), points(values, NOW - timedelta(days=1)), NOW) is None


# --- what stands out


def template(**changes):
    given = {
        "id": "t1",
        "source": "web.service",
        "text": "cannot <*>",
        "example": "cannot x",
        "priority": 3,
        "count": 4,
        "first_at": NOW - HOUR,
        "last_at": NOW,
    }
    return Template(**(given | changes))


def label(**changes):
    given = {"category": "error", "severity": 40, "matters": True, "summary": "s", "model": "m", "prompt_version": "1"}
    return Label(**(given | {"at": NOW} | changes))


@pytest.mark.parametrize(
    ("changes", "stands_out"),
    [
        ({"label": label()}, True),
        ({"label": label(matters=False)}, False),
        ({"label": None}, False),
        ({"label": label(matters=False), "judgement": Judgement.MATTERS}, True),
        ({"label": label(), "judgement": Judgement.BENIGN}, False),
        ({"label": label(), "known": True}, False),
        ({"label": label(), "first_at": NOW - timedelta(days=3)}, False),
    ],
)
def test_new_kinds_of_line_stand_out_where_they_matter(changes, stands_out):
    assert bool(host_seen.new_lines([template(**changes)], NOW).notable) is stands_out


@pytest.mark.parametrize(
    ("seen", "key"),
    [
        (series("reboot_pending", value=1), "reboot"),
        (series("reboot_pending", value=0), None),
        (series("backup_overdue", "daily", 1), "backup daily"),
        (series("certificate_days_left", "/etc/x.pem", 12), "certificate /etc/x.pem expires within 14 days"),
        (series("certificate_days_left", "/etc/x.pem", 13), "certificate /etc/x.pem expires within 14 days"),
        (series("certificate_days_left", "/etc/x.pem", -1), "certificate /etc/x.pem has expired"),
        (series("certificate_days_left", "/etc/x.pem", 60), None),
        (series("probe_up", "web", 0), "probe web"),
        (series("probe_up", "web", 1), None),
        (series("probe_up", "web", 0, NOW - timedelta(days=9)), None),
        (series("memory_available_percent", value=3), None),
    ],
)
def test_upkeep_is_what_is_to_be_done(seen, key):
    assert [each.key for each in host_seen.upkeep([seen], NOW).notable] == ([key] if key else [])


def test_what_came_back_often_stands_out():
    recent = [incident(reopened=2), incident(unit="db.service"), incident(unit="x.service", kind=SymptomKind.FLAPPING)]
    notable = host_seen.came_back(recent, NOW).notable
    assert [each.key for each in notable] == ["web.service 3 or more", "x.service flaps"]
    assert host_seen.came_back([incident(reopened=9)], NOW + timedelta(days=2)).notable == ()


def test_the_hash_is_of_what_stands_out_and_not_of_how_it_is_said_today():
    later = Notable(DOWN.key, "web.service failed, 4 min ago", 71)
    assert seen(DOWN).hash == seen(later, at=NOW + HOUR).hash
    others = {seen().hash, seen(gap="no bus").hash, seen(DOWN).hash, seen(DOWN, Notable("db", "db", 1)).hash}
    assert len(others) == 4


# --- pieces are evidence


def test_pieces_are_numbered_bounded_and_harmless():
    many = [Notable(f"n{number}", f"thing {number}\x1b[31m\nx", 1) for number in range(50)]
    piece = seen(*many).pieces[0]
    assert isinstance(piece, Evidence)
    assert (piece.id, len(piece.text.splitlines()), piece.left_out) == ("e1", host_seen.MOST_LINES, "20 more")
    assert "\x1b" not in piece.text
