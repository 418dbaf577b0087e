"""Stages of actions as transient units: started, awaited, read, let go.

What may be begun again (preparing, checking, confirming, taking back) is ``run``: its unit is found again after a
restart of the executor, and started only where systemd knows none of that name. The run itself is ``start``ed once,
after its intent is written, and then only ever awaited by ``ended``.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ai_sysadmin.core.acting import Stage
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.executor.systemd import ActionUnit, CannotStart, Effects

RUN: Final = "run"
LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Ended:
    """How a stage ended: ``said`` in words, ``good`` where that is no failure, ``output`` what it wrote."""

    good: bool
    said: str
    exit_status: int | None = None
    output: str = ""


class Stages:
    """Runs stages. ``seconds`` is the longest that one may take where it does not say so itself."""

    def __init__(self, effects: Effects, seconds: float, output_bytes: int) -> None:
        self._effects = effects
        self._seconds = seconds
        self._output_bytes = output_bytes

    def seconds(self, stage: Stage) -> float:
        """Return the longest that each command of a stage may take."""
        return stage.sandbox.seconds or self._seconds

    async def start(
        self, action_id: str, stage: Stage, about: Mapping[str, str], calls: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Start a stage's unit. Raises: CannotStart, Unavailable."""
        await self._effects.start(unit_id(action_id, stage), stage, about, calls)

    async def ended(self, action_id: str, stage: Stage) -> Ended | None:
        """Wait for a stage to end; none: systemd knows no such unit. Raises: Unavailable."""
        name = unit_id(action_id, stage)
        while (unit := await self._effects.look(name)) is not None:
            if not unit.running:
                return _ended(unit, stage, await self._effects.output(name, self._output_bytes))
            await asyncio.sleep(LOOK_SECONDS)
        return None

    async def run(self, action_id: str, stage: Stage, about: Mapping[str, str], *, anew: bool = False) -> Ended:
        """Run a stage that may be begun again; where it ran already, that counts, unless it is wanted ``anew``.

        Raises: Unavailable.
        """
        if anew:
            await self._effects.release(unit_id(action_id, stage))
        ended = await self.ended(action_id, stage)
        if ended is None:
            try:
                await self.start(action_id, stage, about)
            except CannotStart as error:
                return Ended(good=False, said=f"could not be started: {error}")
            ended = await self.ended(action_id, stage)
        return ended or Ended(good=False, said="its unit was taken away")

    async def forget(self, action_id: str) -> None:
        """Let go of all units of an action; what cannot be let go now is at the next start."""
        try:
            for name in await self._effects.held():
                if _is_of(name, action_id):
                    await self._effects.release(name)
        except AiSysadminError:  # away, or it refuses, as while the host goes down
            return

    async def forget_all_but(self, action_ids: Iterable[str]) -> None:
        """Let go of the units of every other action."""
        kept = tuple(action_ids)
        try:
            for name in await self._effects.held():
                if not any(_is_of(name, action_id) for action_id in kept):
                    await self._effects.release(name)
        except AiSysadminError:  # away, or it refuses, as while the host goes down
            return


def unit_id(action_id: str, stage: Stage) -> str:
    """Name a stage's unit: the action's id alone for its run."""
    return action_id if stage.name == RUN else f"{action_id}-{stage.name}"


def _is_of(name: str, action_id: str) -> bool:
    return name == action_id or name.startswith(f"{action_id}-")


def _ended(unit: ActionUnit, stage: Stage, output: str) -> Ended:
    status = unit.exit_status
    if unit.result == "timeout":
        return Ended(False, "took too long and was ended", status, output)
    if unit.result in {"signal", "core-dump", "oom-kill", "watchdog"}:
        return Ended(False, f"was ended by signal {status} ({unit.result})", status, output)
    good = status in stage.good_statuses and unit.result in {"success", "exit-code"}
    return Ended(good, f"exit status {status}" if status or good else f"ended with {unit.result}", status, output)
