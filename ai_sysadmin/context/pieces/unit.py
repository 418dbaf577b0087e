"""The unit as it stands: its state and the result of its last run, what it starts, as whom, within which limits."""

from ai_sysadmin.context.pieces.drafts import Cleaner, Draft, iso, lasting, size
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.sources.unit_setup import UnitSetup
from ai_sysadmin.sources.units import ExaminedUnits, UnitStatus

_STATES = ("load_state", "active_state", "sub_state", "result", "exit_status")


async def look(unit: str, units: ExaminedUnits, clean: Cleaner) -> Draft:
    """Raises: NotFound, SystemdUnavailable."""
    status = await units.status(unit)
    try:
        setup = await units.setup(unit)
    except NotFound:  # it went between the two calls
        setup = UnitSetup()
    facts = facts_from(status) | _facts_of(setup)
    return Draft(
        kind="unit_status",
        title=f"state of {unit}",
        lines=tuple(clean.line(line) for line in [*_state(status), *_setup(status, setup)]),
        facts={name: clean.line(value) for name, value in facts.items()},
        identity=tuple(facts.get(name, "") for name in _STATES),
    )


def facts_from(status: UnitStatus) -> dict[str, str]:
    """Return a unit's state as facts, without its lists; ``facts.status_in`` reads them back."""
    given = status.model_dump(mode="json", exclude_none=True)
    return {name: str(value) for name, value in given.items() if not isinstance(value, list)}


def _facts_of(setup: UnitSetup) -> dict[str, str]:
    said = {
        "exec_start": setup.command,
        "user": setup.user,
        "drop_ins": " ".join(setup.drop_ins),
        "memory_peak": setup.memory_peak_bytes,
        "memory_max": setup.memory_max_bytes,
    }
    return {name: str(value) for name, value in said.items() if value}


def _state(status: UnitStatus) -> list[str]:
    since = f" since {iso(status.state_changed_at)}" if status.state_changed_at else ""
    restart = f" (Restart={status.restart})" if status.restart else ""
    lines = [
        f"{status.name}: {status.description}",
        f"state: {status.active_state} ({status.sub_state}){since}",
    ]
    if status.result:
        lines.append(f"result of its last run: {status.result}, exit status {status.exit_status}")
    if status.type:
        lines.append(f"restarted by systemd {status.n_restarts} times{restart}; type {status.type}")
    defined = f", {status.fragment_path}" if status.fragment_path else ""
    return [*lines, f"unit file: {status.load_state}{defined}"]


def _setup(status: UnitStatus, setup: UnitSetup) -> list[str]:
    lines = [f"changed by {path}" for path in setup.drop_ins]
    if setup.started_at:
        lines.append(f"main process: {_run_of(setup)}")
    if setup.command:
        what = "mounts" if status.name.endswith(".mount") else "starts"
        lines.append(f"{what}: {setup.command}")
    if setup.user:
        lines.append(f"runs as: {setup.user}")
    memory = (
        ("now", setup.memory_bytes if status.active_state != "failed" else None),
        ("at most so far", setup.memory_peak_bytes),
        ("allowed", setup.memory_max_bytes),
    )
    if said := ", ".join(f"{size(value)} {name}" for name, value in memory if value):
        lines.append(f"memory: {said}")
    return lines


def _run_of(setup: UnitSetup) -> str:
    if setup.started_at is None:
        return ""
    if setup.ended_at is None or setup.ended_at < setup.started_at:
        return f"runs since {iso(setup.started_at)}"
    took = (setup.ended_at - setup.started_at).total_seconds()
    return f"ran from {iso(setup.started_at)} for {lasting(took)}"
