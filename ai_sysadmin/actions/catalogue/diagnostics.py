"""Looking at what only root may see: they change nothing and run at every level; what they write is the outcome's."""

import re
from abc import abstractmethod
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, StringConstraints

from ai_sysadmin.actions.action import Action, Host, Whole
from ai_sysadmin.actions.programs import program
from ai_sysadmin.actions.standalone import needs_home, own_program
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.records import Record

Argv = tuple[str, ...]
DiskDevice = Annotated[str, StringConstraints(pattern=r"^/dev/(sd[a-z]{1,3}|nvme[0-9]{1,3}n[0-9]{1,3})$")]
_MISREAD: Final = 0b11
"""The bits of smartctl's exit status that say that it could not ask; all others say what is wrong with the disk."""
_SMARTCTL_GOOD: Final = tuple(status for status in range(256) if not status & _MISREAD)
_LEVELS: Final = {"emerg": 0, "alert": 1, "crit": 2, "err": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7}
_NVME: Final = re.compile(r"/dev/nvme[0-9]+n[0-9]+")


class ToolSeen(Record):
    """``program`` is the path of the program that looks, empty where there is none; ``has_device``: what it looks at is
    there."""

    program: str = ""
    has_device: bool = True


class Diagnostic(Action[ToolSeen]):
    """A look at the host. ``tool`` is the program that it needs, ``package`` where NixOS has it from."""

    seen: ClassVar[type[Record]] = ToolSeen
    risks: ClassVar[tuple[Risk, ...]] = (Risk.READ_ONLY,)
    tool: ClassVar[str] = ""
    package: ClassVar[str] = ""

    @property
    def subject(self) -> str:
        return self.name

    async def observe(self, host: Host) -> ToolSeen:
        return ToolSeen(program=program(self.tool, host.root) if self.tool else "")

    def risk(self, seen: ToolSeen) -> Risk:
        return Risk.READ_ONLY

    def obstacle(self, seen: ToolSeen) -> str | None:
        if self.tool and not seen.program:
            return f"{self.tool} is not installed here; on NixOS add pkgs.{self.package} to environment.systemPackages"
        return None

    def warrant(self, seen: ToolSeen) -> str | None:
        """Looking needs no reason."""
        return "it only looks"

    def plan(self, seen: ToolSeen) -> Plan:
        stage = Stage(
            name="run",
            commands=(self.command(seen.program or self.tool),),
            sandbox=self.sandbox(),
            good_statuses=self.good_statuses(),
        )
        return Plan(
            does=self.does(),
            run=stage,
            precondition=f"{self.tool} is at {seen.program}" if seen.program else "nothing is needed for it",
            post_check="nothing: it changes nothing",
            undo="nothing to take back: it only looks",
            hold_seconds=0,
        )

    def shortfall(self, before: ToolSeen, now: ToolSeen) -> str | None:
        return None

    @abstractmethod
    def does(self) -> str:
        """Say in one sentence what it shows."""

    @abstractmethod
    def command(self, program: str) -> Argv:
        """Return what runs."""

    @abstractmethod
    def sandbox(self) -> Sandbox:
        """Return what it may do to be able to look."""

    def good_statuses(self) -> tuple[int, ...]:
        """Return the exit statuses with which it could look."""
        return (0,)


class SmartReport(Diagnostic):
    """Show what a disk says of its health: SMART attributes, errors and self-tests. A sleeping disk is not woken."""

    name: ClassVar[str] = "smart_report"
    tool: ClassVar[str] = "smartctl"
    package: ClassVar[str] = "smartmontools"
    needs: ClassVar[str] = "smartctl is installed, and the disk is a block device of this host."
    device: DiskDevice

    @property
    def subject(self) -> str:
        return self.device

    async def observe(self, host: Host) -> ToolSeen:
        seen = await super().observe(host)
        block = host.path("/sys/block") / self.device.removeprefix("/dev/")
        return seen.model_copy(update={"has_device": block.is_dir()})

    def obstacle(self, seen: ToolSeen) -> str | None:
        return super().obstacle(seen) or (None if seen.has_device else f"this host has no disk {self.device}")

    def does(self) -> str:
        return f"shows what {self.device} says of its health"

    def command(self, program: str) -> Argv:
        return (program, "--all", "--nocheck=standby,0", "--", self.device)

    def sandbox(self) -> Sandbox:
        """NVMe is asked by an ioctl of administrators; other disks by SCSI commands, which need a writable handle."""
        if _NVME.fullmatch(self.device):
            return Sandbox(capabilities=("CAP_SYS_ADMIN",), devices=(f"{self.device} r",), seconds=60)
        return Sandbox(capabilities=("CAP_SYS_RAWIO",), devices=(f"{self.device} rw",), seconds=60)

    def good_statuses(self) -> tuple[int, ...]:
        return _SMARTCTL_GOOD

    @classmethod
    def example(cls) -> tuple[Self, ToolSeen]:
        return cls(device="/dev/sda"), ToolSeen(program="/run/current-system/sw/bin/smartctl")


class KernelLog(Diagnostic):
    """Show the newest lines of the kernel's own log, also where the journal does not have them; in no container."""

    name: ClassVar[str] = "kernel_log"
    needs: ClassVar[str] = "Nothing."
    lines: Annotated[Whole, Field(ge=1, le=300)] = 100
    level: Literal["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"] = "info"

    def does(self) -> str:
        return f"shows the newest {self.lines} lines of the kernel's log of level {self.level} and graver"

    def command(self, program: str) -> Argv:
        return own_program("kernel_log", str(self.lines), str(_LEVELS[self.level]))

    def sandbox(self) -> Sandbox:
        return Sandbox(
            capabilities=("CAP_SYSLOG",),
            kernel_logs=True,
            sees_home=needs_home(),
            seconds=20,
        )

    @classmethod
    def example(cls) -> tuple[Self, ToolSeen]:
        return cls(lines=100, level="warning"), ToolSeen()


class SocketOwners(Diagnostic):
    """Show which processes hold the sockets of TCP and UDP: those that listen, or all of one port."""

    name: ClassVar[str] = "socket_owners"
    tool: ClassVar[str] = "ss"
    package: ClassVar[str] = "iproute2"
    needs: ClassVar[str] = "ss (iproute2) is installed."
    port: Annotated[Whole, Field(ge=0, le=65535)] = 0
    """0: all that listen."""

    def does(self) -> str:
        which = f"the sockets of port {self.port}" if self.port else "the sockets that listen"
        return f"shows which processes hold {which}"

    def command(self, program: str) -> Argv:
        shown = (program, "--tcp", "--udp", "--numeric", "--processes")
        if not self.port:
            return (*shown, "--listening")
        return (*shown, "--all", f"( sport = :{self.port} or dport = :{self.port} )")

    def sandbox(self) -> Sandbox:
        return Sandbox(
            capabilities=("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"),
            families=("AF_UNIX", "AF_NETLINK"),
            network=True,
            sees_processes=True,
            seconds=20,
        )

    @classmethod
    def example(cls) -> tuple[Self, ToolSeen]:
        return cls(port=443), ToolSeen(program="/run/current-system/sw/bin/ss")


ENTRIES: Final = (SmartReport, KernelLog, SocketOwners)
