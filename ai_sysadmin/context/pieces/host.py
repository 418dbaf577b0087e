"""What the host is: facts that stay the same from one incident to the next, so that a prompt may begin with them."""

import asyncio
import os
import platform
import socket
from pathlib import Path
from typing import Protocol

from ai_sysadmin.context.pieces.drafts import Cleaner, Draft, iso, size
from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.sources.host import HostUnreadable, generations, memory
from ai_sysadmin.sources.units import ManagerState

Named = tuple[tuple[str, str], ...]


class HostLookup(Protocol):
    """How it is asked what the host is."""

    async def facts(self) -> Named:
        """Return names and values, in the order in which they are told. What is not known is missing."""
        ...


class KnowsManager(Protocol):
    """What of ``sources.units.ExaminedUnits`` is asked here."""

    async def manager(self) -> ManagerState:
        """Raises: SystemdUnavailable."""
        ...


class HostFacts:
    """This host, from its own files; its boot time from systemd, which does not move with the clock."""

    def __init__(self, units: KnowsManager, host_name: str = "", root: Path = Path("/")) -> None:
        self._units = units
        self._host_name = host_name
        self._root = root

    async def facts(self) -> Named:
        try:
            booted = (await self._units.manager()).userspace_at
        except SystemdUnavailable:
            booted = None
        found = await asyncio.to_thread(_read, self._root)
        said = (
            ("hostname", self._host_name or socket.gethostname()),
            *found,
            ("booted", iso(booted) if booted else ""),
        )
        return tuple((name, value) for name, value in said if value)


def _read(root: Path) -> Named:
    return (
        ("os", _system(root)),
        ("generation", _generation(root)),
        ("kernel", f"{platform.system()} {platform.release()} ({platform.machine()})"),
        ("processors", str(os.cpu_count() or "")),
        ("memory", _memory(root)),
    )


def _system(root: Path) -> str:
    """Return the operating system's name and version, as it calls itself."""
    for name in ("etc/os-release", "usr/lib/os-release"):
        try:
            lines = (root / name).read_text(errors="replace").splitlines()
        except OSError:
            continue
        said = {key: value.strip("\"'") for key, equals, value in (line.partition("=") for line in lines) if equals}
        return said.get("PRETTY_NAME") or f"{said.get('NAME', '')} {said.get('VERSION_ID', '')}".strip()
    return ""


def _generation(root: Path) -> str:
    try:
        found = generations(root, root / "proc")
    except HostUnreadable:
        return ""
    number = f"NixOS generation {found.number}" if found.number is not None else "a NixOS system without a number"
    return f"{number}, switched to at {iso(found.switched_at)}"


def _memory(root: Path) -> str:
    try:
        found = memory(root / "proc")
    except HostUnreadable:
        return ""
    swap = f", swap {size(found.swap_total_bytes)}" if found.swap_total_bytes else ", no swap"
    return size(found.total_bytes) + swap


async def look(host: HostLookup, clean: Cleaner) -> Draft | None:
    """Return what the host is; none: nothing is known of it."""
    facts = [(name, clean.line(value)) for name, value in await host.facts()]
    if not facts:
        return None
    lines = tuple(f"{name}: {value}" for name, value in facts)
    return Draft(kind="host", title="the host", lines=lines, facts=dict(facts))
