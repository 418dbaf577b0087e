"""The system bus: the one door to D-Bus.

One connection for calls, opened at first use and again after it broke. Calls are plain messages, no introspection.
Signals come on connections of their own, one for each listener, so that a listener learns when its own broke.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from ai_sysadmin.core.errors import AiSysadminError, SystemdUnavailable

SYSTEMD = "org.freedesktop.systemd1"
MANAGER_PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"
BUS = "org.freedesktop.DBus"
AT_ONCE: Final = 16
"""Calls under way on one connection. A socket's buffer takes some 240 small ones, or 16 as long as a transient unit's;
where it takes no more, dbus_fast gives the whole connection up."""

__all__ = ["BUS", "MANAGER", "MANAGER_PATH", "PROPERTIES", "SYSTEMD", "BusRefused", "Signal", "SystemBus", "Variant"]


class BusRefused(AiSysadminError):
    """The called service answered with an error; ``name`` is D-Bus's own name of it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{text} ({name})")
        self.name = name


class Signal(NamedTuple):
    """A signal as it came; the values of its body are variants where the sender made them so."""

    path: str
    interface: str
    member: str
    body: Sequence[Any]


class SystemBus:
    """A connection to the system bus that survives the bus being restarted."""

    def __init__(self, timeout_seconds: float = 10) -> None:
        self._timeout_seconds = timeout_seconds
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        destination: str = SYSTEMD,
    ) -> list[Any]:
        """Call a method and return its reply's values, variants as they came.

        Raises:
            SystemdUnavailable: no bus, no such service, or no answer in time.
            BusRefused: the service answered with an error.
        """
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        async with self._room:
            bus = await self._connected()
            try:
                return await self._answer(bus, message)
            except _Broken as error:
                self._leave(bus)
                raise SystemdUnavailable(f"the connection to the system bus broke: {error}") from error

    async def _answer(self, bus: MessageBus, message: Message) -> list[Any]:
        return list((await self._reply(bus, message)).body)

    async def _reply(self, bus: MessageBus, message: Message) -> Message:
        who, what = message.destination, message.member
        try:
            reply = await asyncio.wait_for(bus.call(message), self._timeout_seconds)
        except TimeoutError as error:
            raise SystemdUnavailable(f"{who} did not answer {what} within {self._timeout_seconds:.0f} s") from error
        except (OSError, EOFError) as error:
            raise _Broken(str(error)) from error
        if reply is None:
            raise SystemdUnavailable(f"{who} did not answer {what}")
        if reply.message_type is MessageType.ERROR:
            text = str(reply.body[0]) if reply.body else "no reason given"
            raise _refusal(reply.error_name or "", text)
        return reply

    async def property(self, path: str, interface: str, name: str) -> Any:
        """Return one property's bare value. Raises as ``call`` does."""
        (variant,) = await self.call(path, PROPERTIES, "Get", "ss", (interface, name))
        return variant.value

    async def properties(self, path: str, interface: str) -> dict[str, Any]:
        """Return all properties of an interface as bare values. Raises as ``call`` does."""
        (variants,) = await self.call(path, PROPERTIES, "GetAll", "s", (interface,))
        return {name: variant.value for name, variant in variants.items()}

    async def descriptor(
        self, path: str, interface: str, member: str, signature: str, body: Sequence[Any], destination: str
    ) -> int:
        """Call a method that answers with a file descriptor; return it: the caller closes it. Raises as ``call`` does.

        The call goes over a connection of its own that is gone afterwards.
        """
        bus = await self._connect(with_descriptors=True)
        message = Message(destination, path, interface, member, signature=signature, body=list(body))
        try:
            reply = await self._reply(bus, message)
        except _Broken as error:
            raise SystemdUnavailable(f"the connection to the system bus broke: {error}") from error
        finally:
            bus.disconnect()
        first, *others = reply.unix_fds or [-1]
        for other in others:
            os.close(other)
        if first < 0:
            raise SystemdUnavailable(f"{destination} answered {member} without a file descriptor")
        return first

    @asynccontextmanager
    async def listening(
        self, rules: Sequence[str], heard: Callable[[Signal], None], first: Sequence[tuple[str, str, str]] = ()
    ) -> AsyncIterator[asyncio.Future[None]]:
        """Hand every signal that matches a rule to ``heard`` while the block lasts, on a connection of its own.

        Args:
            rules: D-Bus match rules.
            heard: called at once for each signal; it must be quick and must not raise.
            first: methods without arguments (path, interface, member) to call on that connection before the block.

        Yields:
            A future that is done once the connection broke: no signal comes after that.

        Raises:
            SystemdUnavailable: no bus, or no answer in time.
            BusRefused: a rule or a method was refused.
        """
        bus = await self._connect()
        broken = asyncio.ensure_future(_until_broken(bus))
        bus.add_message_handler(lambda message: _hand(message, heard))
        try:
            for rule in rules:
                body = Message(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", signature="s", body=[rule])
                await self._answer(bus, body)
            for path, interface, member in first:
                await self._answer(bus, Message(SYSTEMD, path, interface, member))
            yield broken
        except _Broken as error:
            raise SystemdUnavailable(f"the connection to the system bus broke: {error}") from error
        finally:
            broken.cancel()
            bus.disconnect()

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is None or not self._bus.connected:
                self._bus = await self._connect()
            return self._bus

    async def _connect(self, *, with_descriptors: bool = False) -> MessageBus:
        bus = MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=with_descriptors)
        try:
            return await asyncio.wait_for(bus.connect(), self._timeout_seconds)
        except (OSError, TimeoutError, EOFError) as error:
            raise SystemdUnavailable(f"there is no system bus here: {error}") from error

    def close(self) -> None:
        """Leave the bus; the next call connects anew."""
        if self._bus is not None:
            self._leave(self._bus)

    def _leave(self, bus: MessageBus) -> None:
        """Leave a connection; another that was made meanwhile stays."""
        bus.disconnect()
        if self._bus is bus:
            self._bus = None


class _Broken(Exception):
    """The connection broke in the middle of a call."""


async def _until_broken(bus: MessageBus) -> None:
    with suppress(OSError, EOFError):
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


def _hand(message: Message, heard: Callable[[Signal], None]) -> None:
    if message.message_type is MessageType.SIGNAL:
        heard(Signal(message.path or "", message.interface or "", message.member or "", message.body))


_AWAY = {
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.Spawn.ChildExited",
}


def _refusal(name: str, text: str) -> AiSysadminError:
    return SystemdUnavailable(f"{text} ({name})") if name in _AWAY else BusRefused(name, text)
