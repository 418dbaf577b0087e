"""What a judgement needs around it, in memory: a unit's state, a log, a store that hands out one claim."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ai_sysadmin.context.claims import Gathering
from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.evidence import EvidenceSources, gather
from ai_sysadmin.context.facts import Facts, facts_of
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import JournalEntry, Symptom
from ai_sysadmin.core.settings import MetaModel
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.llm_backend import ModelServer
from ai_sysadmin.meta_model.investigate import Investigator
from ai_sysadmin.sources.journal import LogSeen
from ai_sysadmin.sources.unit_setup import UnitSetup
from ai_sysadmin.sources.units import Dependencies, ManagerState, UnitState, UnitStatus
from ai_sysadmin.stores import Claim, ServiceNote
from ai_sysadmin.tools.tool import Tool
from ai_sysadmin.tools.toolbox import Toolbox
from tests.builders import HOST, NOW, UNIT, incident

FAILED = UnitStatus(
    name=UNIT,
    description="a web server",
    load_state="loaded",
    active_state="failed",
    sub_state="failed",
    result="exit-code",
    exit_status=1,
    type="simple",
    invocation="aa",
    fragment_path="/etc/systemd/system/web.service",
    state_changed_at=NOW,
)
RUNNING = FAILED.model_copy(update={"active_state": "active", "sub_state": "running", "result": "success"})


@dataclass
class FixedUnits:
    """Every unit is in this state, or cannot be asked after; ``needs`` and ``others`` are its dependencies."""

    answer: UnitStatus | Exception = FAILED
    needs: Dependencies = field(default_factory=Dependencies)
    others: dict[str, UnitState] = field(default_factory=dict)
    how: UnitSetup = field(default_factory=UnitSetup)

    async def status(self, unit: str) -> UnitStatus:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def failed(self) -> list[UnitStatus]:
        return [await self.status("")]

    async def dependencies(self, unit: str) -> Dependencies:
        await self.status(unit)
        return self.needs

    async def states(self, units: Sequence[str]) -> list[UnitState]:
        return [self.others.get(name) or UnitState(name, "", "loaded", "active", "running") for name in units]

    async def setup(self, unit: str) -> UnitSetup:
        return self.how

    async def manager(self) -> ManagerState:
        await self.status("")
        return ManagerState(system_state="running", userspace_at=NOW - timedelta(days=3))


@dataclass
class FixedJournal:
    """A journal with these entries, or one that cannot be read. It has ``sources.journal.Journal``'s methods."""

    entries: Sequence[JournalEntry] | Exception = ()
    kernel: Sequence[JournalEntry] = ()

    async def unit_log(self, unit: str, lines: int, since: datetime, until: datetime | None = None) -> LogSeen:
        if isinstance(self.entries, Exception):
            raise self.entries
        return self._between(self.entries, lines, since, until)

    async def kernel_log(self, lines: int, since: datetime, until: datetime | None = None) -> LogSeen:
        return self._between(self.kernel, lines, since, until)

    @staticmethod
    def _between(entries: Sequence[JournalEntry], lines: int, since: datetime, until: datetime | None) -> LogSeen:
        found = [each for each in entries if since <= each.at and (until is None or each.at <= until)]
        return LogSeen(found[-lines:], more=len(found) > lines)


@dataclass
class FixedClock:
    at: datetime = NOW

    def now(self) -> datetime:
        return self.at


@dataclass
class Notes:
    """A ``NoteStore`` that keeps every note."""

    said: list[ServiceNote] = field(default_factory=list)

    async def note(self, note: ServiceNote) -> None:
        self.said.append(note)


def toolbox(*tools: Tool) -> Toolbox:
    """The tools that are given, and ``more`` where there are any."""
    return Toolbox(tools, Redactor(), Tools())


def investigator(model: ModelServer, *tools: Tool, notes: Notes | None = None, **changes: Any) -> Investigator:
    """An investigator that has these tools; without any it only asks for the end of it."""
    clock = changes.pop("clock", None) or FixedClock()
    named = {name: changes.pop(name) for name in ("temperature", "units", "condition") if name in changes}
    return Investigator(
        model=model,
        toolbox=toolbox(*tools),
        units=named.pop("units", None) or FixedUnits(),
        condition=named.pop("condition", None) or Condition("meta-model", notes or Notes(), clock),
        clock=clock,
        settings=MetaModel(**changes),
        output_tokens=500,
        **named,
    )


@dataclass
class OneClaim:
    """A ``ReviewStore`` and ``InvestigationStore`` with one thing to do; ``failure`` is raised when it is finished."""

    claim: Claim | None
    failure: Exception | None = None
    finished: list[tuple[Any, ...]] = field(default_factory=list)
    released: list[Claim] = field(default_factory=list)

    async def claim_review(self, worker: str, **_bounds: object) -> Claim | None:
        return self._take()

    async def claim_investigation(self, worker: str, **_bounds: object) -> Claim | None:
        return self._take()

    async def finish_review(self, *what: Any) -> Incident:
        return self._finish(what)

    async def finish_investigation(self, *what: Any) -> Incident:
        return self._finish(what)

    async def release(self, claim: Claim) -> None:
        self.released.append(claim)

    def _take(self) -> Claim | None:
        taken, self.claim = self.claim, None
        return taken

    def _finish(self, what: tuple[Any, ...]) -> Incident:
        if self.failure:
            raise self.failure
        self.finished.append(what)
        return what[0].incident


def lines(*messages: str, priority: int = 3) -> list[JournalEntry]:
    return [
        JournalEntry(
            cursor="", at=NOW + timedelta(seconds=number), message=text, unit=UNIT, priority=priority, identifier="web"
        )
        for number, text in enumerate(messages)
    ]


def log_of(*messages: str) -> FixedJournal:
    """Return a journal in which a unit said this."""
    return FixedJournal(lines(*messages))


def sources(units: FixedUnits | None = None, journal: FixedJournal | None = None, **more: Any) -> EvidenceSources:
    """Return where evidence comes from; by default a failed unit and one line of its log."""
    return EvidenceSources(units=units or FixedUnits(), journal=journal or log_of("boom"), **more)


def gathering(
    units: FixedUnits | None = None, journal: FixedJournal | None = None, clock: Any = None, **more: Any
) -> Gathering:
    return Gathering(sources(units, journal, **more), clock or FixedClock())


def symptom(**changes: Any) -> Symptom:
    given: dict[str, Any] = {
        "fingerprint": "f1",
        "host": HOST,
        "unit": UNIT,
        "kind": SymptomKind.UNIT_FAILED,
        "opens": True,
        "count": 1,
        "first_at": NOW,
        "last_at": NOW,
        "priority": 3,
        "text": "web.service: Failed with result 'exit-code'.",
        "why": "systemd reports the unit failed",
    }
    return Symptom(**(given | changes))


def claim(**changes: Any) -> Claim:
    given: dict[str, Any] = {"incident": incident(), "symptoms": (symptom(),), "token": "t"}
    return Claim(**(given | changes))


async def facts(
    status: UnitStatus | Exception = FAILED, kind: SymptomKind = SymptomKind.UNIT_FAILED, **changes: Any
) -> Facts:
    about = incident(kind=kind, **changes)
    pack = await gather(about, [symptom()], sources(FixedUnits(status)), NOW)
    return facts_of(about, pack)
