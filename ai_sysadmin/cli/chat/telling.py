"""Ask the API and show the answer while it comes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from ai_sysadmin.cli.chat.stream import Event, LookClosed, Source, Text, Usage
from ai_sysadmin.cli.chat.view import TICK_SECONDS, View


@dataclass
class Told:
    """What came of one answer, also where it was stopped."""

    text: str = ""
    sources: list[Source] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    usage: Usage | None = None

    def take(self, event: Event) -> None:
        match event:
            case Text(text):
                self.text += text
            case Source():
                self.sources.append(event)
            case LookClosed(handle, failed=True):
                self.failed.add(handle)
            case Usage():
                self.usage = event


async def tell(events: AsyncGenerator[Event, None], view: View, told: Told) -> None:
    """Show an answer to its end. Raises: what the answer fails with; what came until then is shown and told."""
    with view:
        ticking = asyncio.create_task(_tick(view), name="screen")
        try:
            async with aclosing(events):
                async for event in events:
                    told.take(event)
                    view.show(event)
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)


async def _tick(view: View) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        view.tick()
