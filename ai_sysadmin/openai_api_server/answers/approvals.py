"""A person's yes and no from a chat, carried to the executor, which alone decides whether they count.

All that is said here comes from the executor and the store; no word of it is a model's.
"""

import asyncio
import shlex
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.context.defuse import quoted
from ai_sysadmin.core.acting import ActionState, Plan, Stage, approving
from ai_sysadmin.core.errors import AiSysadminError, ExecutorUnavailable, NotFound
from ai_sysadmin.meta_model.report import does, why_there
from ai_sysadmin.meta_model.talk import Event, Progress, Words
from ai_sysadmin.openai_api_server.answers.cards import needs_operator
from ai_sysadmin.openai_api_server.callers import Caller
from ai_sysadmin.stores import Action, ReadStore
from ai_sysadmin.stores.key_store import Scope

OUTCOME_SECONDS: Final = 20.0
RULING_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.2
_NOT_RULED: Final = frozenset({ActionState.PROPOSED, ActionState.SUBMITTED})
_MOST_COMMANDS: Final = 8
_MOST_FACTS: Final = 60
_MOST_OUTPUT_LINES: Final = 20
MEANING: Final = {
    ActionState.PROPOSED: "is on its way to the executor",
    ActionState.SUBMITTED: "is on its way to the executor",
    ActionState.PREPARING: "is being built, so that it can be shown",
    ActionState.PENDING: "waits for a person",
    ActionState.APPROVED: "is approved and about to start",
    ActionState.STARTED: "is running",
    ActionState.RAN: "has run and is being checked",
    ActionState.CONFIRMING: "has held and is being made to last",
    ActionState.REVERTING: "did not hold and is being taken back",
    ActionState.REFUSED: "was refused by the executor",
    ActionState.RECORDED: "was only recorded: the autonomy level lets nobody run it",
    ActionState.REJECTED: "was rejected",
    ActionState.EXPIRED: "has expired: nobody decided in time",
    ActionState.WITHDRAWN: "was taken back: it was not needed any more",
    ActionState.SUCCEEDED: "succeeded",
    ActionState.FAILED: "failed",
    ActionState.REVERTED: "did not hold and was taken back",
    ActionState.UNKNOWN: "cannot be proved to have run or not; it is never run again",
}


_NO_SUCH: Final = "there is no action `{}`; `/actions` lists them"


class Decider(Protocol):
    """The executor, as far as a chat may ask it. Every method raises ExecutorUnavailable, Refused and NotFound."""

    async def approve_by_key(self, action_id: str, digest: str, key: str, identity: str = "") -> ActionFacts: ...

    async def reject_by_key(
        self, action_id: str, digest: str, key: str, why: str, identity: str = ""
    ) -> ActionFacts: ...

    async def show(self, action_id: str) -> ActionFacts: ...


