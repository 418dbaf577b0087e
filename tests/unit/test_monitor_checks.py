"""A person asks for a look at everything now: what the trigger monitor does about it."""

import asyncio

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores.health_store import Check
from ai_sysadmin.testing.host import FakeUnits
from ai_sysadmin.trigger_monitor import checks
from ai_sysadmin.trigger_monitor.checks import Checks
from ai_sysadmin.trigger_monitor.daemon import Stores, TriggerMonitor
from tests.builders import NOW
from tests.judging import FixedClock


class OneCheck:
    """A ``HealthStore`` in which one check waits, or none."""

    def __init__(self, check=None):
        self.waiting = check
        self.kept = []

    async def waiting_check(self, state):
        return self.waiting if self.waiting and self.waiting.state == state else None

    async def keep_check(self, check):
        self.waiting = None
        self.kept.append(check)


ASKED = Check(id="abc", state="asked", by="alice", asked_at=NOW)


def looking(store, **looks):
    return Checks(store, looks, FixedClock(), Heartbeat())


async def test_all_looks_are_done_and_the_check_says_so():
    seen = []

    async def look():
        seen.append(1)

    store = OneCheck(ASKED)
    assert await looking(store, units=look, probes=look).look_next()
    assert seen == [1, 1]
    assert [(each.state, each.looked_at, each.text) for each in store.kept] == [("looked", NOW, "")]


async def test_without_a_check_nobody_looks():
    async def never():
        raise AssertionError

    assert not await looking(OneCheck(), units=never).look_next()


async def test_a_look_that_takes_too_long_does_not_hold_up_the_others(monkeypatch):
    monkeypatch.setattr(checks, "LOOK_SECONDS", 0.05)
    cancelled = []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(1)

    async def quick():
        return

    store = OneCheck(ASKED)
    assert await looking(store, probes=slow, units=quick).look_next()
    assert store.kept[0].text.endswith("probes")
    assert cancelled == [1]


async def test_a_store_that_is_away_is_said_and_the_check_waits_on():
    async def look():
        raise StoreUnavailable("locked")

    store = OneCheck(ASKED)
    with pytest.raises(StoreUnavailable):
        await looking(store, units=look).look_next()
    assert store.waiting is ASKED


async def test_the_monitor_takes_checks_up_where_it_is_given_their_store(tmp_path):
    from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
    from ai_sysadmin.stores.relational import open_stores

    async with open_stores(tmp_path / "state.db", "h") as stores:
        parts = (stores.notices, stores.templates, stores.metrics, stores.notes)
        rest = (FakeUnits(), FixedClock(), Heartbeat(), Settings())
        with_health = TriggerMonitor("h", Stores(*parts, stores.health), *rest, look_ups=())
        without = TriggerMonitor("h", Stores(*parts), *rest, look_ups=())
        assert "looks for checks" in with_health.loops()
        assert "looks for checks" not in without.loops()
