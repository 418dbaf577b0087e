"""What bench/acting.py runs as root inside its machine: `_acting_inside.py WHAT ROUNDS`; JSON goes to stdout.

Times are in seconds. When a unit was up again is systemd's own word, by the clock that `time.monotonic` reads.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.core.acting import ActionRequest, ExecutorEvent, ExecutorEventKind, Origin, OutcomeKind, Stage
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.executor.systemd import SystemdEffects
from ai_sysadmin.runtime.bus import SystemBus

UNITS = [f"bench-acting@{number}.service" for number in range(20)]
EXECUTOR = "ai-sysadmin-executor.service"
PROPOSE, OPERATE = (ExecutorClient(Path(f"/run/ai-sysadmin/{door}.sock"), 60) for door in ("propose", "operate"))
HALTS, PER_UNIT, QUIET_SECONDS = 5, 5, 1.0
TICKS = os.sysconf("SC_CLK_TCK")


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


async def ended(*argv: str) -> None:
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if await process.wait():
        raise SystemExit(f"{' '.join(argv)}: exit status {process.returncode}")


def shown(unit: str, name: str) -> str:
    return run("systemctl", "show", "--value", f"--property={name}", unit).strip()


def up_at(unit: str) -> float:
    return int(shown(unit, "ActiveEnterTimestampMonotonic")) / 1e6


def fail(units: Sequence[str]) -> None:
    """Let running units fail."""
    run("systemctl", "kill", "--signal=KILL", *units)
    while any(shown(unit, "ActiveState") != "failed" for unit in units):
        time.sleep(0.01)


def usage() -> tuple[float, float, float]:
    """Return the executor's CPU seconds, those of the programs it started, and its resident megabytes."""
    pid = shown(EXECUTOR, "MainPID")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    own, children = (sum(map(int, fields[first : first + 2])) / TICKS for first in (11, 13))
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return own, children, pages * os.sysconf("SC_PAGESIZE") / (1 << 20)


# --- actions


class Story:
    """The executor's events, as the courier reads them, each with when it was here."""

    def __init__(self) -> None:
        self._epoch, self._last = "", 0

    async def more(self, wait_seconds: float = 0) -> list[ExecutorEvent]:
        found = list(await PROPOSE.events(self._epoch, self._last, wait_seconds))
        if found:
            self._epoch, self._last = found[-1].epoch, found[-1].sequence
        return found

    async def skip(self) -> None:
        """Pass over what was said until now."""
        while await self.more():
            pass

    async def until_finished(self, ids: Sequence[str], *, halted: bool = False) -> list[ExecutorEvent]:
        """Return what is said until all of these have succeeded; where it was ``halted`` some may not have begun."""
        left, said = set(ids), list[ExecutorEvent]()
        while left:
            for event in await self.more(5):
                said.append(event)
                if event.outcome is not None:
                    left.discard(event.action_id)
                    if event.outcome.kind is not OutcomeKind.SUCCEEDED and not halted:
                        raise SystemExit(f"{event.action_id}: {event.text}")
                elif event.kind is ExecutorEventKind.REFUSED:
                    left.discard(event.action_id)
                    if not halted:
                        raise SystemExit(f"{event.action_id}: {event.text}")
        return said


def over(event: ExecutorEvent) -> bool:
    return event.outcome is not None or event.kind is ExecutorEventKind.REFUSED


def wanted(unit: str, ask: str = "") -> ActionRequest:
    action = ProposedAction(name="restart_unit", arguments={"unit": unit})
    return ActionRequest.propose(
        os.uname().nodename, "bench", action, Origin.RULES, "it failed", datetime.now(UTC), ask
    )


async def acted(story: Story, unit: str, ask: str = "") -> dict[str, Any]:
    """Let the executor restart a failed unit; with ``ask`` it is approved as soon as it waits."""
    request = wanted(unit, ask)
    await story.skip()
    began = time.monotonic()
    facts = await PROPOSE.propose(request)
    proposed = time.monotonic() - began
    if facts.state.value != ("pending" if ask else "approved"):
        raise SystemExit(f"{request.name} is {facts.state}: {facts.text}")
    if ask:
        began = time.monotonic()
        await OPERATE.approve(request.id)
    said = await story.until_finished([request.id])
    whole = time.monotonic() - began
    at = {event.kind.value: event.at.timestamp() for event in said}
    steps = ["approved", "started", "ran", "finished"]
    gaps = {f"{a} to {b}": at[b] - at[a] for a, b in itertools.pairwise(steps)}
    return {"up": up_at(unit) - began, "whole": whole, "propose": proposed, "events": len(said), "gaps": gaps}


async def typed(unit: str, *argv: str) -> dict[str, Any]:
    """Have a command restart a unit."""
    began = time.monotonic()
    await ended(*argv)
    return {"whole": time.monotonic() - began, "up": up_at(unit) - began}


async def bare_unit(effects: SystemdEffects, unit: str, name: str = "bench-bare") -> dict[str, Any]:
    """Have the executor's own transient unit restart a unit, and nobody around it."""
    stage = Stage(name="run", commands=(("systemctl", "reset-failed", unit), ("systemctl", "restart", unit)))
    began = time.monotonic()
    await effects.start(name, stage, {"AI_ACTION_ID": "bench"})
    while (found := await effects.look(name)) is not None and found.running:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    whole = time.monotonic() - began
    await effects.release(name)
    return {"whole": whole, "up": up_at(unit) - began}


