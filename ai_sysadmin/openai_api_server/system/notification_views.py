"""What the API says of notifications: records without the machinery behind them, for who only reads."""

from pydantic import AwareDatetime

from ai_sysadmin.core.records import Record
from ai_sysadmin.stores import ServiceNote


class Notifying(Record):
    """How people are told. ``notifier`` is what it last said of itself; ``test_waits``: a test was not taken up yet."""

    configured: bool
    waiting: int
    test_waits: bool
    notifier: ServiceNote | None


class Asked(Record):
    """A test is on its way; the notifier's next word after this moment is its answer."""

    at: AwareDatetime
