"""Stand-ins for what the front desk speaks to: a meta layer that follows a script, an executor that notes decisions."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from ai_sysadmin.actions.catalogue import validate
from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.core.acting import ActionRequest, ActionState, Decision, Risk, Ruling
from ai_sysadmin.core.errors import AiSysadminError, NotFound
from ai_sysadmin.llm_backend import Completion
from ai_sysadmin.meta_model.report import LiveState
from ai_sysadmin.meta_model.talk import Answered, Event, Question, Words


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

    ``decided`` lists what it was told: what, the action's id, its digest, the key, the identity.
    """

    failure: AiSysadminError | None = None
    expires_in_seconds: int = 900
    risk: Risk = Risk.REVERSIBLE
    decided: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    known: dict[str, ActionRequest] = field(default_factory=dict)

    def knows(self, *requests: ActionRequest) -> None:
        self.known |= {request.id: request for request in requests}

    async def approve_by_key(self, action_id: str, digest: str, key: str, identity: str = "") -> ActionFacts:
        return self._take("approve", action_id, digest, key, identity, ActionState.APPROVED)

    async def reject_by_key(self, action_id: str, digest: str, key: str, why: str, identity: str = "") -> ActionFacts:
        return self._take(f"reject: {why}", action_id, digest, key, identity, ActionState.REJECTED)

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
        action = validate(request.name, request.arguments)
        return ActionFacts(
            id=request.id,
            digest=request.digest,
            name=request.name,
            arguments=request.arguments,
            incident_id=request.incident_id,
            state=state,
            text=text,
            ruling=Ruling(decision=Decision.ASK, risk=self.risk, reason="a person asked for it in chat"),
            commands=action.commands(),
            by_hand=action.by_hand(),
            undo=action.undo(),
            expires_in_seconds=self.expires_in_seconds if state is ActionState.PENDING else None,
        )
