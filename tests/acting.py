"""A host below a directory, for what an action of the catalogue looks at."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ai_sysadmin.actions.action import Host, Session
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.testing.host import FakeClock, FakeUnits

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class NoSessions:
    async def live(self) -> Sequence[Session]:
        return []


def host_at(root: Path, actions: dict[str, object] | None = None, mounts: str = "") -> Host:
    """A host below a directory, whose one file system is the test's own."""
    device = root.stat().st_dev
    line = f"21 1 {os.major(device)}:{os.minor(device)} / / rw - ext4 /dev/vda rw\n"
    for process in ("1", "self"):
        (root / "proc" / process).mkdir(parents=True, exist_ok=True)
        (root / "proc" / process / "mountinfo").write_text(line + mounts)
    settings = Settings.model_validate({"actions": actions or {}})
    return Host(settings=settings, units=FakeUnits(), sessions=NoSessions(), clock=FakeClock(NOW), root=root)
