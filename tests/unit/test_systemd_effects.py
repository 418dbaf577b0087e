"""What the executor makes of systemd's answers about an action's unit."""

import pytest

from ai_sysadmin.executor.systemd import ActionUnit, SystemdEffects
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
