"""Deleting old NixOS generations and what nothing refers to any more, never what anybody could roll back to.

The generations that go are named one by one, so that one that is made meanwhile is not among them. Nix's daemon deletes
from the store; the action's unit itself only writes to the profiles.
"""

from typing import Any, ClassVar, Final

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue.fullness import Room, room_of
from ai_sysadmin.actions.ladder import SUBJECT
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.nix_profiles import NumberedSystem, SystemProfile, doomed, read_system_profile

STORE: Final = "/nix/store"
DAEMON: Final = ("NIX_REMOTE=daemon", "HOME=/var/empty")
_GC_SECONDS = 3600.0
_DOOMED_MOST = 200
"""So many generations go at once, the oldest first."""


class GarbageSeen(Record):
    """NixOS's generations; ``profile`` none: this is no NixOS."""

    profiles: str
    profile: SystemProfile | None
    keep: int
    room: Room

    @property
    def doomed(self) -> tuple[int, ...]:
        """The generations that go, the oldest first."""
        of = self.profile
        return doomed(of.generations, of.default, of.pinned, self.keep)[:_DOOMED_MOST] if of else ()

    @property
    def kept(self) -> dict[int, str]:
        """The generations that stay, and their systems."""
        gone = set(self.doomed)
        return {
            each.number: each.system
            for each in (self.profile.generations if self.profile else ())
            if each.number not in gone
        }


def look_at_garbage(host: Host) -> GarbageSeen:
    """Look at the system's generations. Raises: Unavailable."""
    nixos = host.settings.actions.nixos
    try:
        profile = read_system_profile(host.root, str(nixos.profiles))
    except OSError as error:
        raise Unavailable(f"the system's generations cannot be read: {error}") from error
    return GarbageSeen(
        profiles=str(nixos.profiles), profile=profile, keep=nixos.keep_generations, room=room_of(host, STORE)
    )


def unsafe(seen: GarbageSeen) -> str | None:
    """Say why no garbage may be collected now; none: what has to stay is held by a root or a generation that stays."""
    profile = seen.profile
    if profile is None:
        return f"this is no NixOS: there are no generations in {seen.profiles}"
    if not profile.current:
        return "what runs is not known (/run/current-system leads nowhere): it could be deleted"
    held = {*seen.kept.values(), *profile.rooted}
    if loose := [system for system in profile.pinned if system not in held]:
        return f"nothing would hold {loose[0]}, which has to stay: no generation, and no link in /nix/var/nix/gcroots"
    return None


def collecting(seen: GarbageSeen, enough_bytes: int | None = None) -> Stage:
    """Return the commands that delete the doomed generations, then the garbage, of it about ``enough_bytes``."""
    numbers = tuple(str(number) for number in seen.doomed)
    generations = (("nix-env", "--profile", f"{seen.profiles}/system", "--delete-generations", *numbers),)
    limit = () if enough_bytes is None else ("--max-freed", str(enough_bytes))
    return Stage(
        name="run",
        commands=(*(generations if numbers else ()), ("nix-store", "--gc", *limit)),
        sandbox=Sandbox(writable=(seen.profiles,), environment=DAEMON, seconds=_GC_SECONDS),
    )


def valid(seen: GarbageSeen) -> Stage:
    """Return the check that what runs, what was booted and what the suite holds is whole in the store."""
    pinned = seen.profile.pinned if seen.profile else ()
    return Stage(
        name="valid",
        commands=(("nix-store", "--check-validity", *pinned),),
        sandbox=Sandbox(environment=DAEMON),
    )


def lost(before: GarbageSeen, now: GarbageSeen) -> str | None:
    """Say which generation is gone that had to stay, or is there that had to go; none: all is well."""
    numbers = {each.number: each.system for each in (now.profile.generations if now.profile else ())}
    if gone := [number for number, system in before.kept.items() if numbers.get(number) != system]:
        return f"generation {gone[0]}, which had to stay, is gone or leads elsewhere"
    if left := [number for number in before.doomed if number in numbers]:
        return f"generation {left[0]} is still there"
    return None


class CollectNixGarbage(Action[GarbageSeen]):
    """Delete old NixOS generations but the newest few, then all that nothing in the Nix store refers to.

    The running, the booted and the last good system stay, and what each could be rolled back to.
    """

    name: ClassVar[str] = "collect_nix_garbage"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DESTRUCTIVE,)
    seen: ClassVar[type[Record]] = GarbageSeen
    needs: ClassVar[str] = "NixOS; a root or a generation that stays holds every system that has to stay"

    @classmethod
    def example(cls) -> "tuple[CollectNixGarbage, GarbageSeen]":
        systems = tuple(
            NumberedSystem(number=number, system=f"{STORE}/{'0' * 31}{number % 10}-nixos-system-host")
            for number in range(141, 149)
        )
        newest = systems[-1].system
        profile = SystemProfile(
            generations=systems, default=148, current=newest, booted=newest, pinned=(newest,), rooted=(newest,)
        )
        room = Room(
            path=STORE, mount_point="/", total_bytes=1 << 38, free_bytes=1 << 34, at_percent=90, until_percent=80
        )
        return cls(), GarbageSeen(profiles="/nix/var/nix/profiles", profile=profile, keep=5, room=room)

    @property
    def subject(self) -> str:
        return SUBJECT  # never while a system is being activated

    async def observe(self, host: Host) -> GarbageSeen:
        return look_at_garbage(host)

    def risk(self, seen: GarbageSeen) -> Risk:
        return Risk.DESTRUCTIVE

    def obstacle(self, seen: GarbageSeen) -> str | None:
        return unsafe(seen)

    def warrant(self, seen: GarbageSeen) -> str | None:
        return seen.room.fullness()

    def plan(self, seen: GarbageSeen) -> Plan:
        numbers, kept = _named(seen.doomed), _named(tuple(seen.kept))
        return Plan(
            does=f"deletes {numbers} of NixOS, then what nothing in the Nix store refers to",
            run=collecting(seen),
            precondition=f"{seen.room.words}; there are {_named((*seen.kept, *seen.doomed))}",
            post_check="all that had to stay is there; the systems that run, were booted or are held are valid",
            undo="nothing takes it back: a generation that is deleted cannot be rolled back to",
            checks=(valid(seen),),
            facts=(("Lost", numbers), ("Kept", kept)),
        )

    def shortfall(self, before: GarbageSeen, now: GarbageSeen) -> str | None:
        return lost(before, now)


def _named(numbers: tuple[int, ...]) -> str:
    """Say generations for people: at most twenty of them by number."""
    if not numbers:
        return "no generation"
    said = ", ".join(str(number) for number in sorted(numbers)[:20])
    return f"generation{'s' if len(numbers) > 1 else ''} {said}" + (", …" if len(numbers) > 20 else "")


ENTRIES: Final[tuple[type[Action[Any]], ...]] = (CollectNixGarbage,)
