"""Figures over time, as a protocol; ``stores.relational`` implements it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.records import Record, Sample


class Series(Record):
    """One metric of one thing, and its newest figure."""

    name: str
    about: str
    unit: str
    value: float
    at: AwareDatetime


class Point(NamedTuple):
    """One figure; of a rolled-up series the mean of its bucket, with the least and the most."""

    at: datetime
    value: float
    least: float
    most: float


class MetricStore(Protocol):
    async def write(self, samples: Sequence[Sample], at: datetime) -> None:
        """Keep figures that were read at one moment."""
        ...

    async def list(self) -> Sequence[Series]: ...

    async def points(self, name: str, about: str, since: datetime, bucket_seconds: int = 0) -> Sequence[Point]:
        """Return a series' figures, the oldest first; with a bucket, one point for each that holds any."""
        ...

    async def roll_up(self, before: datetime, bucket_seconds: int) -> None:
        """Replace raw figures older than a moment by one point a bucket."""
        ...

    async def drop(self, before: datetime) -> None:
        """Forget figures older than a moment, rolled up or not."""
        ...
