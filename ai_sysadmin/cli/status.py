"""`status`: how the suite is, asked just now. With the API down, what systemd says of its units."""

import asyncio

import typer

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, say
from ai_sysadmin.cli.layout import heading, table, wrapped
from ai_sysadmin.cli.outcome import report
from ai_sysadmin.cli.own_units import as_documents, own_units_or_why, units_lines
from ai_sysadmin.core.clock import since
from ai_sysadmin.core.errors import ApiUnavailable
from ai_sysadmin.openai_api_server.system.views import BackendStatus, SystemStatus


def add_to(app: typer.Typer) -> None:
    app.command("status")(status)


def status(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Show how the suite is, and why."""
    desk = Desk.open(context, settings, state_dir, as_json)
    try:
        found = asyncio.run(Api(desk.settings).get("status", SystemStatus))
    except ApiUnavailable as error:
        raise typer.Exit(_from_systemd(desk, error)) from error
    desk.answer(found, status_page(found))


def _from_systemd(desk: Desk, error: ApiUnavailable) -> int:
    units, why = asyncio.run(own_units_or_why())
    if not desk.as_json:
        say("\n".join(units_lines(units, why)))
    return report(error, as_json=desk.as_json, beside={"units": as_documents(units), "why_no_units": why or None})


def status_page(found: SystemStatus) -> str:
    """Render the suite's condition for people."""
    lines = [f"{found.ai_name} on {found.host}: {found.state} (version {found.version})"]
    for reason in found.reasons:
        lines += wrapped(reason, 4, "  - ")
    lines += _counts(found)
    lines += [
        *heading("Models"),
        *table(("LAYER", "STATE", "URL", "MODEL"), list(map(_backend, found.backends)), indent=2),
    ]
    if found.services:
        rows = [(note.service, note.state, f"{since(note.at, found.at)} ago", note.text) for note in found.services]
        lines += [*heading("Services"), *table(("SERVICE", "STATE", "SINCE", "SAYS"), rows, indent=2)]
    return "\n".join(lines)


def _counts(found: SystemStatus) -> list[str]:
    live = {state: count for state, count in found.incidents.items() if state not in {"resolved", "dismissed"}}
    pending = found.actions.get("pending", 0)
    lines = ["", f"  incidents  {_listed(live) or 'none open'}"]
    lines += [f"  actions    {pending} waiting for you: ai-sysadmin actions --state pending"] if pending else []
    lines += [f"  executor   {'answers' if found.executor.reachable else 'away'}, autonomy {found.autonomy_level}"]
    lines += ["  HALTED     no action begins: ai-sysadmin resume"] if found.halted else []
    return [*lines, f"  journal    {_journal(found)}"]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _journal(found: SystemStatus) -> str:
    read = found.journal
    if read is None:
        return "not read yet"
    return (
        f"{read.entries_read} entries read, {read.entries_lost} lost, {read.entries_suppressed} suppressed, "
        f"last {since(read.updated_at, found.at)} ago"
    )


def _backend(backend: BackendStatus) -> tuple[str, str, str, str]:
    model = backend.text
    if backend.state == "ready":
        context = f", {backend.context_tokens} tokens of context" if backend.context_tokens else ""
        model = f"{backend.model}{context}"
    away = " (NOT on this host)" if backend.remote else ""
    return backend.layer, backend.state, f"{backend.url}{away}", model
