"""The whole of layer 1 on one synthetic journal: read, parse, mine, decide, commit; entries per CPU-second.

All processes count, the reading child too; the store is a real SQLite file. Beside it, in the same run on the same
journal: a C loop over sd_journal that touches all data (the limit), `journalctl -o json` through the standard library's
json (what the prototype did), and drain3 on the bare messages (a miner alone, given them for nothing).
Argument: how many entries (500,000).
"""

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import _synthetic_journal as synthetic_journal
import journal_readers

from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.sources.export import ExportParser
from ai_sysadmin.sources.journal import follow
from ai_sysadmin.sources.journal_children import Journalctl, Library, Reader, has_binding
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.trigger_monitor.condition import Condition
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.lines.listening import Listening

ENTRIES = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
DRAINED = min(ENTRIES, 50_000)
CENTURY_HOURS = 100 * 365 * 24


def whole(reader: Reader, journal: Path, workshop: Path) -> Callable[[], int]:
    """Return layer 1's path over a journal; it returns how many entries were read."""

    async def run() -> int:
        clock, settings = SystemClock(), Settings(history_hours=CENTURY_HOURS)
        async with open_stores(workshop / f"{reader.name}.db", "host1", clock) as stores:
            listening = Listening(
                Ledger("host1", stores.notices, settings),
                stores.templates,
                clock,
                Heartbeat(),
                settings,
                Condition(None, clock),
                lambda _: None,
                lambda _: None,
                partial(follow, directory=journal, reader=reader),
            )
            task = asyncio.create_task(listening.read_journal())
            read = 0
            until = time.monotonic() + 300
            while read < ENTRIES and time.monotonic() < until and not task.done():
                await asyncio.sleep(0.2)
                position = await stores.notices.position()
                read = position.entries_read if position else 0
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            position = await stores.notices.position()
        (workshop / f"{reader.name}.db").unlink()
        return position.entries_read if position else 0

    return lambda: asyncio.run(run())


def drained() -> float | None:
    """Return drain3's lines per CPU-second; none: it is not installed."""
    try:
        from drain3 import TemplateMiner
        from drain3.masking import MaskingInstruction
        from drain3.template_miner_config import TemplateMinerConfig
    except ImportError:
        print("no drain3: it is not installed")
        return None
    entries = ExportParser().feed(b"".join(synthetic_journal.export(DRAINED)))
    config = TemplateMinerConfig()
    masks = ((r"\d{1,3}(\.\d{1,3}){3}", "IP"), (r"\b[0-9a-f]{6,}\b", "HEX"), (r"\d+", "NUM"))
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in masks]
    miner = TemplateMiner(config=config)
    began = time.process_time()
    for entry in entries:
        miner.add_log_message(entry.message)
    return len(entries) / (time.process_time() - began)


def main() -> None:
    gc.set_threshold(20_000, 20, 100)  # as the service does
    if not synthetic_journal.REMOTE.exists():
        print("nothing measured: systemd-journal-remote is needed")
        return
    with tempfile.TemporaryDirectory() as name:
        workshop, journal = Path(name), Path(name) / "journal"
        journal.mkdir()
        synthetic_journal.write(journal, ENTRIES)
        for file in journal.iterdir():  # so that nobody pays for the disk
            file.read_bytes()
        limit = journal_readers.c_loop(journal, workshop)
        works: dict[str, Callable[[], int] | None] = {
            "C loop over sd_journal (the limit)": limit,
            "layer 1, in-process reader": whole(Library(), journal, workshop) if has_binding() else None,
            "layer 1, journalctl -o export": whole(Journalctl(), journal, workshop),
            "journalctl -o json | json (prototype)": lambda: journal_readers.prototype(journal),
        }
        rates: dict[str, float | None] = {
            title: journal_readers.per_cpu_second(work) for title, work in works.items() if work
        }
        rates["drain3, mining alone"] = drained()
    if not has_binding():
        print("no in-process reader: systemd-python is not installed")
    report(rates)


def report(rates: dict[str, float | None]) -> None:
    limit, prototype = rates.get("C loop over sd_journal (the limit)"), rates["journalctl -o json | json (prototype)"]
    print(f"{ENTRIES} entries, per CPU-second of all processes:")
    for title, rate in rates.items():
        if rate is not None:
            of_limit = f"{limit / rate:5.1f} times below the limit" if limit else ""
            of_prototype = f"{rate / prototype:5.1f} times the prototype" if prototype else ""
            print(f"  {title:38} {rate:>10,.0f}   {of_prototype}   {of_limit}")


if __name__ == "__main__":
    main()
