"""What every entry of the catalogue is: a typed value that says what it would do, and what the executor looks at first.

The executor asks an action in this order: ``refuse`` and ``settle`` (what the settings say), ``preparation`` (what has
to be built before anybody can rule on it), ``bind`` (what came of that), ``observe`` (the host as it is now),
``obstacle`` and ``warrant`` (may it, must it), ``risk``, ``plan`` (what would run), and afterwards ``shortfall`` (what
is not as it should be). All but ``observe`` are pure. No model text reaches any of it but a name and arguments that
validate.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from ai_sysadmin.core.acting import Plan, Risk, Stage
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.units import Units

Seen = TypeVar("Seen", bound=Record)
"""What the executor observes for one kind of action; it is kept with the intent, so it is a record."""


class Session(Record):
    """Somebody who is logged in, as logind knows it. ``remote_host`` is empty for a seat of this machine."""

    user: str
    uid: int
    remote_host: str = ""
    tty: str = ""
    leader: int = 0
    kind: str = ""


class Sessions(Protocol):
    """Who is logged in."""

    async def live(self) -> Sequence[Session]:
        """Return all sessions that have not ended. Raises: SystemdUnavailable: nobody can tell."""
        ...


class ProbeBroken(Unavailable):
    """A probe could not be carried out: it says nothing of what it is about."""


async def no_probe(_name: str) -> str | None:
    """Stand for the probes where none can be run."""
    return None


def nothing() -> None:
    """Stand for what has nothing to do."""


@dataclass(frozen=True)
class Host:
    """What an action may look at: the same for the executor and for its tests.

    ``root`` stands before every path. ``probe`` carries out one of the operator's probes by its name and returns what
    fails; none: it passes; it raises ProbeBroken where it cannot be carried out. ``forget_probes`` has every probe
    carried out anew: what was asked before something was done says nothing of what came of it.
    """

    settings: Settings
    units: Units
    sessions: Sessions
    clock: Clock
    root: Path = Path("/")
    probe: Callable[[str], Awaitable[str | None]] = no_probe
    forget_probes: Callable[[], None] = nothing

    def path(self, absolute: str | Path) -> Path:
        """Return where an absolute path of the host is."""
        return self.root / str(absolute).lstrip("/")


class Action(BaseModel, ABC, Generic[Seen]):
    """An entry of the catalogue with its arguments. The class's docstring is what models and people are told of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: ClassVar[str]
    risks: ClassVar[tuple[Risk, ...]]
    """Every risk that it may have, the lowest first: what the catalogue's page says."""
    seen: ClassVar[type[Record]]
    """The type of what ``observe`` returns."""
    binds_commands: ClassVar[bool] = False
    """Whether an approval holds for these very commands: where they follow from more than the name and arguments."""
    needs: ClassVar[str] = ""
    """What must be so before it can be done, in words: what ``obstacle`` asks. For the catalogue's page."""

    @classmethod
    def example(cls) -> "tuple[Self, Seen] | None":
        """Return an action and what might be observed for it, which the catalogue's page shows a plan of; or none."""
        return None

    @property
    @abstractmethod
    def subject(self) -> str:
        """What it is done to: a unit's name, or else a word or path. One action at a time on one subject."""

    @property
    def units(self) -> tuple[str, ...]:
        """The units that it changes: what protected units and overrides are matched against; else its subject is."""
        return (self.subject,)

    @property
    def lane(self) -> str:
        """One action at a time runs in a lane, and breakers count by it: its unit, where it is about just one."""
        return self.units[0] if len(self.units) == 1 else self.subject

    def refuse(self, settings: Settings) -> str | None:
        """Say why this host's settings do not allow it with these arguments at all; none: they do. Asked first."""
        return None

    def settle(self, settings: Settings) -> Self:
        """Return the action with what it needs of this host's settings, once they do not refuse it."""
        return self

    def preparation(self, told: tuple[str, ...]) -> Stage | None:
        """Return what has to run before anybody can rule on it, given what earlier stages wrote; none: nothing more."""
        return None

    def bind(self, told: tuple[str, ...]) -> Self:
        """Return the action with what its preparation wrote. Raises: Refused: that is not what it should be."""
        return self

    @abstractmethod
    async def observe(self, host: Host) -> Seen:
        """Return what of the host matters for it, as the executor itself sees it now. Raises: Unavailable."""

    @abstractmethod
    def risk(self, seen: Seen) -> Risk:
        """Return what this may cost, as things now stand."""

    @abstractmethod
    def obstacle(self, seen: Seen) -> str | None:
        """Say why it cannot be done as things now stand; none: it can."""

    def touches(self, seen: Seen) -> tuple[str, ...]:
        """Return the further units that it changes, as things now stand: the policy looks at them as at ``units``."""
        return ()

    @abstractmethod
    def warrant(self, seen: Seen) -> str | None:
        """Say what the executor itself sees that this would mend; none: nothing, so a person has to want it."""

    @abstractmethod
    def plan(self, seen: Seen) -> Plan:
        """Return what would be done."""

    @abstractmethod
    def shortfall(self, before: Seen, now: Seen) -> str | None:
        """Say what is not as it should be after it; none: all is. Looked at again and again while the check lasts."""

    def disturbed(self, first: Seen, now: Seen) -> str | None:
        """Say what happened between two looks of one post-check that spoils it; none: nothing."""
        return None

    def read(self, kept: dict[str, object]) -> Seen:
        """Return what was observed from how it is kept. Raises: ValueError: it was kept by another version."""
        return self.seen.model_validate(kept)  # type: ignore[return-value]


def _whole(given: object) -> object:
    return int(given) if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 16 else given


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number as an argument: arguments are texts."""
