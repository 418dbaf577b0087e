"""The courier: one request that nobody can look at holds no other up, and is given up after a while."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from ai_sysadmin.actions.client import NotSeen
from ai_sysadmin.actions.courier import GIVES_UP_AFTER, submit_forever
from ai_sysadmin.core.errors import ExecutorUnavailable
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.testing.host import FakeClock
from tests.builders import NOW, request


class Outbox:
    """Some requests, what was submitted and what refused."""

    def __init__(self, *requests):
        self.waiting, self.gone, self.said = list(requests), [], []

    async def unsubmitted(self):
        return tuple(each for each in self.waiting if each.id not in self.gone)

    async def submitted(self, action_id):
        self.gone.append(action_id)

    async def unneeded(self):
        return ()

    async def refused(self, asked, why, at):
        self.gone.append(asked.id)
        self.said.append((asked.id, why))


class Executor:
    """Takes every request but those of one name, for which it raises an error."""

    def __init__(self, error, name="restart_unit"):
        self.error, self.name, self.taken = error, name, []

    async def propose(self, asked):
        if asked.name == self.name:
            raise self.error
        self.taken.append(asked.id)


async def courier(outbox, executor, now):
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await submit_forever(outbox, executor, FakeClock(now), Heartbeat())


@pytest.mark.parametrize("error", [NotSeen("no bus"), ExecutorUnavailable("nobody answers")])
async def test_one_that_cannot_be_handed_over_holds_no_other_up_and_stays(error):
    unseen, other = request(), request(name="start_unit")
    outbox, executor = Outbox(unseen, other), Executor(error)
    with pytest.raises(ExecutorUnavailable):
        await courier(outbox, executor, NOW)
    assert (executor.taken, outbox.gone, outbox.said) == ([other.id], [other.id], [])


async def test_what_nobody_could_look_at_for_long_is_given_up():
    unseen = request()
    outbox = Outbox(unseen)
    await courier(outbox, Executor(NotSeen("no bus")), NOW + GIVES_UP_AFTER)
    assert outbox.said == [(unseen.id, "the executor could not look at it for 60 min: no bus")]


async def test_an_executor_that_is_away_is_waited_for():
    outbox = Outbox(request())
    with pytest.raises(ExecutorUnavailable):
        await courier(outbox, Executor(ExecutorUnavailable("nobody answers")), NOW + timedelta(days=3))
    assert outbox.gone == []