class Approvals:
    """Decides on behalf of callers, and tells what became of it."""

    def __init__(
        self,
        store: ReadStore,
        executor: Decider,
        *,
        outcome_seconds: float = OUTCOME_SECONDS,
        ruling_seconds: float = RULING_SECONDS,
    ) -> None:
        self._store = store
        self._executor = executor
        self._outcome_seconds = outcome_seconds
        self._ruling_seconds = ruling_seconds

    async def approve(self, action_id: str, caller: Caller, digest: str = "") -> AsyncGenerator[Event, None]:
        """Carry a yes, then wait a while for what comes of it.

        ``digest`` is what the person saw on a card; by default it is that of the action as it is remembered.
        """
        action = await self._decidable(action_id, caller, digest)
        if isinstance(action, str):
            yield own(f"Nothing was approved: {action}.\n")
            return
        request = action.request
        try:
            shown = await self._executor.show(request.id)
            if (shown.name, shown.arguments) != (request.name, request.arguments):
                yield own(f"Nothing was approved: to the executor {_what(shown)} is another action.\n")
                return
            facts = await self._executor.approve_by_key(request.id, action.digest, caller.key, caller.identity)
        except AiSysadminError as error:
            yield own(_undecided("approved", error))
            return
        runs = "; ".join(quoted(shlex.join(command), 400) for command in facts.commands[:_MOST_COMMANDS])
        yield own(f"Approved: {_what(facts)}, {quoted(facts.text)}. It runs {runs}.\n\n")
        async with aclosing(self._outcome(action)) as events:
            async for event in events:
                yield event

    async def reject(self, action_id: str, caller: Caller, why: str, digest: str = "") -> AsyncGenerator[Event, None]:
        """Carry a no."""
        action = await self._decidable(action_id, caller, digest)
        if isinstance(action, str):
            yield own(f"Nothing was rejected: {action}.\n")
            return
        request, why = action.request, why or "rejected in chat"
        try:
            facts = await self._executor.reject_by_key(request.id, action.digest, caller.key, why, caller.identity)
        except AiSysadminError as error:
            yield own(_undecided("rejected", error))
            return
        yield own(f"Rejected: {_what(facts)}, {quoted(facts.text)}. It is not run.\n")

    async def told(self, action_id: str, may_approve: bool) -> tuple[str, ActionFacts | None]:
        """Say what an action is and how to decide on it; with the facts, where it waits for a person.

        Waits a little for the executor's ruling on one that is on its way.
        """
        action = await self._ruled(action_id)
        if action.state is not ActionState.PENDING:
            return f"{described(action)} {MEANING[action.state]}{_said(action)}.\n", None
        try:
            facts = await self._executor.show(action_id)
        except AiSysadminError as error:
            return (
                f"{described(action)} waits for a person; the executor cannot be asked: {quoted(str(error))}.\n",
                None,
            )
        if facts.state is not ActionState.PENDING or facts.digest != action.digest:
            return f"{described(action)} {MEANING[facts.state]}, {quoted(facts.text)}.\n", None
        return details(facts, may_approve), facts

    async def _decidable(self, action_id: str, caller: Caller, digest: str) -> Action | str:
        """Return the action that a caller may decide on; a text where they may not, with what to do instead."""
        if Scope.APPROVE not in caller.scopes or not caller.key:
            return _who_may(action_id, caller)
        try:
            action = await self._store.action(action_id)
        except NotFound:
            return _NO_SUCH.format(action_id)
        if action.request.id != action_id:
            return _NO_SUCH.format(action_id)
        if action.state is not ActionState.PENDING:
            return f"{described(action)} {MEANING[action.state]}{_said(action)}"
        if digest and digest != action.digest:
            return f"{described(action)} is not what the card showed"
        return action

    async def _ruled(self, action_id: str) -> Action:
        until = _now() + self._ruling_seconds
        action = await self._store.action(action_id)
        while action.state in _NOT_RULED and _now() < until:
            await asyncio.sleep(_POLL_SECONDS)
            action = await self._store.action(action_id)
        return action

    async def _outcome(self, action: Action) -> AsyncGenerator[Event, None]:
        """Follow an action for a while and say how it ended, or how to look."""
        until = _now() + self._outcome_seconds
        action_id, seen = action.request.id, ActionState.PENDING
        while not action.state.ended and _now() < until:
            await asyncio.sleep(_POLL_SECONDS)
            action = await self._store.action(action_id)
            if action.state is not seen:
                seen = action.state
                yield Progress(text=f"{action_id} {MEANING[seen]}", done=seen.ended)
        if action.state.ended:
            yield own(f"It {MEANING[action.state]}{_said(action)}.\n{_output(action.output)}")
            return
        yield Progress(text=f"{action_id} goes on", done=True)
        yield Words(
            text=f"It {MEANING[action.state]} still. `/actions` shows what comes of it, as does"
            f" `ai-sysadmin actions show {action_id}` on the host.\n"
        )


def _undecided(what: str, error: AiSysadminError) -> str:
    """Say that a decision did not arrive, or that nobody knows whether it did."""
    if isinstance(error, ExecutorUnavailable):
        return f"As far as is known nothing was {what}: {quoted(str(error), 300)}. `/actions` shows how it stands.\n"
    return f"Nothing was {what}: {quoted(str(error), 500)}.\n"


