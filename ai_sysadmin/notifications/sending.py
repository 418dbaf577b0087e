"""The one door to Apprise, which is synchronous: each message goes out in a thread of its own, for a limited time."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from inspect import signature
from typing import Any, Final, Protocol

from ai_sysadmin.notifications.addresses import Address
from ai_sysadmin.notifications.messages import Message

LIMIT_SECONDS: Final = 30.0
REFUSED: Final = "it was not reached, or refused"
UNREADABLE: Final = "Apprise cannot read this URL"

_SAY_URLS: Final = ("apprise", "urllib3", "requests", "httpx", "httpcore", "smtplib", "paho", "slixmpp")


class Sender(Protocol):
    """Brings one message to one address."""

    async def send(self, address: Address, message: Message) -> str:
        """Return why it was not told; empty: it was."""
        ...


@dataclass(frozen=True)
class _UnderWay:
    message: Message
    done: "asyncio.Future[str]"


class AppriseSender:
    """``Sender`` by Apprise.

    A thread cannot be stopped: what takes longer than its time counts as not told, and until it has ended nothing else
    is sent to that address. The same message asked for again is then that one.
    """

    def __init__(self, limit_seconds: float = LIMIT_SECONDS, tell: Callable[[str, Message], str] | None = None) -> None:
        self._limit = limit_seconds
        self._tell = tell or by_apprise
        self._under_way: dict[str, _UnderWay] = {}

    async def send(self, address: Address, message: Message) -> str:
        sending = self._under_way.get(address.id)
        if sending is not None and sending.message != message:
            if not sending.done.done():
                return "an earlier message is still on its way"
            sending = None
        if sending is None:
            sending = self._under_way[address.id] = _UnderWay(message, self._begin(address.url, message))
        await asyncio.wait([sending.done], timeout=self._limit)
        if not sending.done.done():
            return f"it took longer than {self._limit:g} s"
        self._under_way.pop(address.id, None)
        return sending.done.result()

    def _begin(self, url: str, message: Message) -> "asyncio.Future[str]":
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def settle(why: str) -> None:
            if not done.done():
                done.set_result(why)

        def work() -> None:
            why = ""
            with _Contained() as contained:
                why = self._tell(url, message)
            with suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(settle, why or contained.said)

        # a daemon's thread: one that hangs must not keep the process from ending
        threading.Thread(target=work, daemon=True, name="telling").start()
        return done


def silence() -> None:
    """Keep the libraries that carry secret URLs from logging them."""
    for chatty in _SAY_URLS:
        logging.getLogger(chatty).setLevel(logging.CRITICAL + 1)


def by_apprise(url: str, message: Message) -> str:
    """Send a message; return why it was not told."""
    from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

    silence()
    # in this thread, nothing kept on disk, and no redirection to where nobody meant it to go
    known: dict[str, Any] = {
        key: 0 for key in ("service_timeout",) if key in signature(AppriseAsset.__init__).parameters
    }
    asset = AppriseAsset(storage_mode="memory", async_mode=False, **known)
    asset.http_redirects = False
    door = Apprise(asset=asset)
    if not door.add(url):
        return UNREADABLE
    tone = NotifyType(message.tone)
    told = door.notify(message.body, title=message.title, notify_type=tone, body_format=NotifyFormat.TEXT)
    return "" if told else REFUSED


class _Contained:
    """Keeps what a plugin raises, which may be anything, from going further: its words may hold the URL."""

    said = ""

    def __enter__(self) -> "_Contained":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        self.said = f"Apprise failed with {kind.__name__}" if kind else ""
        return kind is not None and issubclass(kind, Exception)
