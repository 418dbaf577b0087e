"""See whether the suite itself is in trouble: services that systemd does not hold up, or that say they are degraded."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

GRACE: Final = timedelta(minutes=2)
"""So long a trouble has to last before it is one, and its absence before it is over."""

WELL: Final = "well"
DEGRADED: Final = "degraded"
AWAY: Final = "does not run"

UNITS: Final = tuple(
    f"ai-sysadmin-{service}.service" for service in ("trigger-monitor", "review-model", "meta-model", "api", "executor")
)
"""The services that have to run. That a model server does not is told by who needs it."""

_UP: Final = frozenset({"active", "reloading", "refreshing"})


class Note(Protocol):
    """What a service last said of its own condition; its words are not told, a server's may be among them."""

    @property
    def service(self) -> str: ...
    @property
    def state(self) -> str: ...


class Unit(Protocol):
    """What systemd says of a unit."""

    @property
    def load_state(self) -> str: ...
    @property
    def active_state(self) -> str: ...


async def states_of(look: Callable[[str], Awaitable[Unit]]) -> dict[str, str]:
    """Return the active states of those of ``UNITS`` that this host has. Raises: what ``look`` does."""
    found = {name: await look(name) for name in UNITS}
    return {name: unit.active_state for name, unit in found.items() if unit.load_state != "not-found"}


def standing_of(notes: Iterable[Note], units: Mapping[str, str]) -> dict[str, str]:
    """Return how each service stands: ``WELL``, ``DEGRADED`` or ``AWAY``.

    Args:
        units: the active state of the suite's units that this host has, by their names; none under `up`.
    """
    standing = {note.service: WELL if note.state == "ok" else DEGRADED for note in notes}
    for unit, state in units.items():
        service = _service(unit)
        standing[service] = standing.get(service, WELL) if state in _UP else AWAY
    return standing


def is_away(standing: Mapping[str, str]) -> list[str]:
    """Return the services that do not run."""
    return sorted(service for service, state in standing.items() if state == AWAY)


@dataclass(frozen=True)
class Change:
    """A service whose trouble began (``trouble`` says which) or got worse, or is over."""

    service: str
    trouble: str = ""
    is_worse: bool = False


class SuiteWatch:
    """Tells changes that last from those that pass, such as a restart."""

    def __init__(self, grace: timedelta = GRACE) -> None:
        self._grace = grace
        self._since: dict[str, tuple[str, datetime]] = {}
        self._told: dict[str, str] = {}

    def look(self, standing: Mapping[str, str], now: datetime) -> list[Change]:
        """Return what has changed and lasted; a service's first standing is a change, also if it is well."""
        gone = {service: WELL for service in self._since if service not in standing}
        return [change for pair in {**gone, **standing}.items() if (change := self._one(*pair, now)) is not None]

    def _one(self, service: str, state: str, now: datetime) -> Change | None:
        kept, since = self._since.get(service, ("", now))
        if kept != state:
            since = now
            self._since[service] = (state, since)
        before = self._told.get(service)
        if now - since < self._grace or before == state:
            return None
        self._told[service] = state
        return Change(service, "" if state == WELL else state, is_worse=(before, state) == (DEGRADED, AWAY))


def _service(unit: str) -> str:
    """Return the name that a unit's service goes by in its notes, such as ``review-model``."""
    return unit.removeprefix("ai-sysadmin-").removesuffix(".service")
