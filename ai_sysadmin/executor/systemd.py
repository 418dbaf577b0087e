"""The only effects: an action is one transient unit, named by the action's id.

systemd refuses a second unit of a name that it still knows. The unit is kept (``RemainAfterExit``, or failed) until
the outcome is recorded and ``release`` is called: so an action cannot start twice while anybody could be in doubt.
"""

import asyncio
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Protocol

from ai_sysadmin.core.acting import Stage
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.records import Record
from ai_sysadmin.executor.output import written
from ai_sysadmin.executor.sandbox import PATH, STOP_SECONDS, BadSandbox, properties
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, BusRefused, SystemBus

PREFIX = "ai-sysadmin-action-"
_UNIT = "org.freedesktop.systemd1.Unit"
_SERVICE = "org.freedesktop.systemd1.Service"
_GONE = "org.freedesktop.systemd1.NoSuchUnit"
RELEASE_SECONDS = STOP_SECONDS + 5
FORGOTTEN_SECONDS = 0.02
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


class CannotStart(AiSysadminError):
    """systemd would not start the action's unit."""


class ActionUnit(Record):
    """The condition of an action's transient unit."""

    running: bool
    exit_status: int
    result: str


class Effects(Protocol):
    """What the executor does to the machine.

    A unit's id is the action's for the stage named ``run``, for any other the action's, a dash and the stage's name.
    """

    async def start(
        self, unit_id: str, stage: Stage, about: Mapping[str, str], calls: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Start a unit. Raises: CannotStart, SystemdUnavailable; a unit that is there already is fine.

        ``calls`` says the same as the stage in calls of systemd's manager, for who has no right to more.
        """
        ...

    async def look(self, unit_id: str) -> ActionUnit | None:
        """Return the condition of a unit; none: systemd knows no such unit."""
        ...

    async def output(self, unit_id: str, most_bytes: int) -> str:
        """Return what a unit wrote, the newest of it, marked where it was cut; empty: nothing, or nobody can tell."""
        ...

    async def release(self, unit_id: str) -> None:
        """Let systemd forget a unit; what of it still runs is ended. Its id is free afterwards."""
        ...

    async def held(self) -> Sequence[str]:
        """Return the ids of all units of actions that systemd still knows."""
        ...


def unit_of(unit_id: str) -> str:
    """Return the unit's name. Raises: CannotStart: it would be no name of a unit of ours."""
    if not _ID.fullmatch(unit_id):
        raise CannotStart(f"{unit_id!r} is no id of an action's unit")
    return f"{PREFIX}{unit_id}.service"


def programs_of(stage: Stage) -> list[str]:
    """Return the absolute path of each command's program.

    A name is looked up here, since a transient unit would take it from the manager's own path; a path is taken as it
    is: it may lie where this process cannot look. Raises: CannotStart: no such program.
    """
    if not stage.commands or not all(stage.commands):
        raise CannotStart(f"the stage {stage.name} has no command")
    return [_absolute(argv[0]) for argv in stage.commands]


def _absolute(program: str) -> str:
    if program.startswith("/"):
        return program
    found = None if "/" in program else shutil.which(program, path=PATH)
    if found is None:
        raise CannotStart(f"there is no {program} in {PATH}")
    return found


class SystemdEffects:
    """``Effects`` over systemd's own D-Bus interface."""

    def __init__(self, bus: SystemBus, timeout_seconds: float) -> None:
        self._bus = bus
        self._timeout_seconds = timeout_seconds

    async def start(
        self, unit_id: str, stage: Stage, about: Mapping[str, str], calls: Sequence[tuple[str, str]] = ()
    ) -> None:
        del calls  # it has every right
        unit = unit_of(unit_id)
        try:
            wanted = properties(stage, programs_of(stage), about, self._timeout_seconds)
        except BadSandbox as fault:
            raise CannotStart(str(fault)) from fault
        try:
            body = [unit, "fail", [list(each) for each in wanted], []]
            await self._bus.call(MANAGER_PATH, MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)
        except BusRefused as refusal:
            if refusal.name != "org.freedesktop.systemd1.UnitExists":
                raise CannotStart(str(refusal)) from refusal

    async def look(self, unit_id: str) -> ActionUnit | None:
        try:
            (path,) = await self._bus.call(MANAGER_PATH, MANAGER, "GetUnit", "s", [unit_of(unit_id)])
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

    async def output(self, unit_id: str, most_bytes: int) -> str:
        return await written(unit_of(unit_id), most_bytes, await self._invocation(unit_id))

    async def _invocation(self, unit_id: str) -> str:
        """Return the id of the run that systemd knows of a unit; empty: it knows none."""
        try:
            (path,) = await self._bus.call(MANAGER_PATH, MANAGER, "GetUnit", "s", [unit_of(unit_id)])
            return bytes(await self._bus.property(path, _UNIT, "InvocationID")).hex()
        except BusRefused:
            return ""

    async def release(self, unit_id: str) -> None:
        unit = unit_of(unit_id)
        for member, signature, body in (("StopUnit", "ss", [unit, "replace"]), ("ResetFailedUnit", "s", [unit])):
            try:
                await self._bus.call(MANAGER_PATH, MANAGER, member, signature, body)
            except BusRefused as refusal:
                if refusal.name != _GONE:
                    raise
        # until it is forgotten a second start of that name would be taken for the first
        for _ in range(round(RELEASE_SECONDS / FORGOTTEN_SECONDS)):
            if not await self._is_known(unit):
                return
            await asyncio.sleep(FORGOTTEN_SECONDS)

    async def _is_known(self, unit: str) -> bool:
        try:
            await self._bus.call(MANAGER_PATH, MANAGER, "GetUnit", "s", [unit])
        except BusRefused as refusal:
            return refusal.name != _GONE
        return True

    async def held(self) -> Sequence[str]:
        (rows,) = await self._bus.call(MANAGER_PATH, MANAGER, "ListUnitsByPatterns", "asas", [[], [f"{PREFIX}*"]])
        return [str(row[0]).removeprefix(PREFIX).removesuffix(".service") for row in rows]
