"""The trigger monitor killed at every step that its spool takes: nothing is lost, and nothing counts twice."""

import asyncio
import os
import random
import signal
from pathlib import Path

from ai_sysadmin.stores.relational import open_stores
from tests.builders import HOST
from tests.spooling import (
    NO_STORMS,
    Switched,
    a_fault,
    a_line,
    noticed,
    placed,
    position,
    standing,
)

LAST = 14
AWAY = {*range(3, 7), *range(9, 12)}
"""The commits before which the store goes away; before each other one it is back."""


class Reaper:
    """Kills this process at its so-many-th step on disk or in the store; a write is torn then."""

    def __init__(self, at):
        self.at, self.steps = at, 0

    def watch(self):
        write = os.write

        def torn(descriptor, data):
            if self.is_now():
                write(descriptor, data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return write(descriptor, data)

        os.write = torn
        for owner, name in ((os, "fdatasync"), (os, "fsync"), (Path, "unlink"), (Path, "rename"), (Path, "touch")):
            setattr(owner, name, self._killing(getattr(owner, name)))

    def _killing(self, real):
        def step(*given, **named):
            self.step()
            return real(*given, **named)

        return step

    def step(self):
        if self.is_now():
            os.kill(os.getpid(), signal.SIGKILL)

    def is_now(self):
        self.steps += 1
        return self.steps == self.at


async def live_once(tmp_path, reaper):
    """Be a monitor: go on from the position that was committed, to the last entry of the journal."""
    async with placed(tmp_path, most_bytes=3_700) as place:
        notices, real = place.both.notices, place.stores.notices

        class Watched(Switched):
            async def commit(self, *given):
                reaper.step()
                began = await real.commit(*given)
                reaper.step()
                return began

        place.notices.real = Watched(real)
        reaper.watch()
        await place.drain()
        read = await place.stores.notices.position()
        for number in range(read.sequence + 1 if read else 1, LAST + 1):
            place.away(number in AWAY, but_commits=number == 9)
            lines = [a_line(number, unit=f"x{each}.service") for each in range(5)]
            await notices.commit(noticed(number, a_fault(number), *lines), NO_STORMS)
            if number not in AWAY:
                await place.drain()
        place.spool.close()


def died(tmp_path, kill_at):
    """Run a life in a process of its own; tell whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(live_once(tmp_path, Reaper(kill_at)))
        except BaseException:  # noqa: BLE001 — a fork of the test run must not go on as one
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def test_killed_at_any_step_nothing_is_lost_and_nothing_is_there_twice(tmp_path):
    kill_at, was_killed = 0, True
    while was_killed:
        kill_at += 1
        home = tmp_path / str(kill_at)
        was_killed = died(home, kill_at)
        if was_killed:
            assert not died(home, 0)
        assert_whole(home, kill_at)
    assert kill_at > 50


def test_killed_again_and_again_it_comes_to_the_same(tmp_path):
    chance = random.Random(7)
    for number in range(6):
        home = tmp_path / str(number)
        for _ in range(8):
            died(home, chance.randrange(1, 60))
        assert not died(home, 0)
        assert_whole(home, number)


def assert_whole(home, kill_at):
    async def look():
        async with open_stores(home / "state.db", HOST) as stores:
            return await standing(stores)

    found = asyncio.run(look())
    assert [subject for _, subject in found["order"]] == [f"u{n}.service" for n in range(1, LAST + 1)], kill_at
    assert {found[f"u{number}.service"][1] for number in range(1, LAST + 1)} == {1}, kill_at
    assert set(found["waiting"].values()) == {LAST}, kill_at
    assert found["position"].model_dump(exclude={"updated_at"}) == {
        **position(LAST).model_dump(exclude={"updated_at"}),
        "entries_read": LAST,
    }, kill_at
    assert sorted(path.name for path in (home / "spool").iterdir()) == ["lock"]
