"""The executor's two sockets. What a frame may ask for depends on the socket, and on who the kernel says is asking."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from pydantic import JsonValue, ValidationError

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
    Explain,
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
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.clock import Clock, SystemClock
from ai_sysadmin.core.errors import AiSysadminError, NotFound, Refused
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.executor.admission import Admission
from ai_sysadmin.executor.asking import Asking, boottime
from ai_sysadmin.executor.audit import Audit
from ai_sysadmin.executor.decide import why_no_operator
from ai_sysadmin.executor.halt import HaltSwitch
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.runtime.peers import Peer, peer_of

log = logging.getLogger(__name__)
IDLE_SECONDS = 60
STRANGER_SECONDS = 5
PARTING_SECONDS = 5
BACKLOG = 4096

OPERATE = "operate"
DOORS = {
    "propose": (Propose, Withdraw, Events, ListActions, ShowAction, DecideByKey, Explain, Halt),
    OPERATE: (
        Approve,
        Reject,
        ListActions,
        ShowAction,
        Explain,
        Halt,
        Resume,
        ReadAudit,
        RegisterKey,
        RevokeKey,
        ListKeys,
    ),
}
"""The sockets, and what is taken on each. ``operate`` answers nobody but root and the operators."""


class Server:
    """Answers frames. ``propose`` serves the suite's services, ``operate`` everybody who may decide."""

    def __init__(
        self,
        asking: Asking,
        journal: Journal,
        halt: HaltSwitch,
        audit: Audit,
        settings: Settings,
        clock: Clock | None = None,
    ) -> None:
        self._asking = asking
        self._journal = journal
        self._halt = halt
        self._audit = audit
        self._settings = settings
        self._clock = clock or SystemClock()
        self._admission = Admission()

    async def listen(self, sockets: dict[str, list[socket.socket]]) -> list[asyncio.Server]:
        """Begin to answer on the sockets named ``propose`` and ``operate``."""
        servers = []
        for door in DOORS:
            for sock in sockets.get(door, []):
                servers.append(await asyncio.start_unix_server(self._handler(door), sock=sock, limit=MAX_FRAME_BYTES))
                sock.listen(BACKLOG)  # asyncio's own is as many as it takes at one go, which strangers fill at once
        return servers

    def _handler(
        self, door: str
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None] | None"]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                peer = peer_of(writer.get_extra_info("socket"))
                stranger = door == OPERATE and self._why_not(peer) is not None
                with self._admission.entered(door, peer, stranger=stranger) as served:
                    if served:
                        await self._converse(reader, writer, peer, door, stranger=stranger)
                        await _part(writer)
                    else:
                        writer.write(_line(Answer(error="unavailable", message="too many connections of yours")))
            except OSError:
                writer.transport.abort()  # whoever was there has left, never said anything, or never listens
            finally:
                writer.close()

        return serve  # type: ignore[return-value]

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer, door: str, *, stranger: bool
    ) -> None:
        """Answer frame by frame until the peer leaves, a stranger one only.

        Raises:
            TimeoutError: no whole frame came, or its answer was not taken.
        """
        patience = STRANGER_SECONDS if stranger else IDLE_SECONDS
        more = True
        while more:
            more = not stranger
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), patience)
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                answer, more = Answer(error="invalid", message=f"a frame has at most {MAX_FRAME_BYTES} bytes"), False
            else:
                answer = await self.answer(line, peer, door)
            writer.write(_line(answer))
            await asyncio.wait_for(writer.drain(), patience)

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
        except AiSysadminError as error:
            return Answer(error="unavailable", message=str(error))

    def _check_operator(self, frame: Frame, peer: Peer) -> None:
        reason = self._why_not(peer)
        if reason is not None:
            said = {"event": "operator_refused", "action_id": getattr(frame, "id", ""), "peer_uid": peer.uid}
            if self._admission.is_worth_a_line(peer):
                log.warning("%s by %s refused: %s", frame.do, peer.user, reason, extra=said)
            raise Refused(reason)

    def _why_not(self, peer: Peer) -> str | None:
        return why_no_operator(peer, self._settings, os.geteuid())

    async def _do(self, frame: Frame, peer: Peer) -> Answer:
        match frame:
            case Propose(request=request):
                return _facts(await self._asking.propose(request))
            case Withdraw(id=action_id, why=why):
                return _facts(await self._asking.withdraw(action_id, why))
            case Approve(id=action_id, digest=digest):
                return _facts(await self._asking.approve(action_id, peer.uid, peer.user, digest))
            case Reject(id=action_id, why=why):
                return _facts(await self._asking.reject(action_id, peer.user, why))
            case DecideByKey():
                return _facts(await self._by_key(frame, peer))
            case RegisterKey() | RevokeKey() | ListKeys():
                return _listed(*await self._keys(frame, peer))
            case ShowAction(id=action_id):
                return _facts(await self._journal.find(action_id))
            case ListActions():
                return _list(await self._journal.entries(), self._halt.halted())
            case Explain():
                return Answer(explained=await self._asking.explain(frame))
            case Halt() | Resume():
                return await self._switch(frame, peer)
            case ReadAudit(since=since, most=most):
                return Answer(audit=tuple(await self._audit.read(since, most)))
            case Events(epoch=epoch, since=since, wait_seconds=seconds):
                return Answer(events=tuple(await self._journal.events(epoch, since, MAX_EVENTS, seconds)))

    async def _by_key(self, frame: DecideByKey, peer: Peer) -> Entry:
        try:
            return await self._asking.decide_by_key(frame, peer.uid)
        except Refused as error:
            said = {"event": "key_refused", "action_id": frame.id, "peer_uid": peer.uid}
            log.warning("%s brought by %s refused: %s", frame.do, peer.user, error, extra=said)
            raise

    async def _switch(self, frame: Halt | Resume, peer: Peer) -> Answer:
        """Stop everything, or let it go on; say what was, or what holds it now."""
        now = self._clock.now()
        halts = isinstance(frame, Halt)
        if halts and (known := self._halt.halted()) is not None:
            return Answer(halted=known)
        halted = self._halt.halt(peer.user, frame.why, now) if halts else self._halt.resume()
        said = {"event": "actions_halted" if halts else "actions_resumed", "by": peer.user}
        log.warning("%s by %s: %s", frame.do, peer.user, frame.why or "no reason was given", extra=said)
        await self._audit.note(frame.do, now, {"by": peer.user, "uid": peer.uid, "why": frame.why})
        return Answer(halted=halted)

    async def _keys(self, frame: RegisterKey | RevokeKey | ListKeys, peer: Peer) -> Sequence[ApprovalKey]:
        """Do what an operator wants done to the keys that approve; return those it was about."""
        if isinstance(frame, ListKeys):
            return await self._journal.keys()
        if isinstance(frame, RegisterKey):
            fields = frame.model_dump(exclude={"do"})
            key = await self._journal.register(ApprovalKey(**fields, by=peer.user, at=self._clock.now()))
        else:
            key = await self._journal.revoke(frame.id, peer.user, self._clock.now())
        kind = f"key_{'revoked' if key.revoked_at else 'registered'}"
        said = {"event": kind, "key_id": key.id, "by": peer.user}
        body: dict[str, JsonValue] = {"key_id": key.id, "name": key.name, "by": peer.user, "uid": peer.uid}
        await self._audit.note(kind, self._clock.now(), body)
        log.info("key %s %s by %s", key.name, "revoked" if key.revoked_at else "may approve", peer.user, extra=said)
        return (key,)


