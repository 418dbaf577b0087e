"""A person goes before background work, also from another process."""

import asyncio
from contextlib import aclosing
from datetime import datetime, timedelta

import pytest

from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.llm_backend import BackendBusy, Message, turns
from ai_sysadmin.llm_backend.turns import Background, Foreground
from ai_sysadmin.testing.memory_leases import MemoryLeases
from ai_sysadmin.testing.scripted_model import ScriptedModel

HELLO = (Message(role="user", content="hello"),)
CLOCK = SystemClock()
LONG = "word " * 200


class Broken:
    """A store of leases that is away."""

    async def renew(self, backend: str, until: datetime) -> None:
        raise StoreUnavailable

    async def leased(self, backend: str, now: datetime) -> bool:
        raise StoreUnavailable


class Stuck(Broken):
    """A store of leases that does not come back."""

    async def renew(self, backend: str, until: datetime) -> None:
        await asyncio.sleep(60)

    async def leased(self, backend: str, now: datetime) -> bool:
        await asyncio.sleep(60)
        return True


@pytest.fixture
def leases():
    return MemoryLeases()


def background(model, leases, seconds: float = 5) -> Background:
    return Background(model, leases, CLOCK, timeout_seconds=seconds)


def foreground(model, leases) -> Foreground:
    return Foreground(model, leases, CLOCK, timeout_seconds=5)


async def person_waits(leases, model, seconds: float) -> None:
    await leases.renew(model.url, CLOCK.now() + timedelta(seconds=seconds))


async def is_leased(leases, model, ahead: float = 0) -> bool:
    return await leases.leased(model.url, CLOCK.now() + timedelta(seconds=ahead))


async def test_a_lease_holds_while_a_person_is_answered_and_a_little_longer(leases):
    model = ScriptedModel("some words for you", pause_seconds=0.01)
    async with aclosing(foreground(model, leases).stream(HELLO, max_tokens=9)) as deltas:
        await anext(deltas)
        assert await is_leased(leases, model, turns.RENEW_EVERY_SECONDS + 1)
        async for _ in deltas:
            pass
    await asyncio.sleep(0.01)
    assert await is_leased(leases, model)
    assert not await is_leased(leases, model, turns.LINGER_SECONDS + 0.1)


async def test_a_lease_is_renewed_for_as_long_as_the_answer_takes(leases, monkeypatch):
    monkeypatch.setattr(turns, "LEASE_SECONDS", 0.2)
    monkeypatch.setattr(turns, "RENEW_EVERY_SECONDS", 0.05)
    model = ScriptedModel(LONG, pause_seconds=0.01)
    async with aclosing(foreground(model, leases).stream(HELLO, max_tokens=99)) as deltas:
        seen = [await is_leased(leases, model) async for _ in deltas]
    assert len(seen) > 50
    assert all(seen[1:])


async def test_background_work_waits_while_a_person_does(leases):
    model = ScriptedModel("done")
    await person_waits(leases, model, 0.4)
    working = asyncio.create_task(background(model, leases).complete(HELLO, max_tokens=9))
    await asyncio.sleep(0.2)
    assert model.asked == []
    assert (await working).text == "done"


async def test_background_work_gives_way_in_the_middle_and_begins_anew(leases):
    model = ScriptedModel(LONG, "done", pause_seconds=0.01)
    working = asyncio.create_task(background(model, leases).complete(HELLO, max_tokens=300))
    await asyncio.sleep(0.1)
    assert model.busy == 1
    await person_waits(leases, model, 0.6)
    await asyncio.sleep(turns.LOOK_EVERY_SECONDS + 0.1)
    assert model.busy == 0
    assert not working.done()
    assert (await working).text == "done"
    assert len(model.asked) == 2


async def test_background_work_gives_way_even_while_the_server_is_silent(leases):
    model = ScriptedModel("first", pause_seconds=30)
    working = asyncio.create_task(background(model, leases).complete(HELLO, max_tokens=9))
    await asyncio.sleep(0.05)
    assert model.busy == 1
    await person_waits(leases, model, 5)
    await asyncio.sleep(turns.LOOK_EVERY_SECONDS + 0.1)
    assert model.busy == 0
    working.cancel()


async def test_work_whose_pieces_were_taken_is_given_up_rather_than_repeated(leases):
    model = ScriptedModel(LONG, pause_seconds=0.01)
    async with aclosing(background(model, leases).stream(HELLO, max_tokens=300)) as deltas:
        await anext(deltas)
        await person_waits(leases, model, 5)
        with pytest.raises(BackendBusy, match="review model at scripted: was needed for a person"):
            async for _ in deltas:
                pass
    assert model.busy == 0


async def test_background_work_waits_no_longer_than_its_deadline(leases):
    model = ScriptedModel()
    await person_waits(leases, model, 60)
    with pytest.raises(BackendBusy, match="answers a person"):
        await background(model, leases, seconds=0.3).complete(HELLO, max_tokens=9)
    assert model.asked == []


async def test_with_several_slots_it_goes_on_beside_the_person(leases):
    model = ScriptedModel("done", slots=2)
    await person_waits(leases, model, 60)
    assert (await background(model, leases, seconds=1).complete(HELLO, max_tokens=9)).text == "done"


async def test_a_lease_for_another_server_stops_nobody(leases):
    await leases.renew("http://127.0.0.1:8082", CLOCK.now() + timedelta(seconds=60))
    assert (await background(ScriptedModel("done"), leases, seconds=1).complete(HELLO, max_tokens=9)).text == "done"


@pytest.mark.parametrize("store", [Broken(), Stuck()])
async def test_a_store_that_is_away_holds_nobody_up(store, monkeypatch):
    monkeypatch.setattr(turns, "MOST_WAIT_FOR_STORE_SECONDS", 0.1)
    model = ScriptedModel("first", "second")
    front, back = foreground(model, store), background(model, store)
    async with asyncio.timeout(1):
        assert (await front.complete(HELLO, max_tokens=9)).text == "first"
        assert (await back.complete(HELLO, max_tokens=9)).text == "second"
        await front.close()


async def test_nothing_looks_at_the_store_once_the_work_is_done(leases):
    asked = 0

    class Counting(MemoryLeases):
        async def leased(self, backend: str, now: datetime) -> bool:
            nonlocal asked
            asked += 1
            return False

    await background(ScriptedModel("done"), Counting()).complete(HELLO, max_tokens=9)
    before = asked
    await asyncio.sleep(2 * turns.LOOK_EVERY_SECONDS)
    assert asked == before <= 2


async def test_cancelled_background_work_frees_the_server(leases):
    model = ScriptedModel(LONG, pause_seconds=0.01)
    working = asyncio.create_task(background(model, leases).complete(HELLO, max_tokens=300))
    await asyncio.sleep(0.05)
    assert model.busy == 1
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert model.busy == 0
