"""The terminal chat: a person's lines, answered one after the other."""

import asyncio
import sys
from collections.abc import Callable
from typing import Final

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.chat.commands import Order, Verb, order_of
from ai_sysadmin.cli.chat.input import FromFile, FromTerminal, Questions, history_at, history_file, unechoed
from ai_sysadmin.cli.chat.orders import Orders
from ai_sysadmin.cli.chat.session import Conversation
from ai_sysadmin.cli.chat.stopping import EXIT_CODE, Stopped, deaf, stoppable
from ai_sysadmin.cli.chat.stream import answer
from ai_sysadmin.cli.chat.telling import Told, tell
from ai_sysadmin.cli.chat.view import View, view_for
from ai_sysadmin.cli.desk import say
from ai_sysadmin.cli.outcome import report
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.settings import Settings

_STOPPED: Final = "(stopped)"


def chat(settings: Settings, *, fast: bool, first: str = "") -> int:
    """Talk until the person leaves; return the exit code. ``first`` is asked before they say anything.

    Raises:
        ApiUnavailable: nobody answers from the beginning.
    """
    asyncio.run(Api(settings).reach())
    attended = sys.stdin.isatty() and sys.stdout.isatty()
    questions: Questions = FromTerminal(history_at(history_file())) if attended else FromFile(sys.stdin, sys.stdout)
    if attended:
        say(f"{settings.ai_name} on {settings.host_name}. /help lists the commands, Ctrl-D leaves.")
    return Talk(settings, questions, view_for(sys.stdout), fast=fast).run(first)


class Talk:
    """One session."""

    def __init__(
        self, settings: Settings, questions: Questions, view: Callable[[], View], *, fast: bool = False
    ) -> None:
        self._api = Api(settings)
        self._questions = questions
        self._orders = Orders(settings, questions)
        self._view = view
        self._fast = fast
        self._conversation = Conversation()
        self._code = 0

    def run(self, first: str = "") -> int:
        """Answer ``first``, where it is given, and until there is no more; return 0, or where nobody attends the code
        of the first failure.

        Ctrl-C stops an answer; where nobody attends, all of it.
        """
        if self._questions.attended:
            with deaf(), unechoed():
                self._all(first)
            return 0
        try:
            self._all(first)
        except Stopped:
            return EXIT_CODE
        return self._code

    def _all(self, first: str) -> None:
        if first:
            self._carry_out(first, None)
        while self._next():
            pass

    def _next(self) -> bool:
        """Do what the next line asks for; false: there is none, or it says to leave."""
        said = self._questions.next()
        if said is None or (order := order_of(said)) == Order(Verb.QUIT):
            return False
        self._carry_out(said, order)
        return True

    def _carry_out(self, said: str, order: Order | None) -> None:
        try:
            self._do(said, order)
        except Stopped:
            if not self._questions.attended:
                raise
            say(_STOPPED)

    def _do(self, said: str, order: Order | None) -> None:
        """Do what one line asks for; what fails is said."""
        try:
            if order is None:
                self._ask(said)
            elif order.verb is Verb.NEW:
                self._conversation = Conversation()
                say("A new conversation.")
            else:
                self._orders.do(order, self._conversation)
        except AiSysadminError as error:
            failed = report(error, as_json=False)
            self._code = self._code or failed

    def _ask(self, question: str) -> None:
        self._conversation = self._conversation.asked(question)
        told, whole = Told(), False
        try:
            events = answer(self._api, self._conversation.messages(), fast=self._fast)
            stoppable(tell(events, self._view(), told))
            whole = True
        finally:
            self._conversation = self._conversation.answered(told.text, whole=whole)
        for hint in stoppable(self._orders.waiting(told.text)):
            say(f"\n{hint}")
