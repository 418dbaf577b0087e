"""What code can tell from an evidence pack by itself, before and without any model. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from ai_sysadmin.actions.remedies import remedies
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.pieces.outcomes import SPENT, SpentAction
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import EvidencePack, ProposedAction
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.stores.outcome_store import subject_of

NO_ACTION = "none"
_SPENT: Final[TypeAdapter[tuple[SpentAction, ...]]] = TypeAdapter(tuple[SpentAction, ...])


@dataclass(frozen=True)
class Facts:
    """An incident and its evidence, with what follows from them.

    ``choices`` are the actions that could help, by the id under which a model may name them, strongest first.
    ``status`` is none where the unit's state is not known, or where the incident is of no unit.
    """

    incident: Incident
    pack: EvidencePack
    status: UnitStatus | None
    choices: dict[str, ProposedAction]

    @property
    def failed(self) -> bool:
        """Tell whether the unit is measured failed."""
        return self.status is not None and self.status.active_state == "failed"

    @property
    def gaps(self) -> tuple[str, ...]:
        """Return what could not be looked up, in words."""
        return tuple(f"{piece.title}: {piece.text}" for piece in self.pack.pieces if piece.kind == "unavailable")

    @property
    def remedy(self) -> ProposedAction | None:
        """Return what the rules would do about a measured failure; none: no such failure, or nothing known to help."""
        return next(iter(self.choices.values()), None) if self.failed else None

    @property
    def spent(self) -> str:
        """Say why the remedy is not taken once more without a person; empty: it may be."""
        return self.reason_to_ask(self.remedy) if self.remedy else ""

    def reason_to_ask(self, action: ProposedAction) -> str:
        """Say why a person has to decide on an action, whatever the policy says; empty: there is no such reason."""
        in_vain = spent_in(self.pack).get((action.name, subject_of(action.arguments)), 0)
        return f"it failed {_TIMES.get(in_vain, f'{in_vain} times')} for this symptom" if in_vain else ""


def facts_of(incident: Incident, pack: EvidencePack) -> Facts:
    status = status_in(pack)
    actions = remedies(incident.kind, incident.about, status)
    return Facts(incident=incident, pack=pack, status=status, choices=_named(actions))


def status_in(pack: EvidencePack) -> UnitStatus | None:
    """Read a unit's state back from its piece of evidence; none: the pack holds no such piece."""
    for piece in pack.pieces:
        if piece.kind == "unit_status":
            try:
                known = {name: value for name, value in piece.facts.items() if name in UnitStatus.model_fields}
                return UnitStatus.model_validate(known)
            except ValidationError:  # a pack that another version wrote: its state counts as not known
                return None
    return None


_TIMES: Final = {1: "once", 2: "twice"}


def spent_in(pack: EvidencePack) -> dict[tuple[str, str], int]:
    """Return which actions, by name and subject, failed too often for a symptom, and how often."""
    for piece in pack.pieces:
        if piece.kind == "outcomes" and SPENT in piece.facts:
            try:
                return {(name, subject): in_vain for name, subject, in_vain in _SPENT.validate_json(piece.facts[SPENT])}
            except ValidationError:  # a pack that another version wrote
                return {}
    return {}


def _named(actions: Iterable[ProposedAction]) -> dict[str, ProposedAction]:
    named: dict[str, ProposedAction] = {}
    for number, action in enumerate(actions, start=1):
        named[action.name if action.name not in named else f"{action.name}_{number}"] = action
    return named


def cause_of(facts: Facts) -> str:
    """Say what is wrong as far as it was measured."""
    status, incident = facts.status, facts.incident
    if status is None:
        return incident.title
    if incident.kind is SymptomKind.OOM_KILL or (facts.failed and status.result == "oom-kill"):
        return f"{status.name} was killed for lack of memory"
    if not facts.failed:
        return f"{incident.title}; {status.name} is now {status.active_state} ({status.sub_state})"
    if status.load_state != "loaded":
        return f"{status.name} failed, and its unit file is gone ({status.load_state})"
    how = _RESULTS.get(status.result, status.result).replace("#", str(status.exit_status))
    return f"{status.name} failed: {how}"


_RESULTS = {
    "exit-code": "its process ended with exit status #",
    "signal": "its process was killed by signal #",
    "core-dump": "its process crashed with signal # and left a core dump",
    "timeout": "it took too long to start or stop",
    "watchdog": "it gave no sign of life in time",
    "start-limit-hit": "it was started too often in a short time",
    "resources": "systemd lacked what it needs to start it",
    "protocol": "it did not say that it was ready",
    "dependency": "a unit that it needs failed",
    "oom-kill": "it was killed for lack of memory",
}


BACKGROUND: Final = frozenset({"past_incidents", "runbooks", "host", "unavailable"})
"""Kinds of piece in which nothing of this incident was observed."""

_NOT_ALONE: Final = BACKGROUND | {"outcomes"}
"""What was tried before is measured, and shows nothing of the fault itself: it may be cited beside what does."""


def citable(pack: EvidencePack) -> tuple[str, ...]:
    """Return the ids of the pieces that a judgement may rest on: those in which something was observed."""
    return tuple(sorted(piece.id for piece in pack.pieces if piece.kind not in BACKGROUND))


@dataclass(frozen=True)
class Citation:
    """Which pieces of evidence a reply rests on; ``fault`` says why they do not count, empty when they do."""

    ids: tuple[str, ...]
    fault: str = ""


def citation(pack: EvidencePack, cited: Sequence[str]) -> Citation:
    """Check what a reply cites: at least one piece that observes this incident, and only pieces that there are."""
    unknown = sorted(set(cited) - pack.ids())
    pieces = [piece for piece in pack.pieces if piece.id in set(cited)]
    ids = tuple(sorted(piece.id for piece in pieces))
    if unknown:
        return Citation(ids, f"it cites {one_line(', '.join(unknown), 80)}, which is no evidence here")
    if not ids:
        return Citation(ids, "it cites no evidence")
    if all(piece.kind in _NOT_ALONE for piece in pieces):
        return Citation(ids, f"it cites only {', '.join(ids)}, in which nothing of this incident is observed")
    return Citation(ids)


_WORD: Final = re.compile(r"[^\W\d_]{2,}")


def without_words(cause: str) -> str:
    """Say why a text names no cause: it has no two words; empty: it has."""
    return "" if len(_WORD.findall(cause)) > 1 else "it names no cause"


def choices_text(facts: Facts) -> str:
    """Say which actions a model may name, one a line."""
    lines = [
        f"- {choice}: {action.name} " + ", ".join(f"{key} = {value}" for key, value in action.arguments.items())
        for choice, action in facts.choices.items()
    ]
    return "\n".join([*lines, f"- {NO_ACTION}: none of these would help"])
