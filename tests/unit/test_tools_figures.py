"""tools/figures: how a metric went, from a real store."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ai_sysadmin.context.pieces.drafts import iso
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import Sample
from ai_sysadmin.stores.metric_store import MetricStore, Point, Series
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.tools.figures import SHOWN_POINTS, figure_tools, history, last_unusual
from tests.looking import looked

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
STEP = timedelta(minutes=5)


@pytest.fixture
async def metrics(tmp_path: Path) -> AsyncIterator[MetricStore]:
    async with open_stores(tmp_path / "state.db", "here") as opened:
        yield opened.metrics


def _series(name: str = "load_per_processor", unit: str = "ratio", value: float = 1.0) -> Series:
    return Series(name=name, about="", unit=unit, value=value, at=NOW)


def _points(values: list[float]) -> list[Point]:
    return [Point(NOW - STEP * (len(values) - 1 - at), value, value, value) for at, value in enumerate(values)]


async def test_a_metric_in_full(metrics: MetricStore) -> None:
    for at in range(100):
        value = 90.0 if at == 60 else 40.0
        await metrics.write([Sample("memory_available_percent", value, "", "percent")], NOW - STEP * (99 - at))
    lines = (await looked(figure_tools(metrics, FakeClock(NOW)), name="memory_available_percent")).text.splitlines()
    assert lines[0] == "memory_available_percent, the last 8.2 h:"
    assert lines[1] == f"least 40.0 %, mean 40.5 %, most 90.0 %, last 40.0 % at {iso(NOW)} (0 s ago)"
    assert lines[2] == f"last out of its ordinary at {iso(NOW - STEP * 39)}: 90.0 %, usual was 40.0 %"
    assert lines[3].split() == ["at", "mean", "least", "most"]
    assert 10 <= len(lines) - 4 <= SHOWN_POINTS
    assert sum("90.0 %" in line for line in lines[4:]) == 1


async def test_hours_bound_what_is_looked_at(metrics: MetricStore) -> None:
    await metrics.write([Sample("x", 9.0)], NOW - timedelta(hours=5))
    await metrics.write([Sample("x", 1.0)], NOW - timedelta(minutes=5))
    tools = figure_tools(metrics, FakeClock(NOW))
    assert "most 1" in (await looked(tools, name="x", hours=1)).text
    assert "most 9" in (await looked(tools, name="x", hours=6)).text
    assert (
        "no figures in the last 1 h; last 1 at"
        in (await looked(figure_tools(metrics, FakeClock(NOW + timedelta(days=1))), name="x", hours=1)).text
    )


async def test_a_metric_of_several_things(metrics: MetricStore) -> None:
    await metrics.write(
        [Sample("file_system_used_percent", 10.0 + at, f"/disk{at}", "percent") for at in range(70)], NOW
    )
    tools = figure_tools(metrics, FakeClock(NOW))
    told = await looked(tools, name="file_system_used_percent")
    assert "is measured on 70 things" in told.text
    assert "/disk0" in told.text
    assert told.truncated == "10 more of them"
    assert "last 13.0 %" in (await looked(tools, name="file_system_used_percent", about="/disk3")).text
    wrong = (await looked(tools, name="file_system_used_percent", about="/elsewhere")).text
    assert wrong.startswith("file_system_used_percent is not measured on '/elsewhere', but on: /disk0, ")


async def test_an_unknown_name_is_answered_with_those_near_it(metrics: MetricStore) -> None:
    await metrics.write([Sample(name, 1.0) for name in ("memory_available_percent", "swap_used_percent", "oom")], NOW)
    tools = figure_tools(metrics, FakeClock(NOW))
    assert (await looked(tools, name="memory-usage")).text.splitlines() == [
        "there is no metric 'memory-usage'; near it:",
        "memory_available_percent",
    ]
    assert len((await looked(tools, name="colour")).text.splitlines()) == 4
    assert len((await looked(tools)).text.splitlines()) == 4


async def test_an_empty_store(metrics: MetricStore) -> None:
    with pytest.raises(NotFound, match="no figures are kept yet"):
        await looked(figure_tools(metrics, FakeClock(NOW)), name="x")


def test_yes_and_no_are_told_as_a_share_of_the_time() -> None:
    text = "\n".join(history(_series("clock_synchronised", "bool", 1.0), _points([1.0] * 30 + [0.0] * 10), 24, NOW))
    assert "75 % of the time yes" in text


def test_what_is_still_unusual_is_said_so() -> None:
    lines = history(_series(), _points([1.0] * 30 + [9.0]), 24, NOW)
    assert "and still is: 9, usual was 1" in lines[2]
    assert history(_series(), _points([1.0] * 31), 24, NOW)[2] == "never out of its ordinary in this time"
    assert history(_series(), _points([1.0] * 5), 24, NOW)[2] == "too few figures to say what is usual"


def test_the_newest_crossing_counts() -> None:
    points = _points([1.0] * 20 + [9.0] + [1.0] * 20 + [8.0] + [1.0] * 10)
    found = last_unusual(_series(), points)
    assert found is not None
    assert found[0] == points[41].at
    assert found[1].value == 8.0
