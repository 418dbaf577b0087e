"""The executor without root, on a bus in memory; ``tests/system/test_effects.py`` shows it with polkit itself."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ai_sysadmin.core.acting import Stage
from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.executor.polkit import VERBS, PolkitEffects, rules
from ai_sysadmin.executor.systemd import ActionUnit, CannotStart
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, BusRefused, Signal

WEB = "web.service"
STAGE = Stage(name="run", commands=(("systemctl", "restart", "--", WEB),))
MEND = (("ResetFailedUnit", WEB), ("RestartUnit", WEB))
RUNNING = ActionUnit(running=True, exit_status=0, result="success")
DONE = ActionUnit(running=False, exit_status=0, result="success")


class Manager:
    """systemd's manager: each call gets a job, or a fault. ``removes`` are the results told before the reply."""

    def __init__(self, faults: Sequence[Exception | None] = (), removes: Sequence[str] = ()) -> None:
        self.faults, self.removes = list(faults), list(removes)
        self.calls: list[tuple[str, str]] = []
        self.heard: Callable[[Signal], None] = lambda signal: None
        self.broken: asyncio.Future[None] | None = None
        self.is_away = False

    @asynccontextmanager
    async def listening(self, _rules: Any, heard: Callable[[Signal], None], first: Any) -> AsyncIterator[Any]:
        if self.is_away:
            raise SystemdUnavailable("no bus")
        assert [member for _path, _interface, member in first] == ["Subscribe"]
        self.heard, self.broken = heard, asyncio.get_running_loop().create_future()
        yield self.broken

    async def call(self, _path: str, _interface: str, member: str, _signature: str, body: Sequence[Any]) -> list[Any]:
        self.calls.append((member, body[0]))
        if self.faults and (fault := self.faults.pop(0)):
            raise fault
        if member == "ResetFailedUnit":
            return []
        if self.removes:
            self.remove(self.removes.pop(0))
        return [f"/job/{len(self.calls)}"]

    def remove(self, result: str) -> None:
        """Say that the newest job is removed."""
        job = f"/job/{len(self.calls)}"
        self.heard(Signal(MANAGER_PATH, MANAGER, "JobRemoved", [len(self.calls), job, WEB, result]))


def effects(manager: Manager, seconds: float = 10) -> PolkitEffects:
    return PolkitEffects(manager, (WEB,), seconds)  # type: ignore[arg-type]


async def settled(found: PolkitEffects, unit_id: str = "a-0") -> ActionUnit | None:
    """Return how it stands once its calls are through."""
    async with asyncio.timeout(5):
        while (unit := await found.look(unit_id)) is not None and unit.running:
            await asyncio.sleep(0)
    return unit


async def test_the_calls_are_made_once_and_the_job_is_awaited():
    manager = Manager()
    found = effects(manager)
    await found.start("a-0", STAGE, {}, MEND)
    await asyncio.sleep(0.01)
    await found.start("a-0", STAGE, {}, MEND)
    assert await found.look("a-0") == RUNNING
    assert await found.held() == ["a-0"]
    manager.remove("done")
    assert await settled(found) == DONE
    assert manager.calls == list(MEND)
    await found.release("a-0")
    assert (await found.look("a-0"), await found.held()) == (None, [])


@pytest.mark.parametrize("result", ["failed", "timeout", "canceled", "dependency"])
async def test_a_job_that_is_not_done_is_a_failure_also_when_it_ends_before_the_reply(result):
    found = effects(Manager(removes=[result]))
    await found.start("a-0", STAGE, {}, MEND)
    assert await settled(found) == ActionUnit(running=False, exit_status=1, result=result)


async def test_a_job_that_never_ends_has_only_so_much_time():
    found = effects(Manager(), seconds=0.02)
    await found.start("a-0", STAGE, {}, MEND)
    assert await settled(found) == ActionUnit(running=False, exit_status=1, result="timeout")


async def test_what_is_refused_at_once_did_not_start():
    found = effects(Manager([BusRefused("AccessDenied", "no")]))
    with pytest.raises(CannotStart, match=r"reset-failed web\.service"):
        await found.start("a-0", STAGE, {}, MEND)
    assert await found.look("a-0") is None


async def test_what_is_refused_later_is_a_failure():
    found = effects(Manager([None, BusRefused("AccessDenied", "no")]))
    await found.start("a-0", STAGE, {}, MEND)
    assert await settled(found) == ActionUnit(running=False, exit_status=1, result="refused")


async def test_without_a_bus_nothing_was_asked_so_it_may_be_tried_again():
    manager = Manager()
    manager.is_away = True
    found = effects(manager)
    with pytest.raises(SystemdUnavailable):
        await found.start("a-0", STAGE, {}, MEND)
    manager.is_away, manager.removes = False, ["done"]
    await found.start("a-0", STAGE, {}, MEND)
    assert await settled(found) == DONE


async def test_a_call_that_got_no_answer_is_unknown_and_never_made_again():
    manager = Manager([None, SystemdUnavailable("no answer")])
    found = effects(manager)
    await found.start("a-0", STAGE, {}, MEND)
    assert await settled(found) is None
    await found.start("a-0", STAGE, {}, MEND)
    assert manager.calls == list(MEND)
    assert await found.held() == []


async def test_a_bus_that_breaks_while_the_job_runs_leaves_it_unknown():
    manager = Manager()
    found = effects(manager)
    await found.start("a-0", STAGE, {}, MEND)
    await asyncio.sleep(0.01)
    assert manager.broken is not None
    manager.broken.set_result(None)
    assert await settled(found) is None


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ((), "not available without root"),
        ((("StopUnit", WEB),), "not available without root"),
        ((("RestartUnit", "other.service"),), "executor.polkit_units"),
        ((("RestartUnit", WEB), ("RestartUnit", "other.service")), "executor.polkit_units"),
    ],
)
async def test_what_it_has_no_right_to_is_not_even_asked(calls, said):
    manager = Manager()
    with pytest.raises(CannotStart, match=said):
        await effects(manager).start("a-0", STAGE, {}, calls)
    assert manager.calls == []


def test_the_rules_name_units_and_verbs_literally():
    text = rules(["web.service", "a\\x2db.socket"], "someone")
    assert 'units = ["web.service","a\\\\x2db.socket"]' in text
    assert 'subject.user != "someone"' in text
    for verb in VERBS.values():
        assert f'"{verb}"' in text
    assert '"stop"' not in text


@pytest.mark.parametrize("unit", ["web", "*.service", 'a"];.service', "a b.service", "web.service\n", "../x.service"])
def test_rules_for_what_is_no_unit_are_refused(unit):
    with pytest.raises(ValueError, match="full name"):
        rules([unit])
