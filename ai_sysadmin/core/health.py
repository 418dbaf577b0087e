"""A review of the whole host."""

from pydantic import AwareDatetime, Field

from ai_sysadmin.core.records import Evidence, Record


class Finding(Record):
    """One thing that a health review points out, and the pieces of evidence that it rests on."""

    text: str
    severity: int = Field(ge=0, le=100)
    evidence: tuple[str, ...]


class HealthReport(Record):
    """A review of the whole host. ``hash`` is unchanged while there is nothing new to say; it opens no incident."""

    at: AwareDatetime
    hash: str
    pieces: tuple[Evidence, ...]
    summary: str
    findings: tuple[Finding, ...] = ()
    judged_by: str
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    notes: tuple[str, ...] = ()
