"""What ``switch-to-configuration dry-activate`` says: which units it would touch. Pure."""

import re
from collections.abc import Mapping
from typing import Final

_LINE: Final = re.compile(
    r"would (?P<verb>NOT stop|NOT restart|stop|restart|start|reload) the following [^:]*: (?P<units>.*)"
)
_VERBS: Final = ("stop", "restart", "reload", "start")


def touched(said: str) -> Mapping[str, tuple[str, ...]]:
    """Return the units by what would be done to them: stop, restart, reload, start.

    A swap device that would be given up is the unit that systemd has for it. That systemd itself would be restarted is
    not read from here: who may not look at process 1 is always told so.
    """
    found: dict[str, list[str]] = {verb: [] for verb in _VERBS}
    for line in said.splitlines():
        text = line.strip()
        fits = _LINE.fullmatch(text)
        if fits and fits["verb"] in found:
            found[fits["verb"]] += [unit.strip() for unit in fits["units"].split(",") if unit.strip()]
        elif text.startswith("would stop swap device: "):
            found["stop"].append(_swap(text.removeprefix("would stop swap device: ")))
    return {verb: tuple(dict.fromkeys(units)) for verb, units in found.items() if units}


def left_alone(said: str) -> tuple[str, ...]:
    """Return the units that changed and would go on as they are."""
    lines = (_LINE.fullmatch(line.strip()) for line in said.splitlines())
    return tuple(
        unit.strip()
        for fits in lines
        if fits and fits["verb"].startswith("NOT")
        for unit in fits["units"].split(",")
        if unit.strip()
    )


def _swap(device: str) -> str:
    return device.strip("/").replace("-", "\\x2d").replace("/", "-") + ".swap"
