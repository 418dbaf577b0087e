"""Stand-ins for what the front desk speaks to: a meta layer that follows a script, an executor that notes decisions."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from ai_sysadmin.actions.catalogue import validate
from ai_sysadmin.actions.catalogue.unit_looks import UnitSeen
from ai_sysadmin.actions.catalogue.units import UnitAction
from ai_sysadmin.actions.protocol import ActionFacts, Halted
from ai_sysadmin.core.acting import ActionRequest, ActionState, Decision, Plan, Risk, Ruling
from ai_sysadmin.core.errors import AiSysadminError, NotFound
from ai_sysadmin.llm_backend import Completion
from ai_sysadmin.meta_model.report import LiveState
from ai_sysadmin.meta_model.talk import Answered, Event, Question, Words
from ai_sysadmin.sources.units import UnitStatus


@dataclass
class ScriptedTalk:
    """Answer every question with the same events, then ``Answered``. ``heard`` is what was asked and what was true."""

    events: Sequence[Event] = (Words(text="All is well."),)
    heard: list[tuple[Question, LiveState]] = field(default_factory=list)
    closed: int = 0

    async def answer(self, question: Question, live: LiveState) -> AsyncGenerator[Event, None]:
        self.heard.append((question, live))
        try:
            for event in self.events:
                yield event
            yield Answered(completion=Completion(text="All is well.", model="scripted", completion_tokens=3))
        finally:
            self.closed += 1


@dataclass
class FakeDecider:
    """An executor that knows some actions, all of them pending, and takes every decision, unless it fails.

    ``protected``: what it knows changes a protected unit. ``built`` is what the digest of each is, where something was
    built for it. ``facts`` stand in every plan. ``holds`` is what holds all actions.
    ``decided`` lists what it was told: what, the action's id, its digest, the key, the identity.
    """

    failure: AiSysadminError | None = None
    expires_in_seconds: int = 900
    risk: Risk = Risk.REVERSIBLE
    decided: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    known: dict[str, ActionRequest] = field(default_factory=dict)
    protected: bool = False
    built: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    holds: Halted | None = None

    def knows(self, *requests: ActionRequest) -> None:
        self.known |= {request.id: request for request in requests}

    async def approve_by_key(self, action_id: str, digest: str, key: str, identity: str = "") -> ActionFacts:
        return self._take("approve", action_id, digest, key, identity, ActionState.APPROVED)

    async def reject_by_key(self, action_id: str, digest: str, key: str, why: str, identity: str = "") -> ActionFacts:
        return self._take(f"reject: {why}", action_id, digest, key, identity, ActionState.REJECTED)

    async def halted(self) -> Halted | None:
        if self.failure is not None:
            raise self.failure
        return self.holds

    async def show(self, action_id: str) -> ActionFacts:
        return self._facts(action_id, ActionState.PENDING, "waits for a person")

    def _take(self, what: str, action_id: str, digest: str, key: str, identity: str, state: ActionState) -> ActionFacts:
        facts = self._facts(action_id, state, f"{state.value} by key phone")
        self.decided.append((what, action_id, digest, key, identity))
        return facts

    def _facts(self, action_id: str, state: ActionState, text: str) -> ActionFacts:
        if self.failure is not None:
            raise self.failure
        if action_id not in self.known:
            raise NotFound(f"there is no action {action_id!r}")
        request = self.known[action_id]
        reason = "a person asked for it in chat"
        return ActionFacts(
            id=request.id,
            digest=self.built or request.digest,
            name=request.name,
            arguments=request.arguments,
            incident_id=request.incident_id,
            state=state,
            text=text,
            ruling=Ruling(decision=Decision.ASK, risk=self.risk, reason=reason, protected=self.protected),
            plan=plan_of(request).model_copy(update={"facts": self.facts}),
            expires_in_seconds=self.expires_in_seconds if state is ActionState.PENDING else None,
        )


def plan_of(request: ActionRequest) -> Plan:
    """Return what an action comes to: on a unit that has failed, or on the host that its entry shows by example."""
    action = validate(request.name, request.arguments)
    if isinstance(action, UnitAction):
        status = UnitStatus(name=action.unit, active_state="failed", sub_state="failed", result="exit-code")
        return action.plan(UnitSeen(status=status))
    shown = type(action).example()
    if shown is None:
        raise NotFound(f"{request.name} shows no example")
    return action.plan(shown[1])
