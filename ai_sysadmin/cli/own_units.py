"""What systemd says of the suite's own units: what `status` and `doctor` can still tell when the API is away."""

from typing import Any

from ai_sysadmin.cli.layout import table
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.units import SystemdUnits, UnitStatus

OWN_UNITS = (
    *("llama-trigger.service", "llama-review.service", "llama-meta.service"),
    *("ai-sysadmin-trigger-monitor.service", "ai-sysadmin-review-model.service", "ai-sysadmin-meta-model.service"),
    *("ai-sysadmin-api.socket", "ai-sysadmin-api.service", "ai-sysadmin-executor.service"),
    "ai-sysadmin-notifier.service",
    *("ai-sysadmin-executor-propose.socket", "ai-sysadmin-executor-operate.socket"),
)
LOOK_SECONDS = 5.0


async def own_units() -> tuple[UnitStatus, ...]:
    """Return the suite's units that this host has.

    Raises:
        Unavailable: systemd does not answer.
    """
    bus = SystemBus(LOOK_SECONDS)
    try:
        units = SystemdUnits(bus)
        found = [await units.status(name) for name in OWN_UNITS]
    finally:
        bus.close()
    return tuple(unit for unit in found if unit.load_state != "not-found")


async def own_units_or_why() -> tuple[tuple[UnitStatus, ...], str]:
    """Return the suite's units, or else a sentence about why there are none to show."""
    try:
        units = await own_units()
    except Unavailable as error:
        return (), f"systemd cannot be asked either: {error}"
    return units, "" if units else "no unit of ai-sysadmin is installed here; `ai-sysadmin up` runs without any"


def units_lines(units: tuple[UnitStatus, ...], why: str) -> list[str]:
    """Render the suite's units for people."""
    if why:
        return [why]
    rows = [(unit.name, f"{unit.active_state} ({unit.sub_state})", _result(unit)) for unit in units]
    return table(("UNIT", "STATE", "RESULT"), rows)


def _result(unit: UnitStatus) -> str:
    if unit.active_state != "failed":
        return ""
    return f"{unit.result}, see journalctl -u {unit.name}"


def as_documents(units: tuple[UnitStatus, ...]) -> list[dict[str, Any]]:
    return [unit.model_dump(mode="json") for unit in units]
