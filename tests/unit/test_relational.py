"""Under the stores: the file's thread and log, what a database's errors are called, which suites a script keeps out."""

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.database_faults import Server, postgres_fault
from ai_sysadmin.runtime.migrations import Applied, SchemaUnusable, needs_of, pending, scripts_in
from ai_sysadmin.runtime.outage import Outage
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational

SERVER = Server("ai at /run/postgresql", "ai", "sysadmin")


# --- scripts


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("CREATE TABLE a (id INTEGER, renamed_at TEXT);\n", 0),
        ("-- What was dropped: RENAME, DROP TABLE.\nCREATE TABLE a (id INTEGER);\n", 0),
        ("ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT '';\n", 0),
        ("ALTER TABLE a ADD COLUMN b TEXT;\n", 0),
        ("DROP INDEX a_by_b;\nCREATE INDEX a_by_b ON a (b);\n", 0),
        ("ALTER TABLE a ADD COLUMN b TEXT NOT NULL;\n", 2),
        ("ALTER TABLE a\n    RENAME COLUMN b TO c;\n", 2),
        ("CREATE TABLE c (id INTEGER);\ndrop table a;\n", 2),
        ("ALTER TABLE a DROP COLUMN b;\n", 2),
        ("ALTER TABLE a ALTER COLUMN b TYPE TEXT;\n", 2),
        ("ALTER TABLE a ALTER COLUMN b SET NOT NULL;\n", 2),
        ("ALTER TABLE a ADD CONSTRAINT one UNIQUE (b);\n", 2),
        ("-- needs: 1\nDROP TABLE a;\n", 1),
        ("-- needs: 2\nCREATE TABLE b (id INTEGER);\n", 2),
    ],
)
def test_what_a_script_needs_is_read_off_it_unless_it_says_so(tmp_path, text, needs):
    (tmp_path / "0001-first.sql").write_text("CREATE TABLE a (b TEXT);\n")
    (tmp_path / "0002-second.sql").write_text(text)
    assert needs_of(scripts_in(tmp_path)) == needs


