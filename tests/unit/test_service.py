"""runtime/service.py inside one process: promises, crashes, back-off, shielding. Signals are in tests/services."""

import asyncio
import logging
from contextlib import suppress
from itertools import pairwise

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.service import Heartbeat, backing_off, run_service, troubles, uninterrupted


async def idle() -> None:
    await asyncio.Event().wait()


def test_a_promise_is_overdue_only_while_it_is_broken() -> None:
    now = 0.0
    heart = Heartbeat(lambda: now)
    with heart.within(10, "a long look"):
        now = 9.0
        assert heart.overdue() == ""
        now = 10.5
        assert heart.overdue() == "a long look"
    assert heart.overdue() == ""


def test_promises_nest_and_the_same_name_may_be_given_twice() -> None:
    now = 0.0
    heart = Heartbeat(lambda: now)
    with heart.within(10, "outer"), heart.within(2, "inner"), heart.within(2, "inner"):
        now = 5.0
        assert heart.overdue() == "inner"


async def test_a_crash_in_a_loop_is_the_service_s_own_and_stops_the_others() -> None:
    stopped = []

    async def other() -> None:
        try:
            await idle()
        finally:
            stopped.append("other")

    async def crash() -> None:
        await asyncio.sleep(0.01)
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        await run_service("test", {"crash": crash, "other": other}, Heartbeat())
    assert stopped == ["other"]


async def test_a_loop_that_ends_is_a_bug() -> None:
    async def short() -> None:
        return

    with pytest.raises(RuntimeError, match="'short' ended"):
        await run_service("test", {"short": short, "idle": idle}, Heartbeat())


async def test_what_is_away_is_said_once_backed_off_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[float] = []
    reached = asyncio.Event()

    async def work() -> None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 4:
            raise StoreUnavailable("the database is locked")
        reached.set()
        await idle()

    with caplog.at_level(logging.INFO):
        task = asyncio.create_task(backing_off("the store", work, first_seconds=0.01, most_seconds=0.02))
        await asyncio.wait_for(reached.wait(), 5)
        assert troubles() == {"the store": "the database is locked"}
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    pauses = [round(after - before, 2) for before, after in pairwise(tries)]
    assert pauses[0] >= 0.01 <= pauses[-1]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warnings] == ["the store: the database is locked; next try in 0.01 s"]
    assert troubles() == {}


async def test_backing_off_lets_bugs_through() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await backing_off("work", work)


async def test_uninterrupted_work_is_finished_before_the_cancellation_goes_on() -> None:
    done = []

    async def work() -> str:
        await asyncio.sleep(0.05)
        done.append("work")
        return "result"

    assert await uninterrupted(work()) == "result"
    task = asyncio.create_task(uninterrupted(work()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["work", "work"]
