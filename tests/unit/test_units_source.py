"""sources/units.py: what D-Bus says becomes frozen values. The real bus is in the system tests."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ai_sysadmin.core.errors import NotFound, SystemdUnavailable
from ai_sysadmin.runtime.bus import BusRefused, Signal, SystemBus, Variant
from ai_sysadmin.sources.unit_changes import MOST_UNITS, UNIT, Gathered, JobEnd, escaped, unit_of
from ai_sysadmin.sources.unit_setup import UnitSetup, setup_of
from ai_sysadmin.sources.units import (
    Dependencies,
    ManagerState,
    SystemdUnits,
    UnitState,
    UnitStatus,
    Unsettled,
    WatchedUnits,
)
from ai_sysadmin.testing.host import FakeUnits
from tests.contracts.units_contract import (
    CONTRACT,
    FAILING,
    FLAPPING,
    HANGING,
    NEEDED,
    NEEDING,
    SOCKET,
    SOCKETED,
    Stage,
    Told,
    following,
)

MANAGER = {
    "Id": "web.service",
    "Description": "A web server",
    "LoadState": "loaded",
    "ActiveState": "failed",
    "SubState": "failed",
    "FragmentPath": "/etc/systemd/system/web.service",
    "StartLimitBurst": 5,
    "InvocationID": b"\x01\xab" * 8,
    "InactiveExitTimestamp": 1_795_331_617_000_000,
    "ActiveEnterTimestamp": 0,
    "StateChangeTimestamp": 1_795_331_618_000_000,
    "CanReload": True,
    "UnitFileState": "enabled",
    "RequiredBy": ["front.service"],
    "RequisiteOf": [],
    "BoundBy": ["a.service", "front.service"],
    "ConsistsOf": ["worker.service"],
    "Conflicts": ["shutdown.target"],
}
SETUP = {
    "DropInPaths": ["/etc/systemd/system/web.service.d/limits.conf"],
    "ExecStart": [
        ["/usr/bin/web", ["/usr/bin/web", "--root", "/srv/my site"], False, 0, 0, 0, 0, 0, 0, 0],
        ["/usr/bin/web", ["/usr/bin/web", "--second"], False, 0, 0, 0, 0, 0, 0, 0],
    ],
    "User": "www",
    "MemoryCurrent": 1 << 20,
    "MemoryMax": 2**64 - 1,
    "ExecMainStartTimestamp": 1_795_331_617_000_000,
}
SERVICE = {"Result": "exit-code", "ExecMainStatus": 3, "Type": "simple", "NRestarts": 2, "Restart": "no"}


class ScriptedBus(SystemBus):
    """A bus with one service, one target and one mount on it."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    async def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        destination: str = "org.freedesktop.systemd1",
    ) -> list[Any]:
        if member == "ListUnitsByPatterns":
            assert list(body) == [["failed"], []]
            rows = [
                (name, "text", "loaded", "failed", "failed", "", "/p", 0, "", "/")
                for name in ("web.service", "gone.service")
            ]
            return [rows]
        if member == "ListUnitsByNames":
            assert signature == "as"
            return [[(name, "text", "loaded", "active", "running", "", "/p", 0, "", "/") for name in body[0]]]
        assert member == "LoadUnit"
        if body[0] in self.gone or "/" in body[0]:
            raise BusRefused("org.freedesktop.systemd1.NoSuchUnit", "Unit is not valid.")
        return [f"/unit/{body[0]}"]

    async def property(self, path: str, interface: str, name: str) -> Any:
        if name in SETUP:
            return SETUP[name]
        if name in ("MemoryPeak", "ExecMainExitTimestamp"):
            raise BusRefused("org.freedesktop.DBus.Error.UnknownProperty", "Unknown property.")
        self.asked.append((interface.rpartition(".")[2], name))
        if name in MANAGER:
            return path.rpartition("/")[2] if name == "Id" else MANAGER[name]
        return SERVICE[name]


async def test_a_service_s_state() -> None:
    status = await SystemdUnits(ScriptedBus()).status("web.service")
    assert (status.name, status.active_state, status.result, status.exit_status) == (
        "web.service",
        "failed",
        "exit-code",
        3,
    )
    assert (status.n_restarts, status.type, status.invocation) == (2, "simple", "01ab" * 8)
    assert status.active_enter_at is None
    assert (status.can_reload, status.unit_file_state) == (True, "enabled")
    assert status.takes_along == ("a.service", "front.service", "worker.service")
    assert status.conflicts == ("shutdown.target",)
    assert status.inactive_exit_at == datetime.fromtimestamp(1_795_331_617, UTC)
    assert status.state_changed_at == datetime.fromtimestamp(1_795_331_618, UTC)


