"""A notifier on a real store, and servers on this host that keep what they are told."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from ai_sysadmin.core.notification_settings import Notifications
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.notifications.daemon import Around, Notifier
from ai_sysadmin.notifications.sending import Sender
from ai_sysadmin.notifications.suite_watch import standing_of
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Noticed, ServiceNote
from ai_sysadmin.stores.relational import SqlStores
from tests.builders import NOW, PLACING, trigger
from tests.contracts.test_acting_stores import judged, looked_into
from tests.serving import serving

CANARY = "canary-8f3a"


@dataclass
class Moment:
    """A clock that a test moves."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at

    def goes(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass
class Told:
    """A server that keeps the messages it took; ``takes`` says whether it takes the n-th."""

    takes: Callable[[int], bool] = lambda _: True
    asked: int = 0
    messages: list[dict[str, str]] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]

    async def __call__(self, reader, writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:"))
        content = json.loads(await reader.readexactly(length))
        self.asked += 1
        takes = self.takes(self.asked)
        if takes:
            self.messages.append(content)
        status = "200 OK" if takes else "503 Away"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


@asynccontextmanager
async def told_servers(*servers: Told) -> AsyncIterator[list[str]]:
    """Serve each on a port of its own; return their URLs, which hold secrets."""
    if not servers:
        yield []
        return
    async with serving(servers[0]) as port, told_servers(*servers[1:]) as others:
        yield [f"json://bot:hunter{port}@127.0.0.1:{port}/s3cr3t-path?+X-Token=s3cr3t-header", *others]


def urls_file(directory: Path, urls: list[str]) -> Path:
    file = directory / "urls"
    file.write_text("# who is told\n\n" + "\n".join(urls) + "\n")
    file.chmod(0o600)
    return file


def notifier(
    stores: SqlStores,
    directory: Path,
    urls: list[str],
    clock: Moment,
    sender: Sender | None = None,
    **settings: object,
) -> Notifier:
    """Return a notifier that keeps its ledger in a directory: one made again there is one that was restarted."""
    wanted = Notifications.model_validate({"urls_file": urls_file(directory, urls), **settings})
    return Notifier(wanted, around(stores, directory, clock), sender)


def around(stores: SqlStores, directory: Path, clock: Moment, units: dict[str, str] | None = None) -> Around:
    async def standing() -> dict[str, str]:
        return standing_of(await stores.reader.notes(), units or {})

    async def say(state: str, text: str) -> None:
        await stores.notes.note(ServiceNote(service="notifier", state=state, text=text, at=clock.now()))

    return Around(stores.notifications, standing, say, clock, Heartbeat(), directory / "notifications.json")


async def needing(stores, unit="web.service", now=NOW):
    """Return an incident that is left to a person, and whose every text holds a canary."""
    fault = trigger(unit=unit, text=f"{CANARY}-log", at=now)
    (held,) = await stores.notices.commit(Noticed(None, triggers=[fault]), PLACING)
    await judged(stores, verdict=Verdict.ESCALATE, now=now)
    await looked_into(stores, now=now)
    return held


async def troubles(stores, count, at=NOW, first=0):
    for number in range(first, first + count):
        await stores.notifications.raise_trouble(f"s{number}", "degraded", at)


async def notes(stores):
    return {note.service: (note.state, note.text) for note in await stores.reader.notes()}


def lines_of(urls):
    """Return what may be shown of the file's URLs."""
    return [f"line {number} (json://{url.partition('@')[2].partition('/')[0]})" for number, url in enumerate(urls, 3)]
