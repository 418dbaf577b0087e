"""Made-up samples for the tests of thresholds, and thresholds that are given them tick by tick."""

from datetime import timedelta

from ai_sysadmin.core.noticing_settings import Threshold
from ai_sysadmin.core.records import Sample
from ai_sysadmin.stores.relational.placing import merged
from ai_sysadmin.trigger_monitor.host.threshold_table import table
from ai_sysadmin.trigger_monitor.host.thresholds import Thresholds
from tests.builders import HOST, NOW

GB = 1e9
TICK = 15.0


class Host:
    """Thresholds that are given samples at every tick."""

    def __init__(self, *declared: Threshold, **given) -> None:
        self.given = {"host": HOST, "rows": table(declared, certificate_days=14)} | given
        self.thresholds = Thresholds(**self.given)
        self.seconds = 1000.0

    def tick(self, *samples: Sample, times: int = 1, every: float = TICK) -> list:
        """Give the same samples several times; return what was told."""
        told = []
        for _ in range(times):
            self.seconds += every
            now = NOW + timedelta(seconds=self.seconds)
            told += self.thresholds.take(samples, now, self.seconds, look_up="test", every_seconds=every)
        return told

    def over(self, trigger) -> str | None:
        return self.thresholds.over(merged(None, trigger))

    def restart(self) -> None:
        text = self.thresholds.remember()
        self.thresholds = Thresholds(**self.given)
        self.thresholds.recall(text)


def disk(used: float, total: float = 100 * GB, about: str = "/var") -> tuple[Sample, ...]:
    return (
        Sample("file_system_used_percent", used, about, "percent"),
        Sample("file_system_free_bytes", total * (100 - used) / 100, about, "bytes"),
        Sample("file_system_total_bytes", total, about, "bytes"),
    )


def flag(name: str, value: float = 1, about: str = "") -> Sample:
    return Sample(name, value, about, "bool")


def percent(name: str, value: float, about: str = "") -> Sample:
    return Sample(name, value, about, "percent")


def pressure(kind: str, of: str, value: float) -> Sample:
    return percent(f"pressure_{kind}_percent", value, of)
