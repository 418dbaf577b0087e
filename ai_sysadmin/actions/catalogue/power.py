"""Rebooting the host: by a person's word, and only where it comes up again without one."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final, Self

from ai_sysadmin.actions.action import Action, Host, Session
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources import rebooting
from ai_sysadmin.sources.host.reading import HostUnreadable

GRACE_SECONDS: Final = 60
HOLD_SECONDS: Final = 300.0
GIVEN_UP_SECONDS: Final = 240.0
_SANDBOX: Final = Sandbox(capabilities=("CAP_SYS_BOOT",), seconds=30)


class BootSeen(Record):
    """What a reboot would meet. ``asks`` are the disks that want a person at boot, ``holders`` who holds it off.

    ``uptime_seconds`` belongs to the boot that ``boot_id`` names. ``unseen``: file systems of which nobody can tell
    whether they are encrypted. ``people`` are those who are logged in, ``why`` is what waits for a reboot.
    """

    boot_id: str
    uptime_seconds: float
    asks: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    packages_change: bool = False
    people: tuple[str, ...] = ()
    why: str = ""


class RebootHost(Action[BootSeen]):
    """Reboot this host, a minute later. Only for what a reboot mends, such as a kernel that waits for one."""

    name: ClassVar[str] = "reboot_host"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DESTRUCTIVE,)
    seen: ClassVar[type[Record]] = BootSeen
    needs: ClassVar[str] = (
        "the setting actions.reboot; no disk asks for a passphrase at boot, nobody holds a shutdown off, no package"
        " manager is at work"
    )

    @classmethod
    def example(cls) -> tuple[Self, BootSeen]:
        why = "/run/current-system has another kernel than was booted"
        return cls(), BootSeen(boot_id="0" * 32, uptime_seconds=86_400, why=why)

    @property
    def subject(self) -> str:
        return "host"

    def refuse(self, settings: Settings) -> str | None:
        return None if settings.actions.reboot else "actions.reboot is not set: this host is never rebooted"

    async def observe(self, host: Host) -> BootSeen:
        sessions = await host.sessions.live()
        try:
            return await asyncio.to_thread(_observed, host, sessions)
        except HostUnreadable as error:
            raise Unavailable(str(error)) from error

    def risk(self, seen: BootSeen) -> Risk:
        return Risk.DESTRUCTIVE

    def obstacle(self, seen: BootSeen) -> str | None:
        if seen.asks:
            return f"nobody may be there to open a disk at boot: {'; '.join(seen.asks)}"
        if seen.holders:
            return f"a shutdown is held off by {', '.join(seen.holders)}: see `systemd-inhibit --list`"
        return "a package manager is at work" if seen.packages_change else None

    def warrant(self, seen: BootSeen) -> str | None:
        return seen.why or None

    def plan(self, seen: BootSeen) -> Plan:
        at = f"+{GRACE_SECONDS // 60}"
        cancel = ("shutdown", "-c")
        return Plan(
            does=f"reboots this host {GRACE_SECONDS} s from then, once all who are logged in were told",
            run=Stage(name="run", commands=(("shutdown", "-r", at),), sandbox=_SANDBOX),
            precondition=seen.why or "nothing waits for a reboot",
            post_check=f"the host has booted anew within {GIVEN_UP_SECONDS:.0f} s",
            undo="sudo shutdown -c, within that minute; nothing takes back a reboot that was done",
            revert=Stage(name="revert", commands=(cancel,), sandbox=_SANDBOX),
            hold_seconds=HOLD_SECONDS,
            facts=_facts(seen),
        )

    def shortfall(self, before: BootSeen, now: BootSeen) -> str | None:
        """While the boot is the same the reboot is still to come, until it has taken too long."""
        if now.boot_id != before.boot_id or now.uptime_seconds - before.uptime_seconds < GIVEN_UP_SECONDS:
            return None
        return f"the host has not rebooted within {GIVEN_UP_SECONDS:.0f} s"


ENTRIES: Final = (RebootHost,)


def _observed(host: Host, sessions: Sequence[Session]) -> BootSeen:
    root = host.root
    return BootSeen(
        boot_id=rebooting.boot_id(root),
        uptime_seconds=rebooting.uptime_seconds(root),
        asks=tuple(rebooting.who_asks(root)),
        unseen=rebooting.unseen_encryption(root),
        holders=tuple(rebooting.holders(root)),
        packages_change=rebooting.packages_change(root),
        people=tuple(sorted({session.user for session in sessions})),
        why=rebooting.why_reboot(root),
    )


def _facts(seen: BootSeen) -> tuple[tuple[str, str], ...]:
    days, rest = divmod(seen.uptime_seconds, 86_400)
    facts = [
        ("Logged in", ", ".join(seen.people) or "nobody"),
        ("Up for", f"{days:.0f} days and {rest // 3600:.0f} hours"),
    ]
    if seen.unseen:
        said = f"there is {', '.join(seen.unseen)}, and whether that asks for a passphrase at boot cannot be seen"
        facts.append(("Encryption", said))
    return tuple(facts)
