"""The system bus: the one door to D-Bus.

One connection, opened at first use and again after it broke. Calls are plain messages, no introspection.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from ai_sysadmin.core.errors import AiSysadminError, SystemdUnavailable

SYSTEMD = "org.freedesktop.systemd1"
MANAGER_PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"

__all__ = ["MANAGER", "MANAGER_PATH", "PROPERTIES", "SYSTEMD", "BusRefused", "SystemBus", "Variant"]


class BusRefused(AiSysadminError):
    """The called service answered with an error; ``name`` is D-Bus's own name of it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{text} ({name})")
        self.name = name


class SystemBus:
    """A connection to the system bus that survives the bus being restarted."""

    def __init__(self, timeout_seconds: float = 10) -> None:
        self._timeout_seconds = timeout_seconds
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()

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
        bus = await self._connected()
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        try:
            reply = await asyncio.wait_for(bus.call(message), self._timeout_seconds)
        except TimeoutError as error:
            raise SystemdUnavailable(
                f"{destination} did not answer {member} within {self._timeout_seconds:.0f} s"
            ) from error
        except (OSError, EOFError) as error:
            self.close()
            raise SystemdUnavailable(f"the connection to the system bus broke: {error}") from error
        if reply is None:
            raise SystemdUnavailable(f"{destination} did not answer {member}")
        if reply.message_type is MessageType.ERROR:
            text = str(reply.body[0]) if reply.body else "no reason given"
            raise _refusal(reply.error_name or "", text)
        return list(reply.body)

    async def property(self, path: str, interface: str, name: str) -> Any:
        """Return one property's bare value. Raises as ``call`` does."""
        (variant,) = await self.call(path, PROPERTIES, "Get", "ss", (interface, name))
        return variant.value

    async def properties(self, path: str, interface: str) -> dict[str, Any]:
        """Return all properties of an interface as bare values. Raises as ``call`` does."""
        (variants,) = await self.call(path, PROPERTIES, "GetAll", "s", (interface,))
        return {name: variant.value for name, variant in variants.items()}

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is None or not self._bus.connected:
                bus = MessageBus(bus_type=BusType.SYSTEM)
                try:
                    self._bus = await asyncio.wait_for(bus.connect(), self._timeout_seconds)
                except (OSError, TimeoutError, EOFError) as error:
                    raise SystemdUnavailable(f"there is no system bus here: {error}") from error
            return self._bus

    def close(self) -> None:
        """Leave the bus; the next call connects anew."""
        if self._bus is not None:
            self._bus.disconnect()
            self._bus = None


_AWAY = {
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.Spawn.ChildExited",
}


def _refusal(name: str, text: str) -> AiSysadminError:
    return SystemdUnavailable(f"{text} ({name})") if name in _AWAY else BusRefused(name, text)