async def test_each_kind_of_unit_is_asked_what_it_has() -> None:
    bus = ScriptedBus()
    await SystemdUnits(bus).status("multi-user.target")
    assert {interface for interface, _ in bus.asked} == {"Unit"}
    await SystemdUnits(bus).status("mnt-data.mount")
    assert ("Mount", "Result") in bus.asked
    assert ("Mount", "NRestarts") not in bus.asked


async def test_what_is_no_unit_s_name_is_not_found() -> None:
    with pytest.raises(NotFound, match="web/x"):
        await SystemdUnits(ScriptedBus()).status("web/x.service")


async def test_failed_units_are_listed_even_when_one_goes_meanwhile() -> None:
    bus = ScriptedBus()
    bus.gone.add("gone.service")
    web, gone = await SystemdUnits(bus).failed()
    assert (web.name, web.result) == ("web.service", "exit-code")
    assert (gone.name, gone.active_state, gone.result) == ("gone.service", "failed", "")


async def test_states_of_many_units_are_one_call() -> None:
    found = await SystemdUnits(ScriptedBus()).states(["a.service", "b.mount"])
    assert found[0] == UnitState("a.service", "text", "loaded", "active", "running")
    assert [each.name for each in found] == ["a.service", "b.mount"]


async def test_a_setup_is_read_and_what_an_old_systemd_does_not_know_is_missing() -> None:
    setup = await SystemdUnits(ScriptedBus()).setup("web.service")
    assert setup.drop_ins == ("/etc/systemd/system/web.service.d/limits.conf",)
    assert setup.command == "/usr/bin/web --root '/srv/my site'; /usr/bin/web --second"
    assert (setup.user, setup.memory_bytes, setup.memory_max_bytes) == ("www", 1 << 20, None)
    assert setup.memory_peak_bytes is None
    assert setup.started_at == datetime.fromtimestamp(1_795_331_617, UTC)
    assert (await SystemdUnits(ScriptedBus()).setup("multi-user.target")).command == ""
    assert setup_of({"What": "/dev/sda1"}).command == "/dev/sda1"


async def test_without_a_bus_systemd_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    with pytest.raises(SystemdUnavailable, match="no system bus"):
        await SystemdUnits(SystemBus()).status("web.service")


# --- signals gathered


class Signals:
    """systemd's signals as they come, and what is gathered of them."""

    def __init__(self) -> None:
        self.gathered = Gathered()
        self.stamp = 0

    def state(self, active: str, sub: str, unit: str = "web.service", *, same_time: bool = False) -> None:
        self.stamp += not same_time
        values = {"ActiveState": Variant("s", active), "SubState": Variant("s", sub)}
        values["StateChangeTimestamp"] = Variant("t", self.stamp * 1_000_000)
        path = f"/org/freedesktop/systemd1/unit/{escaped(unit)}"
        self.gathered.heard(Signal(path, "", "PropertiesChanged", [UNIT, values, []]))

    def job(self, number: int, result: str = "", unit: str = "web.service") -> None:
        body = [number, "/job", unit, *([result] if result else [])]
        self.gathered.heard(Signal("/", "", "JobRemoved" if result else "JobNew", body))

    def take(self) -> dict[str, Any]:
        return {each.unit: each for each in self.gathered.take().units}


@pytest.fixture
def signals() -> Signals:
    return Signals()


def test_what_stays_as_it_is_wakes_nobody(signals: Signals) -> None:
    signals.state("active", "running")
    signals.state("active", "running")
    signals.state("inactive", "dead", "other.service")
    signals.job(3, "done")
    assert not signals.gathered.came.is_set()
    assert signals.take() == {}


def test_a_unit_s_changes_are_one_and_the_newest(signals: Signals) -> None:
    signals.state("active", "running")
    for state in (("deactivating", "stop-sigterm"), ("failed", "failed"), ("failed", "failed")):
        signals.state(*state, same_time=state == ("failed", "failed"))
    assert signals.gathered.came.is_set()
    (change,) = signals.take().values()
    assert (change.unit, change.active_state) == ("web.service", "failed")
    assert change.changed_at == datetime.fromtimestamp(2, UTC)
    assert not signals.gathered.came.is_set()
    assert signals.take() == {}


def test_a_failure_right_after_a_failure_is_one_more(signals: Signals) -> None:
    signals.state("failed", "failed")
    signals.take()
    signals.state("failed", "failed")
    assert signals.take()["web.service"].changed_at == datetime.fromtimestamp(2, UTC)


def test_restarts_are_counted_and_a_start_limit_is_seen(signals: Signals) -> None:
    for _ in range(2):
        for state in (
            ("active", "running"),
            ("failed", "failed"),
            ("activating", "auto-restart"),
            ("inactive", "dead"),
        ):
            signals.state(*state)
    change = signals.take()["web.service"]
    assert (change.restarts, change.failed_restarting) == (2, False)
    signals.state("failed", "failed")
    assert signals.take()["web.service"].failed_restarting
    for state in (("active", "running"), ("failed", "failed")):
        signals.state(*state)
    assert not signals.take()["web.service"].failed_restarting


