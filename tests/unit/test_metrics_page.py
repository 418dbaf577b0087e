"""The pages of `metrics`: figures in words, the table, the charts."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ai_sysadmin.cli.columns import columns
from ai_sysadmin.cli.metrics_page import Screen, figure, histories_page, listing_page, slots_of, ticks
from ai_sysadmin.openai_api_server.system.metric_views import MetricHistories, Metrics
from ai_sysadmin.openai_api_server.system.metrics import history_of
from ai_sysadmin.stores.metric_store import Point, Series

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
BUCKET = 600


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def in_zone(monkeypatch, name):
    monkeypatch.setenv("TZ", name)
    time.tzset()


def a_history(values, about="", unit="percent", every=BUCKET, spread=0.0, newest=NOW):
    """Return a history of one value a step up to now; none is a step without a figure."""
    first = NOW - timedelta(seconds=every * len(values))
    points = [
        Point(first + timedelta(seconds=every * number), value, value - spread, value + spread)
        for number, value in enumerate(values)
        if value is not None
    ]
    last = points[-1].value if points else 0.0
    return history_of(Series(name="m", about=about, unit=unit, value=last, at=newest), points)


def found(*series, period=DAY, bucket=BUCKET, left_off=0):
    return MetricHistories(
        name="m", since=NOW - period, at=NOW, bucket_seconds=bucket, series=series, left_off=left_off
    )


def rows_of(page):
    """Return the rows of the one chart on a page, without their labels."""
    return [line.partition("|")[2] for line in page.splitlines() if "|" in line]


def told(page):
    """Return a page without its line breaks."""
    return " ".join(page.split())


def ascii_rows(*series, width=80, **changes):
    return rows_of(histories_page(found(*series, **changes), Screen(width, is_ascii=True)))


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (42.123, "percent", "42.1 %"),
        (0.355, "ratio", "35.5 %"),
        (1536 * 2**20, "bytes", "1.50 GiB"),
        (1023 * 2**20, "bytes", "1023 MiB"),
        (-5 * 2**40, "bytes", "-5 TiB"),
        (0, "bytes", "0 B"),
        (0.0125, "seconds", "12.5 ms"),
        (-3, "seconds", "-3 s"),
        (5400, "seconds", "1.50 h"),
        (0, "seconds", "0 s"),
        (1, "bool", "yes"),
        (0, "bool", "no"),
        (0.25, "bool", "25 % yes"),
        (85.25, "days", "85.2 d"),
        (54.5, "celsius", "54.5 °C"),
        (1.25, "per_second", "1.25/s"),
        (142, "count", "142"),
        (0.5, "", "0.5"),
        (12.5, "GB", "12.5 GB"),
        (3, "x\x1b[31my", "3 xy"),
    ],
)
def test_a_figure_is_said_for_people(value, unit, said):
    assert figure(value, unit) == said


def test_the_list_shows_name_figure_age_and_thing_within_the_width():
    series = [
        Series(name="memory_available_bytes", about="", unit="bytes", value=2**31, at=NOW - timedelta(seconds=9)),
        Series(name="used", about="/srv/" + "x" * 100 + "\x1b[2J", unit="percent", value=91.25, at=NOW - 3 * DAY),
    ]
    page = listing_page(Metrics(metrics=tuple(series), found=7, left_off=5, at=NOW), "", Screen(60))
    head, first, second, *rest = page.splitlines()
    assert head.split() == ["NAME", "NEWEST", "AGE", "ABOUT"]
    assert first.split() == ["memory_available_bytes", "2", "GiB", "9", "s"]
    assert second.split()[:5] == ["used", "91.2", "%", "3", "d"]
    assert "\x1b" not in page
    assert rest[-1] == "2 of 7: the beginning of a name shows fewer, --limit more."
    assert max(map(columns, page.splitlines())) <= 60


def test_an_empty_list_says_what_to_do():
    nothing = Metrics(metrics=(), found=0, left_off=0, at=NOW)
    assert "is the trigger monitor running?" in listing_page(nothing, "", Screen(80))
    assert "begins with 'zz'" in listing_page(nothing, "zz", Screen(80))


def test_a_rise_is_drawn_from_the_lower_left_to_the_upper_right():
    rows = ascii_rows(a_history([number / 1.44 for number in range(144)]))
    assert len(rows) == 10
    assert rows[0].rstrip().endswith("*")
    assert rows[-1].startswith("*")
    heights = [next(row for row, text in enumerate(rows) if text.ljust(80)[column] == "*") for column in range(70)]
    assert heights == sorted(heights, reverse=True)


def test_braille_draws_the_same_rise_finer():
    page = histories_page(found(a_history([number / 1.44 for number in range(144)])), Screen(80))
    rows = [line.partition("│")[2] for line in page.splitlines() if "│" in line]
    assert rows[-1][0] in "⡠⣀⠤⢀⡀⣠⡰⠔"
    assert not rows[0][:60].strip()
    assert all("\u2800" <= mark <= "\u28ff" for row in rows for mark in row.replace(" ", ""))


def test_the_band_goes_from_the_least_to_the_most():
    rows = ascii_rows(a_history([50.0] * 144, spread=20))
    assert (rows[0][5], rows[-1][5]) == (":", ":")
    assert [row[5] for row in rows].count("*") == 1
    flat = ascii_rows(a_history([50.0] * 144))
    assert ":" not in "".join(flat)


def test_a_gap_is_left_empty_and_told():
    page = histories_page(found(a_history([50.0] * 60 + [None] * 24 + [50.0] * 60)), Screen(80, is_ascii=True))
    columns_of = [set(column) for column in zip(*(row.ljust(80) for row in rows_of(page)), strict=True)]
    width = 72
    assert all(columns_of[place] == {" "} for place in range(width * 61 // 144 + 1, width * 83 // 144))
    assert "*" in columns_of[width * 59 // 144]
    assert "*" in columns_of[width * 85 // 144]
    assert "no figures for 4 h" in told(page)


def test_what_is_read_rarely_has_no_gaps_between_its_figures():
    hourly = a_history([50.0] * 24, every=3600)
    assert "no figures" not in histories_page(found(hourly), Screen(80))
    assert all(
        "*" in set(column) for column in list(zip(*(r.ljust(80) for r in ascii_rows(hourly)), strict=True))[2:70]
    )


def test_a_time_before_the_first_and_after_the_last_figure_is_a_gap():
    page = histories_page(found(a_history([None] * 36 + [50.0] * 72 + [None] * 36)), Screen(80))
    assert "no figures for 12 h in 2 gaps" in told(page)


def test_several_points_in_one_column_become_their_mean_least_and_most():
    history = a_history([10.0, 30.0] * 72, spread=5)
    slots = slots_of(history.points, found(history), 24)
    assert {(slot.least, slot.most) for slot in slots} == {(5, 35)}
    assert {slot.value for slot in slots} == {20}


def test_numbers_stand_below_the_chart():
    page = histories_page(found(a_history([10.0, 20.0, 60.0] * 48, newest=NOW - timedelta(seconds=9))), Screen(80))
    assert "newest 60.0 % (9 s ago), least 10.0 %, mean 30.0 %, most 60.0 %" in page
    yes = histories_page(found(a_history([1.0, 0.0, 0.0, 0.0] * 36, unit="bool")), Screen(80))
    assert "25 % of the time yes" in yes


def test_labels_differ_where_the_figures_hardly_do():
    page = histories_page(found(a_history([5e11, 5.001e11] * 72, unit="bytes")), Screen(80, is_ascii=True))
    labels = [line.partition("|")[0].strip() for line in page.splitlines() if "|" in line]
    assert len({each for each in labels if each}) == 3


@pytest.mark.parametrize("value", [0.0, 100.0])
def test_a_constant_share_is_drawn_at_its_end_of_the_scale(value):
    rows = ascii_rows(a_history([value] * 144))
    assert set(rows[0 if value else -1].strip()) == {"*"}


def test_each_thing_has_a_chart_of_its_own_and_six_are_the_most():
    series = [a_history([50.0] * 144, about=f"/disk{number}") for number in range(8)]
    page = histories_page(found(*series, left_off=3), Screen(80, is_ascii=True))
    assert [line for line in page.splitlines() if line.startswith("/")] == [f"/disk{number}" for number in range(6)]
    assert "It is measured on 5 more" in page
    quiet = a_history([], about="/gone", newest=NOW - 3 * DAY)
    page = histories_page(found(series[0], quiet), Screen(80))
    assert "/gone\nno figures in this time; newest 0.0 % (3 d ago)" in page


@pytest.mark.parametrize("width", [40, 80, 133, 200])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_page_fits_its_screen(width, is_ascii):
    series = [
        a_history([10.0, 91.5] * 72, about="/srv/" + "x" * 120, spread=8),
        a_history([2.5e12] * 144, about="a °C … ü", unit="celsius"),
    ]
    page = histories_page(found(*series, left_off=2), Screen(width, is_ascii))
    assert max(map(columns, page.splitlines())) <= width
    assert page.isascii() == is_ascii


def test_what_a_thing_is_named_acts_on_no_terminal():
    page = histories_page(found(a_history([1.0] * 9, about="a\x1b[31mb\nc")), Screen(80))
    assert "\x1b" not in page
    assert "ab c" in page


def test_the_axis_tells_local_times_and_midnight_as_its_date(monkeypatch):
    in_zone(monkeypatch, "Europe/Berlin")
    lines = histories_page(found(a_history([50.0] * 144)), Screen(80, is_ascii=True)).splitlines()
    floor = next(number for number, line in enumerate(lines) if line.strip().startswith("+-"))
    times = lines[floor + 1].split()
    assert times == ["15:00", "18:00", "21:00", "11-20", "03:00", "06:00", "09:00", "12:00"]
    assert lines[0] == "m, 2026-11-19 13:00:00 +0100 to 2026-11-20 13:00:00 +0100"
    at_midnight = lines[floor + 1].index("11-20") + 2
    assert lines[floor][at_midnight] == "+"
    start = lines[floor].index("+") + 1
    assert abs((at_midnight - start) / 72 - 11 / 24) < 0.02


def test_ticks_keep_to_the_wall_clock_when_summer_time_ends(monkeypatch):
    in_zone(monkeypatch, "Europe/Berlin")
    begin = datetime(2026, 10, 24, 20, 0, tzinfo=UTC)
    assert [each.strftime("%H") for each in ticks(begin, begin + DAY, 80)] == [
        "00",
        "03",
        "06",
        "09",
        "12",
        "15",
        "18",
        "21",
    ]


@pytest.mark.parametrize("hours", [1, 2, 24, 24 * 7, 24 * 90, 24 * 366])
@pytest.mark.parametrize("width", [10, 28, 70, 190])
def test_ticks_never_run_into_each_other(hours, width):
    period = timedelta(hours=hours)
    moments = ticks(NOW - period, NOW, width)
    places = [int(width * ((each - (NOW - period)) / period)) for each in moments]
    assert all(after - before >= 7 for before, after in pairwise(places))
    assert moments or width < 28
