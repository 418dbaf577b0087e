"""NixOS generations: activate one that there is, hold it, make it the boot default, or take it back."""

import re
from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar, Final, Self, TypeVar

from pydantic import Field, PrivateAttr

from ai_sysadmin.actions.action import Action, Host, Whole
from ai_sysadmin.actions.activation import (
    LAST_GOOD,
    POST_CHECK,
    PROFILES,
    SUBJECT,
    SYSTEM_PATH,
    SystemSeen,
    disturbed,
    facts,
    look,
    obstacle,
    risk,
    shortfall,
    stages_of,
    troubles,
    undo,
)
from ai_sysadmin.actions.system_seen import Generation, WatchedUnit
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import Record

_Entry = TypeVar("_Entry", bound="ActivateGeneration")
_CURRENT: Final = "/run/current-system"
_LINK: Final = re.compile(r"system-([1-9][0-9]{0,8})-link")


class ActivateGeneration(Action[SystemSeen]):
    """Activate a system of the profile. Which one is found once, before anybody rules on it, and bound by its path."""

    seen: ClassVar[type[Record]] = SystemSeen
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DISRUPTIVE, Risk.DESTRUCTIVE)
    needs: ClassVar[str] = (
        "The host runs NixOS, and what runs is the boot default; no other activation waits to be confirmed; the other"
        " system has the same init interface, and neither has an overlay for /etc."
    )
    _system: str = PrivateAttr("")
    _instead_of: str = PrivateAttr("")

    @property
    def subject(self) -> str:
        return SUBJECT

    def touches(self, seen: SystemSeen) -> tuple[str, ...]:
        return seen.touched

    def preparation(self, told: tuple[str, ...]) -> Stage | None:
        """List the profile's links, the running system and the last good one, each as ``name target``."""
        if told:
            return None
        return Stage(
            name="find",
            commands=(
                ("find", PROFILES, "-maxdepth", "1", "-type", "l", "-name", "system*", "-printf", r"%f %l\n"),
                ("find", _CURRENT, LAST_GOOD, "-maxdepth", "0", "-type", "l", "-printf", r"%p %l\n"),
            ),
            sandbox=Sandbox(seconds=30),
            good_statuses=(0, 1),
        )

    def bind(self, told: tuple[str, ...]) -> Self:
        if not told:
            return self
        links = dict(line.split(" ", 1) for line in told[0].splitlines() if " " in line)
        generations = {int(match[1]): links[name] for name in links if (match := _LINK.fullmatch(name))}
        system = self.choose(generations, links)
        if SYSTEM_PATH.fullmatch(system) is None:
            raise Refused(f"{system!r} is no path of a NixOS system in the store")
        return self.model_copy().bound_to(system, links.get(_CURRENT, ""))

    def bound_to(self, system: str, instead_of: str) -> Self:
        """Have it activate one system in place of another, whatever becomes of the links."""
        self._system, self._instead_of = system, instead_of
        return self

    @abstractmethod
    def choose(self, generations: Mapping[int, str], links: Mapping[str, str]) -> str:
        """Return the system to activate. Raises: Refused: there is none."""

    async def observe(self, host: Host) -> SystemSeen:
        return await look(host, self._system)

    def risk(self, seen: SystemSeen) -> Risk:
        return risk(seen)

    def obstacle(self, seen: SystemSeen) -> str | None:
        if seen.current != self._instead_of:
            return f"{seen.name_of(seen.current)} runs now: that is not what was to be replaced"
        if self._system not in {each.system for each in seen.generations}:
            return f"{self._system} is no generation of this host any more"
        return obstacle(seen)

    def plan(self, seen: SystemSeen) -> Plan:
        activation = stages_of(seen)
        return Plan(
            does=f"activates {seen.name_of(seen.target)} in place of {seen.name_of(seen.current)}",
            run=activation.run,
            confirm=activation.confirm,
            revert=activation.revert,
            hold_seconds=activation.hold_seconds,
            precondition=f"{seen.name_of(seen.current)} runs and is the boot default",
            post_check=self.holds(),
            undo=undo(seen),
            facts=facts(seen),
        )

    def holds(self) -> str:
        """Say what must hold afterwards."""
        return POST_CHECK

    def disturbed(self, first: SystemSeen, now: SystemSeen) -> str | None:
        return disturbed(first, now)


