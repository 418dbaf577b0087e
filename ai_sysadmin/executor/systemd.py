"""The only effects: an action is one transient unit, named by the action's id.

systemd refuses a second unit of a name that it still knows. The unit is kept (``RemainAfterExit``, or failed) until
the outcome is recorded and ``release`` is called: so an action cannot start twice while anybody could be in doubt.
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, BusRefused, SystemBus, Variant

PREFIX = "ai-sysadmin-action-"
_UNIT = "org.freedesktop.systemd1.Unit"
_SERVICE = "org.freedesktop.systemd1.Service"
_GONE = "org.freedesktop.systemd1.NoSuchUnit"
_PATH = "/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin"


class CannotStart(AiSysadminError):
    """systemd would not start the action's unit."""


class ActionUnit(Record):
    """The condition of an action's transient unit."""

    running: bool
    exit_status: int
    result: str


class Effects(Protocol):
    """What the executor does to the machine."""

    async def start(self, action_id: str, commands: Sequence[Sequence[str]], about: Mapping[str, str]) -> None:
        """Start an action's unit. Raises: CannotStart, SystemdUnavailable; a unit that is there already is fine."""
        ...

    async def look(self, action_id: str) -> ActionUnit | None:
        """Return the condition of an action's unit; none: systemd knows no such unit."""
        ...

    async def release(self, action_id: str) -> None:
        """Let systemd forget an action's unit."""
        ...

    async def held(self) -> Sequence[str]:
        """Return the ids of all actions whose units systemd still knows."""
        ...


def unit_of(action_id: str) -> str:
    return f"{PREFIX}{action_id}.service"


def properties(commands: Sequence[Sequence[str]], about: Mapping[str, str], timeout_seconds: float) -> list[list[Any]]:
    """Return the transient unit's properties: what runs, for how long, in which sandbox, told how in the journal."""
    start = [[_absolute(argv[0]), list(argv), False] for argv in commands]
    tags = [f"{name}={value}".encode() for name, value in about.items()]
    return [
        ["Description", Variant("s", "ai-sysadmin action: " + "; ".join(" ".join(argv) for argv in commands))],
        ["Type", Variant("s", "oneshot")],
        ["RemainAfterExit", Variant("b", True)],
        ["ExecStart", Variant("a(sasb)", start)],
        ["TimeoutStartUSec", Variant("t", int(timeout_seconds * 1_000_000))],
        ["Slice", Variant("s", "ai-sysadmin.slice")],
        ["LogExtraFields", Variant("aay", tags)],
        ["CapabilityBoundingSet", Variant("t", 0)],
        ["NoNewPrivileges", Variant("b", True)],
        ["PrivateNetwork", Variant("b", True)],
        ["PrivateTmp", Variant("b", True)],
        ["PrivateDevices", Variant("b", True)],
        ["ProtectSystem", Variant("s", "strict")],
        ["ProtectHome", Variant("s", "yes")],
        ["ProtectKernelTunables", Variant("b", True)],
        ["ProtectKernelModules", Variant("b", True)],
        ["ProtectControlGroups", Variant("b", True)],
        ["RestrictAddressFamilies", Variant("(bas)", [True, ["AF_UNIX"]])],
        ["MemoryDenyWriteExecute", Variant("b", True)],
        ["LockPersonality", Variant("b", True)],
        ["UMask", Variant("u", 0o077)],
    ]


def _absolute(program: str) -> str:
    found = shutil.which(program, path=_PATH)
    if found is None:
        raise CannotStart(f"there is no {program} in {_PATH}")
    return found


class SystemdEffects:
    """``Effects`` over systemd's own D-Bus interface."""

    def __init__(self, bus: SystemBus, timeout_seconds: float) -> None:
        self._bus = bus
        self._timeout_seconds = timeout_seconds

    async def start(self, action_id: str, commands: Sequence[Sequence[str]], about: Mapping[str, str]) -> None:
        body = [unit_of(action_id), "fail", properties(commands, about, self._timeout_seconds), []]
        try:
            await self._bus.call(MANAGER_PATH, MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)
        except BusRefused as refusal:
            if refusal.name != "org.freedesktop.systemd1.UnitExists":
                raise CannotStart(str(refusal)) from refusal

    async def look(self, action_id: str) -> ActionUnit | None:
        try:
            (path,) = await self._bus.call(MANAGER_PATH, MANAGER, "GetUnit", "s", [unit_of(action_id)])
            if await self._bus.property(path, _UNIT, "LoadState") != "loaded":
                return None
            # the job before the state: a unit is inactive while its job waits its turn, and after somebody stopped it
            job, _path = await self._bus.property(path, _UNIT, "Job")
            state = await self._bus.property(path, _UNIT, "ActiveState")
            status = await self._bus.property(path, _SERVICE, "ExecMainStatus")
            result = await self._bus.property(path, _SERVICE, "Result")
        except BusRefused as refusal:
            if refusal.name in {_GONE, "org.freedesktop.DBus.Error.UnknownObject"}:
                return None
            raise
        if state == "inactive" and not job:
            return None
        return ActionUnit(running=state not in {"active", "failed"}, exit_status=status, result=result)

    async def release(self, action_id: str) -> None:
        for member, signature, body in (
            ("StopUnit", "ss", [unit_of(action_id), "replace"]),
            ("ResetFailedUnit", "s", [unit_of(action_id)]),
        ):
            try:
                await self._bus.call(MANAGER_PATH, MANAGER, member, signature, body)
            except BusRefused as refusal:
                if refusal.name != _GONE:
                    raise

    async def held(self) -> Sequence[str]:
        (rows,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListUnitsByPatterns", "asas", [[], [f"{PREFIX}*"]])
        return [str(row[0]).removeprefix(PREFIX).removesuffix(".service") for row in rows]
