"""Which line of the settings would let run alone what people approved every time, or why there is none. Pure.

A line is only ever proposed after the policy itself was asked with it: what it is proposed for runs, and nothing else
that was looked at does which people said no to, or which did not help.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pydantic import AwareDatetime, ValidationError

from ai_sysadmin.actions.nixos.literals import nix
from ai_sysadmin.actions.policy import Question, rule
from ai_sysadmin.core.acting import ActionState, Decision, Origin, Risk, Ruling
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.policy_settings import Override, Policy
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Autonomy

LEAST_CASES: Final = 3
"""So often something has to be approved, and to help, before a line for it is proposed."""

_NOT_THE_POLICY: Final = frozenset({"precondition", "executor.rights"})
_AT_THAT_MOMENT: Final = frozenset({"policy.breakers", "policy.hands_off_seconds"})
_DID_NOT_HELP: Final = {
    ActionState.FAILED: "failed",
    ActionState.REVERTED: "was taken back",
    ActionState.UNKNOWN: "ended nobody knows how",
}
_SPECIAL: Final = frozenset("*?[")


class Case(Record):
    """One proposal as it stands now.

    ``subject`` is what it is done to, in a word; ``ruling`` is none where nothing was ruled yet. ``by`` is who approved
    it, ``decided_at`` when somebody said yes or no, or it was not waited for any more. ``reminds``: the proposer itself
    wanted a person to look. ``healed``: the fault went by itself while it waited.
    """

    id: str
    action: str
    subject: str
    host: str
    origin: Origin
    state: ActionState
    proposed_at: AwareDatetime
    decided_at: AwareDatetime | None = None
    ruling: Ruling | None = None
    by: str = ""
    reminds: bool = False
    healed: bool = False

    @property
    def units(self) -> tuple[str, ...]:
        """What the policy was asked about."""
        return (self.ruling.units if self.ruling else ()) or (self.subject,)

    @property
    def helped(self) -> bool:
        """Whether a person approved it and it did what it should."""
        return bool(self.by) and self.state is ActionState.SUCCEEDED


class Promotion(Record):
    """``line`` is Nix, of ``override`` or of a level; empty: there is none, and ``why_not`` says so in a line.

    ``cases`` are the ids of what was approved and would have run alone by it.
    """

    line: str = ""
    override: Override | None = None
    cases: tuple[str, ...] = ()
    why_not: str = ""


def decision_at(case: Case, autonomy: Autonomy, policy: Policy) -> Decision | None:
    """Return what would have become of a case at a level of autonomy; none: it was never ruled on.

    The overrides and protected units are those of ``policy``, the moment and what was seen are the case's own. That a
    breaker was open or somebody at work is known only where that decided then.
    """
    ruling = case.ruling
    if ruling is None:
        return None
    if ruling.line in _NOT_THE_POLICY:
        return Decision.REFUSE
    asked = Question(case.action, case.units, case.host, ruling.risk, ruling.warranted, case.proposed_at)
    decision = rule(asked, autonomy, policy).decision
    if decision is not Decision.RUN or ruling.risk is Risk.READ_ONLY:
        return decision
    is_held = ruling.protected or case.origin.is_person or case.reminds or ruling.line in _AT_THAT_MOMENT
    return Decision.ASK if is_held else Decision.RUN


def by_subject(cases: Sequence[Case]) -> Mapping[str, Sequence[Case]]:
    """Return cases by what they are about, most cases first."""
    found = defaultdict[str, list[Case]](list)
    for case in cases:
        found[case.subject].append(case)
    return dict(sorted(found.items(), key=lambda each: (-len(each[1]), each[0])))


def promotion(action: str, cases: Sequence[Case], autonomy: Autonomy, policy: Policy) -> Promotion:
    """Return the override that would let one action run alone on what it was approved for every time.

    Args:
        cases: those of all actions.
    """
    own = [case for case in cases if case.action == action]  # the override names the action, so it is about no other
    groups = by_subject(own)
    reasons = {subject: why_not(group, autonomy, policy) for subject, group in groups.items()}
    fit = [subject for subject, reason in reasons.items() if not reason]
    if not fit:
        return Promotion(why_not=_joined(reasons))
    wanted = [case for subject in fit for case in groups[subject] if case.helped]
    override = _override(action, wanted)
    if override is None:
        return Promotion(why_not="what it is done to cannot be written as an override")
    return _tried(override, wanted, own, autonomy, policy)


def why_not(cases: Sequence[Case], autonomy: Autonomy, policy: Policy) -> str:
    """Say why what one action does to one subject is not to run alone; empty: nothing speaks against it."""
    if all(_runs(case, autonomy, policy) for case in cases):
        return "it runs alone already"
    if fault := blemish(cases):
        return fault
    counted = [case for case in cases if case.helped and not _is_for_a_person(case) and _is_warranted(case)]
    healed = sum(case.healed for case in cases)
    if healed > len(counted):
        return f"it healed by itself {_times(healed)} while a proposal waited, so that it was not needed"
    expired = sum(case.state is ActionState.EXPIRED for case in cases)
    if expired > len(counted):
        return f"{_times(expired)} nobody decided in time"
    if len(counted) < LEAST_CASES:
        return _too_few(cases, len(counted))
    if autonomy is Autonomy.OBSERVE:
        return "autonomy observe runs nothing alone"
    return ""


def blemish(cases: Sequence[Case]) -> str:
    """Say what forbids ever to propose that these run alone; empty: nothing."""
    rejected = sum(case.state is ActionState.REJECTED for case in cases)
    if rejected:
        return f"it was rejected {_times(rejected)}, of {len(cases)}"
    for state, words in _DID_NOT_HELP.items():
        if count := sum(case.state is state for case in cases):
            return f"it {words} {_times(count)}, of {len(cases)}"
    if count := sum(bool(case.by) and case.state is ActionState.REFUSED for case in cases):
        return f"it could not be done any more {_times(count)} when it was approved"
    rulings = [case.ruling for case in cases if case.ruling is not None]
    if any(ruling.protected for ruling in rulings):
        return "it changes a protected unit: that always asks"
    if any(ruling.risk is Risk.DESTRUCTIVE for ruling in rulings):
        return "it is destructive: that always asks"
    return ""


def level_promotion(cases: Sequence[Case], autonomy: Autonomy, policy: Policy) -> Promotion:
    """Return the level of autonomy that would have run exactly what was approved, beyond what runs now."""
    approved = {case.id for case in cases if case.by and not _is_for_a_person(case)}
    if not approved:
        return Promotion(why_not="nobody approved anything that could run alone")
    held = [case for case in cases if not _runs(case, autonomy, policy)]
    for level in list(Autonomy)[list(Autonomy).index(autonomy) + 1 :]:
        more = [case for case in held if _runs(case, level, policy)]
        if more and {case.id for case in more} == approved and not _level_fault(more, cases):
            line = f"services.ai-sysadmin.autonomyLevel = {nix(level.value)};"
            return Promotion(line=line, cases=tuple(case.id for case in more))
    return Promotion(why_not="none would have run exactly what was approved, and each action often enough")


def _level_fault(more: Sequence[Case], cases: Sequence[Case]) -> str:
    """Say why a level is not proposed that would also run these; empty: nothing speaks against it."""
    for action in {case.action for case in more}:
        fault = blemish([case for case in cases if case.action == action])
        too_few = sum(case.helped and case.action == action for case in more) < LEAST_CASES
        if fault or too_few:
            return fault or f"{action}: too few cases"
    return ""


def _tried(
    override: Override, wanted: Sequence[Case], cases: Sequence[Case], autonomy: Autonomy, policy: Policy
) -> Promotion:
    """Return an override as a promotion, if it does what it is for and nothing that people did not want."""
    wider = policy.model_copy(update={"overrides": (*policy.overrides, override)})
    held = [case for case in cases if not _runs(case, autonomy, policy)]
    more = [case for case in held if _runs(case, autonomy, wider)]
    unwanted = [case for case in more if blemish([case])]
    if unwanted:
        case = unwanted[0]
        return Promotion(why_not=f"the same line would also let run {case.id} on {case.subject}: {blemish([case])}")
    ran = tuple(case.id for case in more if case.helped)
    for subject in {case.subject for case in wanted}:
        if sum(case.id in ran for case in wanted if case.subject == subject) < LEAST_CASES:
            return Promotion(why_not=f"another line of the policy keeps it from running alone on {subject}")
    return Promotion(line=_nix_line(override), override=override, cases=ran)


class _Names(NamedTuple):
    actions: tuple[str, ...]
    units: tuple[str, ...]


def _override(action: str, wanted: Sequence[Case]) -> Override | None:
    """Return the override about exactly the units that some cases changed; none: their names cannot be written."""
    names = _Names((action,), tuple(dict.fromkeys(unit for case in wanted for unit in case.units)))
    if any(_SPECIAL & set(unit) or not (unit.isascii() and unit.isprintable()) for unit in names.units):
        return None  # as a glob it could name something else as well, on a terminal look like something else
    try:
        override = Override(decision="run", actions=names.actions, units=names.units)
        _nix_line(override)
    except (ValidationError, Refused):
        return None
    return override


def _nix_line(override: Override) -> str:
    """Raises: Refused: Nix cannot hold a name."""
    actions, units = (" ".join(nix(each) for each in names) for names in (override.actions, override.units))
    entry = f'{{ decision = "run"; actions = [ {actions} ]; units = [ {units} ]; }}'
    return f"services.ai-sysadmin.settings.policy.overrides = [ {entry} ];"


def _runs(case: Case, autonomy: Autonomy, policy: Policy) -> bool:
    return decision_at(case, autonomy, policy) is Decision.RUN


def _is_for_a_person(case: Case) -> bool:
    return case.origin.is_person or case.reminds


def _is_warranted(case: Case) -> bool:
    return case.ruling is not None and case.ruling.warranted


def _too_few(cases: Sequence[Case], counted: int) -> str:
    helped = [case for case in cases if case.helped]
    if not helped:
        return "nobody approved it"
    said = f"{LEAST_CASES} cases are needed, and {counted or 'none'} of {len(cases)} count{'s' if counted == 1 else ''}"
    if asked := sum(map(_is_for_a_person, helped)):
        return f"{said}: {_times(asked)} a person had asked for it, or was to look"
    if unseen := sum(not _is_warranted(case) for case in helped):
        return f"{said}: {_times(unseen)} the executor itself saw no need"
    return said


def _joined(reasons: Mapping[str, str]) -> str:
    """Say the reasons of several subjects in a line: that of the most frequent one."""
    subject, reason = next(iter(reasons.items()), ("", "it was not proposed"))
    return reason if len(reasons) < 2 or len(set(reasons.values())) < 2 else f"{subject}: {reason}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
