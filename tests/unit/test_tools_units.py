"""tools/units.py: what a model is told of units, and which unit a name means."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.llm_backend.structured import schema_of
from ai_sysadmin.runtime.bus import BusRefused, SystemBus
from ai_sysadmin.sources.unit_lists import Job, SystemdUnitLists, TimerState, UnitDetails, details_of, timer_of
from ai_sysadmin.sources.unit_setup import UnitSetup
from ai_sysadmin.sources.units import Dependencies, ManagerState, UnitState
from ai_sysadmin.testing.host import FakeClock, FakeUnits
from ai_sysadmin.testing.tools import FixedUnitLists
from ai_sysadmin.tools.tool import ToolResult
from ai_sysadmin.tools.toolbox import Toolbox
from ai_sysadmin.tools.unit_names import full_name
from ai_sysadmin.tools.units import unit_tools
from tests.builders import NOW

WEB = UnitDetails(
    enabled="enabled",
    main_pid=0,
    ended="dumped",
    status_text="Reloaded",
    start_limit_burst=5,
    start_limit_seconds=10,
    restart_seconds=0.1,
    condition_failed_at=NOW,
    is_outdated=True,
)


def state(name: str, active: str = "active", load: str = "loaded") -> UnitState:
    return UnitState(name, f"The {name.partition('.')[0]}", load, active, "running")


def host() -> tuple[FakeUnits, FixedUnitLists]:
    units = FakeUnits(state=ManagerState(system_state="degraded"))
    for name in ("nginx.service", "db.service"):
        changed = NOW - timedelta(minutes=7)
        units.put(name, exit_status=11, state_changed_at=changed, restart="always", type="simple", n_restarts=5)
    units.put("backup.timer", "active")
    units.put("mnt-data.mount", "active")
    units.needs["nginx.service"] = Dependencies(
        requires=("db.service",), after=("db.service",), triggered_by=("nginx.timer",)
    )
    units.setups["nginx.service"] = UnitSetup(command="/bin/nginx -g 'daemon off;'", user="www")
    names = [state(name, unit.active_state) for name, unit in units.units.items()]
    lists = FixedUnitLists([*names, state("gone.service", "inactive", "not-found")], {"nginx-helper.service"})
    lists.close["nginx.service"] = WEB
    return units, lists


async def ask(name: str, most: int = 8000, **arguments: object) -> ToolResult:
    return await asked(*host(), name, most, **arguments)


async def asked(
    units: FakeUnits, lists: FixedUnitLists, name: str, most: int = 8000, **arguments: object
) -> ToolResult:
    looks = Toolbox(unit_tools(units, lists, FakeClock(NOW)), Redactor(), Tools()).open()
    return await looks.look(looks.call(name, arguments), most)


def test_arguments_can_be_constrained_at_the_decoder() -> None:
    for tool in unit_tools(*host(), FakeClock(NOW)):
        assert schema_of(tool.arguments)["additionalProperties"] is False
        assert len(tool.arguments.model_fields) <= 4


async def test_a_unit_s_status_tells_what_matters() -> None:
    told = (await ask("unit_status", unit="nginx")).text.splitlines()
    for line in (
        "state: failed () since 2026-11-20T02:53:00Z",
        "it is now 2026-11-20T03:00:00Z; its state last changed 7 min ago",
        "result of its last run: exit-code, exit status 11",
        "its main process was ended by SIGSEGV",
        "restarted by systemd 5 times (Restart=always); type simple",
        "start limit: 5 starts in 10 s",
        "systemd waits 0.1 s before it restarts it",
        "starts: /bin/nginx -g 'daemon off;'",
        "runs as: www",
        "at boot: enabled",
        "it says of itself: Reloaded",
        "it was not started at 2026-11-20T03:00:00Z: a Condition of its unit file is not met",
        "its unit file changed since systemd read it (no daemon-reload since)",
        "triggered by: nginx.timer",
        "requires db.service: failed (): exit-code, exit status 11",
    ):
        assert line in told


@pytest.mark.parametrize(
    ("asked_for", "found"),
    [
        ("nginx", "nginx.service"),
        ("nginx.service", "nginx.service"),
        ("backup", "backup.timer"),
        ("/mnt/data", "mnt-data.mount"),
        ("'db'", "db.service"),
    ],
)
async def test_the_unit_that_is_meant_is_found(asked_for: str, found: str) -> None:
    result = await ask("unit_status", unit=asked_for)
    assert result.text.splitlines()[0].startswith(f"{found}:")


@pytest.mark.parametrize(
    ("asked_for", "why"),
    [
        ("nginxx", "there is no unit nginxx.service; there are: nginx.service"),
        ("ngin", "there are: nginx.service, nginx-helper.service"),
        ("qqqqqq", "there is no unit qqqqqq.service"),
        ("gone", "there is no unit gone.service"),
        ("nginx; rm -rf /", "no unit's name"),
        ("--help", "no unit's name"),
        ("nginx*", "no unit's name"),
        ("a\nb", "no unit's name"),
    ],
)
async def test_a_unit_that_there_is_not_is_said_with_those_alike(asked_for: str, why: str) -> None:
    result = await ask("unit_status", unit=asked_for)
    assert result.failed
    assert why in result.text


async def test_a_unit_whose_file_is_gone_but_failed_is_told() -> None:
    units, lists = host()
    units.put("old.service", load_state="not-found")
    assert "old.service" in (await asked(units, lists, "unit_status", unit="old")).text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "-.mount"),
        ("/mnt//my_disk/", "mnt-my_disk.mount"),
        ("/mnt/my disk", r"mnt-my\x20disk.mount"),
        ("/.snapshots", r"\x2esnapshots.mount"),
        ("/dev/sda1", "dev-sda1.device"),
        ("/srv/a-b", r"srv-a\x2db.mount"),
    ],
)
def test_a_path_is_a_mount(path: str, name: str) -> None:
    assert full_name(path) == name


async def test_failed_units_come_with_the_manager_s_state_and_what_waits() -> None:
    units, lists = host()
    lists.units.append(state("slow.service", "activating"))
    lists.waiting = [Job("slow.service", "start", "running"), Job("late.service", "start", "waiting")]
    told = (await asked(units, lists, "units")).text.splitlines()
    assert told[0] == "systemd: degraded; 2 failed units, 2 jobs"
    assert told[2].split()[:4] == ["nginx.service", "exit-code,", "status", "11"]
    assert "2026-11-20T02:53:00Z (7 min ago)" in told[2]
    assert told[4:] == [
        "on its way: slow.service: activating (running)",
        "job: start slow.service: running",
        "job: start late.service: waiting",
    ]
    assert "db.service" not in (await asked(units, lists, "units", matching="ngin*")).text


async def test_a_unit_that_a_signal_ended_is_told_so() -> None:
    units = FakeUnits()
    units.put("a.service", result="core-dump", exit_status=6)
    assert "a.service    core-dump, SIGABRT" in (await asked(units, FixedUnitLists(), "units")).text


async def test_how_many_failed_in_all_is_told_beside_those_that_match() -> None:
    head = (await ask("units", matching="nginx")).text.splitlines()[0]
    assert head == "systemd: degraded; 2 failed units, 1 of them with 'nginx', 0 jobs"


async def test_nothing_failed_is_said() -> None:
    assert (await asked(FakeUnits(), FixedUnitLists(), "units")).text == "systemd: running; 0 failed units, 0 jobs"


async def test_all_units_are_listed_the_failed_first() -> None:
    told = (await ask("units", which="all")).text.splitlines()
    assert told[0] == "4 units: 2 failed, 2 active"
    assert [line.split()[0] for line in told[2:]] == ["db.service", "nginx.service", "backup.timer", "mnt-data.mount"]
    assert [line.split()[0] for line in (await ask("units", which="all", matching="DATA")).text.splitlines()[2:]] == [
        "mnt-data.mount"
    ]


async def test_timers_come_with_their_last_run_the_failed_first() -> None:
    units, lists = host()
    hour = timedelta(hours=1)
    lists.planned = [
        TimerState("good.timer", "active", "success", "good.service", NOW - hour, NOW + 2 * hour),
        TimerState("bad.timer", "active", "success", "db.service", NOW - hour, NOW + 3 * hour),
        TimerState("off.timer", "inactive", "success", "off.service", None, None),
    ]
    head, bad, good, off = (await asked(units, lists, "units", which="timers")).text.splitlines()
    assert head.split() == ["timer", "starts", "last", "next", "last", "run"]
    assert "bad.timer" in bad
    assert "FAILED: exit-code" in bad
    assert "2026-11-20T02:00:00Z (60 min ago)" in good
    assert "2026-11-20T05:00:00Z (in 2 h)" in good
    assert "FAILED" not in good
    assert "off.timer (inactive)" in off
    assert "never" in off
    assert "not planned" in off


async def test_systemd_away_is_a_failed_result() -> None:
    result = await asked(FakeUnits(is_away=True), FixedUnitLists(), "unit_status", unit="nginx")
    assert result.failed
    assert "systemd does not answer" in result.text


@pytest.mark.parametrize(
    ("properties", "ahead"),
    [
        ({"NextElapseUSecRealtime": int((NOW.timestamp() + 60) * 1e6)}, 60),
        ({"NextElapseUSecMonotonic": 1_030_000_000, "NextElapseUSecRealtime": 0}, 30),
        ({"NextElapseUSecMonotonic": 2**64 - 1, "NextElapseUSecRealtime": 2**64 - 1}, None),
        ({"NextElapseUSecMonotonic": 1_030_000_000, "NextElapseUSecRealtime": int((NOW.timestamp() + 9) * 1e6)}, 9),
    ],
)
def test_when_a_timer_is_due(properties: Mapping[str, Any], ahead: int | None) -> None:
    timer = timer_of("a.timer", "active", properties, NOW, monotonic_seconds=1000)
    due = None if ahead is None else NOW + timedelta(seconds=ahead)
    assert timer.next_at == due
    assert timer.last_at is None


def test_details_of_an_older_systemd_are_missing() -> None:
    assert details_of({}) == UnitDetails()
    assert details_of({"LoadError": ("org.x", "bad"), "RestartUSec": 2**64 - 1, "ExecMainCode": 3}) == UnitDetails(
        load_error="bad", ended="dumped"
    )


class ScriptedBus(SystemBus):
    """A bus with a service, a timer, and a timer that goes while it is looked at."""

    async def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        destination: str = "org.freedesktop.systemd1",
    ) -> list[Any]:
        del path, interface, signature, destination
        rows = {
            "ListUnits": [("a.service", "A", "loaded", "active", "running"), ("b.service", "", "not-found", "", "")],
            "ListUnitFiles": [("/etc/systemd/system/c.service", "disabled")],
            "ListJobs": [(7, "a.service", "restart", "waiting", "/job/7", "/unit/a")],
            "ListUnitsByPatterns": [(name, "", "loaded", "active", "waiting", "", f"/{name}") for name in TIMERS],
        }
        if member == "LoadUnit":
            if body[0] == "gone.service":
                raise BusRefused("org.freedesktop.systemd1.NoSuchUnit", "Unit not found.")
            return [f"/{body[0]}"]
        return [rows[member]]

    async def properties(self, path: str, interface: str) -> dict[str, Any]:
        if path == "/gone.timer":
            raise BusRefused("org.freedesktop.DBus.Error.UnknownObject", "gone")
        own = {
            "Timer": {"Unit": "a.service", "LastTriggerUSec": int(NOW.timestamp() * 1e6)},
            "Service": {"MainPID": 12},
        }
        return own.get(interface.rpartition(".")[2], {"UnitFileState": "enabled"})


TIMERS = ("a.timer", "gone.timer")


async def test_the_lists_over_the_bus() -> None:
    lists = SystemdUnitLists(ScriptedBus())
    assert await lists.names() == {"a.service", "c.service"}
    assert await lists.jobs() == [Job("a.service", "restart", "waiting")]
    assert await lists.timers() == [TimerState("a.timer", "active", "", "a.service", NOW, None)]
    assert await lists.details("a.service") == UnitDetails(main_pid=12, enabled="enabled")
    assert await lists.details("a.timer") == UnitDetails(enabled="enabled")
    with pytest.raises(NotFound, match=r"gone\.service"):
        await lists.details("gone.service")
