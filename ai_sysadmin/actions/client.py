"""The executor, as everybody else sees it: a socket that answers one line per line."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ai_sysadmin.actions.protocol import (
    ActionFacts,
    Answer,
    ApprovalKey,
    Approve,
    DecideByKey,
    Events,
    Explain,
    Explained,
    Frame,
    Halt,
    Halted,
    ListActions,
    ListKeys,
    Propose,
    ReadAudit,
    RegisterKey,
    Reject,
    Resume,
    RevokeKey,
    ShowAction,
    Withdraw,
)
from ai_sysadmin.core.acting import ActionRequest, ExecutorEvent, Origin
from ai_sysadmin.core.errors import AiSysadminError, ExecutorUnavailable, NotFound, Refused

_MAX_ANSWER_BYTES = 8 << 20
_QUEUE_SECONDS = 0.005


class NotSeen(ExecutorUnavailable):
    """The executor answers, and cannot look at what this is about, or write it down."""


class ExecutorClient:
    """One of the executor's two sockets. Every call is a connection of its own.

    Every method raises:
        ExecutorUnavailable: nobody answers there.
        Refused: policy, or who is asking, forbids it.
        NotFound: there is no such action, or no such key.
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

    async def approve(self, action_id: str, digest: str = "") -> ActionFacts:
        """Say yes as an operator, to what has a digest that begins so."""
        try:
            frame = Approve(id=action_id, digest=digest)
        except ValidationError:
            raise Refused("give an action's id, and of its digest what `ai-sysadmin actions show ID` says") from None
        return (await self._ask(frame)).actions[0]

    async def reject(self, action_id: str, why: str) -> ActionFacts:
        return (await self._ask(Reject(id=action_id, why=why))).actions[0]

    async def approve_by_key(self, action_id: str, digest: str, key: str, identity: str = "") -> ActionFacts:
        """Carry a person's yes from a front end; the executor knows the key itself, and checks everything anew.

        Args:
            action_id: the whole id.
            digest: of the action as the person saw it.
            key: the API key as it was sent.
            identity: the front end's signed word on who is asking, as it was sent.
        """
        return await self._decide(action_id, digest, key, identity)

    async def reject_by_key(self, action_id: str, digest: str, key: str, why: str, identity: str = "") -> ActionFacts:
        """Carry a person's no from a front end."""
        return await self._decide(action_id, digest, key, identity, why)

    async def _decide(
        self, action_id: str, digest: str, key: str, identity: str, why: str | None = None
    ) -> ActionFacts:
        do: Literal["approve_by_key", "reject_by_key"] = "approve_by_key" if why is None else "reject_by_key"
        try:
            frame = DecideByKey(do=do, id=action_id, digest=digest, key=key, identity=identity, why=(why or "")[:1000])
        except ValidationError as error:
            wrong = ", ".join(str(fault["loc"][0]) for fault in error.errors(include_input=False))
            raise Refused(f"that is no decision over an action: its {wrong} will not do") from None
        return (await self._ask(frame)).actions[0]

    async def register_key(
        self, key_id: str, name: str, key_hash: str, expires_at: datetime | None = None
    ) -> ApprovalKey:
        """Let a key approve, by its SHA-256 in hexadecimal; the same one again changes nothing."""
        return (await self._ask(RegisterKey(id=key_id, name=name, hash=key_hash, expires_at=expires_at))).keys[0]

    async def revoke_key(self, key_id: str) -> ApprovalKey:
        """Let a key approve nothing any more; one that was revoked stays as it was."""
        return (await self._ask(RevokeKey(id=key_id))).keys[0]

    async def keys(self) -> Sequence[ApprovalKey]:
        """Return the keys that may approve or once could, without their hashes."""
        return (await self._ask(ListKeys())).keys

    async def explain(
        self, name: str, arguments: Mapping[str, str], origin: Origin = Origin.INVESTIGATION
    ) -> Explained:
        """Return what would happen to an action, and why. Nothing is proposed."""
        try:
            frame = Explain(name=name, arguments=dict(arguments), origin=origin)
        except ValidationError as error:
            wrong = ", ".join(str(fault["loc"][0]) for fault in error.errors(include_input=False))
            raise Refused(f"that is no action: its {wrong} will not do") from None
        explained = (await self._ask(frame)).explained
        if explained is None:
            raise ExecutorUnavailable("the executor's answer cannot be read: is it of another version?")
        return explained

    async def halt(self, why: str) -> Halted | None:
        """Stop: nothing is begun any more until an operator resumes."""
        return (await self._ask(Halt(why=why[:300]))).halted

    async def resume(self, why: str = "") -> Halted | None:
        """Let actions begin again; return what still holds them, if something does."""
        return (await self._ask(Resume(why=why[:300]))).halted

    async def halted(self) -> Halted | None:
        """Return what holds all actions; none: nothing does."""
        return (await self._ask(ListActions())).halted

    async def audit(self, since: int, most: int = 100) -> Sequence[str]:
        """Return the lines of the audit after a line number, as they are in its file."""
        return (await self._ask(ReadAudit(since=since, most=most))).audit

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
        connection = await _connected(self._path)
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_MAX_ANSWER_BYTES)
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readuntil(b"\n")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _connected(path: Path) -> socket.socket:
    """Connect; where too many others are before us, until there is room. Raises: OSError."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.connect(str(path))
            except BlockingIOError:  # asyncio itself would take it for connected
                await asyncio.sleep(_QUEUE_SECONDS)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


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
            raise NotSeen(answer.message)
        case "invalid":
            raise AiSysadminError(answer.message)
