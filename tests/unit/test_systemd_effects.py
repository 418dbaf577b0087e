"""What the executor makes of systemd's answers about an action's unit."""

import pytest

from ai_sysadmin.core.acting import Sandbox, Stage
from ai_sysadmin.executor.systemd import ActionUnit, CannotStart, SystemdEffects, unit_of
from ai_sysadmin.runtime.bus import BusRefused


class Answers:
    """A bus on which one unit has fixed properties; none: there is no such unit."""

    def __init__(self, **properties: object) -> None:
        self.properties = {
            "LoadState": "loaded",
            "Job": (0, "/"),
            "ExecMainStatus": 0,
            "Result": "success",
            **properties,
        }

    async def call(self, *_asked: object) -> list[str]:
        if self.properties["LoadState"] is None:
            raise BusRefused("org.freedesktop.systemd1.NoSuchUnit", "there is none")
        return ["/unit"]

    async def property(self, _path: str, _interface: str, name: str) -> object:
        return self.properties[name]


QUEUED = (17, "/job/17")
RUNNING = ActionUnit(running=True, exit_status=0, result="success")
ENDED = ActionUnit(running=False, exit_status=0, result="success")


@pytest.mark.parametrize(
    ("properties", "seen"),
    [
        ({"ActiveState": "inactive", "Job": QUEUED}, RUNNING),  # its job waits its turn: it has not even begun
        ({"ActiveState": "activating", "Job": QUEUED}, RUNNING),
        ({"ActiveState": "active"}, ENDED),
        ({"ActiveState": "failed", "ExecMainStatus": 5}, ActionUnit(running=False, exit_status=5, result="success")),
        ({"ActiveState": "inactive"}, None),  # somebody stopped it: what it did cannot be told any more
        ({"LoadState": "not-found", "ActiveState": "inactive"}, None),
        ({"LoadState": None}, None),
    ],
)
async def test_an_actions_unit_is_seen_for_what_it_is(properties, seen):
    assert await SystemdEffects(Answers(**properties), 90).look("abcdef-123456") == seen


class Manager:
    """A manager that takes every unit, or refuses each; a stopped one is forgotten at the third look."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal, self.looks = refusal, 0
        self.calls: list[tuple[str, object]] = []

    async def call(self, _path: str, _interface: str, member: str, _signature: str, body: list[object]) -> list[str]:
        self.calls.append((member, body[0]))
        if member == "StartTransientUnit" and self.refusal:
            raise BusRefused(self.refusal, "no")
        if member == "GetUnit":
            self.looks += 1
            if self.looks == 3:
                raise BusRefused("org.freedesktop.systemd1.NoSuchUnit", "gone")
        return ["/job"]


def effects(manager: Manager) -> SystemdEffects:
    return SystemdEffects(manager, 90)  # type: ignore[arg-type]


TRUE = Stage(name="run", commands=(("true",),))


async def test_a_unit_is_named_by_its_id():
    manager = Manager()
    await effects(manager).start("abcdef-123456-revert", TRUE, {})
    assert manager.calls == [("StartTransientUnit", "ai-sysadmin-action-abcdef-123456-revert.service")]


async def test_a_unit_that_is_there_already_is_fine():
    await effects(Manager("org.freedesktop.systemd1.UnitExists")).start("abcdef", TRUE, {})


@pytest.mark.parametrize(
    ("unit_id", "stage"),
    [
        ("abcdef", TRUE.model_copy(update={"commands": (("no-such-program",),)})),
        ("abcdef", TRUE.model_copy(update={"commands": (("./true",),)})),
        ("abcdef", TRUE.model_copy(update={"commands": ()})),
        ("abcdef", TRUE.model_copy(update={"commands": ((),)})),
        ("abcdef", TRUE.model_copy(update={"sandbox": Sandbox(user="root:root")})),
        ("../x", TRUE),
        ("a.service", TRUE),
        ("a@b", TRUE),
        ("", TRUE),
    ],
)
async def test_what_no_unit_can_be_made_of_is_not_asked_for(unit_id, stage):
    manager = Manager()
    with pytest.raises(CannotStart):
        await effects(manager).start(unit_id, stage, {})
    assert manager.calls == []


async def test_what_systemd_refuses_cannot_start():
    with pytest.raises(CannotStart, match="AccessDenied"):
        await effects(Manager("org.freedesktop.DBus.Error.AccessDenied")).start("abcdef", TRUE, {})


async def test_a_released_unit_is_forgotten_before_its_id_is_free():
    manager = Manager()
    await effects(manager).release("abcdef")
    asked = [member for member, unit in manager.calls if unit == unit_of("abcdef")]
    assert asked == ["StopUnit", "ResetFailedUnit", "GetUnit", "GetUnit", "GetUnit"]
