"""The executor's two sockets. What a frame may ask for depends on the socket, and on who the kernel says is asking."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from ai_sysadmin.actions.catalogue import validate
from ai_sysadmin.actions.protocol import (
    FRAME,
    MAX_EVENTS,
    MAX_FRAME_BYTES,
    ActionFacts,
    Answer,
    ApprovalKey,
    Approve,
    DecideByKey,
    Events,
    Frame,
    ListActions,
    ListKeys,
    Propose,
    RegisterKey,
    Reject,
    RevokeKey,
    ShowAction,
    Withdraw,
)
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.errors import NotFound, Refused, Unavailable
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.executor.decide import why_no_operator
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.executor.life import Life, boottime
from ai_sysadmin.runtime.peers import Peer, peer_of

log = logging.getLogger(__name__)
IDLE_SECONDS = 60
MAX_CONNECTIONS = 64

OPERATE = "operate"
DOORS = {
    "propose": (Propose, Withdraw, Events, ListActions, ShowAction, DecideByKey),
    OPERATE: (Approve, Reject, ListActions, ShowAction, RegisterKey, RevokeKey, ListKeys),
}
"""The sockets, and what is taken on each. ``operate`` answers nobody but root and the operators."""


class Server:
    """Answers frames. ``propose`` serves the suite's services, ``operate`` everybody who may decide."""

    def __init__(self, life: Life, journal: Journal, settings: Settings, clock: Clock | None = None) -> None:
        self._life = life
        self._journal = journal
        self._settings = settings
        self._clock = clock or SystemClock()
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)

    async def listen(self, sockets: dict[str, list[socket.socket]]) -> list[asyncio.Server]:
        """Begin to answer on the sockets named ``propose`` and ``operate``."""
        return [
            await asyncio.start_unix_server(self._handler(door), sock=sock, limit=MAX_FRAME_BYTES)
            for door in DOORS
            for sock in sockets.get(door, [])
        ]

    def _handler(
        self, door: str
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None] | None"]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with self._free:
                try:
                    await self._converse(reader, writer, door)
                except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                    pass  # whoever was there has left, or never said anything
                finally:
                    writer.close()

        return serve  # type: ignore[return-value]

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, door: str) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        while True:
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), IDLE_SECONDS)
            except asyncio.LimitOverrunError:
                answer = Answer(error="invalid", message=f"a frame has at most {MAX_FRAME_BYTES} bytes")
                writer.write(answer.model_dump_json().encode() + b"\n")
                await writer.drain()
                return
            answer = await self.answer(line, peer, door)
            writer.write(answer.model_dump_json().encode() + b"\n")
            await asyncio.wait_for(writer.drain(), IDLE_SECONDS)

    async def answer(self, line: bytes, peer: Peer, door: str) -> Answer:
        """Return the answer to one frame; whatever the frame is, there is one."""
        try:
            frame = FRAME.validate_json(line)
        except (ValidationError, RecursionError) as error:
            return Answer(error="invalid", message=f"that is no frame of this protocol: {_fault(error)[:500]}")
        try:
            if not isinstance(frame, DOORS[door]):
                raise Refused(f"{frame.do!r} is not taken on this socket")
            if door == OPERATE:
                self._check_operator(frame, peer)
            return await self._do(frame, peer)
        except Refused as error:
            return Answer(error="refused", message=str(error))
        except NotFound as error:
            return Answer(error="not_found", message=str(error))
        except Unavailable as error:
            return Answer(error="unavailable", message=str(error))

    def _check_operator(self, frame: Frame, peer: Peer) -> None:
        reason = why_no_operator(peer, self._settings, os.geteuid())
        if reason is not None:
            said = {"event": "operator_refused", "action_id": getattr(frame, "id", ""), "peer_uid": peer.uid}
            log.warning("%s by %s refused: %s", frame.do, peer.user, reason, extra=said)
            raise Refused(reason)

    async def _do(self, frame: Frame, peer: Peer) -> Answer:
        match frame:
            case Propose(request=request):
                return _facts(await self._life.propose(request))
            case Withdraw(id=action_id, why=why):
                return _facts(await self._life.withdraw(action_id, why))
            case Approve(id=action_id):
                return _facts(await self._life.approve(action_id, peer.uid, peer.user))
            case Reject(id=action_id, why=why):
                return _facts(await self._life.reject(action_id, peer.user, why))
            case DecideByKey():
                return _facts(await self._by_key(frame, peer))
            case RegisterKey() | RevokeKey() | ListKeys():
                return _listed(*await self._keys(frame, peer))
            case ShowAction(id=action_id):
                return _facts(await self._journal.find(action_id))
            case ListActions():
                return _facts(*await self._journal.entries())
            case Events(epoch=epoch, since=since, wait_seconds=seconds):
                return Answer(events=tuple(await self._journal.events(epoch, since, MAX_EVENTS, seconds)))

    async def _by_key(self, frame: DecideByKey, peer: Peer) -> Entry:
        try:
            return await self._life.decide_by_key(frame, peer.uid)
        except Refused as error:
            said = {"event": "key_refused", "action_id": frame.id, "peer_uid": peer.uid}
            log.warning("%s brought by %s refused: %s", frame.do, peer.user, error, extra=said)
            raise

    async def _keys(self, frame: RegisterKey | RevokeKey | ListKeys, peer: Peer) -> Sequence[ApprovalKey]:
        """Do what an operator wants done to the keys that approve; return those it was about."""
        if isinstance(frame, ListKeys):
            return await self._journal.keys()
        if isinstance(frame, RegisterKey):
            fields = frame.model_dump(exclude={"do"})
            key = await self._journal.register(ApprovalKey(**fields, by=peer.user, at=self._clock.now()))
        else:
            key = await self._journal.revoke(frame.id, peer.user, self._clock.now())
        said = {"event": f"key_{'revoked' if key.revoked_at else 'registered'}", "key_id": key.id, "by": peer.user}
        log.info("key %s %s by %s", key.name, "revoked" if key.revoked_at else "may approve", peer.user, extra=said)
        return (key,)


def _fault(error: ValidationError | RecursionError) -> str:
    """Say what is wrong with a frame without repeating it: it may hold a key."""
    if isinstance(error, RecursionError):
        return str(error)
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)


def _listed(*keys: ApprovalKey) -> Answer:
    return Answer(keys=tuple(key.model_copy(update={"hash": ""}) for key in keys))


def _facts(*entries: Entry) -> Answer:
    return Answer(actions=tuple(_fact(entry) for entry in entries))


def _fact(entry: Entry) -> ActionFacts:
    request = entry.request
    action = validate(request.name, request.arguments)
    left = int(entry.expires_boottime - boottime()) if entry.state is ActionState.PENDING else None
    return ActionFacts(
        id=request.id,
        digest=request.digest,
        name=request.name,
        arguments=request.arguments,
        incident_id=request.incident_id,
        state=entry.state,
        text=entry.text,
        ruling=entry.ruling,
        commands=action.commands(),
        by_hand=action.by_hand(),
        expires_in_seconds=left,
        undo=action.undo(),
    )
