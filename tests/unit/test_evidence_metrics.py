"""The host's figures as evidence: what is out of the ordinary, against what is usual, and from where."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from ai_sysadmin.context.evidence import gather
from ai_sysadmin.context.pieces.unusual import Figure, figure_of
from ai_sysadmin.core.context_settings import Context
from ai_sysadmin.core.records import Evidence, Sample
from ai_sysadmin.sources.sysstat import Recorded, Sysstat, SysstatSeen
from ai_sysadmin.stores.metric_store import Point, Series
from tests.builders import NOW, incident
from tests.judging import sources, symptom

USUAL = [20.0, 21.0, 19.0, 22.0, 18.0, 20.0] * 20


def series(values: Sequence[float], minutes: float = 5, last: datetime = NOW) -> list[Point]:
    """Return points that end at a moment."""
    first = last - timedelta(minutes=minutes) * (len(values) - 1)
    return [Point(first + timedelta(minutes=minutes) * n, value, value, value) for n, value in enumerate(values)]


def of(values: Sequence[float], unit: str = "percent", **how: Any) -> Figure:
    found = figure_of("f", "", unit, series(values, **how), NOW)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("values", "unit", "unusual"),
    [
        ([*USUAL, 97.0], "percent", True),
        ([*USUAL, 1.0], "percent", True),
        ([*USUAL, 23.0], "percent", False),
        ([0.0, 100.0] * 60, "percent", False),
        ([50.0] * 60 + [54.0], "percent", False),
        ([50.0] * 60 + [56.0], "percent", True),
        ([40.0] * 60 + [47.0], "celsius", False),
        ([1.0] * 60 + [0.0], "bool", True),
        ([141.0] * 60 + [142.0], "count", True),
        ([1e9] * 60 + [1.2e9], "bytes", False),
        ([1e9] * 60 + [0.5e9], "bytes", True),
        ([0.0] * 60 + [0.0], "per_second", False),
    ],
)
def test_what_is_far_from_the_usual_is_unusual(values: list[float], unit: str, unusual: bool) -> None:
    assert of(values, unit).is_unusual is unusual


def test_the_usual_is_the_median_of_before_and_its_spread() -> None:
    found = of([*USUAL, 97.0])
    assert (found.value, found.usual, found.spread) == (97.0, 20.0, 1.0)


def test_a_peak_within_a_bucket_counts_against_other_peaks() -> None:
    calm = series([20.0] * 60)
    peaks = [point._replace(most=90.0) for point in calm]
    one = [*calm[:-1], peaks[-1]]
    peak = figure_of("f", "", "percent", one, NOW)
    assert peak is not None
    assert (peak.is_unusual, peak.value) == (True, 90.0)
    restless = figure_of("f", "", "percent", peaks, NOW)
    assert restless is not None
    assert not restless.is_unusual


def test_with_few_figures_before_nothing_is_called_usual() -> None:
    found = of([20.0] * 5 + [97.0])
    assert (found.usual, found.is_unusual, found.value) == (None, False, 97.0)


def test_figures_after_the_fault_are_no_part_of_the_usual() -> None:
    found = figure_of(
        "f", "", "percent", [*series([20.0] * 6 + [97.0]), *series(USUAL, last=NOW + timedelta(days=1))], NOW
    )
    assert found is not None
    assert found.usual is None


def test_a_series_without_a_figure_around_the_fault_is_none_and_a_later_one_is_told() -> None:
    old = [point._replace(at=point.at - timedelta(hours=1)) for point in series(USUAL)]
    assert figure_of("f", "", "percent", old, NOW) is None
    later = [*series([*USUAL, 97.0]), *series([30.0], last=NOW + timedelta(hours=1))]
    found = figure_of("f", "", "percent", later, NOW)
    assert found is not None
    assert (found.value, found.later) == (97.0, 30.0)


class Metrics:
    """A ``MetricStore`` that is read only."""

    def __init__(self, figures: dict[tuple[str, str, str], list[Point]]) -> None:
        self.figures = figures

    async def list(self) -> Sequence[Series]:
        return [
            Series(name=name, about=about, unit=unit, value=points[-1].value, at=points[-1].at)
            for (name, about, unit), points in self.figures.items()
        ]

    async def points(self, name: str, about: str, since: datetime, bucket_seconds: int = 0) -> Sequence[Point]:
        return [p for key, points in self.figures.items() if key[:2] == (name, about) for p in points if p.at >= since]

    async def write(self, samples: Sequence[Sample], at: datetime) -> None: ...

    async def roll_up(self, before: datetime, bucket_seconds: int) -> None: ...

    async def drop(self, before: datetime) -> None: ...


class Recording(Sysstat):
    def __init__(self, *recorded: Recorded, gaps: Sequence[str] = ()) -> None:
        super().__init__(())
        self.seen = SysstatSeen(recorded, gaps)
        self.asked = 0

    async def between(self, since: datetime, until: datetime) -> SysstatSeen:
        self.asked += 1
        return self.seen


async def told(figures: dict[tuple[str, str, str], list[Point]], about: str = "", **more: Any) -> Evidence | None:
    wrong = incident(about=about)
    pack = await gather(wrong, [symptom(about=about)], sources(metrics=Metrics(figures), **more), NOW)
    return next((piece for piece in pack.pieces if piece.kind == "metrics"), None)


async def test_the_unusual_comes_first_then_what_it_is_about_then_the_ordinary() -> None:
    found = await told(
        {
            ("load_per_processor", "", "ratio"): series([0.5] * 120),
            ("cpu_used_percent", "", "percent"): series([*USUAL, 97.0]),
            ("file_system_used_percent", "/", "percent"): series([40.0] * 120),
            ("file_system_inodes_used_percent", "/var", "percent"): series([41.0] * 120),
            ("temperature_celsius", "core", "celsius"): series([41.0] * 120),
            ("network_link_up", "eth0", "bool"): series([1.0] * 120 + [0.0]),
            ("file_system_free_bytes", "/var", "bytes"): series([1e9] * 120 + [1.0]),
        },
        about="/var",
    )
    assert found is not None
    assert found.text.splitlines() == [
        "UNUSUAL cpu_used_percent: 97.0 % (usual 20.0 % ± 1.0 %)",
        "UNUSUAL network_link_up eth0: no (usual yes)",
        "file_system_inodes_used_percent /var: 41.0 % (usual 41.0 % ± 0.0 %)",
        "load_per_processor: 0.5 (usual 0.5 ± 0)",
        "file_system_used_percent /: 40.0 % (usual 40.0 % ± 0.0 %)",
    ]
    assert found.facts == {"unusual": "cpu_used_percent, network_link_up eth0"}


async def test_without_figures_there_is_no_such_piece() -> None:
    assert await told({}) is None
    assert await told({("cpu_used_percent", "", "percent"): series([1.0] * 9, last=NOW - timedelta(hours=3))}) is None


def recorded(values: Sequence[float], last: datetime, name: str = "cpu_used_percent") -> list[Recorded]:
    return [Recorded(point.at, [Sample(name, point.value, unit="percent")]) for point in series(values, 10, last)]


async def test_what_the_suite_has_not_kept_yet_sysstat_has_recorded() -> None:
    own = {("cpu_used_percent", "", "percent"): series([20.0, 97.0])}
    sysstat = Recording(*recorded(USUAL, NOW - timedelta(minutes=30)), *recorded([5.0], NOW, "swap_used_percent"))
    found = await told(own, sysstat=sysstat)
    assert found is not None
    assert found.text.splitlines() == [
        "UNUSUAL cpu_used_percent: 97.0 % (usual 20.0 % ± 1.0 %)",
        "swap_used_percent: 5.0 % (no earlier figures to compare with)",
    ]


async def test_what_the_suite_kept_itself_is_believed() -> None:
    own = {("cpu_used_percent", "", "percent"): series([20.0] * 24)}
    found = await told(own, sysstat=Recording(*recorded([20.0] * 30 + [97.0], NOW)))
    assert found is not None
    assert found.text == "cpu_used_percent: 20.0 % (usual 20.0 % ± 0.0 %)"


async def test_sysstat_is_not_asked_where_the_suite_knows_or_may_not_ask() -> None:
    sysstat = Recording()
    await told({("cpu_used_percent", "", "percent"): series([20.0] * 12 * 13)}, sysstat=sysstat)
    await told({}, sysstat=sysstat, limits=Context(sysstat=False))
    assert sysstat.asked == 0
    assert await told({}, sysstat=sysstat) is None
    assert sysstat.asked == 1


async def test_what_sysstat_could_not_say_is_a_gap() -> None:
    found = await told({}, sysstat=Recording(gaps=("what sysstat recorded in /x/sa01: broken",)))
    assert found is not None
    assert found.text == "not known: what sysstat recorded in /x/sa01: broken"
