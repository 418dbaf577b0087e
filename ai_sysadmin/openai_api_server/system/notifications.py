"""``/v1/system/notifications``: how the notifier stands, and a test that goes the way of every other notice."""

import logging
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.notifications import SERVICE, TEST, UNCONFIGURED
from ai_sysadmin.openai_api_server.gate.gate import changed_by
from ai_sysadmin.openai_api_server.system.notification_views import Asked, Notifying
from ai_sysadmin.stores import ReadStore
from ai_sysadmin.stores.notification_store import NotificationStore

log = logging.getLogger(__name__)

_MOST: Final = 1000


class Tellings:
    """The look-ups behind the paths."""

    def __init__(self, store: NotificationStore, reader: ReadStore, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._reader = reader
        self._configured = settings.notifications.urls_file is not None
        self._clock = clock

    async def standing(self) -> Notifying:
        waiting = await self._store.waiting(self._clock.now(), _MOST)
        notes = [note for note in await self._reader.notes() if note.service == SERVICE]
        return Notifying(
            configured=self._configured,
            waiting=len(waiting),
            test_waits=any(notice.unit == TEST for notice in waiting),
            notifier=notes[0] if notes else None,
        )

    async def test(self, by: str) -> Asked:
        """Raises: Refused: there is nobody to tell."""
        if not self._configured:
            raise Refused(UNCONFIGURED)
        now = self._clock.now()
        await self._store.raise_trouble(TEST, "a test", now)
        log.info("%s asks for a test of notifications", by, extra={"event": "notification_test_asked", "by": by})
        return Asked(at=now)


def router(store: NotificationStore, reader: ReadStore, settings: Settings, clock: Clock) -> APIRouter:
    """Return the paths below ``/v1/system``."""
    paths, tellings = APIRouter(), Tellings(store, reader, settings, clock)

    @paths.get("/notifications")
    async def standing() -> Response:
        return _record(await tellings.standing())

    @paths.post("/notifications/test")
    async def test(request: Request) -> Response:
        return _record(await tellings.test(changed_by(request.scope, settings)))

    return paths


def _record(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")
