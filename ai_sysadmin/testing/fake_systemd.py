"""A systemd in memory: units that fail and can be mended, and transient action units that start once.

It passes the same contract suite as the real one (``tests/contracts/test_effects.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ai_sysadmin.executor.systemd import ActionUnit
from ai_sysadmin.sources.units import UnitStatus


@dataclass
class FakeSystemd:
    """Units by name. ``stubborn`` units fail again whatever is done; ``starts`` lists every command that ran,
    ``about`` what each action's unit would tell the journal."""

    units: dict[str, UnitStatus] = field(default_factory=dict)
    stubborn: set[str] = field(default_factory=set)
    actions: dict[str, ActionUnit] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)
    about: dict[str, dict[str, str]] = field(default_factory=dict)
    _invocations: int = 0

    def add(self, name: str, *, active: str = "active", result: str = "success") -> None:
        """Put a unit on the machine."""
        self._invocations += 1
        self.units[name] = UnitStatus(
            name=name,
            description=f"the unit {name}",
            load_state="loaded",
            active_state=active,
            sub_state={"active": "running", "failed": "failed"}.get(active, "dead"),
            result=result,
            type="simple",
            invocation=f"{self._invocations:032x}",
            state_changed_at=datetime.now(UTC),
            active_enter_at=datetime.now(UTC) if active == "active" else None,
        )

    def reboot(self) -> None:
        """Forget all transient units, as a reboot does."""
        self.actions.clear()

    async def status(self, unit: str) -> UnitStatus:
        return self.units.get(unit) or UnitStatus(name=unit, load_state="not-found", active_state="inactive")

    async def failed(self) -> list[UnitStatus]:
        return [unit for unit in self.units.values() if unit.active_state == "failed"]

    async def start(self, action_id: str, commands: Sequence[Sequence[str]], about: Mapping[str, str]) -> None:
        if action_id in self.actions:
            return
        self.about[action_id] = dict(about)
        status = 0
        for _program, verb, _dashes, unit in commands:
            self.starts.append(f"{verb} {unit}")
            status = status or self._do(verb, unit)
        self.actions[action_id] = ActionUnit(
            running=False, exit_status=status, result="exit-code" if status else "success"
        )

    async def look(self, action_id: str) -> ActionUnit | None:
        return self.actions.get(action_id)

    async def release(self, action_id: str) -> None:
        self.actions.pop(action_id, None)

    async def held(self) -> Sequence[str]:
        return list(self.actions)

    def _do(self, verb: str, unit: str) -> int:
        if unit not in self.units:
            return 5
        if verb == "reset-failed":
            if self.units[unit].active_state == "failed":
                self.units[unit] = self.units[unit].model_copy(
                    update={"active_state": "inactive", "sub_state": "dead", "result": "success"}
                )
            return 0
        broken = unit in self.stubborn
        self.add(unit, active="failed" if broken else "active", result="exit-code" if broken else "success")
        return 0
