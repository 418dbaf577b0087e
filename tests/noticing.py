"""Journal entries for the trigger monitor's tests: one line each, numbered as journald numbers them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ai_sysadmin.core.records import JournalEntry
from tests.builders import NOW

FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
RESTART_SCHEDULED = "5eb03494b6584870a536b337290809b3"
STARTED = "39f53479d3a045ac8e11786248231fbf"
START_FAILED = "be02cf6855d2428ba40df7e9d022f03d"
SUPPRESSED = "a596d6fe7bfa4994828e72309e95d61e"


@dataclass
class Writer:
    """Writes entries with consecutive numbers; ``at`` is the time of the next one."""

    at: datetime = NOW
    number: int = 0

    def line(self, message: str, unit: str = "web.service", priority: int = 3, **changes: object) -> JournalEntry:
        """Write what a unit's process logs."""
        self.number += 1
        given: dict[str, object] = {
            "cursor": f"s=aa;i={self.number:x};b=bb",
            "at": self.at,
            "message": message,
            "unit": unit,
            "priority": priority,
            "sequence_id": "aa",
            "sequence": self.number,
            "transport": "stdout",
        }
        return JournalEntry(**(given | changes))

    def lines(self, count: int, message: str = "upstream {} refused", **changes: object) -> list[JournalEntry]:
        return [self.line(message.format(n), **changes) for n in range(count)]

    def manager(self, message_id: str, message: str, unit: str = "web.service", **fields: str) -> JournalEntry:
        """Write what systemd says of a unit."""
        known = {"UNIT": unit, "INVOCATION_ID": "a1" * 16, "_PID": "1"} | fields
        priority = 3 if message_id == START_FAILED else 4
        return self.line(f"{unit}: {message}", unit, priority, message_id=message_id, fields=known, transport="journal")

    def failed(self, unit: str = "web.service", result: str = "exit-code", **fields: str) -> JournalEntry:
        return self.manager(FAILED, f"Failed with result '{result}'.", unit, UNIT_RESULT=result, **fields)

    def restart(self, unit: str = "web.service") -> JournalEntry:
        return self.manager(RESTART_SCHEDULED, "Scheduled restart job, restart counter is at 1.", unit)

    def later(self, seconds: float) -> "Writer":
        self.at += timedelta(seconds=seconds)
        return self
