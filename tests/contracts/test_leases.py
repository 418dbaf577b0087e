"""What every store of leases must do."""

from datetime import timedelta
from importlib.resources import files

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational
from ai_sysadmin.stores import relational
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.stores.relational.leases import SqlLeases
from ai_sysadmin.testing.memory_leases import MemoryLeases
from tests.builders import HOST, NOW
from tests.contracts.places import EVERYWHERE, place_of

REVIEW, META = "http://127.0.0.1:8081", "http://127.0.0.1:8082"


def after(seconds):
    return NOW + timedelta(seconds=seconds)


@pytest.fixture(params=EVERYWHERE)
async def leases(request, tmp_path):
    place = place_of(request, tmp_path)
    if place is None:
        yield MemoryLeases()
        return
    async with open_stores(place, HOST) as stores:
        yield stores.leases


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


async def test_another_process_sees_it_and_another_host_does_not(place):
    async with open_stores(place, HOST) as here, open_stores(place, HOST) as there:
        await here.leases.renew(META, after(10))
        assert await there.leases.leased(META, NOW)
        async with open_stores(place, "elsewhere") as elsewhere:
            assert not await elsewhere.leases.leased(META, NOW)


async def test_a_file_that_is_away_is_a_typed_error(tmp_path):
    closed = SqliteRelational(Database(tmp_path / "state.db", files(relational) / "migrations" / "sqlite"))
    with pytest.raises(StoreUnavailable):
        await SqlLeases(closed, HOST).leased(META, NOW)


async def test_a_server_that_is_not_connected_to_is_a_typed_error(postgres):
    postgres.sql("CREATE DATABASE leases_away")
    async with open_stores(postgres.url("leases_away"), HOST) as stores:
        assert not await stores.leases.leased(META, NOW)
    with pytest.raises(StoreUnavailable):
        await stores.leases.leased(META, NOW)
    with pytest.raises(StoreUnavailable):
        await stores.leases.renew(META, NOW)