class SwitchToGeneration(ActivateGeneration):
    """Activate one generation of this NixOS host by its number. It becomes the boot default once it has held."""

    name: ClassVar[str] = "switch_to_generation"
    generation: Whole = Field(ge=1, le=999_999_999)

    @classmethod
    def example(cls) -> tuple[Self, SystemSeen]:
        return _example(cls, generation="141")

    def choose(self, generations: Mapping[int, str], links: Mapping[str, str]) -> str:
        if self.generation not in generations:
            there = ", ".join(map(str, sorted(generations)[-20:])) or "none"
            raise Refused(f"there is no generation {self.generation}; there are {there}")
        return generations[self.generation]

    def warrant(self, seen: SystemSeen) -> str | None:
        """Which generation is wanted, only a person knows."""
        return None

    def shortfall(self, before: SystemSeen, now: SystemSeen) -> str | None:
        return shortfall(before, now)


class RollBackGeneration(ActivateGeneration):
    """Go back to the NixOS generation before the running one: the last that was confirmed good, else the one before it.

    For failures that began when the running generation was activated.
    """

    name: ClassVar[str] = "roll_back_generation"

    @classmethod
    def example(cls) -> tuple[Self, SystemSeen]:
        return _example(cls)

    def choose(self, generations: Mapping[int, str], links: Mapping[str, str]) -> str:
        current = links.get(_CURRENT, "")
        running = max((number for number, system in generations.items() if system == current), default=0)
        default = _LINK.fullmatch(links.get("system", ""))
        if default and generations.get(int(default[1])) == current:
            running = int(default[1])
        before = {number: system for number, system in generations.items() if number < running and system != current}
        if not before:
            raise Refused("there is no generation before the running one")
        good = links.get(LAST_GOOD, "")
        return good if good in before.values() else before[max(before)]

    def warrant(self, seen: SystemSeen) -> str | None:
        """What fails since the running generation was activated, if that was within the hour."""
        return troubles(seen)

    def holds(self) -> str:
        return f"{POST_CHECK}; and what failed since the generation that is left was activated works again"

    def shortfall(self, before: SystemSeen, now: SystemSeen) -> str | None:
        return shortfall(before, now, mends=troubles(before) is not None)


ENTRIES: Final = (SwitchToGeneration, RollBackGeneration)
_EXAMPLE_HASHES: Final = ("a1" * 16, "b2" * 16)


def _example(entry: type[_Entry], **arguments: object) -> tuple[_Entry, SystemSeen]:
    """Return an action as the catalogue's page shows it: two generations, the newer of which broke nginx."""
    older, newer = (
        f"/nix/store/{digest}-nixos-system-host-25.05.{number}"
        for digest, number in zip(_EXAMPLE_HASHES, (141, 142), strict=True)
    )
    seen = SystemSeen(
        at=datetime(2026, 11, 22, 12, tzinfo=UTC),
        current=newer,
        default=newer,
        target=older,
        previous=newer,
        number=141,
        generations=(Generation(number=141, system=older), Generation(number=142, system=newer)),
        activated_at=datetime(2026, 11, 22, 11, 50, tzinfo=UTC),
        touched=("nginx.service",),
        watched=(WatchedUnit(name="nginx.service", active_state="failed", result="exit-code"),),
        failed=("nginx.service",),
        failed_since=("nginx.service",),
        check_seconds=60,
        rollback_seconds=300,
    )
    return entry.model_validate(arguments).bound_to(older, newer), seen
