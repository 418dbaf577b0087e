"""sources/units.py: what D-Bus says becomes a frozen status. The real bus is in the system tests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from ai_sysadmin.core.errors import NotFound, SystemdUnavailable
from ai_sysadmin.runtime.bus import BusRefused, SystemBus
from ai_sysadmin.sources.units import SystemdUnits

MANAGER = {
    "Id": "web.service",
    "Description": "A web server",
    "LoadState": "loaded",
    "ActiveState": "failed",
    "SubState": "failed",
    "FragmentPath": "/etc/systemd/system/web.service",
    "InvocationID": b"\x01\xab" * 8,
    "ActiveEnterTimestamp": 0,
    "StateChangeTimestamp": 1_795_331_618_000_000,
}
SERVICE = {"Result": "exit-code", "ExecMainStatus": 3, "Type": "simple", "NRestarts": 2}


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
        assert member == "LoadUnit"
        if body[0] in self.gone or "/" in body[0]:
            raise BusRefused("org.freedesktop.systemd1.NoSuchUnit", "Unit is not valid.")
        return [f"/unit/{body[0]}"]

    async def property(self, path: str, interface: str, name: str) -> Any:
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


async def test_without_a_bus_systemd_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    with pytest.raises(SystemdUnavailable, match="no system bus"):
        await SystemdUnits(SystemBus()).status("web.service")
