"""A model that sleeps, or is being loaded, is waited for, and the person who waits is told."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import BackendLoading, ModelServer, ServerHealth

_PAUSE_SECONDS: Final = 1.0
_USUAL_SECONDS: Final = 20.0
_AWAKE_SECONDS: Final = 20.0
"""A model that answered so lately is awake, and as it was: nobody asks it first."""


@dataclass
class Presence:
    """What earlier answers showed of the servers, by URL: how long they took to wake, and how they were lately."""

    took: dict[str, float] = field(default_factory=dict)
    awake: dict[str, tuple[float, ServerHealth]] = field(default_factory=dict)


class Waking:
    """One answer's wait for its model; ``said`` is what the person is told of it."""

    def __init__(self, model: ModelServer, presence: Presence) -> None:
        self._model = model
        self._presence = presence
        self._health: ServerHealth | None = None
        self._began: float | None = None
        self.said = ""

    async def look(self) -> ServerHealth:
        """Ask how the model is, where it has not answered just now."""
        at, health = self._presence.awake.get(self._model.url, (-_AWAKE_SECONDS, None))
        if health is None or _now() - at >= _AWAKE_SECONDS:
            health = await self._model.health()
        if health.state in {"asleep", "loading"}:
            self._waits("waking the model" if health.state == "asleep" else "the model is being loaded")
        self._health = health
        return health

    def may_come_back(self, error: BackendUnavailable, until: float) -> bool:
        """Tell whether a failure is only that the model is not there yet, and there is time left to wait for it."""
        self._presence.awake.pop(self._model.url, None)
        if not isinstance(error, BackendLoading) or _now() + _PAUSE_SECONDS >= until:
            return False
        self._waits("the model is being loaded")
        return True

    async def pause(self) -> None:
        await asyncio.sleep(_PAUSE_SECONDS)

    def answered(self) -> None:
        """Remember that it is awake, and how long it took, for the next time."""
        if self._began is not None:
            self._presence.took[self._model.url] = _now() - self._began
            self._began = None
        elif self._health is not None and self._health.state == "ready":
            self._presence.awake[self._model.url] = _now(), self._health

    def _waits(self, what: str) -> None:
        if self._began is None:
            self._began = _now()
        self.said = f"{what}, about {max(1, round(self._presence.took.get(self._model.url, _USUAL_SECONDS)))} s"


def _now() -> float:
    return asyncio.get_running_loop().time()
