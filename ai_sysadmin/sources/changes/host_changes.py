"""What changed on this host: all looks side by side, each for itself, and what they found in order."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.changes import ChangesSeen
from ai_sysadmin.sources.changes.configuration import look_at_configuration
from ai_sysadmin.sources.changes.generations import generation_changes
from ai_sysadmin.sources.changes.manual import Manual, look_at_commands, read_journal
from ai_sysadmin.sources.changes.packages import look_at_packages
from ai_sysadmin.sources.changes.profile import activations, read_profile
from ai_sysadmin.sources.changes.ranking import merged
from ai_sysadmin.sources.changes.reboots import look_at_reboots
from ai_sysadmin.sources.changes.subject import Subject, own_names, subject_of
from ai_sysadmin.sources.changes.unit_files import look_at_unit_files, with_reload_due
from ai_sysadmin.sources.changes.window import Look, Window
from ai_sysadmin.sources.host.aside import Aside

log = logging.getLogger(__name__)


class HostChanges:
    """``Changes`` of the host that this runs on.

    Args:
        directories: where changed files are configuration.
        bus: asked whether systemd has read a unit's files; none: it is not asked.
        limit_seconds: the longest that one look may take.
        root: where the host's root lies.
        journal: the directory of its journal; none: its own.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        clock: Clock,
        *,
        limit_seconds: float,
        bus: SystemBus | None = None,
        root: Path = Path("/"),
        journal: Path | None = None,
    ) -> None:
        self._directories = tuple(str(each) for each in directories)
        self._clock = clock
        self._limit_seconds = limit_seconds
        self._bus = bus
        self._root = root
        self._journal = journal
        self._asides = defaultdict[str, Aside](Aside)

    async def before(self, unit: str, moment: datetime, within: timedelta) -> ChangesSeen:
        """Return what changed in the time up to a moment (and the few seconds of its doubt), the newest first."""
        window = Window.before(moment, within, self._clock.now())
        subject, gaps = await self._subject(unit)
        root, directories = self._root, self._directories
        from_journal, *looks = await asyncio.gather(
            self._from_journal(window, subject),
            self._aside("packages", lambda: look_at_packages(root, window, subject)),
            self._guarded("unit files", self._unit_files(window, subject)),
            self._aside("configuration", lambda: look_at_configuration(root, directories, window, subject)),
            self._aside("reboots", lambda: look_at_reboots(root / "proc", window)),
        )
        return merged([gaps, *from_journal, *looks])

    async def _subject(self, unit: str) -> tuple[Subject, Look]:
        """Return what is known of the unit; where its files cannot be read, its name and a gap."""
        found: list[Subject] = []

        def look() -> Look:
            found.append(subject_of(self._root, unit))
            return Look()

        gaps = await self._aside("the unit's own files", look)
        return (found[0] if found else Subject(unit, names=frozenset(own_names(unit)))), gaps

    async def _from_journal(self, window: Window, subject: Subject) -> list[Look]:
        """Look at what people did and at generations: the journal knows when each was switched to."""
        found: list[Manual] = []

        async def look() -> Look:
            found.append(await read_journal(self._root, self._journal, window))
            return look_at_commands(found[0], window, subject)

        commands = await self._guarded("what was done by hand", look())
        switches = found[0].switches if found else ()
        return [commands, await self._guarded("generations", self._generations(window, subject, switches))]

    async def _generations(self, window: Window, subject: Subject, switches: Sequence[tuple[datetime, str]]) -> Look:
        profile = await asyncio.to_thread(read_profile, self._root)
        if profile is None:
            return Look()
        found = activations(profile, window, switches)
        return Look(await generation_changes(self._root, profile, found, subject))

    async def _unit_files(self, window: Window, subject: Subject) -> Look:
        aside = self._asides["unit files"]
        look = await aside.ask(
            "unit files", lambda: look_at_unit_files(self._root, window, subject), self._limit_seconds
        )
        return await with_reload_due(look, subject.unit, self._bus) if self._bus and subject.unit else look

    async def _aside(self, what: str, look: Callable[[], Look]) -> Look:
        """Return what a look at files found; one that hangs (a dead network mount) blocks no other, and is a gap."""
        return await self._guarded(what, self._asides[what].ask(what, look, self._limit_seconds))

    async def _guarded(self, what: str, look: Awaitable[Look]) -> Look:
        """Return what a look found; one that fails or takes too long is a gap."""
        try:
            async with asyncio.timeout(2 * self._limit_seconds):
                return await look
        except TimeoutError:
            why = f"it took longer than {2 * self._limit_seconds:g} s"
        except (OSError, ValueError, AiSysadminError) as error:
            why = str(error)
        log.info("changes: %s: %s", what, why, extra={"event": "change_look_failed"})
        return Look(gaps=(f"{what}: {why}",))
