"""One incident's way through the suite, told from outside: only through the command line and the journal."""

from dataclasses import dataclass
from typing import Any

from tests.system.machine import Completed, Machine

UNIT_FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
"""systemd's MESSAGE_ID of a unit that failed."""


STAGES = (
    "incident_opened",
    "review_started",
    "review_finished",
    "request_submitted",
    "action_asked",
    "action_approved",
    "action_started",
    "action_ran",
    "action_finished",
)
"""What the suite logs on an incident's way, in order, with a person's yes in the middle."""


@dataclass(frozen=True)
class Story:
    """The suite on a machine, as root or another user sees it."""

    machine: Machine

    def cli(self, *argv: str, user: str | None = None) -> Completed:
        return self.machine.run(["/opt/bin/ai-sysadmin", *argv, "--json"], user=user)

    def fail(self, name: str) -> str:
        """Start a unit that exits 1 at its first start; return its name."""
        unit = f"e2e-once@{name}.service"
        self.machine.systemctl("start", unit).ok()
        return unit

    def incidents(self, unit: str) -> list[dict[str, Any]]:
        """Return the unit's incidents, however many there are."""
        done = self.cli("incidents")
        if done.exit_status != 0:  # the API may be starting
            return []
        return [incident for incident in done.json["incidents"] if incident["unit"] == unit]

    def actions(self, unit: str, state: str = "") -> list[dict[str, Any]]:
        done = self.cli("actions")
        if done.exit_status != 0:
            return []
        every = done.json["actions"]
        return [each for each in every if unit in str(each) and (not state or each["state"] == state)]

    def pending(self, unit: str, within: float = 30) -> dict[str, Any]:
        """Return the one action on the unit that waits for a person."""
        waiting = self.machine.eventually(lambda: self.actions(unit, "pending"), f"an action for {unit} waits", within)
        assert len(waiting) == 1, waiting
        return dict(waiting[0])

    def ends(self, unit: str, state: str, within: float = 30) -> dict[str, Any]:
        """Return the unit's one incident once it is in this state."""

        def there() -> dict[str, Any] | None:
            found = self.incidents(unit)
            return found[0] if found and found[0]["state"] == state else None

        incident = self.machine.eventually(there, f"the incident of {unit} is {state}", within)
        assert len(self.incidents(unit)) == 1
        return dict(incident)

    def events(self, incident_id: str) -> list[str]:
        """Return what the suite logged about an incident, in order."""
        return [entry.get("AI_EVENT", "") for entry in self.machine.journal(AI_INCIDENT_ID=incident_id)]

    def seconds_to_notice(self, unit: str, incident_id: str) -> float:
        """Return how long after systemd's own word the incident was on record, by the journal's clock."""
        failed = self.machine.journal(MESSAGE_ID=UNIT_FAILED, UNIT=unit)[0]
        opened = self.machine.journal(AI_INCIDENT_ID=incident_id, AI_EVENT="incident_opened")[0]
        return (int(opened["__REALTIME_TIMESTAMP"]) - int(failed["__REALTIME_TIMESTAMP"])) / 1e6
