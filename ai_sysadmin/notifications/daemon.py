"""Take what waits to be told, pace it, send it, record it; see that the suite lives.

At least once: where this process dies between an address's answer and the next write of the ledger, that address gets
the one message again, and no other does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.notification_settings import Notifications
from ai_sysadmin.notifications import TEST, UNCONFIGURED, Notice, Outbox
from ai_sysadmin.notifications.addresses import Address, SecretFile
from ai_sysadmin.notifications.heartbeat import beat_forever
from ai_sysadmin.notifications.ledger import Ledger, Owed
from ai_sysadmin.notifications.messages import catching_up, message_of
from ai_sysadmin.notifications.pacing import HOUR, is_wanted, paced
from ai_sysadmin.notifications.reach import Reach
from ai_sysadmin.notifications.sending import LIMIT_SECONDS, AppriseSender, Sender, silence
from ai_sysadmin.notifications.suite_watch import SuiteWatch, is_away
from ai_sysadmin.runtime.service import Heartbeat, Loop, backing_off, uninterrupted

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0
WATCH_SECONDS: Final = 15.0
_MOST_WAITING: Final = 1000
_MOST_SHOWN: Final = 5
_ROUND_SECONDS: Final = 30.0

Say = Callable[[Literal["ok", "degraded"], str], Awaitable[None]]
"""Writes down how the notifier itself stands, for ``status``."""

Standing = Callable[[], Awaitable[Mapping[str, str]]]
"""Says how each service stands, as ``suite_watch.standing_of`` does. Raises: Unavailable."""


@dataclass(frozen=True)
class Around:
    """What the notifier has to do with. ``ledger_path``: where it keeps what some addresses are still owed."""

    outbox: Outbox
    standing: Standing
    say: Say
    clock: Clock
    heart: Heartbeat
    ledger_path: Path


class Notifier:
    """Tells what waits in the outbox to the addresses of the file."""

    def __init__(self, settings: Notifications, around: Around, sender: Sender | None = None) -> None:
        silence()
        self._settings = settings
        self._around = around
        self._outbox = around.outbox
        self._clock = around.clock
        self._file = SecretFile(settings.urls_file) if settings.urls_file else None
        self._reach = Reach(sender or AppriseSender(), around.clock)
        self._ledger = Ledger(around.ledger_path)
        self._said: tuple[str, str] | None = None
        self._faults: str | None = None

    def loops(self) -> dict[str, Loop]:
        """Return what runs for ever."""
        loops: dict[str, Loop] = {
            "notifications": partial(backing_off, "notifications", self.notify_forever),
            "suite watch": partial(backing_off, "suite watch", partial(watch_suite, self._around)),
        }
        if self._settings.heartbeat_url_file:
            file = SecretFile(self._settings.heartbeat_url_file)
            beat = partial(beat_forever, file, partial(_dead, self._around), self._settings.heartbeat_seconds)
            loops["heartbeat"] = partial(backing_off, "heartbeat", beat)
        return loops

    # --- telling

    async def notify_forever(self) -> None:
        """Raises: Unavailable: the store does not answer, or the file of URLs cannot be used."""
        while True:
            with self._around.heart.within(self._longest_round(), "telling a person"):
                await self.round()
            await asyncio.sleep(LOOK_SECONDS)

    async def round(self) -> None:
        """Tell what can be told now. Raises: Unavailable."""
        if self._file is None:
            await self._say("ok", UNCONFIGURED)
            return
        addresses = await self._addresses(self._file)
        await self._record_told()
        await self._pay(addresses)
        waiting = await self._worth_telling()
        await self._try_out([notice for notice in waiting if notice.unit == TEST], addresses)
        await self._tell_paced([notice for notice in waiting if notice.unit != TEST], addresses)
        faults = self._reach.faults(addresses)
        if faults != self._faults:
            await self._say("degraded" if faults else "ok", faults or f"people are told by {_names(addresses)}")
        self._faults = faults

    async def _addresses(self, file: SecretFile) -> Sequence[Address]:
        try:
            return file.read()
        except Unavailable as error:
            self._faults = None
            await self._say("degraded", f"nobody can be told: {error}")
            raise

    async def _worth_telling(self) -> list[Notice]:
        now = self._clock.now()
        waiting = await self._outbox.waiting(now, _MOST_WAITING)
        wanted = {each.id: each.unit == TEST or is_wanted(each, self._settings.occasions, now) for each in waiting}
        if unwanted := [notice_id for notice_id, is_one in wanted.items() if not is_one]:
            await self._outbox.withdraw(unwanted)
        return [each for each in waiting if wanted[each.id]]

    async def _tell_paced(self, waiting: Sequence[Notice], addresses: Sequence[Address]) -> None:
        if not self._reach.reachable(addresses):
            return
        sent = await self._outbox.delivered_since(self._clock.now() - HOUR)
        pace = paced(waiting, sent, self._settings.most_per_hour, held=self._ledger.book.held)
        for notices in pace.messages:
            if not await uninterrupted(self._tell(notices, addresses)):
                return
        self._ledger.keep(self._ledger.book.model_copy(update={"held": pace.held}))

    async def _tell(self, notices: Sequence[Notice], addresses: Sequence[Address]) -> bool:
        """Send one message; return whether any address has it. What nobody has waits on in the store."""
        ids, message = tuple(notice.id for notice in notices), message_of(notices, self._settings.link)
        owed = Owed(ids=ids, message=message, at=self._clock.now(), missing=tuple(each.id for each in addresses))

        async def told(address: Address) -> None:
            nonlocal owed
            owed = owed.told_to(address.id)
            self._ledger.keep(self._ledger.book.with_owed(owed))

        await self._reach.tell(self._reach.reachable(addresses), message, told)
        if not owed.had:
            retry_at = self._reach.next_try(addresses)
            await self._outbox.failed(ids, retry_at)
            log.warning(
                "nobody could be told of %d notices: %s",
                len(ids),
                self._reach.faults(addresses),
                extra={"event": "notification_failed", "notices": len(ids), "retry_at": retry_at},
            )
            return False
        await self._record_told()
        extra = {"event": "notification_sent", "notices": len(ids), "incident_id": notices[0].incident_id}
        log.info("told of %d notices", len(ids), extra=extra)
        return True

    async def _record_told(self) -> None:
        """Have the store know what was told; also what was told before this process began."""
        for owed in self._ledger.book.owed:
            if not owed.recorded:
                await self._outbox.delivered(owed.ids, owed.at)
                self._ledger.keep(self._ledger.book.recorded(owed))

    async def _pay(self, addresses: Sequence[Address]) -> None:
        """Give addresses that answer again what the others have already, several messages as one."""
        book = self._ledger.book.settled([each.id for each in addresses], self._clock.now())
        self._ledger.keep(book)
        for address in self._reach.reachable(addresses):
            owing = [owed for owed in book.owed if address.id in owed.missing]
            if owing:
                await uninterrupted(self._pay_one(address, owing))

    async def _pay_one(self, address: Address, owing: Sequence[Owed]) -> None:
        if await self._reach.send(address, catching_up([owed.message for owed in owing])):
            paid = self._ledger.book
            ids = {owed.ids for owed in owing}
            told = tuple(each.told_to(address.id) if each.ids in ids else each for each in paid.owed)
            self._ledger.keep(paid.model_copy(update={"owed": told}))

    async def _try_out(self, tests: Sequence[Notice], addresses: Sequence[Address]) -> None:
        """Send a test to every address at once, whatever the hour's limit, and say how that went."""
        if not tests:
            return
        message, had = message_of(tests[:1]), set[str]()

        async def told(address: Address) -> None:
            had.add(address.id)

        await self._reach.tell(addresses, message, told)
        not_told = self._reach.faults([each for each in addresses if each.id not in had])
        names = _names([each for each in addresses if each.id in had])
        text = "; ".join(filter(None, (f"a test told {names}", not_told)))
        self._said = None  # a test that says the same again is an answer too
        await self._say("degraded" if not_told else "ok", text)
        self._faults = self._reach.faults(addresses)
        await self._outbox.clear_trouble(TEST)
        await self._outbox.withdraw([each.id for each in tests])

    async def _say(self, state: Literal["ok", "degraded"], text: str) -> None:
        if (state, text) != self._said:
            await self._around.say(state, text)
            self._said = (state, text)

    def _longest_round(self) -> float:
        return (self._settings.most_per_hour + 3) * LIMIT_SECONDS * 2 + _ROUND_SECONDS


def _names(addresses: Sequence[Address]) -> str:
    shown = [each.shown for each in addresses[:_MOST_SHOWN]]
    if len(addresses) > _MOST_SHOWN:
        shown.append(f"{len(addresses) - _MOST_SHOWN} more")
    return ", ".join(shown) or "nobody"


# --- the suite itself


async def watch_suite(around: Around) -> None:
    """Have it told, for ever, which services of the suite are in trouble. Raises: Unavailable."""
    watch = SuiteWatch()
    while True:
        standing = await around.standing()
        now = around.clock.now()
        for change in watch.look(standing, now):
            if not change.trouble or change.is_worse:
                await around.outbox.clear_trouble(change.service)
            if change.trouble:
                await around.outbox.raise_trouble(change.service, change.trouble, now)
                extra = {"event": "suite_trouble", "service": change.service}
                log.warning("%s: %s", change.service, change.trouble, extra=extra)
        await asyncio.sleep(WATCH_SECONDS)


async def _dead(around: Around) -> str:
    """Say which services do not live; empty: all do. Raises: Unavailable: that cannot be said."""
    away = is_away(await around.standing())
    return f"not given while these do not run: {', '.join(away)}" if away else ""
