"""A systemd in memory: units that fail and can be mended, and transient action units that start once.

It passes the same contract suite as the real one (``tests/contracts/test_effects.py``).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ai_sysadmin.core.acting import Stage
from ai_sysadmin.executor.output import newest
from ai_sysadmin.executor.systemd import ActionUnit, CannotStart
from ai_sysadmin.sources.units import UnitStatus

Argv = tuple[str, ...]
Program = Callable[[Argv], tuple[int, str]]


@dataclass
class FakeSystemd:
    """Units by name. ``stubborn`` units fail again whatever is done; ``starts`` lists every command that ran.

    ``programs`` stand for commands other than ``systemctl VERB -- UNIT``, by their first word: each returns its exit
    status and what it wrote. What a stage does is done at once; it is seen to have ended ``delay`` seconds later.
    ``about`` is what each unit would tell the journal, ``stages`` what each was started with.
    """

    units: dict[str, UnitStatus] = field(default_factory=dict)
    stubborn: set[str] = field(default_factory=set)
    actions: dict[str, ActionUnit] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)
    about: dict[str, dict[str, str]] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    calls: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    _ends: dict[str, float] = field(default_factory=dict)
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
        """Forget all transient units, as a reboot does; the journal keeps what they wrote."""
        self.actions.clear()

    async def status(self, unit: str) -> UnitStatus:
        return self.units.get(unit) or UnitStatus(name=unit, load_state="not-found", active_state="inactive")

    async def failed(self) -> list[UnitStatus]:
        return [unit for unit in self.units.values() if unit.active_state == "failed"]

    async def start(
        self, unit_id: str, stage: Stage, about: Mapping[str, str], calls: Sequence[tuple[str, str]] = ()
    ) -> None:
        if unit_id in self.actions:
            return
        programs = [self._program(argv) for argv in stage.commands]
        self.about[unit_id], self.stages[unit_id], self.calls[unit_id] = dict(about), stage, tuple(calls)
        status, said = 0, ""
        for argv, program in zip(stage.commands, programs, strict=True):
            self.starts.append(f"{argv[1]} {argv[-1]}" if argv[0] == "systemctl" else " ".join(argv))
            status, output = program(argv)
            said += output
            if status not in stage.good_statuses:
                break
        self.outputs[unit_id] = said
        self._ends[unit_id] = time.monotonic() + self.delay
        self.actions[unit_id] = ActionUnit(
            running=False, exit_status=status, result="success" if status in stage.good_statuses else "exit-code"
        )

    async def look(self, unit_id: str) -> ActionUnit | None:
        unit = self.actions.get(unit_id)
        if unit is not None and time.monotonic() < self._ends.get(unit_id, 0):
            return ActionUnit(running=True, exit_status=0, result="success")
        return unit

    async def output(self, unit_id: str, most_bytes: int) -> str:
        return newest(self.outputs.get(unit_id, "").encode(), most_bytes)

    async def release(self, unit_id: str) -> None:
        self.actions.pop(unit_id, None)

    async def held(self) -> Sequence[str]:
        return list(self.actions)

    def _program(self, argv: Argv) -> Program:
        if argv[0] in self.programs:
            return self.programs[argv[0]]
        if argv[0] != "systemctl":
            raise CannotStart(f"there is no {argv[0]} here")
        return lambda argv: (self._do(argv[1], argv[-1]), "")

    def _do(self, verb: str, unit: str) -> int:
        if unit not in self.units:
            return 5
        if verb in {"reset-failed", "stop"}:
            if self.units[unit].active_state == "failed" or verb == "stop":
                self.units[unit] = self.units[unit].model_copy(
                    update={"active_state": "inactive", "sub_state": "dead", "result": "success"}
                )
            return 0
        if verb == "reload":
            return 0 if self.units[unit].active_state == "active" else 1
        broken = unit in self.stubborn
        self.add(unit, active="failed" if broken else "active", result="exit-code" if broken else "success")
        return 0
