"""What every store of leases must do."""

from datetime import timedelta
from importlib.resources import files

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.sqlite import Database
from ai_sysadmin.stores.sqlite.leases import SqliteLeases
from ai_sysadmin.testing.memory_leases import MemoryLeases
from tests.builders import NOW

MIGRATIONS = files("ai_sysadmin.stores.sqlite") / "migrations"
REVIEW, META = "http://127.0.0.1:8081", "http://127.0.0.1:8082"


def after(seconds):
    return NOW + timedelta(seconds=seconds)


@pytest.fixture(params=["memory", "sqlite"])
async def leases(request, tmp_path):
    if request.param == "memory":
        yield MemoryLeases()
        return
    database = Database(tmp_path / "state.db", MIGRATIONS)
    await database.open()
    yield SqliteLeases(database)
    await database.close()


async def test_nobody_waits_at_first(leases):
    assert not await leases.leased(META, NOW)


async def test_a_lease_holds_until_its_moment_and_for_its_server_only(leases):
    await leases.renew(META, after(10))
    assert await leases.leased(META, NOW)
    assert await leases.leased(META, after(9.9))
    assert not await leases.leased(META, after(10))
    assert not await leases.leased(REVIEW, NOW)


async def test_the_last_word_counts(leases):
    await leases.renew(META, after(10))
    await leases.renew(META, after(20))
    assert await leases.leased(META, after(15))
    await leases.renew(META, after(5))
    assert not await leases.leased(META, after(15))
    await leases.renew(META, NOW)
    assert not await leases.leased(META, NOW)


async def test_another_process_sees_it(tmp_path):
    async def opened():
        database = Database(tmp_path / "state.db", MIGRATIONS)
        await database.open()
        return database

    here, there = await opened(), await opened()
    await SqliteLeases(here).renew(META, after(10))
    assert await SqliteLeases(there).leased(META, NOW)
    await here.close()
    await there.close()


async def test_a_store_that_is_away_is_a_typed_error(tmp_path):
    database = Database(tmp_path / "state.db", MIGRATIONS)
    await database.open()
    await database.close()
    closed = Database(tmp_path / "state.db", MIGRATIONS)
    with pytest.raises(StoreUnavailable):
        await SqliteLeases(closed).leased(META, NOW)
