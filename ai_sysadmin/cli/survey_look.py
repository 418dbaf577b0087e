"""A first look at this host, in about three seconds: what is wrong with it already.

Each look-up stands by itself: what cannot be read becomes one line that says what and how to grant it, and the rest
goes on. ``findings`` judges what was seen, ``survey_page`` renders it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from itertools import chain
from typing import TypeVar

from pydantic import AwareDatetime

from ai_sysadmin.cli import findings
from ai_sysadmin.cli.findings import Finding, LogTemplate, worst_first
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.records import JournalEntry, Record
from ai_sysadmin.sources import host as host_says
from ai_sysadmin.sources.host import FileSystem, Load, Memory, PendingReboot, Pressure
from ai_sysadmin.sources.units import Units, UnitStatus

LIMIT_SECONDS = 3.0
MOST_ENTRIES = 200_000
MOST_TEMPLATES = 2_000
SHOWN_TEMPLATES = 5
WARNING = 4
"""Entries of this priority and worse are counted; the rest is the host's everyday talk."""
ALL_WELL = 'ai-sysadmin ask "How is this host?"'

Entries = AsyncGenerator[list[JournalEntry], None]
TemplateOf = Callable[[str], str]
T = TypeVar("T")


class JournalLook(Record):
    """What the journal's last hours came to: the worst templates. ``complete``: all of them were read in time."""

    entries: int
    first_at: AwareDatetime | None
    last_at: AwareDatetime | None
    complete: bool
    templates: tuple[LogTemplate, ...]


class Survey(Record):
    """What was seen; ``unreadable`` has a line for each thing that could not be looked at, which is then none.

    ``findings`` is everything that is wrong, the worst first; ``next_command`` looks at the worst.
    """

    host: str
    at: AwareDatetime
    took_seconds: float
    failed_units: tuple[UnitStatus, ...] | None
    file_systems: tuple[FileSystem, ...] | None
    memory: Memory | None
    load: Load | None
    pressure: tuple[Pressure, ...] | None
    pending_reboot: PendingReboot | None
    journal: JournalLook | None
    unreadable: tuple[str, ...]
    findings: tuple[Finding, ...]
    next_command: str


async def look_around(name: str, units: Units, entries: Entries, template_of: TemplateOf, clock: Clock) -> Survey:
    """Look at everything once.

    Args:
        entries: the journal's last hours, the newest first, in batches; what they raise is told, not raised.
        template_of: what a log line has in common with others like it.
    """
    began, look = time.monotonic(), _Look()
    failed, journal = await asyncio.gather(
        look.waiting("units", asyncio.wait_for(units.failed(), LIMIT_SECONDS)),
        look.waiting("journal", read_journal(entries, template_of)),
    )
    file_systems = look.at("file systems", host_says.file_systems)
    memory, load = look.at("memory", host_says.memory), look.at("load", host_says.load)
    pressure = look.at("pressure", host_says.pressure)
    reboot = look.at("pending reboot", host_says.pending_reboot)
    found = worst_first(
        chain(
            findings.of_units(failed or ()),
            findings.of_file_systems(file_systems or ()),
            findings.of_memory(memory) if memory else (),
            findings.of_load(load) if load else (),
            findings.of_pressure(pressure or ()),
            findings.of_reboot(reboot) if reboot else (),
            findings.of_templates(journal.templates) if journal else (),
        )
    )
    return Survey(
        host=name,
        at=clock.now(),
        took_seconds=round(time.monotonic() - began, 1),
        failed_units=None if failed is None else tuple(failed),
        file_systems=file_systems,
        memory=memory,
        load=load,
        pressure=pressure,
        pending_reboot=reboot,
        journal=journal,
        unreadable=tuple(look.unreadable),
        findings=found,
        next_command=found[0].command if found else ALL_WELL,
    )


class _Look:
    """Looks, and notes down what could not be seen."""

    def __init__(self) -> None:
        self.unreadable: list[str] = []

    def at(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except AiSysadminError as error:
            self.unreadable.append(f"{what}: {error}")
            return None

    async def waiting(self, what: str, reading: Awaitable[T]) -> T | None:
        try:
            return await reading
        except AiSysadminError as error:
            self.unreadable.append(f"{what}: {error}")
        except TimeoutError:
            self.unreadable.append(f"{what}: no answer within {LIMIT_SECONDS:g} s")
        return None


async def read_journal(entries: Entries, template_of: TemplateOf) -> JournalLook:
    """Count the journal's warnings and errors by template, within ``LIMIT_SECONDS`` and ``MOST_ENTRIES``.

    Raises:
        JournalUnavailable: it cannot be read.
    """
    count = _Count(template_of)
    complete = False
    try:
        async with aclosing(entries), asyncio.timeout(LIMIT_SECONDS):
            async for batch in entries:
                count.add(batch)
                if count.entries >= MOST_ENTRIES:
                    break
            else:
                complete = True
    except TimeoutError:
        complete = False  # what was read so far is still worth telling
    return count.look(complete)


class _Count:
    """Entries so far, by unit and template."""

    def __init__(self, template_of: TemplateOf) -> None:
        self._template_of = template_of
        self._templates: dict[tuple[str, str], LogTemplate] = {}
        self._span: tuple[JournalEntry, JournalEntry] | None = None
        self.entries = 0

    def add(self, batch: list[JournalEntry]) -> None:
        self.entries += len(batch)
        if batch:
            self._span = (self._span[0] if self._span else batch[0], batch[-1])
        for entry in batch:
            if entry.priority <= WARNING:
                self._count(entry)

    def _count(self, entry: JournalEntry) -> None:
        key = entry.unit, self._template_of(entry.message)
        held = self._templates.get(key)
        if held is None and len(self._templates) >= MOST_TEMPLATES:
            return
        self._templates[key] = LogTemplate(
            unit=key[0],
            template=key[1],
            priority=min(entry.priority, held.priority) if held else entry.priority,
            count=held.count + 1 if held else 1,
            example=held.example if held else entry.message[:500],
            last_at=max(entry.at, held.last_at) if held else entry.at,
        )

    def look(self, complete: bool) -> JournalLook:
        worst = sorted(self._templates.values(), key=lambda each: (each.priority, -each.count))
        times = sorted(entry.at for entry in self._span) if self._span else []
        return JournalLook(
            entries=self.entries,
            first_at=times[0] if times else None,
            last_at=times[-1] if times else None,
            complete=complete,
            templates=tuple(worst[:SHOWN_TEMPLATES]),
        )
