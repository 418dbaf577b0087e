"""The operator's probes, carried out by transient units of a user of their own: the executor has no network.

It reads only their exit status and their one sentence. What passed a moment ago is not asked again.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.actions.action import ProbeBroken
from ai_sysadmin.core.acting import Sandbox, Stage
from ai_sysadmin.core.probe_settings import FAILS, ProbeSettings
from ai_sysadmin.executor.stages import Stages

_FRESH_SECONDS: Final = 2.0
_MARGIN_SECONDS: Final = 15.0
_ABOUT: Final = {"AI_ACTION_ID": "probe"}


class _Answer(NamedTuple):
    """What a probe said, and from when until when it was carried out."""

    began: float
    ended: float
    said: str | None


class Probing:
    """Carries out probes by their names.

    Args:
        program: what starts this suite's command line, as an argv.
        now: seconds that do not count time asleep.
    """

    def __init__(
        self,
        probes: Mapping[str, ProbeSettings],
        stages: Stages,
        program: tuple[str, ...],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probes = probes
        self._stages = stages
        self._program = program
        self._now = now
        self._asked: dict[str, _Answer] = {}
        self._counts_from = float("-inf")
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def probe(self, name: str) -> str | None:
        """Return what fails; none: it passes. Raises: ProbeBroken: it cannot be carried out, Unavailable."""
        async with self._one_at_a_time[name]:
            answer = self._asked.get(name)
            if answer is None or not self._counts(answer):
                began = self._now()
                said = await self._carried_out(self._probes[name])
                answer = self._asked[name] = _Answer(began, self._now(), said)
            return answer.said

    def forget(self) -> None:
        """Carry out every probe anew from now on: what one says that is under way does not count either."""
        self._counts_from = self._now()

    def _counts(self, answer: "_Answer") -> bool:
        """Tell whether an answer is still good. A failure never is: it is what an action is to mend."""
        fresh = self._now() - answer.ended < _FRESH_SECONDS
        return fresh and answer.said is None and answer.began >= self._counts_from

    async def _carried_out(self, probe: ProbeSettings) -> str | None:
        sandbox = Sandbox(
            user="dynamic",
            network=True,
            families=("AF_UNIX", "AF_INET", "AF_INET6"),
            seconds=probe.timeout_seconds + _MARGIN_SECONDS,
        )
        argv = (*self._program, "probe", "run", probe.model_dump_json())
        stage = Stage(name=probe.name[:31], commands=(argv,), sandbox=sandbox)
        ended = await self._stages.run("probe", stage, _ABOUT, anew=True)
        if ended.good:
            return None
        said = next(iter(ended.output.strip().splitlines()[-1:]), ended.said)[:300]
        if ended.exit_status != FAILS:
            raise ProbeBroken(f"probe {probe.name} cannot be carried out: {said}")
        return said


def own_program() -> tuple[str, ...]:
    """Return how this suite's command line is started: as we were, where that is a program of its own."""
    started = Path(sys.argv[0])
    if started.is_absolute() and started.name.endswith("ai-sysadmin") and started.is_file():
        return (str(started),)
    return (sys.executable, "-P", "-m", "ai_sysadmin")
