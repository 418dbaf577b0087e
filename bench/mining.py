"""Parsing and mining one synthetic stretch of journal: entries per CPU-second, beside what it costs as JSON.

Peer: `journalctl -o json` read line by line with the standard library's json, in the same run, on the same entries.
Both sides are given the bytes that journalctl would write; journalctl's own cost is on neither.
Then what hostile lines cost: as many of 300 bytes, each unlike all others, from one unit within a few seconds.
"""

import gc
import json
import random
import resource
import string
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ai_sysadmin.core.noticing_settings import TriggerMonitor
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources.export import ExportParser
from ai_sysadmin.trigger_monitor.lines.decide import Noticer

ENTRIES = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
UNITS = ("nginx", "postgresql", "sshd", "grafana", "backup", "nix-daemon", "docker")
CHUNK = 64 << 10
BATCH = 1000
LETTERS = string.ascii_letters + string.digits + "    "
NOW = datetime(2026, 11, 20, tzinfo=UTC)
BOOT = "99994dad5c8c448f92002e4d8dac3af6"


def entry(number: int, rng: random.Random) -> dict[str, str]:
    """Return one entry's fields: mostly routine, some warnings, a few errors."""
    unit, chance = rng.choice(UNITS), rng.random()
    if chance < 0.7:
        text = (
            f"10.0.{rng.randrange(256)}.{rng.randrange(256)} GET /items/{rng.randrange(10**6)} 200 {rng.random():.3f}"
        )
    elif chance < 0.98:
        text = f"worker {rng.randrange(64)}: job {rng.getrandbits(48):x} took {rng.random() * 900:.1f} ms"
    else:
        text = f"upstream {rng.randrange(8)} refused the connection"
    return {
        "__CURSOR": f"s=ab;i={number + 1:x};b={BOOT};m={number:x};t={number:x};x=1",
        "__REALTIME_TIMESTAMP": str(1_795_000_000_000_000 + number * 20_000),
        "_BOOT_ID": BOOT,
        "PRIORITY": "3" if chance >= 0.98 else "6",
        "SYSLOG_IDENTIFIER": unit,
        "_HOSTNAME": "host1",
        "_TRANSPORT": "stdout",
        "_SYSTEMD_UNIT": f"{unit}.service",
        "_SYSTEMD_SLICE": "system.slice",
        "MESSAGE": text,
    }


def per_cpu_second(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return ENTRIES / (time.process_time() - began)


def hostile(rng: random.Random) -> list[JournalEntry]:
    """Return as many entries of an evil unit, 20,000 a second, no two alike."""
    texts = ("".join(rng.choices(LETTERS, k=300)) for _ in range(ENTRIES))
    at = NOW
    return [
        JournalEntry("", at + timedelta(microseconds=50 * n), text, unit="evil.service") for n, text in enumerate(texts)
    ]


def noticed(entries: Sequence[JournalEntry]) -> Noticer:
    """Mine and decide in batches, and take the templates for the commit, as the monitor does."""
    noticer = Noticer("host1", TriggerMonitor(), now=NOW - timedelta(days=30))
    for start in range(0, len(entries), BATCH):
        batch = entries[start : start + BATCH]
        noticer.decide(batch, batch[-1].at)
        noticer.changed(batch[-1].at)
    return noticer


def resident_megabytes() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def parsed(export: bytes) -> list[JournalEntry]:
    parser = ExportParser()
    return [each for at in range(0, len(export), CHUNK) for each in parser.feed(export[at : at + CHUNK])]


def main() -> None:
    rng = random.Random(1)
    fields = [entry(number, rng) for number in range(ENTRIES)]
    export = "".join("".join(f"{key}={value}\n" for key, value in each.items()) + "\n" for each in fields).encode()
    lines = [json.dumps(each).encode() for each in fields]
    entries = parsed(export)

    def as_json() -> None:
        for line in lines:
            json.loads(line)

    peer = per_cpu_second(as_json)
    print(f"{ENTRIES} entries, per CPU-second:")
    for name, rate in (
        ("json.loads per line (peer)", peer),
        ("parse", per_cpu_second(lambda: parsed(export))),
        ("mine and decide", per_cpu_second(lambda: noticed(entries))),
        ("parse, mine and decide", per_cpu_second(lambda: noticed(parsed(export)))),
    ):
        print(f"  {name:28} {rate:>10,.0f}   {rate / peer:5.2f} of the peer")
    evil, kept = hostile(rng), list[Noticer]()
    before = resident_megabytes()
    rate = per_cpu_second(lambda: kept.append(noticed(evil)))
    grown = resident_megabytes() - before
    print(f"  {'mine and decide, hostile':28} {rate:>10,.0f}   {rate / peer:5.2f} of the peer, {grown:.1f} MB more")


if __name__ == "__main__":
    main()
