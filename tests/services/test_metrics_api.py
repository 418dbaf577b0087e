"""``/v1/system/metrics``: figures over time, over real sockets."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from ai_sysadmin.actions.periods import period_of
from ai_sysadmin.cli.api import Api as Client
from ai_sysadmin.core.errors import AiSysadminError, NotFound, Unavailable
from ai_sysadmin.core.records import Sample
from ai_sysadmin.openai_api_server.system.metric_views import MetricHistories, Metrics
from ai_sysadmin.openai_api_server.system.metrics import Figures, bucket_of
from ai_sysadmin.stores.metric_store import Point, Series
from ai_sysadmin.testing.host import FakeClock
from tests.services.api_harness import running

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
async def api(tmp_path):
    async with running(tmp_path) as server:
        server.client = Client(server.settings)
        yield server


async def keep(api, *samples, ago=0.0):
    """Keep figures that were read so many minutes ago."""
    await api.stores.metrics.write(samples, datetime.now(UTC) - timedelta(minutes=ago))


async def listed(api, **query):
    return await api.client.request("GET", "metrics", Metrics, query=query)


async def histories(api, name, **query):
    return await api.client.request("GET", f"metrics/{name}", MetricHistories, query=query)


async def test_the_list_has_every_series_with_its_newest_figure(api):
    await keep(api, Sample("load", 1.0, unit="ratio"), Sample("used", 40.0, "/", "percent"), ago=5)
    await keep(api, Sample("used", 41.5, "/", "percent"), Sample("used", 7.0, "/srv", "percent"))
    found = await listed(api)
    assert [(s.name, s.about, s.unit, s.value) for s in found.metrics] == [
        ("load", "", "ratio", 1.0),
        ("used", "/", "percent", 41.5),
        ("used", "/srv", "percent", 7.0),
    ]
    assert (found.found, found.left_off) == (3, 0)
    assert timedelta(minutes=4) < found.at - found.metrics[0].at < timedelta(minutes=6)
    some = await listed(api, name="us", limit=1)
    assert ([s.about for s in some.metrics], some.found, some.left_off) == (["/"], 2, 1)
    assert (await listed(api, name="sed")).found == 0


async def test_a_history_has_the_points_of_its_time_in_buckets(api):
    for minutes, value in ((2900, 99.0), (90, 10.0), (30, 20.0), (29.9, 40.0)):
        await keep(api, Sample("used", value, "/", "percent"), ago=minutes)
    found = await histories(api, "used")
    (series,) = found.series
    assert (found.name, found.bucket_seconds, found.at - found.since) == ("used", 600, timedelta(hours=24))
    assert sum(point.value for point in series.points) in (
        pytest.approx(40.0),
        pytest.approx(70.0),
    )  # of a bucket, or two
    assert (series.about, series.unit, series.least, series.most, series.value) == ("/", "percent", 10, 40, 40)
    assert series.mean == pytest.approx(sum(p.value for p in series.points) / len(series.points))
    assert all(point.least <= point.value <= point.most for point in series.points)
    finer = await histories(api, "used", since="1h", bucket=1)
    assert [point.value for point in finer.series[0].points] == [20, 40]
    longer = await histories(api, "used", since="4w")
    assert longer.series[0].most == 99


async def test_a_name_has_a_history_of_each_thing_and_about_one(api):
    await keep(api, Sample("used", 5.0, "/gone", "percent"), ago=3000)
    await keep(api, *(Sample("used", 1.0, about, "percent") for about in ("/", "/srv", "/var")))
    found = await histories(api, "used", limit=3)
    assert [series.about for series in found.series] == ["/", "/srv", "/var"]
    assert found.left_off == 1
    last = (await histories(api, "used")).series[-1]
    assert (last.about, last.points, last.mean, last.value) == ("/gone", (), None, 5.0)
    one = await histories(api, "used", about="/srv")
    assert [series.about for series in one.series] == ["/srv"]
    assert one.left_off == 0


async def test_what_is_not_there_is_told_with_what_is_near(api):
    with pytest.raises(NotFound, match="no figures are kept yet: the trigger monitor writes them"):
        await histories(api, "used")
    await keep(api, *(Sample(name, 1.0) for name in ("cpu_used_percent", "swap_used_percent", "load_per_processor")))
    await keep(api, *(Sample("used", 1.0, about) for about in ("/srv/media", "/var")))
    with pytest.raises(NotFound, match=r"there is no metric 'cpu_usd_percent'; near it: cpu_used_percent"):
        await histories(api, "cpu_usd_percent")
    with pytest.raises(NotFound, match="near it: load_per_processor; `ai-sysadmin metrics list` shows every one"):
        await histories(api, "load")
    with pytest.raises(NotFound, match=r"^there is no metric 'zzzz'; `ai-sysadmin metrics list`"):
        await histories(api, "zzzz")
    with pytest.raises(NotFound, match=r"used is not measured on '/srv', but on /srv/media"):
        await histories(api, "used", about="/srv")
    with pytest.raises(NotFound, match=r"cpu_used_percent is not measured on '/', but on \(the host\)"):
        await histories(api, "cpu_used_percent", about="/")


async def test_a_name_may_hold_a_slash(api):
    await keep(api, Sample("disk_/srv_percent", 3.0, unit="%"))
    assert (await histories(api, "disk_%2Fsrv_percent")).series[0].value == 3.0


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"since": "yesterday"}, "since"),
        ({"since": "0h"}, "since"),
        ({"since": "99w"}, "since"),
        ({"bucket": -1}, "query.bucket"),
        ({"bucket": 10**30}, "query.bucket"),
        ({"bucket": "x"}, "query.bucket"),
        ({"bucket": 1}, "bucket"),
    ],
)
async def test_a_time_that_is_none_is_a_400(api, query, param):
    await keep(api, Sample("used", 1.0))
    async with api.local() as http:
        answer = await http.get("/v1/system/metrics/used", params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_key_for_reading_is_needed(api):
    await keep(api, Sample("used", 1.0))
    async with api.http() as http, api.anonymous() as nobody:
        for path in ("metrics", "metrics/used"):
            assert (await http.get(f"/v1/system/{path}")).status_code == 200
            assert (await nobody.get(f"/v1/system/{path}")).status_code == 401
    async with api.http(key="wrong") as http:
        assert (await http.get("/v1/system/metrics")).status_code == 401


async def test_the_openapi_document_has_both_paths(api):
    async with api.http() as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    assert {each["name"] for each in paths["/v1/system/metrics/{name}"]["get"]["parameters"]} == {
        "name",
        "about",
        "since",
        "bucket",
        "limit",
    }
    assert "/v1/system/metrics" in paths


async def test_a_store_that_cannot_be_read_is_a_503_with_when_to_try_again(api):
    await keep(api, Sample("used", 1.0))
    with closing(sqlite3.connect(api.settings.store_place)) as file:
        file.execute("DROP TABLE metric_points")
    async with api.local() as http:
        for path in ("metrics", "metrics/used"):
            answer = await http.get(f"/v1/system/{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
            assert int(answer.headers["Retry-After"]) > 0
    with pytest.raises(Unavailable, match="metric_points"):
        await listed(api)


# --- how much


class Endless:
    """Keeps many things of one metric, each with a point in every bucket."""

    def __init__(self, things):
        self.things = things

    async def list(self):
        return [Series(name="m", about=f"/{n:04}", unit="percent", value=float(n), at=NOW) for n in range(self.things)]

    async def points(self, name, about, since, bucket_seconds=0):
        count = int((NOW - since).total_seconds() / bucket_seconds)
        return [Point(since + timedelta(seconds=bucket_seconds * n), 1.0, 1.0, 1.0) for n in range(count)]


@pytest.mark.parametrize("since", ["1h", "24h", "48h", "7d", "4w", "90d", "366d"])
def test_a_bucket_gives_points_enough_to_draw_and_not_many_more(since):
    seconds = period_of(since).total_seconds()
    assert 80 <= seconds / bucket_of(seconds) <= 200


async def test_an_answer_is_bounded_however_much_is_kept():
    figures = Figures(Endless(3000), FakeClock(NOW))
    listing = await figures.listing("", 10**9)
    assert (len(listing.metrics), listing.left_off) == (3000, 0)
    coarse = await figures.histories("m", "", timedelta(days=1), 0, 10**9)
    assert (len(coarse.series), coarse.left_off) == (100, 2900)
    fine = await figures.histories("m", "", timedelta(days=1), 15, 100)
    assert sum(len(each.points) for each in fine.series) <= 24_000
    assert len(fine.series) + fine.left_off == 3000
    assert (await figures.listing("m", -5)).left_off == 2999


async def test_a_figure_that_is_no_number_breaks_no_answer():
    class Odd(Endless):
        async def list(self):
            nan = Series(name="n", about="", unit="", value=float("nan"), at=NOW)
            return [*await super().list(), nan]

        async def points(self, name, about, since, bucket_seconds=0):
            return [Point(since, float("inf"), 0.0, 1.0), Point(since, 5.0, 5.0, 5.0)]

    figures = Figures(Odd(1), FakeClock(NOW))
    found = MetricHistories.model_validate_json(
        (await figures.histories("m", "", timedelta(days=1), 0, 5)).model_dump_json()
    )
    assert [point.value for point in found.series[0].points] == [5.0]
    assert (await figures.listing("", 5)).found == 1
    with pytest.raises(AiSysadminError, match="there is no metric 'n'"):
        await figures.histories("n", "", timedelta(days=1), 0, 5)
