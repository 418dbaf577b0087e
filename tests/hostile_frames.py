"""Frames for the executor's sockets that must come to nothing, and somebody who sends them by the thousand. Seeded."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ai_sysadmin.actions.protocol import FRAME, MAX_FRAME_BYTES
from ai_sysadmin.core.acting import ActionRequest

ANSWER_SECONDS = 20
MOST_ANSWER_BYTES = 8 << 20


class Sent(NamedTuple):
    """Bytes to send, how many answers they get, and what errors those may be; ``leaves``: the sender then goes."""

    data: bytes
    answers: int
    errors: frozenset[str]
    leaves: bool = False


INVALID = frozenset({"invalid"})
NOTHING_DONE = frozenset({"refused", "not_found", "unavailable"})
KNOWN = frozenset({""})


class Hostile:
    """Makes frames about actions that wait at an executor.

    ``waiting`` are those that were proposed and wait for a person; ``others`` may be proposed by nobody here.
    """

    def __init__(self, rng: random.Random, waiting: Sequence[ActionRequest], stranger: ActionRequest) -> None:
        self._rng = rng
        self._waiting = waiting
        self._forged = _forged(stranger)
        self._forms = [_frame(**form) for form in _well_formed((*waiting, stranger))]
        kinds = {
            self._cut: 12,
            self._retyped: 20,
            self._flipped: 14,
            self._noise: 10,
            self._nested: 3,
            self._out_of_range: 10,
            self._twice: 4,
            self._blank_lines: 2,
            self._too_long: 1,
            self._left_in_the_middle: 3,
            self._wrong_door: 12,
            self._replayed: 9,
        }
        self._kinds = list(kinds)
        self._weights = list(kinds.values())

    def one(self, door: str) -> Sent:
        kind: Callable[[str], Sent] = self._rng.choices(self._kinds, self._weights)[0]
        return kind(door)

    # --- no frames at all

    def _cut(self, _door: str) -> Sent:
        form = self._rng.choice(self._forms)
        return _malformed(form[: self._rng.randrange(1, len(form))])

    def _retyped(self, _door: str) -> Sent:
        form = json.loads(self._rng.choice(self._forms))
        junk = self._rng.choice([None, 7, -1, 1.5, True, [], {}, "", "x" * 70_00, "\x00", "../..", ["a"] * 50])
        match self._rng.randrange(4):
            case 0:
                form[self._rng.choice(["sudo", "uid", "approval", "state", "risk"])] = junk
            case 1:
                form["do"] = self._rng.choice([junk, "run", "approve;", "APPROVE", "exec", "approve_by_uid"])
            case 2:
                form[self._rng.choice(list(form))] = junk
            case _:
                form.pop(self._rng.choice(list(form)))
        line = json.dumps(form).encode()
        return _malformed(line) if _is_malformed(line) else self._cut(_door)

    def _flipped(self, door: str) -> Sent:
        line = bytearray(self._rng.choice(self._forms))
        for _ in range(self._rng.randrange(1, 6)):
            line[self._rng.randrange(len(line))] = self._rng.choice([*range(10), *range(11, 256)])
        return _malformed(bytes(line)) if _is_malformed(bytes(line)) else self._cut(door)

    def _noise(self, _door: str) -> Sent:
        line = self._rng.randbytes(self._rng.randrange(1, 400)).replace(b"\n", b" ")
        return _malformed(line)

    def _nested(self, _door: str) -> Sent:
        opening = self._rng.choice([b"[", b'{"do":', b'{"do":"propose","request":{"arguments":{"a":', b'["a",'])
        return _malformed(opening * self._rng.randrange(1, 60_000 // len(opening)))

    def _out_of_range(self, door: str) -> Sent:
        huge = self._rng.choice([2**63, 2**64, 10**30, 10**4000, -1, -(2**70)])
        form: dict[str, Any]
        if door == "propose":
            form = {"do": "events", "epoch": "", "since": 0, "wait_seconds": 0}
            line = _frame(**form | self._rng.choice([{"since": huge}, {"wait_seconds": 1e9}, {"wait_seconds": -1}]))
            line = self._rng.choice([line, line.replace(b'"since": 0', b'"since": NaN'), line[:-1] + b',"x":1e999}'])
        else:
            line = _frame(do="read_audit", **self._rng.choice([{"since": huge}, {"since": 0, "most": huge}]))
        return _malformed(line)

    def _twice(self, _door: str) -> Sent:
        """The same key twice: whichever of them counts, there is no such action."""
        line = b'{"do":"list","do":"show","do":"reject","id":"zzzzzz","id":"yyyyyy-000000","why":"a","why":5}'
        return _malformed(line)

    # --- not one frame after the other

    def _blank_lines(self, _door: str) -> Sent:
        many = self._rng.randrange(1, 40)
        return Sent(b"\n" * many, many, INVALID)

    def _too_long(self, _door: str) -> Sent:
        much = MAX_FRAME_BYTES + self._rng.randrange(1, 40_000)
        return Sent(self._rng.choice([b"x", b" ", b"[", b"\xff"]) * much, 1, INVALID, leaves=True)

    def _left_in_the_middle(self, _door: str) -> Sent:
        form = self._rng.choice(self._forms)
        return Sent(form[: self._rng.randrange(1, len(form))], 0, INVALID, leaves=True)

    # --- frames that are well formed, and may not do what they say

    def _wrong_door(self, door: str) -> Sent:
        waiting = self._rng.choice(self._waiting)
        if door == "propose":
            asked: list[dict[str, Any]] = [
                {"do": "approve", "id": waiting.id},
                {"do": "approve", "id": waiting.id[:4]},
                {"do": "reject", "id": waiting.id, "why": ""},
                {"do": "resume"},
                {"do": "read_audit", "since": 0},
                {"do": "register_key", "id": "k22222", "name": "eve", "hash": "0" * 64},
                {"do": "approve_by_key", "id": waiting.id, "digest": waiting.digest, "key": "sk-guessed"},
                *self._forged,
            ]
        else:
            asked = [
                {"do": "propose", "request": waiting.model_dump(mode="json")},
                {"do": "withdraw", "id": waiting.id, "why": ""},
                {"do": "events", "epoch": "", "since": 0, "wait_seconds": 30},
                {"do": "approve_by_key", "id": waiting.id, "digest": waiting.digest, "key": "sk-guessed"},
                {"do": "approve", "id": "zzzzzz-000000"},
                {"do": "approve", "id": waiting.id, "digest": "0" * 64},
                {"do": "show", "id": "%"},
                {"do": "show", "id": "' OR 1=1 --"},
                {"do": "revoke_key", "id": "nobody"},
            ]
        return Sent(_frame(**self._rng.choice(asked)) + b"\n", 1, NOTHING_DONE)

    def _replayed(self, door: str) -> Sent:
        if door == "propose":
            asked: dict[str, Any] = {
                "do": "propose",
                "request": self._rng.choice(self._waiting).model_dump(mode="json"),
            }
        else:
            asked = {"do": "list"}
        many = self._rng.randrange(1, 4)
        return Sent((_frame(**asked) + b"\n") * many, many, KNOWN | {"unavailable"})


def _forged(request: ActionRequest) -> Sequence[dict[str, Any]]:
    """Proposals that say of themselves what is not so."""
    true = request.model_dump(mode="json")
    lies: Sequence[dict[str, Any]] = (
        {"arguments": {"unit": "sshd.service"}},
        {"name": "stop_unit"},
        {"host": "another"},
        {"id": f"{request.id[:-6]}000000"},
    )
    return [{"do": "propose", "request": true | lie} for lie in lies]


def _well_formed(requests: Sequence[ActionRequest]) -> Sequence[dict[str, Any]]:
    return [
        form
        for request in requests
        for form in (
            {"do": "approve", "id": request.id},
            {"do": "propose", "request": request.model_dump(mode="json")},
            {"do": "approve_by_key", "id": request.id, "digest": request.digest, "key": "sk-1"},
            {"do": "reject", "id": request.id, "why": "no"},
            {"do": "register_key", "id": "k22222", "name": "eve", "hash": "0" * 64},
            {"do": "explain", "name": request.name, "arguments": request.arguments},
            {"do": "halt", "why": "stop"},
        )
    ]


def _frame(**form: Any) -> bytes:
    return json.dumps(form).encode()


def _malformed(line: bytes) -> Sent:
    return Sent(line + b"\n", 1, INVALID)


def _is_malformed(line: bytes) -> bool:
    try:
        FRAME.validate_json(line)
    except (ValidationError, RecursionError):
        return True
    return False


class Sender:
    """One who sends on one connection after the other, each used until it is closed; ``told`` counts the answers."""

    def __init__(self, path: Path, door: str, frames: Hostile, rng: random.Random) -> None:
        self._path, self._door, self._frames, self._rng = path, door, frames, rng
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.told: Counter[str] = Counter()
        self.sent = 0

    async def send(self, frames: int) -> None:
        """Send so many frames and read every answer; raises AssertionError at the first that is not as it must be."""
        until = self.sent + frames
        while self.sent < until:
            await self._send(self._frames.one(self._door))
        await self.leave()

    async def _send(self, sent: Sent) -> None:
        reader, writer = await self._connected()
        with suppress(ConnectionError):  # an overlong frame is answered before all of it is sent
            await self._write(writer, sent.data)
        self.sent += max(1, sent.answers)
        for _ in range(sent.answers):
            line = await asyncio.wait_for(reader.readline(), ANSWER_SECONDS)
            error = json.loads(line)["error"]
            assert error in sent.errors, (error, line[:300], sent.data[:300])
            self.told[error or "as known"] += 1
        if sent.leaves:
            await self.leave()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if len(data) < 2000 and self._rng.random() < 0.1:  # in pieces
            cut = self._rng.randrange(len(data))
            writer.write(data[:cut])
            await asyncio.sleep(0)
            data = data[cut:]
        writer.write(data)
        await writer.drain()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._connection is None:
            self._connection = await asyncio.open_unix_connection(self._path, limit=MOST_ANSWER_BYTES)
        return self._connection

    async def leave(self) -> None:
        if self._connection is not None:
            _, writer = self._connection
            self._connection = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
