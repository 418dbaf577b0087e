"""`doctor`: everything the suite depends on. Reachable? Which version? What to do?"""

import asyncio

import typer

from ai_sysadmin.cli.checkup import Check, Checkup, Health, check_up
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir
from ai_sysadmin.cli.layout import fact, heading, wrapped
from ai_sysadmin.cli.outcome import FAILED
from ai_sysadmin.cli.own_units import units_lines

_NOT_REACHABLE = 4
_MARKS = {Health.GOOD: "ok  ", Health.LACKING: "note", Health.BAD: "BAD "}


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Check each dependency and say what to do.

    Exit 4 when the API is down, 1 when anything else that is needed is.
    """
    desk = Desk.open(context, settings, state_dir, as_json)
    found = asyncio.run(check_up(desk.settings))
    desk.answer(found, doctor_page(found))
    raise typer.Exit(verdict(found))


def verdict(found: Checkup) -> int:
    """Return the exit code: 4 without the API, 1 where something else is bad; what is merely lacking is no failure."""
    bad = {check.name for check in found.checks if check.health is Health.BAD}
    if "api" in bad:
        return _NOT_REACHABLE
    return FAILED if bad else 0


def doctor_page(found: Checkup) -> str:
    """Render a check-up for people."""
    lines = [line for check in found.checks for line in _check(check)]
    if found.units or found.why_no_units:
        lines += [*heading("Our units, as systemd sees them"), *units_lines(found.units, found.why_no_units)]
    return "\n".join(lines)


def _check(check: Check) -> list[str]:
    version = f" {check.version}" if check.version else ""
    lines = wrapped(f"{check.text}{version and f' [{check.version}]'}", 20, f"{_MARKS[check.health]}  {check.name:14}")
    return lines + (fact("", f"do: {check.advice}", 20) if check.advice else [])
