"""The front desk: who answers a request. A front end's background work, a command and the answer to an approval card
never reach the model that investigates; everything else does.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final, Literal, Protocol

from ai_sysadmin.context.defuse import fenced, one_line
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.incident import ENDED, State
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend import Completion, Message
from ai_sysadmin.meta_model.report import LiveState, actions_page, incidents_page, status_page
from ai_sysadmin.meta_model.small_tasks import SmallTasks, Task
from ai_sysadmin.meta_model.talk import Answered, ClientCall, Event, Proposed, Question, Words
from ai_sysadmin.openai_api_server.answers.approvals import Approvals, Decider, own, pending_lines
from ai_sysadmin.openai_api_server.answers.cards import ASK_USER, Answer, Cards, Choice
from ai_sysadmin.openai_api_server.answers.commands import HELP, Command, Verb, command_of, named_actions
from ai_sysadmin.openai_api_server.answers.tasks import task_of
from ai_sysadmin.openai_api_server.callers import Caller
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.openai_api_server.wire import ChatRequest, WireMessage
from ai_sysadmin.stores import ReadStore
from ai_sysadmin.stores.key_store import Scope

log = logging.getLogger(__name__)

RECENT_ENDED: Final = 10
"""So many incidents that have ended are told to the chat, beside all that have not."""
_MOST_NAMED: Final = 5


class Chat(Protocol):
    """Who answers people: the meta layer."""

    def answer(self, question: Question, live: LiveState) -> AsyncGenerator[Event, None]: ...


class Front:
    """Answers every request that comes as a conversation."""

    def __init__(
        self,
        settings: Settings,
        chat: Chat,
        small: SmallTasks,
        store: ReadStore,
        executor: Decider,
        clock: Clock,
        live: Callable[[], Awaitable[LiveState]] | None = None,
        *,
        cards: Cards | None = None,
        approvals: Approvals | None = None,
    ) -> None:
        self._settings = settings
        self._chat = chat
        self._small = small
        self._store = store
        self._live = live or (lambda: live_state(settings.host_name, store, clock))
        self._cards = cards or Cards()
        self._approvals = approvals or Approvals(store, executor)

    async def answer(
        self, asked: ChatRequest, caller: Caller, headers: Mapping[str, str]
    ) -> AsyncGenerator[Event, None]:
        """Yield the answer piece by piece, ``Answered`` last; ``aclose()`` stops the work at once.

        Raises: Faulty: nobody asks anything. AiSysadminError: what the answer needs does not work.
        """
        async with aclosing(self._events(asked, caller, headers)) as events:
            async for event in events:
                yield event

    def _events(self, asked: ChatRequest, caller: Caller, headers: Mapping[str, str]) -> AsyncGenerator[Event, None]:
        if (task := task_of(asked, headers)) is not None:
            return self._by_small_model(task)
        if (command := command_of(asked)) is not None:
            _note("chat_command", command.verb.value, command.action_id, caller)
            return _ended(self._ordered(command, caller))
        if (answer := self._cards.answered(asked, caller)) is not None:
            _note(
                "card_answered", answer.choice.value or "nothing", answer.card.action_id if answer.card else "", caller
            )
            return _ended(self._decided(answer, asked, caller))
        return self._talk(asked, caller)

    async def _by_small_model(self, task: Task) -> AsyncGenerator[Event, None]:
        completion = await self._small.answer(task)
        yield Words(text=completion.text)
        yield Answered(completion=completion)

    # --- commands and cards

    async def _ordered(self, command: Command, caller: Caller) -> AsyncGenerator[Event, None]:
        match command.verb:
            case Verb.APPROVE:
                events = self._approvals.approve(command.action_id, caller)
            case Verb.REJECT:
                events = self._approvals.reject(command.action_id, caller, command.reason)
            case _:
                yield own(await self._page(command))
                return
        async with aclosing(events):
            async for event in events:
                yield event

    async def _page(self, command: Command) -> str:
        match command.verb:
            case Verb.STATUS:
                return status_page(await self._live())
            case Verb.INCIDENTS:
                return f"{incidents_page(await self._live())}\n"
            case Verb.ACTIONS:
                return actions_page(await self._live())
            case _:
                return f"Nothing was done: {command.fault}.\n\n{HELP}" if command.fault else HELP

    async def _decided(self, answer: Answer, asked: ChatRequest, caller: Caller) -> AsyncGenerator[Event, None]:
        if answer.fault or answer.card is None:
            yield own(f"Nothing was done: that card does not count, {answer.fault}. `/actions` shows what waits.\n")
            return
        card = answer.card
        match answer.choice:
            case Choice.APPROVE:
                events = self._approvals.approve(card.action_id, caller, card.digest)
            case Choice.DENY:
                events = self._approvals.reject(card.action_id, caller, "denied on its card in chat", card.digest)
            case Choice.DETAILS:
                events = self._offered((card.action_id,), asked, caller)
            case Choice.NOTHING:
                still = f"as long as it waits, `/approve {card.action_id}` approves it"
                yield own(f"Nothing was done: the card was closed without a choice; {still}.\n")
                return
        async with aclosing(events):
            async for event in events:
                yield event

    # --- talk

    async def _talk(self, asked: ChatRequest, caller: Caller) -> AsyncGenerator[Event, None]:
        question = question_of(asked, caller, self._settings.api.client_tools)
        live = await self._live()
        shown = _named_and_waiting(asked, live)
        async with aclosing(self._chat.answer(question, live)) as events:
            async for event in events:
                if isinstance(event, Proposed):
                    shown = [*(each for each in shown if each != event.action_id), event.action_id]
                elif isinstance(event, ClientCall):
                    shown = []  # the answer ends in the client's hands; what was proposed is told in its next turn
                elif isinstance(event, Answered) and shown and question.answer_schema is None:
                    yield own("\n\n---\n\n")
                    async with aclosing(self._offered(shown, asked, caller)) as more:
                        async for offer in more:
                            yield offer
                yield event

    async def _offered(
        self, action_ids: Sequence[str], asked: ChatRequest, caller: Caller
    ) -> AsyncGenerator[Event, None]:
        """Say what waits for a person, from facts; the last as a card too, where the front end can show one."""
        *others, newest = action_ids
        may_approve = Scope.APPROVE in caller.scopes and bool(caller.key)
        try:
            if others:
                yield own(pending_lines([await self._store.action(each) for each in others]) + "\n")
            said, facts = await self._approvals.told(newest, may_approve)
        except NotFound as error:
            yield own(f"{one_line(str(error), 200)}\n")
            return
        yield own(said)
        if facts is not None and may_approve and asked.stream and asked.offers(ASK_USER):
            card = self._cards.issue(facts, caller)
            if card is not None:
                yield ClientCall(call=card)


async def _ended(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """Yield events, and behind them the account of an answer that took no model."""
    said = ""
    async with aclosing(events):
        async for event in events:
            said += event.text if isinstance(event, Words) else ""
            yield event
    yield Answered(completion=Completion(text=said, model=""))


def _named_and_waiting(asked: ChatRequest, live: LiveState) -> list[str]:
    """Return the actions that wait for a person and that their question names."""
    if asked.last.role != "user":
        return []
    waiting = {action.request.id for action in live.waiting}
    return [each for each in named_actions(asked.last.text) if each in waiting][-_MOST_NAMED:]


def question_of(asked: ChatRequest, caller: Caller, client_tools: Literal["ignore", "pass"]) -> Question:
    """Return a request as the meta layer takes it: what people and the model said, and how the answer is wanted.

    What the client's tools answered stays only where those are passed on, as text. The tool that shows approval cards
    is never passed on: a model draws no card.

    Raises:
        Faulty: nobody asks anything.
    """
    if not any(message.role == "user" and message.text.strip() for message in asked.messages):
        raise Faulty(Fault(400, "messages: nobody asks anything here", code="no_question", param="messages"))
    tools = tuple(tool for tool in asked.passed_tools(client_tools) if tool.name != ASK_USER)
    spoken = (_spoken(message, with_tools=bool(tools)) for message in asked.messages)
    return Question(
        messages=tuple(message for message in spoken if message is not None),
        fast=asked.fast,
        max_tokens=asked.reply_tokens,
        temperature=asked.temperature,
        seed=asked.seed,
        stop=asked.stop,
        answer_schema=asked.answer_schema,
        tools=tools,
        asker=caller.name,
    )


def _spoken(message: WireMessage, *, with_tools: bool) -> Message | None:
    """Return a message as it goes into a prompt; none: there is nothing in it for a model."""
    role, text = message.spoken_by, message.text
    if role is None:
        if not with_tools:
            return None
        return Message(role="assistant", content=fenced("answer of a tool of the client's", text))
    if with_tools and message.tool_calls:
        called = "; ".join(one_line(f"{call.name} {call.arguments}", 300) for call in message.tool_calls)
        text = f"{text}\n(called: {called})".strip()
    return Message(role=role, content=text) if text else None


async def live_state(host: str, store: ReadStore, clock: Clock) -> LiveState:
    """Read what is true now: incidents that live and a few that ended, actions, the services' notes."""
    live = await store.incidents([state for state in State if state not in ENDED])
    ended = await store.incidents(list(ENDED), RECENT_ENDED)
    waiting = await store.actions([ActionState.PENDING.value])
    others = [action for action in await store.actions() if action.state is not ActionState.PENDING]
    return LiveState(
        host=host,
        incidents=(*live, *ended),
        actions=(*waiting, *others),
        notes=tuple(await store.notes()),
        now=clock.now(),
    )


def _note(event: str, what: str, action_id: str, caller: Caller) -> None:
    log.info("%s by %s", what, caller.name, extra={"event": event, "action_id": action_id, "asker": caller.name})
