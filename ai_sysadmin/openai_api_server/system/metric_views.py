"""What is said about figures over time on the wire: the same shapes for the command line."""

from pydantic import AwareDatetime

from ai_sysadmin.core.records import Record
from ai_sysadmin.stores.metric_store import Series


class Metrics(Record):
    """Series with their newest figures, by name and thing.

    ``found`` is how many there are, ``left_off`` how many of them are not in the list; ``at`` is now.
    """

    metrics: tuple[Series, ...]
    found: int
    left_off: int
    at: AwareDatetime


class MetricPoint(Record):
    """One bucket of a series that holds figures: their mean, the least and the most. ``at`` is where it begins."""

    at: AwareDatetime
    value: float
    least: float
    most: float


class MetricHistory(Record):
    """How one metric of one thing went, the oldest point first.

    ``value`` and ``newest_at`` are of its newest figure, whenever that was read. ``least``, ``mean`` and ``most`` are
    those of the points; none where there are no points.
    """

    about: str
    unit: str
    value: float
    newest_at: AwareDatetime
    least: float | None
    mean: float | None
    most: float | None
    points: tuple[MetricPoint, ...]


class MetricHistories(Record):
    """A metric's history on every thing it is measured on; those without a figure in this time are last.

    ``left_off`` is how many of the things are not in the answer.
    """

    name: str
    since: AwareDatetime
    at: AwareDatetime
    bucket_seconds: int
    series: tuple[MetricHistory, ...]
    left_off: int
