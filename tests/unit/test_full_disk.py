"""The disk of the state directory is full, the database is read-only: what the services do, and that they recover.

The disk is a real one of four megabytes, mounted in a mount namespace of its own; this file is also the program that
runs in it.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ai_sysadmin.core.errors import AiSysadminError, StoreUnavailable
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Sample
from ai_sysadmin.core.retention_settings import Retention
from ai_sysadmin.notifications.ledger import Book, Ledger
from ai_sysadmin.openai_api_server.gate.keys import ensure_api_key
from ai_sysadmin.runtime.service import troubles
from ai_sysadmin.stores import ServiceNote
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.stores.relational.retention import SqlRetention
from ai_sysadmin.stores.retention_store import Limits
from ai_sysadmin.testing.host import FakeClock
from tests.builders import HOST, NOW
from tests.contracts.test_retention import ended
from tests.unit.test_trigger_daemon import FlakyStore, Scene

ROOT = Path(__file__).parents[2]
NAMESPACE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))


def inside(what: str, directory: Path, *before: str) -> Any:
    """Run a function of this file as a program; return what it found."""
    argv = [*before, sys.executable, "-m", "tests.unit.test_full_disk", what, str(directory)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def on_small_disk(what: str, directory: Path) -> Any:
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        reason = "no mount namespace can be made here: kernel.unprivileged_userns_clone, or run as root"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return inside(what, directory, *NAMESPACE)


# --- what is so


def test_the_monitor_waits_for_room_and_then_has_everything_once(tmp_path: Path) -> None:
    found = on_small_disk("monitor", tmp_path)
    assert found["while full"] == ["web.service"]
    assert str(tmp_path) in found["trouble"]
    assert "full" in found["trouble"]
    assert found["after"] == {"web.service": 502, "db.service": 1}
    assert (found["read"], found["lost"]) == (503, 0)
    assert found["trouble after"] == ""


def test_each_write_fails_clearly_what_is_kept_can_be_read_and_nothing_is_half_written(tmp_path: Path) -> None:
    found = on_small_disk("writes", tmp_path)
    for what in ("note", "metrics", "forget"):
        assert "full" in found[what], what
        assert str(tmp_path) in found[what]
    assert found["read"] == 1
    assert found["after"] == {"note": "", "metrics": "", "forget": ""}
    assert found["incidents after"] == 0


def test_a_store_opened_on_a_full_disk_says_which_and_opens_once_there_is_room(tmp_path: Path) -> None:
    found = on_small_disk("opening", tmp_path)
    assert "full" in found["made anew"]
    assert str(tmp_path / "other.db") in found["made anew"]
    assert found["made anew, with room"] == ""


def test_the_notifiers_book_stays_in_memory_and_whole_on_disk(tmp_path: Path) -> None:
    found = on_small_disk("ledger", tmp_path)
    assert found == {"in memory": False, "on disk": True, "after": False, "drafts": 0}


def test_a_key_that_cannot_be_written_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    found = on_small_disk("key", tmp_path)
    assert f"{tmp_path / 'api-key'} cannot be used: No space left on device" in found["full"]
    assert found["files"] == []
    assert found["after"] == ""


def test_a_database_that_may_not_be_written_is_said_with_its_path() -> None:
    given = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chown(name, 65534, 65534) if given else None
        found = inside("read_only", Path(name), *given)
        assert f"{name}/state.db" in found["read-only"]
        assert "ermission denied" in found["read-only"] or "read-only" in found["read-only"]
        assert found["after"] == ""


# --- the programs


def fill(directory: Path) -> None:
    with (directory / "ballast").open("ab", 0) as file:
        for size in (65536, 4096, 512, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)


@contextmanager
def full(directory: Path) -> Iterator[None]:
    fill(directory)
    try:
        yield
    finally:
        (directory / "ballast").unlink()


async def why(work: Any) -> str:
    """Return how work failed, in its words; empty: it did not."""
    try:
        await work
    except AiSysadminError as error:
        return str(error)
    return ""


async def monitor(directory: Path) -> dict[str, Any]:
    async with open_stores(directory / "state.db", HOST, FakeClock()) as stores:
        scene = Scene(stores, FlakyStore(stores.notices))
        async with scene.monitor():
            scene.units.put("web.service")
            scene.journal.write([scene.write.line("no port"), scene.write.failed()])
            await scene.until("web.service")
            with full(directory):
                scene.units.put("db.service")
                scene.journal.write(scene.write.lines(500))
                scene.journal.write([scene.write.failed("db.service")])
                said = await until_troubled()
                while_full = list(await scene.incidents())
            await scene.until("db.service")
            await scene.until_read(503)
            async with asyncio.timeout(10):
                while troubles():
                    await asyncio.sleep(0.05)
            after: dict[str, Incident] = await scene.incidents()
            position = await stores.notices.position()
            assert position is not None
    return {
        "while full": while_full,
        "trouble": said,
        "after": {unit: incident.count for unit, incident in after.items()},
        "read": position.entries_read,
        "lost": position.entries_lost,
        "trouble after": "".join(troubles().values()),
    }


async def until_troubled() -> str:
    async with asyncio.timeout(10):
        while not (said := troubles().get("journal", "")):
            await asyncio.sleep(0.05)
    return said


async def writes(directory: Path) -> dict[str, Any]:
    async with open_stores(directory / "state.db", HOST) as stores:
        await ended(stores)
        with full(directory):
            found: dict[str, Any] = await all_writes(stores)
            found["read"] = len(await stores.reader.incidents())
        found["after"] = await all_writes(stores)
        found["incidents after"] = len(await stores.reader.incidents())
    return found


async def all_writes(stores: SqlStores) -> dict[str, str]:
    said = "x" * 100_000
    samples = [Sample(f"figure_{number}", 1.0) for number in range(2000)]
    retention = SqlRetention(stores.reader._database, HOST)
    limits = Limits.of(Retention())
    return {
        "note": await why(stores.notes.note(ServiceNote(service="api", state="ok", text=said, at=NOW))),
        "metrics": await why(stores.metrics.write(samples, NOW)),
        "forget": await why(retention.forget(limits, NOW + timedelta(days=365))),
    }


async def opening(directory: Path) -> dict[str, str]:
    async def opened() -> None:
        async with open_stores(directory / "other.db", HOST):
            pass

    with full(directory):
        anew = await why(opened())
    return {"made anew": anew, "made anew, with room": await why(opened())}


async def ledger(directory: Path) -> dict[str, Any]:
    path = directory / "notifications.json"
    kept = Ledger(path)
    kept.keep(Book(held=True))
    with full(directory):
        kept.keep(Book(held=False))
        found = {"in memory": kept.book.held, "on disk": Ledger(path).book.held}
    kept.keep(Book(held=True))
    kept.keep(Book(held=False))
    drafts = [each for each in directory.iterdir() if each != path]
    return {**found, "after": Ledger(path).book.held, "drafts": len(drafts)}


async def key(directory: Path) -> dict[str, Any]:
    async def ensured() -> None:
        ensure_api_key(directory / "api-key")

    with full(directory):
        said = await why(ensured())
        files = [each.name for each in directory.iterdir() if each.name != "ballast"]
    return {"full": said, "files": files, "after": await why(ensured())}


async def read_only(directory: Path) -> dict[str, str]:
    path = directory / "state.db"

    async def written() -> None:
        async with open_stores(path, HOST) as stores:
            await stores.notes.note(ServiceNote(service="api", state="ok", text="well", at=NOW))

    await written()
    path.chmod(0o444)
    with pytest.raises(StoreUnavailable) as refused:
        await written()
    path.chmod(0o600)
    return {"read-only": str(refused.value), "after": await why(written())}


def main(what: str, directory: Path) -> None:
    if what != "read_only":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], check=True)
    print(json.dumps(asyncio.run(globals()[what](directory))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