@pytest.mark.parametrize("names", [["0002-a.sql"], ["0001-a.sql", "0003-b.sql"], ["0001-a.sql", "0001-b.sql"]])
def test_scripts_with_a_gap_are_not_applied_at_all(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("CREATE TABLE a (b TEXT);\n")
    with pytest.raises(SchemaUnusable, match="not whole"):
        scripts_in(tmp_path)


def test_a_script_cannot_need_more_than_it_makes(tmp_path):
    (tmp_path / "0001-first.sql").write_text("-- needs: 2\nCREATE TABLE a (b TEXT);\n")
    with pytest.raises(SchemaUnusable, match=r"0001-first\.sql needs schema 2"):
        scripts_in(tmp_path)


def test_what_is_pending_follows_from_what_was_applied_and_needed(tmp_path):
    for number in (1, 2):
        (tmp_path / f"000{number}-step.sql").write_text("CREATE TABLE a (b TEXT);\n")
    scripts = scripts_in(tmp_path)
    assert [script.number for script in pending(scripts, Applied(0, 0), "x")] == [1, 2]
    assert [script.number for script in pending(scripts, Applied(1, 1), "x")] == [2]
    assert not pending(scripts, Applied(3, 2), "x")
    with pytest.raises(SchemaUnusable):
        pending(scripts, Applied(3, 3), "x")


# --- a file


@pytest.fixture
async def file(tmp_path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "0001-first.sql").write_text("CREATE TABLE kept (id INTEGER PRIMARY KEY, text TEXT);\n")
    database = Database(tmp_path / "state.db", scripts)
    await database.open()
    yield database
    await database.close()


def insert(text):
    return lambda connection: connection.execute("INSERT INTO kept (text) VALUES (?)", (text,))


async def test_a_full_disk_says_so_and_is_got_over(file):
    pages = await file.read(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await file.read(lambda c: c.execute(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(StoreUnavailable, match=r"full.*make room on it"):
        await file.write(insert("x" * 100_000))
    await file.read(lambda c: c.execute("PRAGMA max_page_count=1000000"))
    await file.write(insert("x" * 100_000))
    assert await file.read(lambda c: c.execute("SELECT count(*) FROM kept").fetchone()[0]) == 1


async def test_a_file_that_became_read_only_says_so(file):
    await file.read(lambda c: c.execute("PRAGMA query_only=ON").fetchall())
    with pytest.raises(StoreUnavailable, match=r"read-only: look at the owner and mode.*mounted"):
        await file.write(insert("x"))


async def test_a_file_that_somebody_holds_says_so(file):
    await file.read(lambda c: c.execute("PRAGMA busy_timeout=20"))
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"locked.*fuser .*state\.db"):
            await file.write(insert("x"))
    await file.write(insert("x"))


@pytest.mark.parametrize("where", [0, 4096], ids=["head", "page"])
async def test_a_damaged_file_names_the_way_back(file, where):
    await file.write(lambda c: c.executemany("INSERT INTO kept (text) VALUES (?)", [("x" * 500,)] * 50))
    await file.close()
    with file.path.open("r+b") as raw:
        raw.seek(where)
        raw.write(b"\xa5" * 4096)
    with pytest.raises(StoreUnavailable, match="ai-sysadmin restore"):
        await file.open()
        await file.read(lambda c: c.execute("SELECT text FROM kept").fetchall())


async def test_a_log_that_readers_kept_from_beginning_anew_is_written_back(file, monkeypatch):
    monkeypatch.setattr("ai_sysadmin.runtime.sqlite._WAL_BYTES", 100_000)
    monkeypatch.setattr("ai_sysadmin.runtime.sqlite._LOOK_AT_WAL_EVERY", 4)
    log = file.path.with_name("state.db-wal")
    with closing(sqlite3.connect(file.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM kept").fetchone()
        await file.read(lambda c: c.execute("PRAGMA busy_timeout=0"))
        for _ in range(40):
            await file.write(insert("x" * 100_000))
        assert log.stat().st_size > 3_000_000
        reader.execute("COMMIT")
    for _ in range(4):
        await file.write(insert("x"))
    assert log.stat().st_size <= 100_000


async def test_telling_of_a_change_is_nothing_to_a_file(file):
    async def work(tx):
        tx.tell("incidents")
        return await tx.value("SELECT count(*) FROM kept")

    assert await SqliteRelational(file).write(work) == 0


# --- its thread


async def test_who_is_cancelled_waits_for_the_work_however_often(file):
    ended = []
    asked = asyncio.create_task(file.write(lambda _: (time.sleep(0.1), ended.append(1))))
    for _ in range(3):
        await asyncio.sleep(0.01)
        asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert ended == [1]


async def test_what_was_asked_before_it_is_closed_is_done_and_nothing_after(file):
    seen = []
    waiting = [asyncio.create_task(file.write(lambda _, n=n: seen.append(n))) for n in range(50)]
    await asyncio.sleep(0)
    await file.close()
    assert seen == list(range(50))
    await asyncio.gather(*waiting)
    with pytest.raises(StoreUnavailable, match="is not open"):
        await file.write(lambda _: None)


# --- a server


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        ("", 'FATAL:  database "ai" does not exist', 'ensureDatabases = [ "ai" ]'),
        ("", 'FATAL:  password authentication failed for user "sysadmin"', 'does not let the role "sysadmin" in'),
        ("", 'FATAL:  Peer authentication failed for user "sysadmin"', "pg_hba.conf"),
        ("", 'FATAL:  role "sysadmin" does not exist', 'does not let the role "sysadmin" in'),
        ("", "FATAL:  sorry, too many clients already", "max_connections"),
        ("", "FATAL:  remaining connection slots are reserved", "max_connections"),
        ("", "FATAL:  the database system is starting up", "the next try goes on"),
        ("", "connection to server failed: Connection refused", "systemctl status postgresql"),
        ("53100", "could not extend file: No space left on device", "the disk of its server is full"),
        ("25006", "cannot execute INSERT in a read-only transaction", 'ALTER DATABASE "ai" RESET'),
        ("57014", "canceling statement due to statement timeout", "took longer than it may"),
        ("55P03", "canceling statement due to lock timeout", "pg_locks"),
        ("53300", "too many connections", "pg_stat_activity"),
        ("42501", "permission denied for database ai", 'GRANT CREATE ON DATABASE "ai" TO "sysadmin";'),
        ("42501", "permission denied for table incidents", "GRANT ALL ON ALL TABLES IN SCHEMA ai_sysadmin"),
    ],
)
def test_a_servers_error_says_what_to_do(code, text, words):
    said = postgres_fault(code, f"{text}\n\tmore of it", SERVER)
    assert said.startswith(f"the database ai at /run/postgresql cannot be used: {text}; ")
    assert words in said
    assert "more of it" not in said


async def test_an_outage_ends_waits_at_once_and_pauses_longer_each_time_it_goes_on(monkeypatch):
    outage, now = Outage(), 1000.0
    monkeypatch.setattr("ai_sysadmin.runtime.outage.time.monotonic", lambda: now)

    async def wait():
        async with asyncio.timeout(None) as deadline:
            with outage.waiting(deadline):
                await asyncio.sleep(60)

    waiting = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    outage.began("refused")
    outage.tell_waiters()
    assert {type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)} == {TimeoutError}
    pauses = []
    for _ in range(8):
        began = now
        while outage.pausing:
            now += 0.05
        pauses.append(now - began)
        outage.began("refused")
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.5
    assert 4 < pauses[-1] < 6
    outage.ended()
    assert not outage.pausing
    outage.began("refused")
    now += 0.3
    assert not outage.pausing
