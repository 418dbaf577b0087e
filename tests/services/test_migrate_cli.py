"""`ai-sysadmin migrate --from-prototype` as a process: what it finds, imports and leaves; then `knowledge search`."""

import asyncio
import hashlib
import json
import signal
import sqlite3
import sys
from contextlib import closing, suppress

import pytest

from ai_sysadmin.stores.chroma_server import program
from ai_sysadmin.stores.relational import open_stores
from tests.postgres_server import postgres_server
from tests.prototype_data import IN_FILES, SECRET, TABLES, collections, everything_in, fill_chroma, fill_files, rows_sql
from tests.services.api_harness import running
from tests.services.test_chat_cli import run
from tests.services.test_chroma import chroma_on
from tests.serving import unused_port

needs_chroma = pytest.mark.skipif(not program(), reason="ChromaDB is not installed (ai-sysadmin[vectors])")
HOST = "thishost"
DOCUMENTS = 500


@pytest.fixture(scope="module")
def postgres():
    with postgres_server() as server:
        yield server


@pytest.fixture
def old(tmp_path):
    """Return a state directory of the prototype's."""
    fill_files(tmp_path / "old")
    return tmp_path / "old"


def settings_for(state, **given):
    """Write settings by which the command line is on the harness's host; return their file."""
    file = state.with_suffix(".settings.json")
    file.write_text(json.dumps({"host_name": HOST} | given))
    return file


async def migrate(state, *arguments, **given):
    return await run(
        state, "migrate", "--from-prototype", "--settings", str(settings_for(state, **given)), *map(str, arguments)
    )


async def migrated(state, *arguments, code=0, **given):
    """Run the migration; return what it says as JSON."""
    status, out, err = await migrate(state, "--json", *arguments, **given)
    assert (status, err if code == 0 else "") == (code, ""), err
    return json.loads(out)


async def documents(state, place=None):
    async with open_stores(place or state / "ai-sysadmin.db", HOST) as stores:
        return {each.name: each for each in await stores.knowledge.list()}


def totals(said):
    return tuple(sum(part[what] for part in said["parts"]) for what in ("imported", "there_already"))


def hash_of(directory):
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


async def found_by(state, *words):
    status, out, err = await run(state, "knowledge", "search", *words, "--json")
    assert status == 0, err
    return [hit["document"]["name"] for hit in json.loads(out)["hits"]]


async def test_files_are_imported_and_found(tmp_path, old):
    before = hash_of(old)
    async with running(tmp_path / "state"):
        status, page, err = await migrate(tmp_path / "state", "--prototype-dir", old)
        assert status == 0, err
        (closed,) = await found_by(tmp_path / "state", "ibex42")
        assert closed.startswith("prototype/closed-issues/")
        status, again, _ = await migrate(tmp_path / "state", "--prototype-dir", old)
    assert hash_of(old) == before
    assert f"{IN_FILES - 1} were imported" in " ".join(page.split())
    for said in ("line4:isnoJSON", "qwen3-4b.gguf", "review_model_state.json", "(1thesameagain)"):
        assert said in "".join(page.split())
    assert f"Already here: all {IN_FILES - 1} entries" in " ".join(again.split())


@needs_chroma
async def test_collections_are_imported_once_and_left_as_they_are(tmp_path, old):
    state = tmp_path / "state"
    async with chroma_on(tmp_path / "chroma") as chroma:
        await fill_chroma(chroma.url, collections(DOCUMENTS))
        before = await everything_in(chroma.url)
        where = ("--prototype-dir", old, "--chroma", chroma.url)
        dry = await migrated(state, "--dry-run", *where)
        assert not (state / "ai-sysadmin.db").exists()
        first = await migrated(state, *where)
        second = await migrated(state, *where)
        assert await everything_in(chroma.url) == before
    count = DOCUMENTS + IN_FILES - 1
    assert [totals(said) for said in (dry, first, second)] == [(count, 0), (count, 0), (0, count)]
    assert {part["origin"]: part["found"] for part in first["parts"][:6]} == {k: len(v) for k, v in before.items()}
    assert [part["digest"] for part in first["parts"]] == [part["digest"] for part in second["parts"]]
    held = await documents(state)
    assert len(held) == count
    assert SECRET not in "".join(each.model_dump_json() for each in held.values())
    for key, text, values, _ in before["knowledge"]:
        imported = held[f"prototype/knowledge/{key}"]
        assert text in imported.text
        assert imported.facts["topic"] == values["topic"] == imported.title
    async with running(state):
        (issue,) = await found_by(state, "zebra42")
        assert issue.endswith("issue-42")
        for words, marker in (("heron99", "knowledge-99"), ("walrus12", "host12/redis.nix")):
            assert (await found_by(state, words))[0].endswith(marker)


