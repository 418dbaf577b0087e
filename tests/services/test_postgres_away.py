"""PostgreSQL goes away and comes back: every write either is there or was refused, and words say what is the matter."""

import asyncio
import logging
import os
import signal
import time
from collections import Counter
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.postgres import PostgresDatabase
from tests.builders import HOST
from tests.postgres_server import postgres_server

TABLE = "CREATE TABLE kept (id INTEGER NOT NULL);\n"
LASTING = "-c shared_buffers=16MB"  # with fsync: what was acknowledged is there after a crash


@pytest.fixture(scope="module")
def cluster():
    with postgres_server(LASTING) as running:
        yield running


@pytest.fixture
def server(cluster):
    """Return a running server with an empty database ``away``."""
    with suppress(AssertionError):
        cluster.start()
    cluster.sql("DROP DATABASE IF EXISTS away WITH (FORCE)")
    cluster.sql("CREATE DATABASE away")
    yield cluster
    with suppress(AssertionError):
        cluster.start()


@pytest.fixture
def scripts(tmp_path):
    (tmp_path / "0001-first.sql").write_text(TABLE)
    return tmp_path


@asynccontextmanager
async def opened(url, scripts):
    database = PostgresDatabase(url, HOST, scripts)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(server, scripts):
    async with opened(server.url("away"), scripts) as database:
        yield database


async def put(database, number):
    await database.write(lambda tx: tx.run("INSERT INTO kept (id) VALUES (?)", (number,)))


async def kept(database):
    return Counter([row["id"] for row in await database.read(lambda tx: tx.all("SELECT id FROM kept"))])


async def on(server, action, *arguments):
    await asyncio.to_thread(getattr(server, action), *arguments)


async def comes_back(database):
    """Call until a call goes well; return how many did not."""
    for failed in range(100):
        try:
            await kept(database)
        except StoreUnavailable:
            await asyncio.sleep(0.1)
        else:
            return failed
    raise AssertionError("the database never came back")


def sessions(server):
    return int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ai-sysadmin'"))


@contextmanager
def hanging(server):
    """Stop every process of a server where it stands."""
    first = (server.data / "postmaster.pid").read_text().split()[0]
    others = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    processes = [int(each) for each in (first, *others)]
    try:
        for each in processes:
            os.kill(each, signal.SIGSTOP)
        yield
    finally:
        for each in reversed(processes):
            os.kill(each, signal.SIGCONT)


# --- stopped and started


@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_writes_around_a_restart_are_there_once_or_were_refused(server, database, how):
    async def write(number):
        await asyncio.sleep(number * 0.004)
        try:
            await put(database, number)
        except StoreUnavailable:
            return False
        return True

    async def restart():
        await asyncio.sleep(0.3)
        await on(server, "stop", how)
        await on(server, "start")

    *written, _ = await asyncio.gather(*(write(number) for number in range(200)), restart())
    await comes_back(database)
    found = await kept(database)
    assert all(found[number] == 1 for number, returned in enumerate(written) if returned)
    assert not [number for number, times in found.items() if times > 1]
    unknown = [number for number, returned in enumerate(written) if not returned and found[number]]
    assert len(unknown) <= 1  # at most the one whose commit was under way
    assert 0 < sum(written) < 200


async def test_while_it_is_away_calls_fail_at_once_with_the_same_words_and_then_it_goes_on(server, database):
    await put(database, 1)
    await on(server, "stop")
    words, longest = set(), 0.0
    with pytest.raises(StoreUnavailable):
        await kept(database)  # the connection that stood there goes
    for _ in range(200):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as told:
            await kept(database)
        longest = max(longest, time.monotonic() - began)
        words.add(str(told.value))
    assert len(words) == 1, words
    assert "is its server running" in words.pop()
    assert longest < 0.5
    await on(server, "start")
    began = time.monotonic()
    await comes_back(database)
    assert time.monotonic() - began < 6
    assert await kept(database) == {1: 1}


async def test_after_a_restart_nobody_noticed_the_first_call_goes_well(server, database):
    await asyncio.gather(*(kept(database) for _ in range(20)))
    await on(server, "stop")
    await on(server, "start")
    await asyncio.sleep(1.1)
    began = time.monotonic()
    await put(database, 1)
    assert await kept(database) == {1: 1}
    assert time.monotonic() - began < 3