@pytest.mark.parametrize(
    ("story", "stopped"),
    [
        (["active", "job", "failed", "done"], True),
        (["active", "job", "failed", "failed job"], False),
        (["active", "failed", "job", "done"], False),
        (["job", "active", "done", "failed"], False),
        (["active", "job", "failed", "done", "activating", "failed"], False),
    ],
)
def test_a_stop_that_failed_is_told_from_a_failure(signals: Signals, story: list[str], stopped: bool) -> None:
    for step in story:
        match step:
            case "job":
                signals.job(5)
            case "done":
                signals.job(5, "done")
            case "failed job":
                signals.job(5, "failed")
            case state:
                signals.state(state, state)
    assert signals.take()["web.service"].stopped is stopped


def test_a_start_that_never_was_is_told(signals: Signals) -> None:
    signals.job(5)
    signals.job(5, "dependency")
    assert signals.take()["web.service"].jobs == (JobEnd(5, "dependency"),)


def test_a_flood_is_bounded_and_says_that_it_is_incomplete() -> None:
    signals = Signals()
    for number in range(MOST_UNITS + 5):
        signals.state("failed", "failed", f"u{number}.service")
    batch = signals.gathered.take()
    assert (len(batch.units), batch.is_incomplete) == (MOST_UNITS, True)
    assert not signals.gathered.take().is_incomplete


def test_reloads_and_a_new_manager_are_told(signals: Signals) -> None:
    signals.gathered.heard(Signal("/", "", "Reloading", [True]))
    assert not signals.gathered.came.is_set()
    signals.gathered.heard(Signal("/", "", "Reloading", [False]))
    assert signals.gathered.take().reloaded
    signals.gathered.heard(Signal("/", "", "NameOwnerChanged", ["org.freedesktop.systemd1", ":1.0", ":1.3"]))
    assert signals.gathered.is_broken


@pytest.mark.parametrize("unit", ["web.service", "-.mount", "a-b@c\\x2dd_e.service", "0.timer", "under_2e.path"])
def test_a_path_names_its_unit(unit: str) -> None:
    assert unit_of(f"/org/freedesktop/systemd1/unit/{escaped(unit)}") == unit


# --- units in memory keep the same contract as systemd


class InMemory:
    """``FakeUnits`` with the units that the contract asks for."""

    def __init__(self) -> None:
        self.fake = FakeUnits()
        self.units: WatchedUnits = self.fake
        self.fake.needs = {
            NEEDING: Dependencies(requires=(NEEDED,), after=(NEEDED,)),
            SOCKET: Dependencies(triggers=(SOCKETED,)),
            SOCKETED: Dependencies(triggered_by=(SOCKET,)),
        }
        self.fake.setups = {SOCKETED: UnitSetup(command="/bin/sleep infinity")}
        self.fake.units[NEEDING] = UnitStatus(name=NEEDING, load_state="loaded", active_state="inactive")
        self.at = datetime.now(UTC)
        self.fake.state = ManagerState(
            system_state="running", userspace_at=self.at - timedelta(minutes=1), finished_at=self.at
        )

    def fail(self, unit: str, **changes: object) -> None:
        self.at += timedelta(seconds=1)
        self.fake.put(unit, sub_state="failed", state_changed_at=self.at, **changes)

    async def start(self, unit: str) -> None:
        if unit == FAILING:
            self.fail(unit)
        elif unit == NEEDING:
            self.fail(NEEDED)
            self.fake.refuse(NEEDING)
        elif unit == FLAPPING:
            for restart in range(3):
                self.fail(unit)
                self.fake.put(unit, "activating", sub_state="auto-restart")
                self.fake.put(unit, "inactive", sub_state="dead")
                if restart < 2:
                    self.fake.put(unit, "active", sub_state="running")
            self.fail(unit, n_restarts=3)
        elif unit == HANGING:
            self.fake.put(unit, "activating", sub_state="start")
            self.fake.restless = [Unsettled(name=unit, active_state="activating", type="notify", seconds=0.1)]
        else:
            self.fake.put(unit, "active", sub_state="running")

    async def stop(self, unit: str) -> None:
        self.at += timedelta(seconds=1)
        self.fake.stop(unit, "failed", sub_state="failed", exit_status=143, state_changed_at=self.at)

    async def hang_up(self) -> None:
        self.fake.hang_up()


@pytest.mark.parametrize("part", CONTRACT, ids=lambda part: part.__name__)
async def test_units_in_memory_keep_the_contract(part: Callable[[Stage, Told], Awaitable[None]]) -> None:
    await following(InMemory(), part)


# --- a connection for signals


async def test_who_listens_learns_that_there_is_no_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    with pytest.raises(SystemdUnavailable, match="no system bus"):
        await asyncio.wait_for(anext(SystemdUnits(SystemBus()).changes()), 1)