def own(text: str) -> Words:
    """Return words of the suite's own, made of facts; a model's are defused on their way out, these are not."""
    return Words(text=text, own=True)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _who_may(action_id: str, caller: Caller) -> str:
    by_hand = f"`ai-sysadmin actions approve {action_id}`"
    if caller.uid is not None:
        return f"on this host the decision is yours by {by_hand} (or `reject`)"
    return (
        f"this key may not approve. Decide on the host with {by_hand}, or make a key that may:"
        " `ai-sysadmin keys create NAME --scope chat --scope approve`"
    )


def described(action: Action) -> str:
    """Name an action: its id, what it would do, what for."""
    return f"`{action.request.id}` ({quoted(does(action.request))}, {why_there(action.request)})"


def _said(action: Action) -> str:
    return f": {quoted(action.text, 300)}" if action.text else ""


def _what(facts: ActionFacts) -> str:
    risk = f", {facts.ruling.risk.value}" if facts.ruling else ""
    return f"`{facts.id}` {quoted(' '.join([facts.name, *facts.arguments.values()]), 400)}{risk}"


def details(facts: ActionFacts, may_approve: bool) -> str:
    """Return what the executor says of an action that waits, and how to decide on it."""
    lines = [f"**Waits for approval**: {_what(facts)}", ""]
    if facts.ruling is not None:
        lines.append(f"- risk: {facts.ruling.risk.value} ({quoted(facts.ruling.reason)})")
    lines += _planned(facts.plan) if facts.plan is not None else ["- what it would run is not known"]
    if facts.expires_in_seconds is not None:
        lines.append(f"- expires in {max(1, facts.expires_in_seconds // 60)} min")
    here = f"- approve: send `/approve {facts.id}` as a message of its own; reject: `/reject {facts.id} why not`"
    if needs_operator(facts):
        here = f"- reject: `/reject {facts.id} why not`; no key approves this, only an operator on the host"
    host = f"- on the host: `{approving(facts.id, facts.digest)}`"
    return "\n".join([*lines, *([here] if may_approve else []), host, ""])


def _planned(plan: Plan) -> Iterator[str]:
    """Yield what a plan says: what was seen, what would run, what is checked, how it is taken back, and its facts."""
    yield f"- does: {quoted(plan.does, 400)}"
    yield f"- seen now: {quoted(plan.precondition, 400)}"
    yield from _commands("would run", plan.run)
    yield f"- must hold afterwards: {quoted(plan.post_check, 400)}"
    for check in plan.checks:
        yield from _commands("is checked by", check)
    if plan.confirm is not None:
        yield from _commands("is made to last by", plan.confirm)
    if plan.revert is not None:
        yield from _commands("where it does not hold, is taken back by", plan.revert)
    yield f"- to undo it: {quoted(plan.undo, 400)}"
    for title, text in plan.facts:
        yield f"- {quoted(title, 100)}:"
        yield from _indented(text, _MOST_FACTS)


def _commands(what: str, stage: Stage) -> Iterator[str]:
    for command in stage.commands[:_MOST_COMMANDS]:
        yield f"- {what}: {quoted(shlex.join(command), 400)}"
    if (more := len(stage.commands) - _MOST_COMMANDS) > 0:
        yield f"- and {more} more commands: `ai-sysadmin actions show` has them all"


def _indented(text: str, most: int) -> Iterator[str]:
    """Yield the lines of a text as code spans below a point; a text of the host's own, so no mark of it acts."""
    lines = [line for line in text.splitlines() if line.strip()]
    yield from (f"  - {quoted(line, 200)}" for line in lines[:most])
    if len(lines) > most:
        yield f"  - and {len(lines) - most} more lines: `ai-sysadmin actions show` has them all"


def _output(output: str) -> str:
    if not output.strip():
        return ""
    kept = [line for line in output.splitlines() if line.strip()][-_MOST_OUTPUT_LINES:]
    return "\n".join(["", "What it wrote last:", "", *(f"- {quoted(line, 200)}" for line in kept), ""])


def pending_lines(actions: Sequence[Action]) -> str:
    """Return one line for each of several actions that wait."""
    return "".join(f"- {described(action)} waits: `/approve {action.request.id}`\n" for action in actions)
