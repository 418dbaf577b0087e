"""`check`: one whole cycle now, and the host's health as a report."""

import asyncio
import time
from typing import Final

import typer

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.columns import columns, within_width
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, warn
from ai_sysadmin.cli.incident_head import who
from ai_sysadmin.cli.layout import fact, heading, wrapped
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.health import Finding, HealthReport
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.stores.health_store import Check

POLL_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 600.0
"""Longer than waiting for the monitor, for incidents that are due, and for the model together."""
_SAYS_AFTER_SECONDS: Final = 3.0
_WAITING: Final = {"asked": "waiting for the trigger monitor to look", "looked": "the host is being reviewed"}


def add_to(app: typer.Typer) -> None:
    app.command("check")(check)


def check(
    context: typer.Context,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Look at everything now, have what is new judged, and show the host's health."""
    desk = Desk.open(context, settings, state_dir, as_json)
    try:
        done = asyncio.run(_done(desk.settings))
    except KeyboardInterrupt:
        warn("the check goes on without you; `ai-sysadmin check` joins it")
        raise typer.Exit(130) from None
    desk.answer(done, check_page(done))


async def _done(settings: Settings) -> Check:
    """Ask for a check and wait for its end. Raises: ApiUnavailable, Refused, Unavailable."""
    api = Api(settings)
    check = await api.request("POST", "checks", Check)
    began, told = time.monotonic(), ""
    while check.state != "done":
        waited = time.monotonic() - began
        if waited > PATIENCE_SECONDS:
            raise Unavailable(f"the check {check.id} is not done after {waited:.0f} s: `ai-sysadmin doctor` says why")
        if waited > _SAYS_AFTER_SECONDS and told != check.state:
            told = check.state
            warn(f"{_WAITING[check.state]} …")
        await asyncio.sleep(POLL_SECONDS)
        check = await api.one("checks", check.id, Check)
    return check


def check_page(check: Check) -> str:
    """Render what a check came to."""
    if check.report is None:
        return "\n".join(wrapped(f"This check came to nothing: {check.text or 'no report was made'}."))
    lines = report_lines(check.report)
    if check.text:
        lines += ["", *wrapped(f"Note: {check.text}.")]
    return "\n".join(within_width(lines))


def report_lines(report: HealthReport) -> list[str]:
    """Render a health report; findings first, what they rest on below."""
    lines = [*wrapped(report.summary), ""]
    lines += fact("at", local(report.at))
    lines += fact("says who", who(report.judged_by))
    lines += [line for note in report.notes for line in fact("note", one_line(note, 400))]
    lines += _findings(report.findings)
    lines += heading("What it rests on")
    for piece in report.pieces:
        lines += [f"  {piece.id}  {one_line(piece.title, 60)}"]
        lines += [line for text in piece.text.splitlines() for line in wrapped(text, 8, "      ")]
        lines += wrapped(f"and {piece.left_out}", 6) if piece.left_out else []
    return lines


def _findings(findings: tuple[Finding, ...]) -> list[str]:
    lines = heading("What deserves attention, the worst first") if findings else []
    for finding in findings:
        start = f"  {finding.severity:3}  "
        lines += wrapped(f"{finding.text} [{', '.join(finding.evidence)}]", columns(start), start)
    return lines
