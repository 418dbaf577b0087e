"""The schema of either database: made once, whole or not at all, and usable by the version before."""

import asyncio
import json
import logging
import os
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from functools import partial
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.migrations import SchemaUnusable
from ai_sysadmin.runtime.postgres import PostgresDatabase
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational
from ai_sysadmin.stores import relational
from tests.builders import HOST

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = {name: files(relational) / "migrations" / name for name in ("sqlite", "postgres")}
FIRST = "CREATE TABLE kept (id INTEGER PRIMARY KEY, text TEXT NOT NULL);\nCREATE INDEX kept_by_text ON kept (text);\n"
ADDS = "ALTER TABLE kept ADD COLUMN more TEXT NOT NULL DEFAULT '';\nCREATE TABLE second (id INTEGER PRIMARY KEY);\n"
RENAMES = "-- Says it better.\nALTER TABLE kept RENAME COLUMN text TO words;\n"


@asynccontextmanager
async def opened(place, scripts):
    """Open a database with scripts of a test's own; yield it as the stores see it."""
    if isinstance(place, Path):
        database = Database(place, scripts)
        stores = SqliteRelational(database)
    else:
        stores = database = PostgresDatabase(place, HOST, scripts)
    await database.open()
    try:
        yield stores
    finally:
        await database.close()


@pytest.fixture
def write_scripts(tmp_path):
    def write(name, *texts):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        for number, text in enumerate(texts, 1):
            (directory / f"{number:04}-step.sql").write_text(text)
        return directory

    return write


@pytest.fixture
def dialect(place):
    return "sqlite" if isinstance(place, Path) else "postgres"


async def put(stores, number, text, column="text"):
    await stores.write(lambda tx: tx.run(f"INSERT INTO kept (id, {column}) VALUES (?, ?)", (number, text)))


async def kept(stores, column="text"):
    rows = await stores.read(lambda tx: tx.all(f"SELECT {column} AS text FROM kept ORDER BY id"))
    return [row["text"] for row in rows]


# --- once, and whole


async def killed_at_every_statement(place, scripts):
    argv = [sys.executable, "-m", "tests.dying_migrations", str(place), str(scripts)]
    done = await asyncio.to_thread(
        subprocess.run, argv, capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["lived"] and told["changed"], told
    return told


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
async def test_a_kill_after_any_statement_leaves_the_schema_before_or_after(place, dialect, write_scripts, filled):
    scripts = write_scripts("scripts", FIRST, ADDS, RENAMES)
    if filled:
        async with opened(place, write_scripts("first", FIRST)) as stores:
            for number in range(100):
                await put(stores, number, f"row {number}")
    elif dialect == "sqlite":
        sqlite3.connect(place).close()
    told = await killed_at_every_statement(place, scripts)
    assert told["unchanged"] == told["deaths"] - 1 >= 8, told
    async with opened(place, scripts) as stores:
        assert await kept(stores, "words") == [f"row {number}" for number in range(100 if filled else 0)]


async def test_a_kill_after_any_statement_of_what_is_shipped_leaves_nothing_of_it(place, dialect):
    if dialect == "sqlite":
        sqlite3.connect(place).close()
    told = await killed_at_every_statement(place, SHIPPED[dialect])
    assert told["unchanged"] == told["deaths"] - 1 >= 40, told


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "shipped"])
async def test_eight_processes_at_once_make_the_tables_once(place, dialect, write_scripts, filled):
    scripts = str(SHIPPED[dialect]) if filled else str(write_scripts("scripts", FIRST, ADDS, RENAMES))
    code = (
        "import asyncio, sys; from pathlib import Path; from tests.dying_migrations import bring_up_to_date as bring;"
    )
    argv = ["-c", f"{code}asyncio.run(bring(sys.argv[1], Path(sys.argv[2])))", str(place), scripts]
    start = partial(asyncio.create_subprocess_exec, sys.executable, *argv, cwd=REPOSITORY, stderr=subprocess.PIPE)
    started = [await start() for _ in range(8)]
    ended = [((await process.communicate())[1], process.returncode) for process in started]
    assert ended == [(b"", 0)] * 8
    async with opened(place, Path(scripts)) as stores:
        rows = await stores.read(lambda tx: tx.all("SELECT version FROM schema_versions ORDER BY version"))
    assert [row["version"] for row in rows] == list(range(1, len(list(Path(scripts).glob("*.sql"))) + 1))


