"""The executor without root: calls of systemd's manager on units that polkit lets it touch, and nothing else.

There is no transient unit that systemd would hold for it, so what it knows of a call it knows in memory only. A call
that was under way when the executor ended is unknown to the next one, as an action is after a reboot: nobody makes it
again, its post-check tells what came of it.
"""

import asyncio
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ai_sysadmin.core.acting import Stage
from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.executor.systemd import ActionUnit, CannotStart
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, BusRefused, Signal, SystemBus

log = logging.getLogger(__name__)

USER: Final = "ai-sysadmin-executor"
VERBS: Final[Mapping[str, str]] = {
    "StartUnit": "start",
    "RestartUnit": "restart",
    "ReloadUnit": "reload",
    "ReloadOrRestartUnit": "reload-or-restart",
    "ResetFailedUnit": "reset-failed",
}
"""The manager's methods that are open to it, each with the verb by which polkit knows it."""

_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,240}\.[a-z]{4,9}")
_REMOVED: Final = (
    f"type='signal',sender='org.freedesktop.systemd1',interface='{MANAGER}',member='JobRemoved',path='{MANAGER_PATH}'"
)
_RULES: Final = """\
// The AI sysadmin's executor may do these things to these units, and ask that sleep waits for it; nothing else.
polkit.addRule(function(action, subject) {
  if (subject.user != %(user)s) return polkit.Result.NOT_HANDLED;
  if (action.id == "org.freedesktop.systemd1.manage-units") {
    var unit = action.lookup("unit"), verb = action.lookup("verb");
    var units = %(units)s, verbs = %(verbs)s;
    if (unit && verb && units.indexOf(unit) >= 0 && verbs.indexOf(verb) >= 0) return polkit.Result.YES;
  }
  var delays = ["org.freedesktop.login1.inhibit-delay-shutdown", "org.freedesktop.login1.inhibit-delay-sleep"];
  return delays.indexOf(action.id) >= 0 ? polkit.Result.YES : polkit.Result.NO;
});
"""


