"""Slots, the queue and the breaker around a model server."""

import asyncio
import gc
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import (
    BackendAway,
    BackendBusy,
    BackendFailed,
    BackendLoading,
    Figures,
    Message,
    PromptTooLong,
)
from ai_sysadmin.llm_backend.breaker import LONGEST_PAUSE_SECONDS, OPENS_AFTER, Breaker
from ai_sysadmin.llm_backend.guarded import Guarded
from ai_sysadmin.llm_backend.lanes import Lane, LaneFull, lane_of
from ai_sysadmin.testing.scripted_model import ScriptedModel

HELLO = (Message(role="user", content="hello"),)


def guarded(model: ScriptedModel, lane: Lane | None = None, seconds: float = 5, waiting: int = 8) -> Guarded:
    return Guarded(model, lane or Lane(), timeout_seconds=seconds, waiting=waiting)


async def most_at_once(model: ScriptedModel, *calls) -> int:
    """Run calls and return how many answers were under way together."""
    most = 0
    together = asyncio.gather(*calls)
    while not together.done():
        most = max(most, model.busy)
        await asyncio.sleep(0.001)
    await together
    return most


# --- slots and the queue


@pytest.mark.parametrize("slots", [1, 2, 3])
async def test_no_more_answers_at_a_time_than_the_server_has_slots(slots):
    model = ScriptedModel(*["a few words more"] * 6, pause_seconds=0.005, slots=slots)
    server = guarded(model)
    assert await most_at_once(model, *(server.complete(HELLO, max_tokens=9) for _ in range(6))) == slots


async def test_layers_on_one_server_share_its_slots():
    model = ScriptedModel(*["a few words more"] * 6, pause_seconds=0.005)
    lane = Lane()
    layers = guarded(model, lane), guarded(model, lane)
    assert await most_at_once(model, *(layers[n % 2].complete(HELLO, max_tokens=9) for n in range(6))) == 1


async def test_one_more_than_may_wait_is_refused_at_once_and_the_others_are_answered():
    model = ScriptedModel(*["a few words"] * 5, pause_seconds=0.02)
    server = guarded(model, waiting=2)
    asked = [asyncio.create_task(server.complete(HELLO, max_tokens=9)) for _ in range(3)]
    await asyncio.sleep(0.02)
    with pytest.raises(BackendBusy, match=r"review model at scripted: is busy: 2 others wait.*backends\.review\.wait"):
        await server.complete(HELLO, max_tokens=9)
    assert [done.text for done in await asyncio.gather(*asked)] == ["a few words"] * 3
    assert (server.figures.calls, server.figures.refused) == (3, 1)


async def test_waiting_counts_against_the_deadline():
    model = ScriptedModel("slow " * 100, pause_seconds=0.05)
    lane = Lane()
    first = asyncio.create_task(guarded(model, lane).complete(HELLO, max_tokens=99))
    await asyncio.sleep(0.02)
    began = asyncio.get_running_loop().time()
    with pytest.raises(BackendBusy, match="waited behind 1 others until the 0 s"):
        await guarded(model, lane, seconds=0.2).complete(HELLO, max_tokens=9)
    assert 0.15 < asyncio.get_running_loop().time() - began < 0.5
    assert lane.waiting == 0
    first.cancel()


async def test_an_answer_that_takes_longer_than_it_may_is_given_up():
    model = ScriptedModel("slow " * 9, pause_seconds=0.1)
    with pytest.raises(BackendUnavailable, match="review model at scripted: did not finish its answer in time"):
        await guarded(model, seconds=0.2).complete(HELLO, max_tokens=9)
    assert model.busy == 0


async def test_a_person_goes_before_those_who_wait():
    order = []

    async def hold(lane: Lane, who: str, *, urgent: bool) -> None:
        deadline = asyncio.get_running_loop().time() + 5
        async with lane.place(most_waiting=9, deadline=deadline, urgent=urgent):
            order.append(who)
            await asyncio.sleep(0.01)

    lane = Lane()
    holding = [asyncio.create_task(hold(lane, who, urgent=who == "person")) for who in ("a", "b", "c", "person")]
    await asyncio.gather(*holding)
    assert order == ["a", "person", "b", "c"]


