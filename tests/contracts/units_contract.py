"""What whoever watches units may count on: run on units in memory and on a real systemd."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, Protocol

import pytest

from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.sources.unit_changes import UnitChange, UnitChanges
from ai_sysadmin.sources.units import WatchedUnits

FAILING: Final = "t-failing.service"
STUBBORN: Final = "t-stubborn.service"
NEEDED: Final = "t-needed.service"
NEEDING: Final = "t-needing.service"
FLAPPING: Final = "t-flapping.service"
HANGING: Final = "t-hanging.service"
SOCKET: Final = "t-sock.socket"
SOCKETED: Final = "t-sock.service"


class Stage(Protocol):
    """Units that do what a test asks of them."""

    units: WatchedUnits

    async def start(self, unit: str) -> None:
        """Start one; ``FAILING`` fails at once, ``NEEDING`` cannot, since ``NEEDED`` fails, ``HANGING`` never is up."""
        ...

    async def stop(self, unit: str) -> None:
        """Stop one; ``STUBBORN`` ends with status 143 then."""
        ...

    async def hang_up(self) -> None:
        """Break the connection of whoever listens."""
        ...


class Told:
    """What a follower has been told so far."""

    def __init__(self, batches: AsyncGenerator[UnitChanges, None]) -> None:
        self.batches = batches
        self.changes: list[UnitChange] = []

    async def until(self, true: Callable[[Sequence[UnitChange]], bool], unit: str) -> list[UnitChange]:
        """Return what was told of a unit, once it is as wanted."""
        async with asyncio.timeout(10):
            while not true(of := [each for each in self.changes if each.unit == unit]):
                self.changes += (await anext(self.batches)).units
        return of


async def following(stage: Stage, work: Callable[[Stage, Told], Awaitable[None]]) -> None:
    async with aclosing(stage.units.changes()) as batches:
        first = await anext(batches)
        assert (first.is_incomplete, first.units) == (True, ()), "what was before is not known"
        await work(stage, Told(batches))


def is_failed(changes: Sequence[UnitChange]) -> bool:
    return any(each.active_state == "failed" for each in changes)


async def a_failure_is_told_and_so_is_its_time(stage: Stage, told: Told) -> None:
    await stage.start(FAILING)
    changes = await told.until(is_failed, FAILING)
    status = await stage.units.status(FAILING)
    assert (status.active_state, changes[-1].changed_at) == ("failed", status.state_changed_at)
    assert not any(each.stopped or each.failed_restarting for each in changes)
    assert [each.name for each in await stage.units.failed() if each.name == FAILING] == [FAILING]


async def the_next_failure_is_told_too(stage: Stage, told: Told) -> None:
    await stage.start(FAILING)
    first = (await told.until(is_failed, FAILING))[-1].changed_at
    await stage.start(FAILING)
    await told.until(lambda changes: is_failed(changes) and changes[-1].changed_at != first, FAILING)


async def a_stop_that_ends_in_failure_is_told_as_a_stop(stage: Stage, told: Told) -> None:
    await stage.start(STUBBORN)
    await stage.stop(STUBBORN)
    changes = await told.until(is_failed, STUBBORN)
    changes += await told.until(lambda found: any(each.stopped for each in found), STUBBORN)
    assert (await stage.units.status(STUBBORN)).exit_status == 143


async def a_start_that_a_dependency_forbids_is_told(stage: Stage, told: Told) -> None:
    await stage.start(NEEDING)
    changes = await told.until(lambda found: any(each.jobs for each in found), NEEDING)
    (job,) = [job for each in changes for job in each.jobs]
    assert job.result == "dependency"
    assert job.id > 0
    await told.until(is_failed, NEEDED)


async def restarts_are_counted_and_a_start_limit_shows(stage: Stage, told: Told) -> None:
    await stage.start(FLAPPING)
    changes = await told.until(lambda found: any(each.failed_restarting for each in found), FLAPPING)
    assert sum(each.restarts for each in changes) == 3
    assert (await stage.units.status(FLAPPING)).n_restarts == 3


async def a_broken_connection_is_told(stage: Stage, told: Told) -> None:
    await stage.hang_up()
    with pytest.raises(SystemdUnavailable):
        async with asyncio.timeout(10):
            while True:
                await anext(told.batches)


async def a_unit_on_its_way_is_unsettled(stage: Stage, told: Told) -> None:
    await stage.start(HANGING)
    await told.until(lambda found: any(each.active_state == "activating" for each in found), HANGING)
    await asyncio.sleep(0.1)
    (found,) = [each for each in await stage.units.unsettled() if each.name == HANGING]
    assert (found.active_state, found.type, found.limit_seconds) == ("activating", "notify", None)
    assert 0.05 < found.seconds < 5
    await stage.stop(HANGING)


async def dependencies_are_known(stage: Stage, told: Told) -> None:
    needs = await stage.units.dependencies(NEEDING)
    assert NEEDED in needs.requires
    assert NEEDED in needs.after
    assert NEEDED in needs.needed
    await stage.start(SOCKET)
    assert (await stage.units.dependencies(SOCKET)).triggers == (SOCKETED,)
    assert (await stage.units.dependencies(SOCKETED)).triggered_by == (SOCKET,)
    assert (await stage.units.dependencies("t-nowhere.service")).requires == ()


async def states_are_told_together(stage: Stage, told: Told) -> None:
    await stage.start(FAILING)
    await told.until(is_failed, FAILING)
    found = {each.name: each for each in await stage.units.states([FAILING, NEEDING, "t-nowhere.service", "a/b"])}
    assert set(found) == {FAILING, NEEDING, "t-nowhere.service"}
    assert (found[FAILING].load_state, found[FAILING].active_state) == ("loaded", "failed")
    assert found["t-nowhere.service"].load_state == "not-found"
    assert await stage.units.states([]) == []


async def a_setup_is_known(stage: Stage, told: Told) -> None:
    setup = await stage.units.setup(SOCKETED)
    assert (setup.command, setup.memory_max_bytes) == ("/bin/sleep infinity", None)
    assert (await stage.units.setup("t-nowhere.service")).command == ""


async def the_boot_is_known(stage: Stage, told: Told) -> None:
    manager = await stage.units.manager()
    assert manager.system_state in {"running", "degraded"}
    assert manager.userspace_at is not None
    assert manager.finished_at is not None
    assert manager.userspace_at < manager.finished_at


CONTRACT: Final = (
    a_failure_is_told_and_so_is_its_time,
    the_next_failure_is_told_too,
    a_stop_that_ends_in_failure_is_told_as_a_stop,
    a_start_that_a_dependency_forbids_is_told,
    restarts_are_counted_and_a_start_limit_shows,
    a_unit_on_its_way_is_unsettled,
    dependencies_are_known,
    states_are_told_together,
    a_setup_is_known,
    the_boot_is_known,
    a_broken_connection_is_told,
)