async def test_a_restart_between_two_calls_fails_at_most_the_first(server, database):
    for number in range(3):
        await asyncio.gather(*(kept(database) for _ in range(20)))
        await on(server, "stop")
        await on(server, "start")
        with suppress(StoreUnavailable):
            await kept(database)
        await put(database, number)
    assert await kept(database) == {0: 1, 1: 1, 2: 1}


async def test_a_terminated_session_takes_back_its_transaction(server, database):
    async def work(tx):
        await tx.run("INSERT INTO kept (id) VALUES (1)")
        await tx.one("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(StoreUnavailable, match="the next try goes on"):
        await database.write(work)
    await put(database, 2)
    assert await kept(database) == {2: 1}


async def test_closing_ends_soon_with_the_server_gone(server, scripts):
    async with opened(server.url("away"), scripts) as database:
        await asyncio.gather(*(kept(database) for _ in range(20)))
        await on(server, "stop", "immediate")
        calls = [asyncio.create_task(kept(database)) for _ in range(20)]
        await asyncio.sleep(0)
        began = time.monotonic()
        await database.close()
        assert time.monotonic() - began < 4
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(each) for each in ended} == {StoreUnavailable}


async def test_a_server_that_hangs_is_given_up_and_gone_on_with(server, scripts):
    database = PostgresDatabase(server.url("away"), HOST, scripts, answer_seconds=0.5)
    await database.open()
    await put(database, 1)
    with hanging(server):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"given no answer within 0\.5 s; it hangs or is overloaded"):
            await put(database, 2)
        assert time.monotonic() - began < 2
    await comes_back(database)
    await put(database, 3)
    assert set(await kept(database)) - {2} == {1, 3}
    await database.close()


# --- many at once, and cancelled


async def test_sixty_calls_share_four_connections_and_readers_do_not_wait_for_writers(server, database):
    most = 0

    async def watch():
        nonlocal most
        while True:
            most = max(most, await asyncio.to_thread(sessions, server))

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(put(database, number) for number in range(30)), *(kept(database) for _ in range(30)))
    watching.cancel()
    assert sum((await kept(database)).values()) == 30
    assert most <= 4
    held = asyncio.create_task(database.write(lambda tx: tx.one("SELECT pg_sleep(1)")))
    waiting = [asyncio.create_task(put(database, 100 + number)) for number in range(20)]
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await kept(database)
    assert time.monotonic() - began < 0.5
    await asyncio.gather(held, *waiting)


async def test_where_the_server_grants_one_connection_only_calls_share_it(server, scripts):
    server.sql("DROP ROLE IF EXISTS narrow")
    server.sql("CREATE ROLE narrow LOGIN CONNECTION LIMIT 1")
    server.sql("GRANT CREATE ON DATABASE away TO narrow")
    async with opened(server.url("away").replace("//postgres@", "//narrow@"), scripts) as database:
        for _ in range(3):
            await asyncio.gather(*(put(database, number) for number in range(20)), *(kept(database) for _ in range(20)))
        assert set((await kept(database)).values()) == {3}


async def test_cancelled_callers_leave_no_transaction_open_and_no_connection_lost(server, database):
    for round_ in range(30):
        calls = [asyncio.create_task(put(database, round_ * 100 + number)) for number in range(12)]
        calls += [asyncio.create_task(kept(database)) for _ in range(12)]
        await asyncio.sleep(0.001 * (round_ % 7))
        for call in calls:
            call.cancel()
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()  # by somebody who is impatient
        await asyncio.gather(*calls, return_exceptions=True)
    open_ones = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    assert server.sql(open_ones) == "0"
    async with asyncio.timeout(5):
        await asyncio.gather(*(kept(database) for _ in range(8)))
        await put(database, 9999)
    assert set((await kept(database)).values()) == {1}


