"""What the host is and what was found on it, as documents."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.knowledge.gathered import HOST, Gathered
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.sources.discoveries import Discovered, Discovery, discover
from ai_sysadmin.sources.listening import Listening
from ai_sysadmin.sources.units import UnitStatus

FailedUnits = Callable[[], Awaitable[Sequence[UnitStatus]]]
_LINE: Final = 300


class Discoveries:
    """Gathers what there is on this host; ``failed`` says which units are failed now, none: nobody can be asked."""

    name: Final = "this host"

    def __init__(self, clock: Clock, failed: FailedUnits | None = None, root: Path = Path("/")) -> None:
        self._clock = clock
        self._failed = failed
        self._root = root
        self._ports = Listening(root)

    @property
    def sources(self) -> Sequence[str]:
        return (HOST,)

    async def gather(self) -> Sequence[Gathered]:
        seen = await asyncio.to_thread(discover, self._root, self._ports)
        failed, fault = await self._failed_units()
        now = self._clock.now()
        return documents_of(seen, failed, now, (*seen.faults, *([fault] if fault else [])))

    async def _failed_units(self) -> tuple[tuple[Discovery, ...], str]:
        if self._failed is None:
            return (), ""
        try:
            return failed_units(await self._failed()), ""
        except AiSysadminError as error:
            return (), f"which units are failed is not known: {error}"


def failed_units(units: Sequence[UnitStatus]) -> tuple[Discovery, ...]:
    """Return one discovery of all failed units; none: none is."""
    lines = [f"{each.name} is failed ({each.result or 'no result'}): {each.description}" for each in units]
    return (Discovery("failed units", "Units that are failed", tuple(sorted(lines))),) if lines else ()


def documents_of(
    seen: Discovered, failed: Sequence[Discovery], now: datetime, faults: Sequence[str] = ()
) -> tuple[Gathered, ...]:
    system = tuple(_document(DocumentKind.SYSTEM, each, now) for each in seen.system)
    found = tuple(_document(DocumentKind.DISCOVERY, each, now) for each in (*seen.found, *failed))
    return (
        Gathered(DocumentKind.SYSTEM, HOST, system),
        Gathered(DocumentKind.DISCOVERY, HOST, found, tuple(faults)),
    )


def _document(kind: DocumentKind, each: Discovery, now: datetime) -> Document:
    return Document(
        kind=kind,
        name=one_line(each.name, _LINE),
        title=one_line(each.title, _LINE),
        text="\n".join(one_line(line, _LINE) for line in each.lines),
        source=HOST,
        updated_at=now,
    )