def _line(answer: Answer) -> bytes:
    return answer.model_dump_json().encode() + b"\n"


async def _part(writer: asyncio.StreamWriter) -> None:
    """Close a connection once its answer is through; one that nobody reads would be kept for ever."""
    writer.close()
    with suppress(TimeoutError, ConnectionError):
        await asyncio.wait_for(writer.wait_closed(), PARTING_SECONDS)
    writer.transport.abort()


def _fault(error: ValidationError | RecursionError) -> str:
    """Say what is wrong with a frame without repeating it: it may hold a key."""
    if isinstance(error, RecursionError):
        return str(error)
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)


def _listed(*keys: ApprovalKey) -> Answer:
    return Answer(keys=tuple(key.model_copy(update={"hash": ""}) for key in keys))


def _list(entries: Sequence[Entry], halted: Halted | None) -> Answer:
    """Return many actions without what they wrote: all of that together may be more than a client takes."""
    actions = tuple(_fact(entry).model_copy(update={"output": ""}) for entry in entries)
    return Answer(actions=actions, halted=halted)


def _facts(*entries: Entry) -> Answer:
    return Answer(actions=tuple(_fact(entry) for entry in entries))


def _fact(entry: Entry) -> ActionFacts:
    request = entry.request
    left = int(entry.expires_boottime - boottime()) if entry.state is ActionState.PENDING else None
    return ActionFacts(
        id=request.id,
        digest=entry.digest,
        name=request.name,
        arguments=request.arguments,
        incident_id=request.incident_id,
        state=entry.state,
        text=entry.text,
        ruling=entry.ruling,
        plan=entry.plan,
        expires_in_seconds=left,
        reminder=request.ask,
        output=entry.output,
    )
