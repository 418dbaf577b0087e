"""`ai-sysadmin backup` and `restore` on real stores and a real executor's journal, as a person runs them."""

import asyncio
import fcntl
import json
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from importlib.resources import files

import pytest
from typer.testing import CliRunner

from ai_sysadmin.actions.audit_chain import verify
from ai_sysadmin.cli import backup as backup_cli
from ai_sysadmin.cli import restore as restore_cli
from ai_sysadmin.cli.main import app
from ai_sysadmin.core.acting import ActionState, ExecutorEventKind
from ai_sysadmin.core.errors import AiSysadminError, Refused
from ai_sysadmin.core.settings import Autonomy
from ai_sysadmin.executor.audit import Audit
from ai_sysadmin.executor.journal import Journal
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.relational import open_stores
from tests.builders import HOST, NOW, PLACING, event, pack, request, review, trigger
from tests.executing import executor, failed_unit, settings_for

LATER = NOW + timedelta(minutes=1)


def invoked(*arguments):
    """Run the command line in a thread of its own, where no event loop runs yet."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(CliRunner().invoke, app, arguments).result()


class Installed:
    """A host's state directory and its settings, with the command line on them."""

    def __init__(self, root, **settings):
        root.mkdir()
        self.state, self.executor = root / "state", root / "executor"
        self.file = root / "settings.json"
        given = {
            "host_name": HOST,
            "state_dir": str(self.state),
            "executor": {"state_dir": str(self.executor)},
            **settings,
        }
        self.file.write_text(json.dumps(given))

    @property
    def database(self):
        return self.state / "ai-sysadmin.db"

    def run(self, command, *arguments):
        """Return the answer in JSON; what the command raises comes through."""
        done = invoked(command, *map(str, arguments), "--settings", str(self.file), "--json")
        if isinstance(done.exception, AiSysadminError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    async def fill(self):
        """Notice, judge, ask, and let an executor do something."""
        self.state.mkdir()
        (self.state / "api-key").write_text("sk-secret\n")
        self.executor.mkdir()
        async with open_stores(self.database, HOST) as stores:
            wanted = await asked(stores, "web.service")
        async with executor(self.executor, failed_unit()) as it:
            await it.asking.propose(wanted)
            await it.asking.approve(wanted.id, 0, "root")
            await it.ended(wanted.id)
        return wanted


async def asked(stores, unit):
    await stores.notices.commit(Noticed(None, triggers=[trigger(unit=unit)]), PLACING)
    held = await stores.reviews.claim_review(
        "r1",
        lease=timedelta(minutes=3),
        settle=timedelta(seconds=1),
        settle_at_most=timedelta(seconds=5),
        now=LATER,
    )
    wanted = request(held.incident.id, unit=unit)
    await stores.reviews.finish_review(held, pack(held.incident.id), review(incident_id=held.incident.id), [wanted])
    await stores.outbox.apply([event(wanted, ExecutorEventKind.ASKED, 1)])
    return wanted


def tables(database):
    """Return every table, row by row."""
    with closing(sqlite3.connect(database)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}


async def test_every_table_comes_back_row_by_row_from_stores_that_are_written_to(tmp_path):
    here, there, file = Installed(tmp_path / "a"), Installed(tmp_path / "b"), tmp_path / "host1.backup"
    await here.fill()
    async with open_stores(here.database, HOST) as stores:
        stop = asyncio.Event()

        async def write():
            number = 0
            while not stop.is_set():
                number += 1
                await stores.notices.commit(Noticed(None, triggers=[trigger(unit=f"u{number}.service")]), PLACING)
            return number

        writing = asyncio.create_task(write())
        busy = await asyncio.to_thread(here.run, "backup", tmp_path / "busy.backup")
        stop.set()
        assert await writing > 1
        said = await asyncio.to_thread(here.run, "backup", file)  # the services run still, and rest
        wanted = tables(here.database)
    assert file.stat().st_mode & 0o777 == 0o600
    assert said["bytes"] == file.stat().st_size
    assert {"state/ai-sysadmin.db", "state/api-key", "executor/executor.db", "executor/audit.jsonl"} == {*said["files"]}
    assert {*busy["files"]} == {*said["files"]}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".") or "partial" in path.name] == []

    there.run("restore", file)
    assert tables(there.database) == wanted
    assert len(wanted["incidents"]) > 1
    assert (there.state / "api-key").read_text() == "sk-secret\n"
    told, before = [(each.executor / "audit.jsonl").read_bytes() for each in (there, here)]
    assert told.startswith(before)
    assert json.loads(told[len(before) :])["kind"] == "restored"
    assert tables(there.executor / "executor.db") == tables(here.executor / "executor.db")

    done = there.run("restore", tmp_path / "busy.backup")
    assert tables(there.database) != wanted
    assert {path.rpartition("/")[2] for path in done["replaced"]} >= {"ai-sysadmin.db", "executor.db", "audit.jsonl"}
    async with open_stores(there.database, HOST) as stores:
        assert await stores.reader.incidents()
    with closing(sqlite3.connect(there.database)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_restored_executor_goes_on_with_a_whole_audit_and_begins_nothing_that_waited(tmp_path):
    here, there, file = Installed(tmp_path / "a"), Installed(tmp_path / "b"), tmp_path / "host1.backup"
    ended = await here.fill()
    systemd = failed_unit()
    for unit in ("another.service", "later.service"):
        systemd.add(unit, active="failed", result="exit-code")
    async with executor(here.executor, systemd, settings_for(Autonomy.AUTO_SAFE), begins=False) as it:
        wanted = request("another", unit="another.service")
        await it.asking.propose(wanted)  # it may run alone, and has not begun
        assert (await it.journal.find(wanted.id)).state is ActionState.APPROVED
        await asyncio.to_thread(here.run, "backup", file)
        it.begin()
        assert (await it.ended(wanted.id)).state is ActionState.SUCCEEDED
    done = len(systemd.starts)
    await asyncio.to_thread(there.run, "restore", file)
    async with executor(there.executor, systemd, settings_for(Autonomy.AUTO_SAFE)) as it:
        assert (await it.journal.find(wanted.id)).state is ActionState.EXPIRED
        assert (await it.journal.find(ended.id)).state is ActionState.SUCCEEDED
        await asyncio.sleep(0.1)
        assert len(systemd.starts) == done
        one_more = request("later", unit="later.service")
        await it.asking.propose(one_more)
        await it.ended(one_more.id)
    lines = (there.executor / "audit.jsonl").read_bytes().splitlines(keepends=True)
    assert verify(lines).fault == ""
    said = [json.loads(line) for line in lines]
    assert [each["kind"] for each in said if each.get("action_id") == wanted.id] == ["approved", "expired"]


async def test_a_database_of_an_older_schema_is_migrated_at_the_next_start(tmp_path):
    here, there, file = Installed(tmp_path / "a"), Installed(tmp_path / "b"), tmp_path / "host1.backup"
    here.state.mkdir()
    older = tmp_path / "migrations"
    older.mkdir()
    for script in (files("ai_sysadmin.stores.relational") / "migrations/sqlite").iterdir():
        if script.name < "0008":
            shutil.copy(str(script), older)
    database = Database(here.database, older)
    await database.open()
    body = trigger().model_dump_json()
    await database.write(
        lambda c: c.execute("INSERT INTO service_notes (service, body) VALUES ('trigger-monitor', ?)", (body,))
    )
    await database.close()
    await asyncio.to_thread(here.run, "backup", file)
    said = await asyncio.to_thread(there.run, "restore", file)
    assert said["manifest"]["members"][0]["schema_version"] == 7
    with closing(sqlite3.connect(there.database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (7,)
    async with open_stores(there.database, HOST) as stores:
        assert await stores.notices.commit(Noticed(None, triggers=[trigger()]), PLACING)
    with closing(sqlite3.connect(there.database)) as connection:
        assert connection.execute("SELECT max(version) FROM schema_versions").fetchone()[0] > 7
        assert connection.execute("SELECT body FROM service_notes").fetchone() == (body,)


async def test_nothing_is_replaced_that_is_not_told_to_be(tmp_path):
    here, file = Installed(tmp_path / "a"), tmp_path / "host1.backup"
    await here.fill()
    file.write_text("precious")
    with pytest.raises(Refused, match="--force"):
        here.run("backup", file)
    assert file.read_text() == "precious"
    here.run("backup", file, "--force")
    assert file.read_bytes()[:2] == b"\x1f\x8b"


async def test_a_dry_run_says_and_does_nothing(tmp_path):
    here, there, file = Installed(tmp_path / "a"), Installed(tmp_path / "b"), tmp_path / "host1.backup"
    await here.fill()
    said = here.run("backup", file, "--dry-run")
    assert said["dry_run"]
    assert f"{here.database}" in said["files"]
    assert not file.exists()
    here.run("backup", file)
    would = there.run("restore", file, "--dry-run")
    assert (would["replaced"], there.state.exists()) == ([], False)
    before = {path: path.stat().st_mtime_ns for path in here.state.parent.rglob("*")}
    would = here.run("restore", file, "--dry-run")
    assert f"{here.database}" in would["replaced"]
    assert {path: path.stat().st_mtime_ns for path in here.state.parent.rglob("*")} == before
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(AiSysadminError, match=r"damaged|cut short"):
        here.run("restore", file, "--dry-run")


async def test_a_restore_waits_for_nobody_who_runs(tmp_path):
    here, file = Installed(tmp_path / "a"), tmp_path / "host1.backup"
    await here.fill()
    here.run("backup", file)
    async with open_stores(here.database, HOST):
        with pytest.raises(Refused, match=r"ai-sysadmin\.db is in use"):
            await asyncio.to_thread(here.run, "restore", file)
    with (here.state / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="stop `ai-sysadmin up` first"):
            here.run("restore", file)
    journal = Journal(here.executor, Audit(here.executor))
    await journal.open()
    with pytest.raises(Refused, match=r"executor\.db is in use"):
        await asyncio.to_thread(here.run, "restore", file)
    await journal.close()
    here.run("restore", file)


async def test_a_unit_of_the_suite_that_runs_on_this_state_is_named(tmp_path, monkeypatch):
    here, file = Installed(tmp_path / "a"), tmp_path / "host1.backup"
    await here.fill()
    here.run("backup", file)

    async def running():
        return ["ai-sysadmin-api.socket"]

    monkeypatch.setattr(restore_cli, "_running_units", running)
    here.run("restore", file)  # the units run on another state
    monkeypatch.setattr(restore_cli.settings_file, "SYSTEM_FILES", (here.file,))
    with pytest.raises(Refused, match=r"ai-sysadmin-api\.socket runs on .*systemctl stop ai-sysadmin\.target"):
        here.run("restore", file)


async def test_another_hosts_backup_is_taken_only_when_it_is_wanted(tmp_path):
    here, file = Installed(tmp_path / "a"), tmp_path / "host1.backup"
    other = Installed(tmp_path / "b", host_name="host2")
    await here.fill()
    here.run("backup", file)
    with pytest.raises(Refused, match="--host-differs"):
        other.run("restore", file)
    assert not other.database.exists()
    assert other.run("restore", file, "--host-differs")["manifest"]["host"] == HOST


async def test_postgresql_is_left_to_its_own_tools(tmp_path):
    url = "postgresql:///ai-sysadmin?host=/run/postgresql&user=ai-sysadmin"
    here, file = Installed(tmp_path / "a"), tmp_path / "host1.backup"
    served = Installed(tmp_path / "b", database={"url": url})
    await here.fill()
    served.state.mkdir()
    (served.state / "api-key").write_text("sk-other\n")
    for command, tool in (("backup", "pg_dump"), ("restore", "pg_restore")):
        done = invoked(command, str(file), "--settings", str(served.file))
        assert done.exit_code == 2
        assert f"{tool} " in done.stderr
        assert url in done.stderr
    said = served.run("backup", file, "--without-database")
    assert [*said["files"]] == ["state/api-key"]
    assert "pg_dump" in said["left_out"][0]
    (served.state / "api-key").write_text("lost\n")
    served.run("restore", file, "--without-database")
    assert (served.state / "api-key").read_text() == "sk-other\n"

    here.run("backup", tmp_path / "whole.backup")
    before = tables(here.database)
    here.run("restore", tmp_path / "whole.backup", "--without-database")
    assert tables(here.database) == before


async def test_it_goes_to_stdout_too(tmp_path):
    here, there = Installed(tmp_path / "a"), Installed(tmp_path / "b")
    await here.fill()
    argv = (sys.executable, "-m", "ai_sysadmin", "backup", "-", "--settings", str(here.file))
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, timeout=60, check=True)
    assert b"API keys" in done.stderr
    (tmp_path / "file").write_bytes(done.stdout)
    there.run("restore", tmp_path / "file")
    assert tables(there.database) == tables(here.database)


async def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    here, file = Installed(tmp_path / "a"), tmp_path / "host1.backup"
    await here.fill()

    def full(*_given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_cli.backups, "write_archive", full)
    with pytest.raises(AiSysadminError, match="the disk is full; nothing of it is left"):
        here.run("backup", file)
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


async def test_finish_says_when_there_is_nothing_to_finish(tmp_path):
    here = Installed(tmp_path / "a")
    await here.fill()
    assert here.run("restore", "--finish") == {"finished": False}