@needs_chroma
async def test_of_an_embedded_chroma_a_copy_is_read(tmp_path, old):
    async with chroma_on(tmp_path / "chroma") as chroma:
        await fill_chroma(chroma.url, collections(100))
    before = hash_of(tmp_path / "chroma")
    said = await migrated(
        tmp_path / "state", "--prototype-dir", tmp_path / "none", "--chroma-directory", tmp_path / "chroma"
    )
    assert hash_of(tmp_path / "chroma") == before
    assert totals(said) == (100, 0)
    assert str(tmp_path / "chroma") in said["parts"][0]["where"]
    assert len(await documents(tmp_path / "state")) == 100


async def test_a_named_chroma_that_is_away_ends_it_before_anything_is_done(tmp_path, old):
    url = f"http://127.0.0.1:{await unused_port()}"
    said = await migrated(tmp_path / "state", "--prototype-dir", old, "--chroma", url, code=4)
    assert url in said["error"]["message"]
    assert not (tmp_path / "state" / "ai-sysadmin.db").exists()


async def test_what_is_no_directory_of_chromas_is_refused(tmp_path, old):
    said = await migrated(tmp_path / "state", "--chroma-directory", old, code=3)
    assert "holds no chroma.sqlite3" in said["error"]["message"]


async def test_it_says_how_it_is_meant(tmp_path):
    assert (await run(tmp_path, "migrate"))[0] == 2
    assert (await run(tmp_path, "migrate", "--from-prototype", "--chroma", "u", "--chroma-directory", "d"))[0] == 2
    status, page, _ = await run(tmp_path, "migrate", "--from-prototype")
    assert (status, page.startswith("Nothing of the prototype's was found")) == (0, True)


async def test_its_tables_are_counted_and_no_table_of_ours_is_made_there(tmp_path, old, postgres):
    postgres.sql("CREATE DATABASE prototype")
    postgres.sql(TABLES + rows_sql(1000), "prototype")
    where = ("--prototype-dir", old, "--database", postgres.url("prototype"))
    said = await migrated(tmp_path / "state", *where)
    assert [(each["name"], each["hostname"], each["rows"]) for each in said["tables"]] == [
        ("system_metrics", "host0", 500),
        ("system_metrics", "host1", 500),
        ("log_events", "host0", 100),
    ]
    assert said["tables"][0]["first"] == "2026-09-01T00:00:00Z"
    assert said["tables"][1]["last"].startswith("2026-10-10T23:02")
    assert postgres.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'ai_sysadmin'", "prototype") == "0"
    status, page, _ = await migrate(tmp_path / "state", *where)
    assert (status, "system_metrics" in page, "2026-09-01 00:00 to 2026-10-10" in page) == (0, True, True)
    assert "they stay, not adopted, as database.url names another database" in " ".join(page.split())


async def test_a_database_that_is_away_keeps_nothing_else_from_being_imported(tmp_path, old):
    away = f"postgresql://nobody@/none?host={tmp_path}"
    said = await migrated(tmp_path / "state", "--prototype-dir", old, "--database", away, code=1)
    assert totals(said) == (IN_FILES - 1, 0)
    assert "cannot be" in said["unread"][0]["why"]


async def test_into_postgresql(tmp_path, old, postgres):
    postgres.sql("CREATE DATABASE suite")
    where, given = ("--prototype-dir", old), {"database": {"url": postgres.url("suite")}}
    dry = await migrated(tmp_path / "state", "--dry-run", *where, **given)
    assert postgres.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'ai_sysadmin'", "suite") == "0"
    first = await migrated(tmp_path / "state", *where, **given)
    dry_after = await migrated(tmp_path / "state", "--dry-run", *where, **given)
    count = IN_FILES - 1
    assert [totals(said) for said in (dry, first, dry_after)] == [(count, 0), (count, 0), (0, count)]
    assert len(await documents(tmp_path, postgres.url("suite"))) == count


async def test_killed_anywhere_the_next_run_ends_the_same(tmp_path, old):
    fill_files(old, entries=500)
    await migrated(tmp_path / "whole", "--prototype-dir", old)
    wanted = {name: each.hash for name, each in (await documents(tmp_path / "whole")).items()}
    partly = set()
    for number, share in enumerate((0.0, 0.3, 0.6)):
        state = tmp_path / f"state{number}"
        await killed_in_the_middle(state, old, round(share * len(wanted)))
        partly.add(len(await documents(state)))
        await migrated(state, "--prototype-dir", old)
        assert {name: each.hash for name, each in (await documents(state)).items()} == wanted
    assert any(0 < each < len(wanted) for each in partly), partly


async def killed_in_the_middle(state, old, taken_in):
    """Run a migration and kill it once it has taken in more than so many documents."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ai_sysadmin", "migrate", "--from-prototype"),
        *("--settings", str(settings_for(state)), "--state-dir", str(state), "--prototype-dir", str(old)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    while process.returncode is None and kept(state / "ai-sysadmin.db") <= taken_in:
        await asyncio.sleep(0.002)
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()


def kept(database):
    """Count the documents in a database that may be being made."""
    if not database.exists():
        return 0
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT count(*) FROM documents").fetchone()[0]
    return 0
