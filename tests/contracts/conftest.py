"""The contract suite of the stores runs on every database there is."""

from itertools import count

import pytest

from ai_sysadmin.stores.relational import open_stores
from tests.builders import HOST
from tests.postgres_server import postgres_server

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres():
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """Return where an empty database is, for ``open_stores``."""
    if request.param == "sqlite":
        return tmp_path / "state.db"
    server, name = request.getfixturevalue("postgres"), f"contract{next(_NUMBERS)}"
    server.sql(f"CREATE DATABASE {name}")
    return server.url(name)


@pytest.fixture
async def stores(place):
    async with open_stores(place, HOST) as opened:
        yield opened