# --- what is measured


async def idle(seconds: int) -> dict[str, Any]:
    await PROPOSE.events("", 0)
    await asyncio.sleep(3)
    before = usage()
    await asyncio.sleep(seconds)
    after = usage()
    return {"cpu": (sum(after[:2]) - sum(before[:2])) / seconds, "resident": after[2]}


async def single(rounds: int) -> dict[str, Any]:
    """Restart one unit in every way in turn, each time after it failed."""
    story, bus, unit = Story(), SystemBus(), UNITS[0]
    effects = SystemdEffects(bus, 30)
    systemd_run = ("systemd-run", "--quiet", "--wait", "--collect")
    ways: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
        "systemctl": lambda: typed(unit, "systemctl", "restart", unit),
        "systemd-run": lambda: typed(unit, *systemd_run, "systemctl", "restart", unit),
        "sandbox": lambda: bare_unit(effects, unit),
        "alone": lambda: acted(story, unit),
        "approved": lambda: acted(story, unit, "the bench asks"),
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    run("systemctl", "start", *UNITS)
    before: tuple[float, ...] = ()
    for number in range(rounds + 1):
        for name, way in ways.items():
            fail([unit])
            result = await way()
            if number:  # the first round warms up
                found[name].append(result)
        before = before or usage()
    after = usage()
    bus.close()
    own, children = ((after[each] - before[each]) / (2 * rounds) for each in (0, 1))
    return {"ways": found, "cpu": own, "children": children, "resident": after[2]}


async def explain(rounds: int) -> dict[str, Any]:
    fail(UNITS[:1])
    arguments, found = {"unit": UNITS[0]}, dict[str, list[float]]()

    async def timed(name: str, work: Callable[[], Awaitable[object]]) -> None:
        began = time.monotonic()
        await work()
        found.setdefault(name, []).append(time.monotonic() - began)

    argv = ("/opt/bin/ai-sysadmin", "policy", "explain", "restart_unit", f"unit={UNITS[0]}")
    for number in range(rounds):
        await timed("explain", lambda: PROPOSE.explain("restart_unit", arguments))
        await timed("show", lambda: ended("systemctl", "show", UNITS[0]))
        if number % 6 == 0:
            await timed("cli", lambda: ended(*argv))
            await timed("python", lambda: ended("/opt/bin/ai-sysadmin", "--version"))
    run("systemctl", "reset-failed", UNITS[0])
    run("systemctl", "start", UNITS[0])
    return found


async def queue(rounds: int) -> dict[str, Any]:
    """Twenty failed units at once: by as many systemd-run, by as many of the executor's units, by the executor."""
    story, bus, found = Story(), SystemBus(), dict[str, list[float]]()
    effects = SystemdEffects(bus, 30)
    for _ in range(rounds):
        fail(UNITS)
        began = time.monotonic()
        argv = ("systemd-run", "--quiet", "--wait", "--collect", "systemctl", "restart")
        await asyncio.gather(*(ended(*argv, unit) for unit in UNITS))
        found.setdefault("systemd-run", []).append(time.monotonic() - began)
        fail(UNITS)
        began = time.monotonic()
        bare = [bare_unit(effects, unit, f"bench-{number}") for number, unit in enumerate(UNITS)]
        await asyncio.gather(*bare)
        found.setdefault("sandbox", []).append(time.monotonic() - began)
        fail(UNITS)
        requests = [wanted(unit) for unit in UNITS]
        await story.skip()
        began = time.monotonic()
        await asyncio.gather(*map(PROPOSE.propose, requests))
        await story.until_finished([each.id for each in requests])
        found.setdefault("executor", []).append(time.monotonic() - began)
        found.setdefault("up", []).append(max(map(up_at, UNITS)) - began)
    bus.close()
    return found


async def halt(_: int) -> dict[str, Any]:
    """Halt a queue again and again; tell when that was answered, for the journal to say what began after it."""
    story = Story()
    await story.skip()
    requests = [wanted(unit, "the bench asks") for unit in UNITS for _ in range(PER_UNIT)]
    proposed = time.monotonic()
    few = asyncio.Semaphore(16)

    async def asked(request: ActionRequest) -> None:
        async with few:
            await PROPOSE.propose(request)
            await OPERATE.approve(request.id)

    await asyncio.gather(*map(asked, requests))
    queued = time.monotonic() - proposed
    halts = []
    for number in range(HALTS):
        began = time.time()
        if number == HALTS - 1:
            await ended("/opt/bin/ai-sysadmin", "halt")
        else:
            await OPERATE.halt("the bench")
        answered = time.time()
        await asyncio.sleep(QUIET_SECONDS)
        resumed = time.time()
        waiting = sum(facts.state.value == "approved" for facts in await OPERATE.list())
        halts.append({"began": began, "answered": answered, "resumed": resumed, "waiting": waiting})
        await OPERATE.resume()
        await asyncio.sleep(0.3)
    said = await story.until_finished([each.id for each in requests], halted=True)
    outcomes = [event.outcome.kind.value if event.outcome else event.kind.value for event in said if over(event)]
    return {"halts": halts, "queued": queued, "outcomes": outcomes}


if __name__ == "__main__":
    what = {each.__name__: each for each in (idle, single, explain, queue, halt)}[sys.argv[1]]
    print(json.dumps(asyncio.run(what(int(sys.argv[2])))))
