"""What the temperature sensors say."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources.host.reading import HostUnreadable, attribute, children, number

_PLAUSIBLE = range(-40_000, 126_000)
_PLAUSIBLE_CRITICAL = range(30_000, 200_000)
"""In thousandths of a degree. Sensors that are not wired up, and drives without a limit, say something else."""


@dataclass(frozen=True)
class _Reading:
    chip: str
    device: str
    label: str
    millidegrees: int
    critical: int | None

    @property
    def name(self) -> str:
        return f"{self.chip} {self.label}"


def temperature_samples(sys_: Path = Path("/sys")) -> list[Sample]:
    """Return each sensor's temperature, and its share of what the sensor calls critical, if it does.

    A sensor whose device sleeps is left out, since asking would wake the device.

    Raises:
        HostUnreadable: this host has no sensors.
    """
    readings = [
        reading
        for chip in children(sys_ / "class/hwmon", "hwmon*")
        if attribute(chip / "device/power/runtime_status") != "suspended"
        for file in children(chip, "temp*_input")
        if (reading := _of_chip(chip, file)) is not None
    ] or [
        reading for zone in children(sys_ / "class/thermal", "thermal_zone*") if (reading := _of_zone(zone)) is not None
    ]
    if not readings:
        raise HostUnreadable("this host has no temperature sensor that answers")
    often = Counter(reading.name for reading in readings)
    return [
        sample
        for reading in readings
        for sample in _samples(reading, f"{reading.device} {reading.name}" if often[reading.name] > 1 else reading.name)
    ]


def _samples(reading: _Reading, about: str) -> list[Sample]:
    samples = [Sample("temperature_celsius", reading.millidegrees / 1000, about, "celsius")]
    if reading.critical is not None:
        share = 100 * reading.millidegrees / reading.critical
        samples.append(Sample("temperature_of_critical_percent", share, about, "percent"))
    return samples


def _of_chip(chip: Path, file: Path) -> _Reading | None:
    sensor = file.name.removesuffix("_input")
    if number(chip / f"{sensor}_fault") == 1 or number(chip / f"{sensor}_enable") == 0:
        return None
    return _reading(
        attribute(chip / "name") or chip.name,
        (chip / "device").resolve().name if (chip / "device").exists() else chip.name,
        attribute(chip / f"{sensor}_label") or sensor,
        number(file),
        number(chip / f"{sensor}_crit"),
    )


def _of_zone(zone: Path) -> _Reading | None:
    types = children(zone, "trip_point_*_type")
    critical = [number(each.with_name(each.name[:-4] + "temp")) for each in types if attribute(each) == "critical"]
    limit = critical[0] if critical else None
    return _reading(attribute(zone / "type") or zone.name, zone.name, "zone", number(zone / "temp"), limit)


def _reading(chip: str, device: str, label: str, millidegrees: int | None, critical: int | None) -> _Reading | None:
    if millidegrees is None or millidegrees not in _PLAUSIBLE:
        return None
    limit = critical if critical is not None and critical in _PLAUSIBLE_CRITICAL else None
    return _Reading(chip, device, label, millidegrees, limit)
