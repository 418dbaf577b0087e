"""Ending one process, which is named by its number and its start: a number alone may be another's by now."""

import asyncio
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field

from ai_sysadmin.actions.action import Action, Host, Session, Whole
from ai_sysadmin.actions.standalone import needs_home, own_program
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.records import Record, UnitName
from ai_sysadmin.sources.host.reading import HostUnreadable, attribute
from ai_sysadmin.sources.strain import sizes, stalls, uptime_seconds

KERNEL_THREAD: Final = 0x0020_0000
"""PF_KTHREAD of the kernel's flags of a process."""
STALLED_PERCENT: Final = 20.0
"""Memory is short where all tasks stood still for so much of the last minute."""
LARGE_SHARE: Final = 0.25
"""And a process is to blame that holds so much of all memory."""
_OWN: Final = ("ai-sysadmin*", "llama-*")
_ROOTS_SLICE: Final = "user-0.slice"
_STAT_FIELDS: Final = 20
_UNIT_KINDS: Final = (".service", ".scope", ".socket", ".mount", ".swap")


class ProcessSeen(Record):
    """A process as /proc has it. ``start_time`` none: there is no process of that number.

    ``name`` is what the kernel calls it, at most 15 characters that the process itself may have chosen. ``unit`` is the
    unit of the system's manager that it runs in. ``of_root`` tells that it is part of root's own session.
    ``stalled_percent`` is the share of the last minute in which all tasks waited for memory.
    """

    start_time: int | None = None
    name: str = ""
    state: str = ""
    uid: int | None = None
    unit: str = ""
    is_kernels: bool = False
    is_protected: bool = False
    of_root: bool = False
    age_seconds: float = 0
    held_bytes: int = 0
    memory_bytes: int = 0
    stalled_percent: float = 0
    grace_seconds: float


class KillProcess(Action[ProcessSeen]):
    """End one process: it is asked to (SIGTERM), and killed where it does not.

    ``start_time`` is when it started, in clock ticks since the boot; ``unit`` the system's unit that it runs in.
    """

    name: ClassVar[str] = "kill_process"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DISRUPTIVE, Risk.DESTRUCTIVE)
    seen: ClassVar[type[Record]] = ProcessSeen
    needs: ClassVar[str] = (
        "A process of that number, start and unit runs; it is neither process 1, the kernel's, this suite's, nor"
        " part of a session of root."
    )
    pid: Annotated[Whole, Field(ge=2, le=4_194_304)]
    start_time: Annotated[Whole, Field(ge=0)]
    unit: UnitName

    @property
    def subject(self) -> str:
        return f"process {self.pid}"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    async def observe(self, host: Host) -> ProcessSeen:
        sessions = await host.sessions.live()
        return await asyncio.to_thread(_looked_at, host, self.pid, [each for each in sessions if each.uid == 0])

    def risk(self, seen: ProcessSeen) -> Risk:
        return Risk.DESTRUCTIVE if seen.is_protected else Risk.DISRUPTIVE

    def obstacle(self, seen: ProcessSeen) -> str | None:
        who = f"process {self.pid}"
        if not self._is_there(seen):
            return f"{who} of start {self.start_time} does not run any more"
        if seen.is_kernels:
            return f"{who} is the kernel's own: it cannot be killed"
        if seen.unit != self.unit:
            return f"{who} runs in {seen.unit or 'no unit'}, not in {self.unit}"
        if self.unit == "init.scope" or any(fnmatchcase(self.unit, glob) for glob in _OWN):
            return f"{who} runs in {self.unit}, which is never killed from here: restart its unit"
        if seen.of_root:
            return f"{who} is part of a session of root: whoever is there ends it"
        return None

    def _is_there(self, seen: ProcessSeen) -> bool:
        return seen.start_time == self.start_time and seen.state not in {"Z", "X", "x"}

    def warrant(self, seen: ProcessSeen) -> str | None:
        """Memory is so short that all stand still, and this process holds much of it: the kernel would kill it next.

        Nothing else that shows from outside tells a process that is at work from one that went astray.
        """
        share = seen.held_bytes / seen.memory_bytes if seen.memory_bytes else 0.0
        if seen.stalled_percent < STALLED_PERCENT or share < LARGE_SHARE:
            return None
        return (
            f"all tasks waited for memory in {seen.stalled_percent:.0f} % of the last minute,"
            f" and process {self.pid} holds {share:.0%} of it"
        )

    def plan(self, seen: ProcessSeen) -> Plan:
        grace = f"{seen.grace_seconds:g}"
        sandbox = Sandbox(
            capabilities=("CAP_KILL",), sees_processes=True, sees_home=needs_home(), seconds=seen.grace_seconds + 15
        )
        command = own_program("end_process", str(self.pid), str(self.start_time), grace)
        return Plan(
            does=f"ends process {self.pid} ({_plain(seen.name)}) of {self.unit}, and kills it after {grace} s",
            run=Stage(name="run", commands=(command,), sandbox=sandbox),
            precondition=self._stands(seen),
            post_check=f"process {self.pid} of start {self.start_time} has ended",
            undo=f"nothing brings a process back; its unit is started anew with: sudo systemctl restart -- {self.unit}",
            facts=(
                ("unit", self.unit + (" (protected)" if seen.is_protected else "")),
                ("user id", "unknown" if seen.uid is None else str(seen.uid)),
                ("runs for", f"{seen.age_seconds:.0f} s"),
                ("memory and swap", f"{seen.held_bytes / 2**20:.0f} MiB"),
            ),
        )

    def _stands(self, seen: ProcessSeen) -> str:
        if not self._is_there(seen):
            return f"process {self.pid} of start {self.start_time} does not run"
        return f"process {self.pid} ({_plain(seen.name)}) runs in {seen.unit or 'no unit'}, state {seen.state}"

    def shortfall(self, before: ProcessSeen, now: ProcessSeen) -> str | None:
        return f"process {self.pid} still runs" if self._is_there(now) else None

    @classmethod
    def example(cls) -> tuple[Self, ProcessSeen]:
        action = cls(pid=4711, start_time=123_456, unit="batch.service")
        return action, ProcessSeen(
            start_time=action.start_time,
            name="import",
            state="R",
            uid=1000,
            unit=action.unit,
            age_seconds=5400,
            held_bytes=6 << 30,
            memory_bytes=8 << 30,
            stalled_percent=41,
            grace_seconds=10,
        )


