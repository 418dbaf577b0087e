"""How long it takes to gather the evidence for one incident, on a host where there is much of everything.

A journal of 100,000 lines of one unit with messages of 3 MB among them, a unit with 3,000 dependencies, a day of 120
series of figures, changes, past incidents. Beside it, in the same run, the bare look-up that no evidence can do
without: `journalctl -u UNIT -n 2000`.

`python bench/evidence.py [ENTRIES]`
"""

import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from ai_sysadmin.context.evidence import EvidenceSources, gather
from ai_sysadmin.context.pieces.host import HostFacts
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import EvidencePack, Sample
from ai_sysadmin.sources.changes import Change, ChangesSeen
from ai_sysadmin.sources.journal import SystemJournal
from ai_sysadmin.sources.units import Dependencies, UnitStatus
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.testing.changes import FakeChanges
from ai_sysadmin.testing.host import FakeUnits
from bench._synthetic_journal import REMOTE, of_service
from tests.builders import incident
from tests.judging import symptom

UNIT = "web.service"
ENTRIES = 100_000
HUGE_BYTES = 3_000_000
HUGE_EVERY = 25_000
DEPENDENCIES = 3000
SERIES = 120
SAMPLE_SECONDS = 15
ROUNDS = 5


def write_journal(file: Path, entries: int, until: datetime) -> None:
    """Write the unit's lines of the last half hour, some of them huge."""
    rng = random.Random(7)
    first, step = int(until.timestamp() * 1e6) - 1_700_000_000, 1_700_000_000 // entries
    argv = [str(REMOTE), "-o", str(file), "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as remote:
        assert remote.stdin
        for number in range(entries):
            fields = of_service(rng, "web", "aa" * 16, "4711")
            if number % HUGE_EVERY == HUGE_EVERY - 5:
                fields["MESSAGE"] = f"dump {number} " + "x" * HUGE_BYTES
            usec = first + number * step
            head = {
                "__REALTIME_TIMESTAMP": str(usec),
                "__MONOTONIC_TIMESTAMP": str(usec - first + 10_000_000),
                "_BOOT_ID": "0b" * 16,
                "_MACHINE_ID": "3d" * 16,
            }
            remote.stdin.write("".join(f"{k}={v}\n" for k, v in (head | fields).items()).encode() + b"\n")
        remote.stdin.close()
    assert remote.returncode == 0


async def write_figures(stores: SqlStores, until: datetime) -> None:
    """Write a day of figures as the trigger monitor does."""
    rng = random.Random(3)
    names = [Sample("cpu_used_percent", 20, unit="percent"), Sample("load_per_processor", 0.2, unit="ratio")]
    names += [Sample("file_system_used_percent", 40, f"/srv/{n}", "percent") for n in range(SERIES - 2)]
    for ago in range(86_400, 0, -SAMPLE_SECONDS):
        samples = [each._replace(value=each.value + rng.random()) for each in names]
        await stores.metrics.write(samples, until - timedelta(seconds=ago))


def units() -> FakeUnits:
    fake = FakeUnits()
    names = tuple(f"shard-{number}.service" for number in range(DEPENDENCIES))
    for number, name in enumerate(names):
        fake.put(name, "failed" if number % 500 == 0 else "active")
    fake.put(UNIT, sub_state="failed", exit_status=1, type="simple")
    fake.needs[UNIT] = Dependencies(wants=names, after=names)
    fake.units["gone.service"] = UnitStatus(name="gone.service")
    return fake


def changed(now: datetime) -> FakeChanges:
    found = [
        Change(at=now - timedelta(seconds=30 * n), kind="configuration", what=f"/etc/{n} changed", about=f"/etc/{n}")
        for n in range(1, 41)
    ]
    return FakeChanges(ChangesSeen(changes=tuple(found)))


async def timed(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return the median of the seconds a call takes and of the processor time that this process spends on it."""
    took, spent = [], []
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        await work()
        took.append(time.perf_counter() - began)
        spent.append(time.process_time() - used)
    return median(took), median(spent)


async def bare(directory: Path) -> None:
    argv = ["journalctl", f"--directory={directory}", f"--unit={UNIT}", "--lines=2000", "--output=short-iso", "--all"]
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    await process.communicate()


async def main(entries: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, now = Path(name), datetime.now(UTC)
        (directory / "journal").mkdir()
        write_journal(directory / "journal/system.journal", entries, now)
        async with open_stores(directory / "db.sqlite", "host1", SystemClock()) as stores:
            await write_figures(stores, now)
            fake = units()
            sources = EvidenceSources(
                units=fake,
                journal=SystemJournal(directory / "journal"),
                metrics=stores.metrics,
                changes=changed(now),
                past=stores.reader,
                host=HostFacts(fake),
            )
            about: Incident = incident(opened_at=now - timedelta(seconds=20))
            packs: list[EvidencePack] = []

            async def one() -> None:
                packs.append(await gather(about, [symptom()], sources, now))

            seconds, processor = await timed(one)
            plain, _ = await timed(lambda: bare(directory / "journal"))
            parts = {
                "log": lambda: gather(about, [], EvidenceSources(units=fake, journal=sources.journal), now),
                "metrics": lambda: gather(
                    incident(unit=""),
                    [],
                    EvidenceSources(units=fake, journal=sources.journal, metrics=stores.metrics),
                    now,
                ),
            }
            alone = {part: (await timed(work))[0] for part, work in parts.items()}
    pack = packs[0]
    print(
        json.dumps(
            {
                "entries": entries,
                "pack_seconds": round(seconds, 3),
                "own_processor_seconds": round(processor, 3),
                "journalctl_seconds": round(plain, 3),
                "ratio": round(seconds / plain, 2),
                "log_only_seconds": round(alone["log"], 3),
                "metrics_only_seconds": round(alone["metrics"], 3),
                "characters": {piece.kind: len(piece.text) for piece in pack.pieces},
                "all_equal": len({each.model_dump_json() for each in packs}) == 1,
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES))
