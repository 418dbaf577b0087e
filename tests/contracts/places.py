"""Where an empty database is, for suites that run in memory too: the fixture ``place`` knows of databases only."""

from itertools import count
from pathlib import Path

import pytest

EVERYWHERE = ("memory", "sqlite", "postgres")
_NUMBERS = count(1)


def place_of(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str | None:
    """Return the place that a fixture's parameter names, for ``open_stores``; none for ``memory``."""
    if request.param == "memory":
        return None
    if request.param == "sqlite":
        return tmp_path / "state.db"
    server, name = request.getfixturevalue("postgres"), f"everywhere{next(_NUMBERS)}"
    server.sql(f"CREATE DATABASE {name}")
    return server.url(name)
