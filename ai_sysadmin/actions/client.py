"""The executor, as everybody else sees it: a socket that answers one line per line."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from ai_sysadmin.actions.protocol import (
    ActionFacts,
    Answer,
    Approve,
    Events,
    Frame,
    ListActions,
    Propose,
    Reject,
    ShowAction,
    Withdraw,
)
from ai_sysadmin.core.acting import ActionRequest, ExecutorEvent
from ai_sysadmin.core.errors import AiSysadminError, ExecutorUnavailable, NotFound, Refused

_MAX_ANSWER_BYTES = 8 << 20


class ExecutorClient:
    """One of the executor's two sockets. Every call is a connection of its own.

    Every method raises:
        ExecutorUnavailable: nobody answers there.
        Refused: policy, or who is asking, forbids it.
        NotFound: there is no such action.
    """

    def __init__(self, socket_path: Path, timeout_seconds: float = 15) -> None:
        self._path = socket_path
        self._timeout_seconds = timeout_seconds

    async def propose(self, request: ActionRequest) -> ActionFacts:
        """Hand a request over; handing the same one over again changes nothing."""
        return (await self._ask(Propose(request=request))).actions[0]

    async def withdraw(self, action_id: str, why: str) -> ActionFacts:
        """Take back what was proposed; what does not wait for a person any more stays as it is."""
        return (await self._ask(Withdraw(id=action_id, why=why))).actions[0]

    async def events(self, epoch: str, since: int, wait_seconds: float = 0) -> Sequence[ExecutorEvent]:
        """Return the next events in order, waiting so long for the first."""
        return (await self._ask(Events(epoch=epoch, since=since, wait_seconds=wait_seconds))).events

    async def approve(self, action_id: str) -> ActionFacts:
        return (await self._ask(Approve(id=action_id))).actions[0]

    async def reject(self, action_id: str, why: str) -> ActionFacts:
        return (await self._ask(Reject(id=action_id, why=why))).actions[0]

    async def list(self) -> Sequence[ActionFacts]:
        return (await self._ask(ListActions())).actions

    async def show(self, action_id: str) -> ActionFacts:
        return (await self._ask(ShowAction(id=action_id))).actions[0]

    async def _ask(self, frame: Frame) -> Answer:
        patience = self._timeout_seconds + getattr(frame, "wait_seconds", 0)
        try:
            async with asyncio.timeout(patience):
                line = await self._exchange(frame.model_dump_json().encode() + b"\n")
        except TimeoutError as error:
            raise ExecutorUnavailable(f"the executor did not answer on {self._path} in {patience:.0f} s") from error
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise ExecutorUnavailable(f"the executor does not answer on {self._path}: {error}") from error
        return _checked(line)

    async def _exchange(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_MAX_ANSWER_BYTES)
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readuntil(b"\n")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _checked(line: bytes) -> Answer:
    try:
        answer = Answer.model_validate_json(line)
    except ValidationError as error:
        raise ExecutorUnavailable("the executor's answer cannot be read: is it of another version?") from error
    match answer.error:
        case "":
            return answer
        case "refused":
            raise Refused(answer.message)
        case "not_found":
            raise NotFound(answer.message)
        case "unavailable":
            raise ExecutorUnavailable(answer.message)
        case "invalid":
            raise AiSysadminError(answer.message)
