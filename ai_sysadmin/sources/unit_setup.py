"""How a unit is set up, read from its D-Bus properties."""

import shlex
from collections.abc import Mapping
from typing import Any, Final

from pydantic import AwareDatetime

from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.unit_changes import moment

SETUP_PROPERTIES: Final[Mapping[str, tuple[str, ...]]] = {
    "service": (
        "ExecStart",
        "User",
        "MemoryCurrent",
        "MemoryPeak",
        "MemoryMax",
        "ExecMainStartTimestamp",
        "ExecMainExitTimestamp",
    ),
    "mount": ("What",),
}
_INFINITY = 2**64 - 1


class UnitSetup(Record):
    """How a unit is set up, and how its last run went on.

    ``command`` is what it starts, quoted as for a shell, or what a mount mounts. Memory is in bytes; none: no limit, or
    not measured (the peak: by systemd before 254). ``started_at`` and ``ended_at`` are of its main process.
    """

    drop_ins: tuple[str, ...] = ()
    command: str = ""
    user: str = ""
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    memory_max_bytes: int | None = None
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None


def setup_of(properties: Mapping[str, Any]) -> UnitSetup:
    """Return a unit's setup from its D-Bus properties; none stands for one that there is not."""
    commands = properties.get("ExecStart") or ()
    return UnitSetup(
        drop_ins=tuple(properties.get("DropInPaths") or ()),
        command="; ".join(shlex.join(argv) for _, argv, *_ in commands) or properties.get("What") or "",
        user=properties.get("User") or "",
        memory_bytes=_bounded(properties.get("MemoryCurrent")),
        memory_peak_bytes=_bounded(properties.get("MemoryPeak")),
        memory_max_bytes=_bounded(properties.get("MemoryMax")),
        started_at=moment(properties.get("ExecMainStartTimestamp") or 0),
        ended_at=moment(properties.get("ExecMainExitTimestamp") or 0),
    )


def _bounded(value: int | None) -> int | None:
    return None if value is None or value >= _INFINITY else value
