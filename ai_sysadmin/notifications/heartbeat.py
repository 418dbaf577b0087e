"""A dead man's switch: a URL that is asked for as long as everything lives. Who watches it notices when that ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from ai_sysadmin.notifications.addresses import SecretFile

log = logging.getLogger(__name__)

LIMIT_SECONDS: Final = 20.0
_RETRY_SECONDS: Final = 30.0


async def beat_forever(file: SecretFile, dead: Callable[[], Awaitable[str]], every_seconds: float) -> None:
    """Ask for the URLs of a file for ever.

    Args:
        dead: says which service does not live, empty: all do; while one does not, nothing is asked for.

    Raises:
        Unavailable: the file cannot be used, or nobody can say whether all services live.
    """
    was = ""
    while True:
        why = await dead() or await beat(file)
        if why != was:
            level = logging.WARNING if why else logging.INFO
            log.log(level, "heartbeat: %s", why or "given", extra={"event": "heartbeat_lost" if why else "heartbeat"})
        was = why
        await asyncio.sleep(min(every_seconds, _RETRY_SECONDS) if why else every_seconds)


async def beat(file: SecretFile) -> str:
    """Ask once for each URL; return why one was not reached, empty: all were. Raises: Unavailable."""
    addresses = file.read()
    async with httpx.AsyncClient(timeout=LIMIT_SECONDS) as client:
        answers = [(address.shown, await _ask(client, address.url)) for address in addresses]
    return "; ".join(f"{shown} {why}" for shown, why in answers if why)


async def _ask(client: httpx.AsyncClient, url: str) -> str:
    try:
        async with asyncio.timeout(LIMIT_SECONDS), client.stream("GET", url) as response:
            return "" if response.is_success else f"answered with status {response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError):  # the last: what is no URL at all
        return "was not reached"
