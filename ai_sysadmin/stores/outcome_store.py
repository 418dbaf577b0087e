"""What actions came to, by symptom: the memory that review and investigation take as their prior."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.records import Record


class Tried(Record):
    """One action on one subject, for one fingerprint: how often it ran, and what that came to.

    ``failed`` holds those whose post-check failed and were not taken back, ``reverted`` those that were; of what cannot
    be proved only ``tried`` knows.
    """

    fingerprint: str
    action: str
    subject: str
    tried: int = 0
    helped: int = 0
    reverted: int = 0
    failed: int = 0
    last_at: AwareDatetime
    last_text: str = ""

    @property
    def in_vain(self) -> int:
        """How often it did not help."""
        return self.failed + self.reverted


def subject_of(arguments: Mapping[str, str]) -> str:
    """Name what an action is done to: its unit, or else its arguments in their order by name."""
    return arguments.get("unit") or ", ".join(f"{name}={value}" for name, value in sorted(arguments.items()))


class OutcomeStore(Protocol):
    async def outcomes(self, fingerprints: Sequence[str]) -> Sequence[Tried]:
        """Return what was tried for any of these fingerprints, the latest first."""
        ...