@given(st.integers(1, 3), st.lists(st.sampled_from(["work", "cancel", "late", "urgent"]), max_size=12))
def test_whatever_happens_to_those_who_wait_no_place_is_lost(slots, kinds):
    async def one(lane: Lane, kind: str) -> None:
        deadline = asyncio.get_running_loop().time() + (0.0005 if kind == "late" else 5)
        try:
            async with lane.place(most_waiting=6, deadline=deadline, urgent=kind == "urgent"):
                assert lane.running <= slots
                await asyncio.sleep(0.001)
        except (TimeoutError, LaneFull):
            return

    async def all_of_them() -> None:
        lane = Lane(slots=slots)
        tasks = [(kind, asyncio.create_task(one(lane, kind))) for kind in kinds]
        await asyncio.sleep(0.0005)
        for kind, task in tasks:
            if kind == "cancel":
                task.cancel()
        for _, task in tasks:
            await asyncio.wait({task})
            assert task.cancelled() or task.exception() is None
        assert (lane.running, lane.waiting) == (0, 0)

    asyncio.run(all_of_them())


async def test_a_place_that_is_given_to_one_who_leaves_in_the_same_moment_is_passed_on():
    async def hold() -> None:
        async with lane.place(most_waiting=9, deadline=asyncio.get_running_loop().time() + 5, urgent=False):
            pass

    lane = Lane()
    async with lane.place(most_waiting=9, deadline=asyncio.get_running_loop().time() + 5, urgent=False):
        leaving, staying = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0)
        assert lane.waiting == 2
    leaving.cancel()
    async with asyncio.timeout(1):
        await staying
    assert (leaving.cancelled(), lane.running, lane.waiting) == (True, 0, 0)


async def test_a_stream_that_is_left_gives_its_place_back():
    model = ScriptedModel("a b c d e f", "next", pause_seconds=0.001)
    server = guarded(model)
    async with aclosing(server.stream(HELLO, max_tokens=9)) as deltas:
        await anext(deltas)
    assert (await server.complete(HELLO, max_tokens=9)).text == "next"


def test_what_is_shared_is_forgotten_with_the_last_that_uses_it():
    lane = lane_of("http://127.0.0.1:7")
    lane.slots = 5
    assert lane_of("http://127.0.0.1:7") is lane
    del lane
    gc.collect()
    assert lane_of("http://127.0.0.1:7").slots is None


# --- figures


async def test_figures_add_up_calls_tokens_and_failures():
    model = ScriptedModel("three words here", BackendFailed("it answers HTTP 500"), "two words")
    server = guarded(model)
    await server.complete(HELLO, max_tokens=9)
    with pytest.raises(BackendFailed):
        await server.complete(HELLO, max_tokens=9)
    await server.complete(HELLO, max_tokens=9)
    figures = server.figures
    assert (figures.calls, figures.failures, figures.refused) == (3, 1, 0)
    assert (figures.prompt_tokens, figures.completion_tokens) == (4, 5)
    assert figures.last_failure == "it answers HTTP 500"
    assert figures.seconds > 0
    assert guarded(model).figures == Figures()


# --- the breaker


async def fails(server: Guarded, kind: type[Exception] = BackendUnavailable, match: str = ".") -> None:
    with pytest.raises(kind, match=match):
        await server.complete(HELLO, max_tokens=9)


async def opened(model: ScriptedModel) -> Guarded:
    server = guarded(model)
    for _ in range(OPENS_AFTER):
        await fails(server)
    return server


