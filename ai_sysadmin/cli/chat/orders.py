"""What the terminal chat does at a person's command. A decision goes to the executor by the person's own user; no word
of a model takes part in it.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.cli.actions_page import action_page, actions_page, decided_page
from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.chat.commands import HELP, Order, Verb
from ai_sysadmin.cli.chat.input import Questions
from ai_sysadmin.cli.chat.session import Conversation
from ai_sysadmin.cli.chat.stopping import Stopped, stoppable
from ai_sysadmin.cli.desk import say
from ai_sysadmin.cli.incident_page import described
from ai_sysadmin.cli.incidents import incidents_page
from ai_sysadmin.cli.status import status_page
from ai_sysadmin.context.defuse import defuse, one_line
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.errors import AiSysadminError, Refused
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.openai_api_server.answers.commands import named_actions
from ai_sysadmin.openai_api_server.system.views import Actions, ActionView, Incidents, SystemStatus

OUTCOME_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.3
_CONFIRM: Final = "Approve this? [y/N] "


class Orders:
    """Carries out commands; each raises AiSysadminError for what cannot be done, and Stopped."""

    def __init__(self, settings: Settings, questions: Questions, outcome_seconds: float = OUTCOME_SECONDS) -> None:
        self._settings = settings
        self._api = Api(settings)
        self._executor = ExecutorClient(settings.operate_socket)
        self._questions = questions
        self._outcome_seconds = outcome_seconds

    def do(self, order: Order, conversation: Conversation) -> None:
        """Do what is neither ``/new`` nor ``/quit``."""
        match order.verb:
            case Verb.ACTIONS:
                say(actions_page(stoppable(self._api.get("actions", Actions))))
            case Verb.INCIDENTS:
                say(incidents_page(stoppable(self._api.get("incidents", Incidents))))
            case Verb.STATUS:
                say(status_page(stoppable(self._api.get("status", SystemStatus))))
            case Verb.APPROVE:
                self._approve(order.argument)
            case Verb.REJECT:
                self._reject(order.argument, order.rest)
            case Verb.SAVE:
                self._save(order.argument, conversation)
            case _:
                say(f"Nothing was done: {order.fault}.\n\n{HELP}" if order.fault else HELP)

    def _approve(self, action_id: str) -> None:
        if not self._questions.attended:
            raise Refused(f"an approval needs a terminal, or on its own: ai-sysadmin actions approve {action_id}")
        view, facts = stoppable(self._look(action_id))
        hold = self._settings.executor.post_check_seconds
        say(f"{action_page(view.model_copy(update={'pending': False}), facts, hold)}\n")
        if facts.state is not ActionState.PENDING:
            raise Refused(f"{view.id} does not wait for anybody: it is {facts.state}")
        if not self._questions.confirmed(_CONFIRM):
            say(f"Nothing was approved; {view.id} waits still.")
            return
        try:
            stoppable(self._approved(facts))
        except Stopped:
            say(f"No longer followed. A yes that arrived stands: /actions shows what becomes of {view.id}.")

    async def _look(self, action_id: str) -> tuple[ActionView, ActionFacts]:
        view = await self._api.one("actions", action_id, ActionView)
        return view, await self._executor.show(view.id)

    async def _approved(self, shown: ActionFacts) -> None:
        """Approve what was shown, and follow it for a while."""
        facts = await self._executor.approve(shown.id, shown.digest)
        until = _now() + self._outcome_seconds
        while not facts.state.ended and _now() < until:
            say(f"· {facts.state}{f': {defuse(facts.text)}' if facts.text else ''}")
            facts = await self._changed(facts, until)
        if facts.state is ActionState.REFUSED:
            raise Refused(facts.text)
        say(decided_page(facts))

    async def _changed(self, before: ActionFacts, until: float) -> ActionFacts:
        facts = before
        while facts.state is before.state and _now() < until:
            await asyncio.sleep(_POLL_SECONDS)
            facts = await self._executor.show(before.id)
        return facts

    def _reject(self, action_id: str, why: str) -> None:
        say(decided_page(stoppable(self._executor.reject(action_id, why or "rejected in chat"))))

    def _save(self, name: str, conversation: Conversation) -> None:
        path = Path(name).expanduser()
        if not conversation.turns:
            raise AiSysadminError("nothing was said yet: there is nothing to save")
        title = f"Conversation with {self._settings.ai_name} on {self._settings.host_name}"
        try:
            opened = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                file.write(conversation.transcript(title, self._settings.ai_name))
        except FileExistsError as error:
            raise AiSysadminError(f"{path} is there already: choose another name") from error
        except (OSError, ValueError) as error:
            raise AiSysadminError(f"{name} cannot be written: {error}") from error
        say(f"Saved to {path}.")

    async def waiting(self, text: str) -> list[str]:
        """Return how to decide on each action that a text names and that waits for a person."""
        named = set(named_actions(text))
        if not named:
            return []
        found = await self._api.get("actions", Actions, (ActionState.PENDING.value,))
        return [
            f"{one_line(described(action), 200)} waits for you:\n  /approve {action.id}\n  /reject {action.id} why not"
            for action in found.actions
            if action.id in named
        ]


def _now() -> float:
    return asyncio.get_running_loop().time()
