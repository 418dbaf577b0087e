"""What the command line asks for: the suite's own condition, incidents, actions. Read, never written."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ai_sysadmin import __version__
from ai_sysadmin.actions.protocol import Halted
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.clock import Clock, local
from ai_sysadmin.core.errors import ExecutorUnavailable, Refused, StoreUnavailable
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.settings import Backend, Settings
from ai_sysadmin.llm_backend import ServerHealth
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.openai_api_server.system.views import (
    Actions,
    ActionView,
    BackendStatus,
    Incidents,
    IncidentView,
    Reached,
    SystemStatus,
)
from ai_sysadmin.stores import JournalPosition, ReadStore, ServiceNote

PROBE_SECONDS = 2.0
LIST_LIMIT = 500
WITHOUT = {
    "trigger": "new log templates are not labelled",
    "review": "incidents are judged by rules",
    "meta": "escalations go to a person and chat answers with plain reports",
}
"""What a layer's missing model costs, in words."""


class HealthProbe(Protocol):
    """A model server that can be asked how it is."""

    async def health(self) -> ServerHealth: ...


class ExecutorProbe(Protocol):
    """The executor, as far as its condition goes. Raises: ExecutorUnavailable, Refused."""

    async def halted(self) -> Halted | None: ...


@dataclass(frozen=True)
class Remembered:
    """What the store holds, in numbers; ``fault`` says why it could not be read."""

    services: tuple[ServiceNote, ...] = ()
    journal: JournalPosition | None = None
    incidents: Mapping[str, int] | None = None
    actions: Mapping[str, int] | None = None
    kept_by: str = ""
    fault: str = ""


class System:
    """The look-ups behind ``/v1/system``."""

    def __init__(
        self,
        settings: Settings,
        store: ReadStore,
        probes: Mapping[str, HealthProbe],
        executor: ExecutorProbe,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._store = store
        self._probes = probes
        self._executor = executor
        self._clock = clock

    async def status(self) -> SystemStatus:
        """Ask everything now, side by side; nothing takes longer than ``PROBE_SECONDS``."""
        remembered, (executor, halted), backends = await asyncio.gather(
            self._remembered(),
            self._executor_status(),
            asyncio.gather(*(self._backend_status(layer, probe) for layer, probe in self._probes.items())),
        )
        faults = reasons(remembered, backends, executor, halted)
        return SystemStatus(
            state="degraded" if faults else "ok",
            reasons=faults,
            host=self._settings.host_name,
            ai_name=self._settings.ai_name,
            version=__version__,
            autonomy_level=self._settings.autonomy_level.value,
            at=self._clock.now(),
            services=remembered.services,
            journal=remembered.journal,
            backends=tuple(backends),
            executor=executor,
            store=self._reached(remembered),
            incidents=dict(remembered.incidents or {}),
            actions=dict(remembered.actions or {}),
            halted=halted,
        )

    async def incidents(self, states: Sequence[str]) -> Incidents:
        wanted = [State(state) for state in known(states, [s.value for s in State])]
        return Incidents(incidents=tuple(await self._store.incidents(wanted, LIST_LIMIT)))

    async def incident(self, incident_id: str) -> IncidentView:
        return IncidentView.of(await self._store.incident(incident_id))

    async def actions(self, states: Sequence[str]) -> Actions:
        wanted = known(states, [state.value for state in ActionState])
        found = await self._store.actions(wanted, LIST_LIMIT)
        return Actions(actions=tuple(map(ActionView.of, found)))

    async def action(self, action_id: str) -> ActionView:
        return ActionView.of(await self._store.action(action_id))

    def _reached(self, remembered: Remembered) -> Reached:
        if remembered.fault:
            return Reached(reachable=False, text=remembered.fault)
        return Reached(reachable=True, text=f"{self._settings.store_name}: {remembered.kept_by}")

    async def _remembered(self) -> Remembered:
        try:
            incidents = await self._store.incidents((), LIST_LIMIT)
            actions = await self._store.actions((), LIST_LIMIT)
            return Remembered(
                tuple(await self._store.notes()),
                await self._store.position(),
                Counter(incident.state.value for incident in incidents),
                Counter(action.state for action in actions),
                await self._store.kept_by(),
            )
        except StoreUnavailable as error:
            return Remembered(fault=str(error))

    async def _executor_status(self) -> tuple[Reached, Halted | None]:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                halted = await self._executor.halted()
        except TimeoutError:
            return Reached(reachable=False, text=f"the executor gave no answer within {PROBE_SECONDS:g} s"), None
        except ExecutorUnavailable as error:
            return Reached(reachable=False, text=str(error)), None
        except Refused:
            return Reached(reachable=True, text="answers"), None
        return Reached(reachable=True, text="answers"), halted

    async def _backend_status(self, layer: str, probe: HealthProbe) -> BackendStatus:
        backend: Backend = getattr(self._settings.backends, layer)
        health = await _within(PROBE_SECONDS, probe.health())
        return BackendStatus(
            layer=layer,
            url=backend.url,
            remote=backend.loopback_port is None,
            state=health.state,
            model=health.model,
            context_tokens=health.context_tokens,
            slots=health.slots,
            text=health.text,
        )


async def _within(seconds: float, asking: Awaitable[ServerHealth]) -> ServerHealth:
    try:
        async with asyncio.timeout(seconds):
            return await asking
    except TimeoutError:
        return ServerHealth(state="away", text=f"no answer within {seconds:g} s")


def reasons(
    remembered: Remembered, backends: Sequence[BackendStatus], executor: Reached, halted: Halted | None = None
) -> tuple[str, ...]:
    """Say what keeps the suite from working in full, and what that costs, the worst first."""
    found = []
    if remembered.fault:
        found.append(f"{remembered.fault}: nothing is recorded until it answers")
    if not executor.reachable:
        found.append(f"{executor.text}: nothing can be done until it answers")
    if halted is not None:
        found.append(_held(halted))
    missing = [backend for backend in backends if backend.state not in {"ready", "asleep"}]
    notes = [note for note in remembered.services if note.state != "ok"]
    told = [backend.url for backend in missing]
    found += [f"{note.service}: {note.text}" for note in notes if not any(url in note.text for url in told)]
    found += map(_without, missing)
    return tuple(found)


def _held(halted: Halted) -> str:
    why = f" ({one_line(halted.why, 200)})" if halted.why else ""
    return f"actions are halted by {halted.by} since {local(halted.at)}{why}: none begins until `ai-sysadmin resume`"


def _without(backend: BackendStatus) -> str:
    cost = WITHOUT.get(backend.layer, "that layer does without")
    return f"the {backend.layer} model at {backend.url} is {backend.state}: {cost}"


def known(given: Sequence[str], allowed: Sequence[str]) -> list[str]:
    """Return the states asked for.

    Raises:
        Faulty: 400, one of them does not exist; the message names those that do.
    """
    for state in given:
        if state not in allowed:
            text = f"there is no state {state[:40]!r}; known: {', '.join(allowed)}"
            raise Faulty(Fault(400, text, code="unknown_state", param="state"))
    return list(given)