ENTRIES: Final = (KillProcess,)


def _looked_at(host: Host, pid: int, roots: list[Session]) -> ProcessSeen:
    """Return a process as it now is. Raises: Unavailable: this host does not say what runs."""
    proc = host.path("/proc")
    grace = host.settings.actions.kill_grace_seconds
    stat = attribute(proc / str(pid) / "stat")
    fields = stat.rpartition(")")[2].split()
    if len(fields) < _STAT_FIELDS:
        return ProcessSeen(grace_seconds=grace)
    cgroup = attribute(proc / str(pid) / "cgroup")
    held = _lines(attribute(proc / str(pid) / "status"))
    unit, start = system_unit_of(cgroup), int(fields[19])
    protected = host.settings.policy.protected_units
    try:
        memory, uptime = sizes(proc)["MemTotal"], uptime_seconds(proc)
    except (HostUnreadable, KeyError) as error:
        raise Unavailable(f"how much memory there is cannot be told: {error}") from error
    return ProcessSeen(
        start_time=start,
        name=stat.partition("(")[2].rpartition(")")[0],
        state=fields[0],
        uid=_number(held.get("Uid")),
        unit=unit,
        is_kernels=bool(int(fields[6]) & KERNEL_THREAD),
        is_protected=any(fnmatchcase(unit, glob) for glob in protected),
        of_root=f"/{_ROOTS_SLICE}/" in cgroup or any(_leads(each, pid, proc) for each in roots),
        age_seconds=max(0.0, uptime - start / os.sysconf("SC_CLK_TCK")),
        held_bytes=((_number(held.get("VmRSS")) or 0) + (_number(held.get("VmSwap")) or 0)) << 10,
        memory_bytes=memory,
        stalled_percent=_stalled(proc),
        grace_seconds=grace,
    )


def system_unit_of(cgroup: str) -> str:
    """Return the unit of the system's manager that a process's cgroup file names: the outermost; empty: none.

    What users' managers run is theirs, ``user@1000.service``; what a container runs is the container's.
    """
    for line in cgroup.splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" or controllers == "name=systemd":
            unit = next((part for part in path.split("/") if part.endswith(_UNIT_KINDS)), "")
            if unit:
                return unit.removeprefix("_")  # systemd's escape of what the kernel could take for its own file
    return ""


def _leads(session: Session, pid: int, proc: Path) -> bool:
    """Tell whether a process is the one that leads a session, or comes of it."""
    for _ in range(64):
        if pid == session.leader:
            return True
        fields = attribute(proc / str(pid) / "stat").rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
        if pid <= 1:
            return False
    return False


def _lines(status: str) -> Mapping[str, str]:
    """Return the lines of a process's status; its name stands first and its line ends are escaped."""
    return {name: value for name, colon, value in (line.partition(":") for line in status.splitlines()) if colon}


def _number(value: str | None) -> int | None:
    first = (value or "").split()[:1]
    return int(first[0]) if first and first[0].isdigit() else None


def _stalled(proc: Path) -> float:
    try:
        found = stalls(proc)
    except HostUnreadable:
        return 0.0
    return next((each.shares[1] for each in found if (each.resource, each.kind) == ("memory", "full")), 0.0)


def _plain(name: str) -> str:
    """Return a process's name without what it could play tricks with."""
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in name)