async def test_a_server_that_keeps_failing_is_not_asked_and_the_last_reason_is_said():
    model = ScriptedModel(*[BackendFailed("review model at x answers HTTP 500: boom")] * 9)
    server = await opened(model)
    await fails(server, BackendAway, r"HTTP 500: boom \(3 times in a row; it will be tried again in [12] s\)")
    assert len(model.asked) == OPENS_AFTER
    assert (await server.count_tokens("abc")).exact is False


class SlowToFail(ScriptedModel):
    """Fails only after a while, so that others wait meanwhile."""

    async def stream(self, messages, **wishes):
        self.asked.append(messages)
        await asyncio.sleep(0.01)
        raise BackendFailed("HTTP 500")
        yield


async def test_those_who_waited_meanwhile_do_not_ask_it_either():
    model = SlowToFail()
    server = guarded(model)
    asking = (server.complete(HELLO, max_tokens=9) for _ in range(7))
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert len(model.asked) == OPENS_AFTER
    assert [type(each) for each in outcomes] == [BackendFailed] * OPENS_AFTER + [BackendAway] * 4


async def test_a_prompt_that_is_too_long_shows_that_the_server_works():
    fault = BackendFailed("HTTP 500")
    model = ScriptedModel(fault, fault, PromptTooLong(9, 4), fault, fault, "here")
    server = guarded(model)
    for _ in range(5):
        with pytest.raises((BackendFailed, PromptTooLong)):
            await server.complete(HELLO, max_tokens=9)
    assert (await server.complete(HELLO, max_tokens=9)).text == "here"


@pytest.mark.parametrize(
    "harmless", [BackendLoading("is loading"), BackendBusy("busy"), BackendUnavailable("slow"), PromptTooLong(9, 4)]
)
async def test_what_is_no_fault_of_the_server_does_not_open_it(harmless):
    model = ScriptedModel(*[harmless] * 6, "here")
    server = guarded(model)
    for _ in range(6):
        await fails(server, type(harmless))
    assert (await server.complete(HELLO, max_tokens=9)).text == "here"


async def test_a_server_that_is_seen_again_is_asked_at_once():
    model = ScriptedModel()
    model.state = "away"
    server = await opened(model)
    model.state = "ready"
    await fails(server, BackendAway, "tried again")
    assert (await server.health()).state == "ready"
    assert (await server.complete(HELLO, max_tokens=9)).text == "some words"


async def test_a_server_that_only_looks_well_is_still_left_alone():
    server = await opened(ScriptedModel(*[BackendFailed("HTTP 500")] * 9))
    assert (await server.health()).state == "ready"
    await fails(server, BackendAway, "tried again")


async def test_a_server_that_was_started_anew_is_asked_as_soon_as_it_is_loaded():
    model = ScriptedModel(*[BackendFailed("HTTP 500")] * OPENS_AFTER, "here")
    server = await opened(model)
    model.state = "loading"
    assert (await server.health()).state == "loading"
    model.state = "ready"
    assert (await server.complete(HELLO, max_tokens=9)).text == "here"


def test_the_pauses_grow_up_to_a_bound_and_one_trial_goes_after_each():
    breaker, now, pauses = Breaker(), 0.0, []
    for _ in range(OPENS_AFTER):
        assert not breaker.why_not(now)
        breaker.failed("it is away", now, was_reached=False)
    for _ in range(8):
        began = now
        while breaker.why_not(now):
            now += 0.5
        breaker.begin(now)
        assert breaker.why_not(now)  # a second one waits for how the trial ends
        pauses.append(now - began)
        breaker.failed("it is away", now, was_reached=False)
    assert pauses == [2, 4, 8, 16, 32, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    breaker.succeeded()
    assert not breaker.why_not(now)
    assert not breaker.is_open


def test_failures_count_only_one_after_the_other():
    breaker = Breaker()
    for _ in range(5 * OPENS_AFTER):
        breaker.failed("x", 0, was_reached=True)
        if breaker.failures == OPENS_AFTER - 1:
            breaker.succeeded()
    assert not breaker.is_open
