"""A change of the NixOS configuration: one option set to a literal, built by a user without rights, and activated."""

import json
from typing import ClassVar, Final, Self

from pydantic import Field, PrivateAttr

from ai_sysadmin.actions import activation
from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.drafts import DraftConfiguration
from ai_sysadmin.actions.catalogue.repository import PROGRAM, IncidentId, RepositoryAction
from ai_sysadmin.actions.catalogue.unit_looks import UnitSeen, failing_probes, not_running, stands, started_again
from ai_sysadmin.actions.ladder import SUBJECT
from ai_sysadmin.actions.nixos.literals import attributes, misfit, nix, scalar
from ai_sysadmin.actions.nixos.results import Built, Rehearsed, branch_of, last_line, plain
from ai_sysadmin.actions.system_seen import SystemSeen, look
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.action_settings import AllowedOption, NixosChanges
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings

Argv = tuple[str, ...]
_REHEARSAL_SECONDS: Final = 400.0


class ConfigurationSeen(Record):
    """The system that runs, and the units that the option is about."""

    system: SystemSeen
    units: tuple[UnitSeen, ...] = ()


class ApplyConfiguration(RepositoryAction[ConfigurationSeen]):
    """Set one option of this host's NixOS configuration to a value, build that and activate it.

    Only options that an operator listed may be set. ``value`` is JSON: true, 10 or "text". What it activates is taken
    back by itself where it does not hold.
    """

    name: ClassVar[str] = "apply_configuration"
    seen: ClassVar[type[Record]] = ConfigurationSeen
    risks: ClassVar[tuple[Risk, ...]] = (Risk.DISRUPTIVE, Risk.DESTRUCTIVE)
    needs: ClassVar[str] = "the option is on the list, and what was built is made for the system that still runs"
    option: str = Field(min_length=3, max_length=400)
    value: str = Field(min_length=1, max_length=4000)
    incident: IncidentId = ""

    _built: Built | None = PrivateAttr(default=None)
    _rehearsed: Rehearsed | None = PrivateAttr(default=None)

    @property
    def subject(self) -> str:
        return SUBJECT

    @property
    def units(self) -> tuple[str, ...]:
        rehearsed = self._rehearsed.units if self._rehearsed else ()
        allowed = self._allowed(self._nixos)
        return tuple(dict.fromkeys((SUBJECT, *(allowed.units if allowed else ()), *rehearsed)))

    def refuse(self, settings: Settings) -> str | None:
        nixos = settings.actions.nixos
        allowed = self._allowed(nixos)
        if fault := super().refuse(settings):
            return fault
        if allowed is None:
            known = ", ".join(each.option for each in nixos.options[:20]) or "none is"
            return (
                f"{plain(self.option)} is not on the list of options that may be set (actions.nixos.options): {known}"
            )
        try:
            attributes(self.option)
            return misfit(allowed, scalar(self.value))
        except Refused as refusal:
            return str(refusal)

    def preparation(self, told: tuple[str, ...]) -> Stage | None:
        if not told:
            value = json.dumps(scalar(self.value))
            given = (f"--option={self.option}", f"--value={value}", f"--incident={self.incident}")
            box = self.box(self._nixos.build_seconds, network=True)
            return Stage(name="build", commands=(self.job("apply", *given),), sandbox=box)
        if len(told) == 1:
            # dry-activate keeps its lists there, and takes the lock of switches
            box = Sandbox(writable=("-/run/nixos",), environment=("NIX_REMOTE=daemon",), seconds=_REHEARSAL_SECONDS)
            command = (*PROGRAM, "rehearse", self._read_built(told).store_path)
            return Stage(name="dry-activate", commands=(command,), sandbox=box)
        return None

    def bind(self, told: tuple[str, ...]) -> Self:
        if not told:
            return self
        built = self._read_built(told)
        rehearsed = last_line(Rehearsed, told[1]) if len(told) > 1 else None
        if rehearsed and (rehearsed.store_path, rehearsed.running) != (built.store_path, built.running):
            raise Refused("another system was activated while it was built: it has to be proposed again")
        bound = self.model_copy()
        bound._built, bound._rehearsed = built, rehearsed  # noqa: SLF001 — its own class
        return bound

    async def observe(self, host: Host) -> ConfigurationSeen:
        allowed = self._allowed(host.settings.actions.nixos)
        return ConfigurationSeen(
            system=await look(host, self._ready()[0].store_path),
            units=tuple(
                [
                    UnitSeen(status=await host.units.status(unit), failing=await failing_probes(host, unit))
                    for unit in (allowed.units if allowed else ())
                ]
            ),
        )

    def risk(self, seen: ConfigurationSeen) -> Risk:
        return activation.risk(seen.system)

    def obstacle(self, seen: ConfigurationSeen) -> str | None:
        built, _ = self._ready()
        if seen.system.current != built.running:
            return "another system was activated since it was built: it has to be proposed again"
        return activation.obstacle(seen.system)

    def warrant(self, seen: ConfigurationSeen) -> str | None:
        """Units that the option is about are broken, and nothing but the option would change."""
        if not self._ready()[0].alone:
            return None
        wrong = [fault for unit in seen.units if (fault := _broken(unit))]
        return "; ".join(wrong) or None

    def plan(self, seen: ConfigurationSeen) -> Plan:
        built, rehearsed = self._ready()
        steps = activation.stages_of(seen.system)
        held = "".join(f"; {unit.status.name} is active and its probes pass" for unit in seen.units)
        return Plan(
            does=f"sets {built.option} = {plain(built.literal)} and activates what was built of it",
            run=steps.run,
            confirm=steps.confirm,
            revert=steps.revert,
            hold_seconds=steps.hold_seconds,
            precondition="; ".join(
                (f"{built.running} runs", *(stands(unit.status) for unit in seen.units), *_failing(seen))
            ),
            post_check=activation.POST_CHECK + held,
            undo=activation.undo(seen.system),
            facts=(*_facts(built, rehearsed), *activation.facts(seen.system)),
        )

    def shortfall(self, before: ConfigurationSeen, now: ConfigurationSeen) -> str | None:
        wrong = (fault for unit in now.units if (fault := not_running(unit)))
        return activation.shortfall(before.system, now.system) or next(wrong, None)

    def disturbed(self, first: ConfigurationSeen, now: ConfigurationSeen) -> str | None:
        again = (started_again(before, after) for before, after in zip(first.units, now.units, strict=True))
        return activation.disturbed(first.system, now.system) or next(filter(None, again), None)

    def _allowed(self, nixos: NixosChanges) -> AllowedOption | None:
        return next((each for each in nixos.options if each.option == self.option), None)

    def _read_built(self, told: tuple[str, ...]) -> Built:
        """Return what was built. Raises: Refused: it is not what was asked for."""
        built = last_line(Built, told[0])
        asked = (self.option, nix(scalar(self.value)), branch_of(self.incident, self.option))
        if (built.option, built.literal, built.branch) != asked:
            raise Refused("what was built is not what was asked for")
        return built

    def _ready(self) -> tuple[Built, Rehearsed]:
        if self._built is None or self._rehearsed is None:
            raise Refused("it was not built yet")
        return self._built, self._rehearsed