async def test_a_script_that_the_database_refuses_leaves_nothing_and_is_named(place, write_scripts):
    async with opened(place, write_scripts("good", FIRST)) as stores:
        await put(stores, 1, "here")
    with pytest.raises(SchemaUnusable, match=r"statement 2 of 0002-step fails: .*nothing of it was kept"):
        async with opened(place, write_scripts("bad", FIRST, "CREATE TABLE half (id INTEGER);\nCREATE TABEL x;\n")):
            pass
    async with opened(place, write_scripts("mended", FIRST, "CREATE TABLE half (id INTEGER);\n")) as stores:
        assert await kept(stores) == ["here"]


# --- a version taken back


async def test_the_version_before_goes_on_with_what_was_only_added_to(place, write_scripts, caplog):
    older, newer = write_scripts("older", FIRST), write_scripts("newer", FIRST, ADDS)
    async with opened(place, older) as stores:
        await put(stores, 1, "old")
    async with opened(place, newer) as stores:
        await put(stores, 2, "new")
    with caplog.at_level(logging.WARNING):
        async with opened(place, older) as stores:
            await put(stores, 3, "old again")
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["schema_newer"]
    async with opened(place, newer) as stores:
        await put(stores, 4, "new again")
        assert await kept(stores) == ["old", "new", "old again", "new again"]
        assert await stores.read(lambda tx: tx.value("SELECT count(*) FROM kept WHERE more = ''")) == 4


@pytest.mark.parametrize(("line", "opens"), [("", False), ("-- needs: 1\n", True), ("-- needs: 2\n", False)])
async def test_a_rename_keeps_an_older_version_out_unless_the_script_says_that_it_fits(
    place, write_scripts, line, opens
):
    older, newer = write_scripts("older", FIRST), write_scripts("newer", FIRST, line + RENAMES)
    async with opened(place, newer) as stores:
        await put(stores, 1, "kept", "words")
    if opens:
        async with opened(place, older):
            pass
    else:
        with pytest.raises(
            SchemaUnusable, match=r"newer version .schema 2, usable from schema 2 on; this version knows 1"
        ):
            async with opened(place, older):
                pass
    async with opened(place, newer) as stores:
        assert await kept(stores, "words") == ["kept"]


async def test_both_versions_write_side_by_side_during_an_upgrade(place, write_scripts):
    async with opened(place, write_scripts("older", FIRST)) as old:
        await put(old, 1, "before")
        async with opened(place, write_scripts("newer", FIRST, ADDS)) as new:
            await asyncio.gather(put(old, 2, "old"), put(new, 3, "new"))
            assert await kept(old) == await kept(new) == ["before", "old", "new"]


async def test_a_file_of_a_suite_that_knew_user_version_only_goes_on_and_back(tmp_path, write_scripts):
    place = tmp_path / "state.db"
    with closing(sqlite3.connect(place)) as older:
        older.executescript(FIRST + "PRAGMA user_version=1; INSERT INTO kept (id, text) VALUES (1, 'old');")
    async with opened(place, write_scripts("newer", FIRST, ADDS)) as stores:
        assert await kept(stores) == ["old"]
    with closing(sqlite3.connect(place)) as older:
        assert older.execute("PRAGMA user_version").fetchone() == (1,)  # so that suite opens it
    async with opened(place, write_scripts("newest", FIRST, ADDS, RENAMES)) as stores:
        assert await kept(stores, "words") == ["old"]
    with closing(sqlite3.connect(place)) as older:
        assert older.execute("PRAGMA user_version").fetchone() == (3,)  # and this one it refuses


