"""How well a service can do its work, written down when it changes, for ``status``."""

import asyncio
import logging
from typing import Literal

from ai_sysadmin.context.defuse import without_numbers
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.llm_backend import ModelServer, ServerHealth
from ai_sysadmin.stores import NoteStore, ServiceNote

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 15.0
"""How often a model server's health is looked at. That wakes no sleeping model, and is too rare to keep one busy."""


class Condition:
    """What a service last said of itself. Raises: StoreUnavailable."""

    def __init__(self, service: str, notes: NoteStore, clock: Clock) -> None:
        self._service = service
        self._notes = notes
        self._clock = clock
        self._said: tuple[str, str] | None = None

    async def is_ok(self, text: str) -> None:
        await self._say("ok", text)

    async def is_degraded(self, why: str) -> None:
        await self._say("degraded", why)

    async def _say(self, state: Literal["ok", "degraded"], text: str) -> None:
        kind = (state, without_numbers(text) if state == "degraded" else "")  # seconds that pass are not news
        if kind == self._said:
            return
        await self._notes.note(ServiceNote(service=self._service, state=state, text=text, at=self._clock.now()))
        self._said = kind
        level = logging.INFO if state == "ok" else logging.WARNING
        log.log(level, "%s: %s", state, text, extra={"event": f"service_{state}"})


async def watch(condition: Condition, server: ModelServer, without_it: str) -> None:
    """Keep the condition up to date for ever: degraded while the model cannot be asked, and what that costs."""
    while True:
        health = await server.health()
        if health.state == "ready":
            await condition.is_ok(_ready(health))
        elif health.may_be_asked:
            await condition.is_ok(health.text)
        else:
            await condition.is_degraded(f"{health.text}; {without_it}")
        await asyncio.sleep(LOOK_EVERY_SECONDS)


def _ready(health: ServerHealth) -> str:
    said = [health.model]
    if health.context_tokens:
        said.append(f"{health.context_tokens} tokens of context")
    if health.schemas == "ignored":
        said.append("it does not keep to schemas, so more of its replies are unusable")
    return f"{health.text} ({', '.join(said)})"