def _broken(unit: UnitSeen) -> str | None:
    if unit.status.active_state == "failed":
        return f"{unit.status.name} has failed ({unit.status.result or unit.status.sub_state})"
    return "; ".join(unit.failing) or None


def _failing(seen: ConfigurationSeen) -> Argv:
    return tuple(fault for unit in seen.units for fault in unit.failing)


def _facts(built: Built, rehearsed: Rehearsed) -> tuple[tuple[str, str], ...]:
    """Return what a person decides by; what others wrote is made printable."""
    more = f"\nand {rehearsed.closure_more} more" if rehearsed.closure_more else ""
    would = {
        "would stop": rehearsed.stop,
        "would restart": rehearsed.restart,
        "would reload": rehearsed.reload,
        "would start": rehearsed.start,
        "changed, left as it is": rehearsed.left_alone,
    }
    beyond = "nothing else: without it, the configuration is the one that runs"
    if not built.alone:
        beyond = "MORE THAN THIS: the configuration differs from the one that runs even without it; see what differs"
    rows = (
        ("change", f"{built.option} = {plain(built.literal, 2100)}"),
        ("type", plain(built.type)),
        ("changes also", beyond),
        ("kept as it runs", plain(", ".join(built.carried), 1000)),
        *((title, plain(", ".join(units), 4000)) for title, units in would.items()),
        ("packages that differ", "\n".join(map(plain, rehearsed.closure)) + more or "none"),
        ("built", built.store_path),
        ("branch", f"{built.branch} at {built.commit[:12]}"),
        ("push", plain(built.pushed)),
    )
    return tuple((title, text) for title, text in rows if text)


ENTRIES: Final = (ApplyConfiguration, DraftConfiguration)