async def test_a_file_that_begins_now_is_marked_for_suites_that_knew_user_version_only(tmp_path, write_scripts):
    scripts = write_scripts("newer", FIRST, ADDS, "CREATE TABLE third (id INTEGER);\n")
    database = Database(tmp_path / "state.db", scripts, known_before=2)
    await database.open()
    await database.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as older:
        assert older.execute("PRAGMA user_version").fetchone() == (2,)


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_shipped_scripts_are_numbered_without_a_gap(dialect):
    names = sorted(entry.name for entry in SHIPPED[dialect].iterdir() if entry.name.endswith(".sql"))
    assert [int(re.fullmatch(r"(\d{4})-[a-z0-9-]+\.sql", name)[1]) for name in names] == list(range(1, len(names) + 1))


# --- who may not


async def test_a_role_without_create_is_told_the_grant(postgres, write_scripts):
    postgres.sql("DROP DATABASE IF EXISTS ungranted")
    postgres.sql("DROP ROLE IF EXISTS weak")
    postgres.sql("CREATE ROLE weak LOGIN")
    postgres.sql("CREATE DATABASE ungranted")
    place = postgres.url("ungranted").replace("//postgres@", "//weak@")
    with pytest.raises(StoreUnavailable) as told:
        async with opened(place, write_scripts("scripts", FIRST)):
            pass
    grant = re.search(r"GRANT CREATE ON DATABASE [^;]*;", str(told.value))
    assert grant, told.value
    postgres.sql(grant[0])
    async with opened(place, write_scripts("scripts", FIRST)) as stores:
        await put(stores, 1, "allowed")


async def test_a_read_only_database_is_read_and_says_why_it_is_not_written(postgres, write_scripts):
    postgres.sql("DROP DATABASE IF EXISTS readonly")
    postgres.sql("CREATE DATABASE readonly")
    scripts = write_scripts("scripts", FIRST)
    async with opened(postgres.url("readonly"), scripts) as stores:
        await put(stores, 1, "here")
    postgres.sql("ALTER DATABASE readonly SET default_transaction_read_only = on")
    async with opened(postgres.url("readonly"), scripts) as stores:
        assert await kept(stores) == ["here"]
        with pytest.raises(StoreUnavailable, match=r"read-only.*RESET default_transaction_read_only"):
            await put(stores, 2, "not here")
    with pytest.raises(StoreUnavailable, match="read-only"):
        async with opened(postgres.url("readonly"), write_scripts("newer", FIRST, ADDS)):
            pass


async def test_tables_of_somebody_else_with_our_names_are_left_alone(postgres, write_scripts):
    postgres.sql("DROP DATABASE IF EXISTS shared")
    postgres.sql("CREATE DATABASE shared")
    postgres.sql("CREATE TABLE public.schema_versions (version TEXT); CREATE TABLE public.kept (id TEXT)", "shared")
    async with opened(postgres.url("shared"), write_scripts("scripts", FIRST)) as stores:
        await put(stores, 1, "ours")
    assert postgres.sql("SELECT count(*) FROM public.kept", "shared") == "0"
    with psycopg.connect(postgres.url("shared")) as connection:
        assert connection.execute("SELECT text FROM ai_sysadmin.kept").fetchall() == [("ours",)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write what is read-only")
async def test_a_file_that_may_not_be_written_says_so(tmp_path, write_scripts):
    place, scripts = tmp_path / "state.db", write_scripts("scripts", FIRST)
    async with opened(place, scripts):
        pass
    place.chmod(stat.S_IRUSR)
    with pytest.raises(StoreUnavailable, match="writable by uid"):
        async with opened(place, scripts):
            pass
