"""What is known beyond the incident at hand: documents, and what a search among them finds."""

import hashlib
from enum import StrEnum

from pydantic import AwareDatetime, Field, field_validator

from ai_sysadmin.core.records import Record


class DocumentKind(StrEnum):
    RUNBOOK = "runbook"
    INCIDENT = "incident"
    CONFIGURATION = "configuration"
    SYSTEM = "system"
    DISCOVERY = "discovery"
    NOTE = "note"


class Document(Record):
    """One text that can be found again.

    ``name`` is what it is known by within its kind: a runbook's file, a configuration's ``path:first-last`` lines, an
    incident's id, a note's slug. ``source`` says where it comes from (``shipped``, a path, a person). ``facts`` are
    its front matter or other short values; a runbook's ``kinds`` and ``units`` stand there, blank-separated.
    """

    kind: DocumentKind
    name: str
    title: str
    text: str
    source: str
    facts: dict[str, str] = Field(default_factory=dict)
    updated_at: AwareDatetime

    @field_validator("name", "title", "text")
    @classmethod
    def _is_writable(cls, text: str) -> str:
        """Replace lone surrogates, as names of files may hold them: no database takes them."""
        return text.encode("utf-8", "replace").decode()

    @property
    def id(self) -> str:
        """Return a short name that stays: of its kind and name."""
        return hashlib.sha256(f"{self.kind.value}\0{self.name}".encode()).hexdigest()[:10]

    @property
    def hash(self) -> str:
        """Return what changes exactly when what can be found of it changes."""
        body = "\0".join((self.title, self.text, *(f"{k}={v}" for k, v in sorted(self.facts.items()))))
        return hashlib.sha256(body.encode()).hexdigest()[:32]


class Hit(Record):
    """A document that a search found, and by what: vectors, full text, or both. The highest score comes first."""

    document: Document
    score: float
    by: str


class Found(Record):
    """What a search found. ``degraded`` says why it was searched with less than there should be; empty: it was not."""

    hits: tuple[Hit, ...]
    degraded: str = ""
