"""What changed, told in advance."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ai_sysadmin.sources.changes import ChangesSeen


@dataclass
class FakeChanges:
    """Says the same whatever it is asked about; ``asked`` keeps the questions."""

    seen: ChangesSeen = field(default_factory=lambda: ChangesSeen(changes=()))
    asked: list[tuple[str, datetime, timedelta]] = field(default_factory=list)

    async def before(self, unit: str, moment: datetime, within: timedelta) -> ChangesSeen:
        self.asked.append((unit, moment, within))
        return self.seen
