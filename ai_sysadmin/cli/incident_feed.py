"""Incidents as they come: one line for each new word of each incident's story."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from ai_sysadmin.context.defuse import defuse
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.stores import ReadStore, TimelineEntry

POLL_SECONDS = 0.5
RECENT = 50


async def follow(reader: ReadStore, say: Callable[[str], None]) -> None:
    """Say what is still open, then every new line of every incident, for ever. Raises: StoreUnavailable."""
    told: dict[str, int] = {}
    revisions: dict[str, int] = {}
    for incident in reversed(await reader.incidents(limit=RECENT)):
        told[incident.id] = len((await reader.incident(incident.id)).timeline)
        revisions[incident.id] = incident.revision
        if not incident.ended:
            say(f"{_clock(incident.opened_at)}  {incident.id}  still {incident.state.value}: {defuse(incident.title)}")
    while True:
        for incident in reversed(await reader.incidents(limit=RECENT)):
            if revisions.get(incident.id) != incident.revision:
                revisions[incident.id] = incident.revision
                timeline = (await reader.incident(incident.id)).timeline
                for entry in timeline[told.get(incident.id, 0) :]:
                    say(line(incident, entry))
                told[incident.id] = len(timeline)
        await asyncio.sleep(POLL_SECONDS)


def line(incident: Incident, entry: TimelineEntry) -> str:
    """Say one word of an incident's story in one line."""
    what = entry.event.removeprefix("incident_").replace("_", " ")
    return f"{_clock(entry.at)}  {incident.id}  {what}: {defuse(entry.text)}"


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")