def rules(units: Sequence[str], user: str = USER) -> str:
    """Return polkit's rules for units by their literal names, for ``/etc/polkit-1/rules.d``. Raises: ValueError."""
    wrong = [unit for unit in units if not _UNIT.fullmatch(unit)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no unit's full name: polkit compares names letter by letter")
    return _RULES % {"user": json.dumps(user), "units": _list(units), "verbs": _list(list(VERBS.values()))}


def _list(words: Sequence[str]) -> str:
    return json.dumps(list(words), separators=(",", ":"))


class _Lost(Exception):
    """The bus broke with a call on its way: nobody can tell whether it arrived."""


@dataclass
class _Under:
    """Calls under way or done. ``accepted`` is done once the first one is on its way for good, or was refused.

    ``unit`` is none where nobody can tell what came of them.
    """

    accepted: asyncio.Future[None]
    unit: ActionUnit | None = field(default_factory=lambda: ActionUnit(running=True, exit_status=0, result="success"))
    task: asyncio.Task[None] | None = None


class PolkitEffects:
    """``Effects`` of an executor without root.

    Args:
        units: the units that it may touch, by their literal names: those that polkit's rules name.
        timeout_seconds: the longest that a job of systemd's may take until it counts as failed.
    """

    def __init__(self, bus: SystemBus, units: Sequence[str], timeout_seconds: float) -> None:
        self._bus = bus
        self._units = frozenset(units)
        self._timeout_seconds = timeout_seconds
        self._known: dict[str, _Under] = {}

    async def start(
        self, unit_id: str, stage: Stage, about: Mapping[str, str], calls: Sequence[tuple[str, str]] = ()
    ) -> None:
        del about
        self._check(stage, calls)
        if unit_id in self._known:
            return
        under = self._known[unit_id] = _Under(asyncio.get_running_loop().create_future())
        under.task = asyncio.create_task(self._carry_out(under, calls))
        try:
            await asyncio.shield(under.accepted)
        except (CannotStart, SystemdUnavailable):
            self._known.pop(unit_id, None)
            raise

    def _check(self, stage: Stage, calls: Sequence[tuple[str, str]]) -> None:
        if not calls:
            raise CannotStart(f"`{' '.join(stage.commands[0])}` is not available without root (executor.rights)")
        for method, unit in calls:
            if method not in VERBS:
                raise CannotStart(f"{method} is not available without root (executor.rights)")
            if unit not in self._units:
                raise CannotStart(f"{unit} is not among the units that executor.polkit_units names")

    async def look(self, unit_id: str) -> ActionUnit | None:
        under = self._known.get(unit_id)
        return under.unit if under else None

    async def output(self, unit_id: str, most_bytes: int) -> str:
        del unit_id, most_bytes
        return ""  # a call writes nothing

    async def release(self, unit_id: str) -> None:
        under = self._known.pop(unit_id, None)
        if under is not None and under.task is not None:
            under.task.cancel()

    async def held(self) -> Sequence[str]:
        return [unit_id for unit_id, under in self._known.items() if under.unit]

    async def _carry_out(self, under: _Under, calls: Sequence[tuple[str, str]]) -> None:
        """Make the calls one after the other, each once the job of the one before is done; say what came of it."""
        try:
            result = await self._all(calls, under.accepted)
            status = 0 if result == "done" else 1
            under.unit = ActionUnit(running=False, exit_status=status, result="success" if status == 0 else result)
        except (BusRefused, SystemdUnavailable) as fault:  # nothing was asked yet
            refused = CannotStart(f"systemd refuses to tell of its jobs: {fault}")
            under.accepted.set_exception(refused if isinstance(fault, BusRefused) else fault)
        except CannotStart as refusal:
            if under.accepted.done():
                log.warning("cut short: %s", refusal, extra={"event": "call_refused"})
                under.unit = ActionUnit(running=False, exit_status=1, result="refused")
            else:
                under.accepted.set_exception(refusal)
        except _Lost as fault:
            log.warning("what came of a call is unknown: %s", fault, extra={"event": "call_lost"})
            under.unit = None
            if not under.accepted.done():
                under.accepted.set_result(None)

    async def _all(self, calls: Sequence[tuple[str, str]], accepted: asyncio.Future[None]) -> str:
        """Make all calls; return the first job's result that is not ``done``, else that."""
        jobs = _Jobs()
        subscribe = ((MANAGER_PATH, MANAGER, "Subscribe"),)
        async with self._bus.listening((_REMOVED,), jobs.heard, first=subscribe) as broken:
            for method, unit in calls:
                job = await self._call(method, unit)
                if not accepted.done():
                    accepted.set_result(None)
                result = "done" if job is None else await self._until(jobs.removed(job), broken)
                if result != "done":
                    return result
        return "done"

    async def _call(self, method: str, unit: str) -> str | None:
        """Make one call; return its job, none where it makes none. Raises: CannotStart: it was refused; _Lost."""
        signature, body = ("s", [unit]) if method == "ResetFailedUnit" else ("ss", [unit, "replace"])
        try:
            answer = await self._bus.call(MANAGER_PATH, MANAGER, method, signature, body)
        except BusRefused as refusal:
            raise CannotStart(f"systemd refuses to {VERBS[method]} {unit}: {refusal}") from refusal
        except SystemdUnavailable as fault:
            raise _Lost(str(fault)) from fault
        return str(answer[0]) if answer else None

    async def _until(self, removed: asyncio.Future[str], broken: asyncio.Future[None]) -> str:
        """Return a job's result once it is removed; ``timeout`` where it takes too long. Raises: _Lost."""
        futures: set[asyncio.Future[str] | asyncio.Future[None]] = {removed, broken}
        await asyncio.wait(futures, timeout=self._timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        if removed.done():
            return removed.result()
        if broken.done():
            raise _Lost("the connection to the system bus broke")
        return "timeout"


class _Jobs:
    """What became of systemd's jobs, by their path: heard before or after somebody asks."""

    def __init__(self) -> None:
        self._results: dict[str, asyncio.Future[str]] = {}

    def removed(self, job: str) -> asyncio.Future[str]:
        """Return the result of a job, done once it is removed."""
        return self._results.setdefault(job, asyncio.get_running_loop().create_future())

    def heard(self, signal: Signal) -> None:
        if signal.member == "JobRemoved" and len(signal.body) == 4:
            _number, job, _unit, result = signal.body
            future = self.removed(str(job))
            if not future.done():
                future.set_result(str(result))
