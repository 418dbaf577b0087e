"""A request's body, whole before the app sees it, and bounded in size and time."""

import asyncio
import contextlib
from typing import Final

from starlette.types import Message, Receive

from ai_sysadmin.openai_api_server.errors import Fault, Faulty

MAX_BODY_BYTES: Final = 2 << 20
BODY_SECONDS: Final = 30.0
DRAIN_BYTES: Final = 8 << 20
DRAIN_SECONDS: Final = 3.0


async def read(receive: Receive) -> bytes | None:
    """Return the whole body; none where the client went away before its end. Raises: Faulty."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MAX_BODY_BYTES:
                    break
                if not more:
                    return bytes(body)
    except TimeoutError as error:
        raise Faulty(Fault(408, "the request did not come to its end", code="request_timeout")) from error
    if more:
        await drain(receive)
    raise Faulty(_too_large())


async def drain(receive: Receive) -> None:
    """Hear out a client that is still sending, within limits: one that is cut off never reads why."""
    left = DRAIN_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


def again(body: bytes, receive: Receive) -> Receive:
    """Give the app the body that was read, then what really comes: the client's going away."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message


def _too_large() -> Fault:
    closing = {"Connection": "close"}
    return Fault(413, f"the request is over {MAX_BODY_BYTES} bytes", code="request_too_large", headers=closing)