async def test_what_work_raises_comes_through_and_takes_its_changes_back(database):
    async def work(tx):
        await tx.run("INSERT INTO kept (id) VALUES (1)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(work)
    assert not await kept(database)


async def test_work_that_hides_a_failed_statement_is_not_taken_for_committed(database):
    async def work(tx):
        await tx.run("INSERT INTO kept (id) VALUES (1)")
        with suppress(psycopg.Error):
            await tx.run("INSERT INTO nowhere (id) VALUES (1)")

    with pytest.raises(StoreUnavailable, match="nothing of it was kept"):
        await database.write(work)
    assert not await kept(database)


async def test_a_transaction_that_stands_idle_for_too_long_is_ended_and_said(database):
    async def work(tx):
        await tx.run("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
        await asyncio.sleep(0.3)
        await tx.run("INSERT INTO kept (id) VALUES (1)")

    with pytest.raises(StoreUnavailable, match=r"stood idle|next try goes on"):
        await database.append(work)
    await put(database, 2)
    assert await kept(database) == {2: 1}


# --- in words


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SET LOCAL statement_timeout = '50ms'; SELECT pg_sleep(5)", "took longer than it may"),
        ("DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$", "the disk of its server is full"),
        ("DO $$ BEGIN RAISE EXCEPTION 'no lock' USING ERRCODE = '55P03'; END $$", "holds a lock for too long"),
    ],
)
async def test_what_the_server_refuses_is_told_apart(database, statement, words):
    async def work(tx):
        for each in statement.split("; SELECT", 1):
            await tx.run(each if each.startswith(("SET", "DO")) else f"SELECT{each}")

    with pytest.raises(StoreUnavailable, match=words):
        await database.write(work)


async def test_why_nobody_can_connect_is_told_apart(server, scripts):
    async def why(url):
        with pytest.raises(StoreUnavailable) as told:
            async with opened(url, scripts):
                pass
        return str(told.value)

    good = server.url("away")
    assert 'createdb --owner=postgres nowhere, or on NixOS services.postgresql.ensureDatabases = [ "nowhere" ]' in (
        await why(server.url("nowhere"))
    )
    assert 'does not let the role "nobody" in' in await why(good.replace("//postgres@", "//nobody@"))
    assert "is its server running" in await why("postgresql://postgres@127.0.0.1:1/away")
    assert "is its server running" in await why("postgresql://postgres@/away?host=/nowhere")
    server.sql("ALTER DATABASE away CONNECTION LIMIT 0")
    server.sql("DROP ROLE IF EXISTS plain")
    server.sql("CREATE ROLE plain LOGIN")
    assert "no connection left" in await why(good.replace("//postgres@", "//plain@"))


async def test_opening_waits_for_a_server_that_starts_late_and_says_so_once(server, scripts, caplog):
    await on(server, "stop")
    database = PostgresDatabase(server.url("away"), HOST, scripts)
    with caplog.at_level(logging.WARNING):
        opening = asyncio.create_task(database.open(wait_seconds=30))
        await asyncio.sleep(1.5)
        await on(server, "start")
        await opening
    assert [record.event for record in caplog.records if record.name.startswith("ai_sysadmin")] == ["database_awaited"]
    await put(database, 1)
    await database.close()


async def test_opening_gives_up_when_it_has_waited_long_enough(server, scripts):
    await on(server, "stop")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="is its server running"):
        await PostgresDatabase(server.url("away"), HOST, scripts).open(wait_seconds=1)
    assert time.monotonic() - began < 10


# --- news


async def test_a_listener_hears_each_topic_of_its_host_once_it_is_committed(server, database, scripts):
    async def tell(*topics):
        async def work(tx):
            for topic in topics:
                tx.tell(topic)

        await database.write(work)

    async def tell_and_fail(tx):
        tx.tell("taken back")
        raise ZeroDivisionError

    other = PostgresDatabase(server.url("away"), "other-host", scripts)
    await other.open()
    async with aclosing(database.changes()) as news:
        assert await anext(news) == ""
        await other.write(lambda tx: tell_other(tx))
        with suppress(ZeroDivisionError):
            await database.write(tell_and_fail)
        await tell("incidents", "incidents", "actions")
        assert [await anext(news) for _ in range(2)] == ["incidents", "actions"]
        times = []
        for _ in range(30):
            began = time.monotonic()
            waiting = asyncio.ensure_future(anext(news))
            await tell("incidents")
            told = time.monotonic()
            assert await waiting == "incidents"
            times.append(time.monotonic() - told)
            assert told - began < 5
        assert sorted(times)[15] < 0.010
    await other.close()


async def tell_other(tx):
    tx.tell("of another host")


async def test_a_listener_goes_on_after_a_restart_and_knows_that_it_may_have_missed_something(server, database):
    async with aclosing(database.changes()) as news:
        assert await anext(news) == ""
        await on(server, "stop")
        waiting = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0.5)
        await on(server, "start")
        async with asyncio.timeout(20):
            assert await waiting == ""
            await comes_back(database)
            await database.write(tell_other)
            assert await anext(news) == "of another host"
