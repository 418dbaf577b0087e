"""The prototype's data: read as it lies there, and imported once as documents of our own knowledge.

    ``chroma`` (six collections) · ``files`` (its queue and logs) → Entry → ``mapping`` → Document → ``importing``

``tables`` counts what its tables hold, which are adopted in place; ``directory`` serves a copy of an embedded
ChromaDB's directory. Nothing of the prototype's is ever written to.
"""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from ai_sysadmin.core.records import Record


class Origin(StrEnum):
    """What of the prototype's an entry comes from: a collection of its ChromaDB, or one of its files."""

    SYSTEMS = "systems"
    RELATIONSHIPS = "relationships"
    ISSUES = "issues"
    DECISIONS = "decisions"
    CONFIG_FILES = "config_files"
    KNOWLEDGE = "knowledge"
    APPROVAL_QUEUE = "approval_queue.json"
    ACTIONS_LOG = "actions.jsonl"
    DECISIONS_LOG = "decisions.jsonl"
    CLOSED_ISSUES = "logs/closed_issues.jsonl"


CHROMA_URL = "http://127.0.0.1:8000"
"""Where the prototype's ChromaDB was."""

COLLECTIONS = (
    Origin.SYSTEMS,
    Origin.RELATIONSHIPS,
    Origin.ISSUES,
    Origin.DECISIONS,
    Origin.CONFIG_FILES,
    Origin.KNOWLEDGE,
)
LOGS = (Origin.ACTIONS_LOG, Origin.DECISIONS_LOG, Origin.CLOSED_ISSUES)


class Entry(Record):
    """One thing that the prototype remembered.

    ``key`` names it among those of its origin, and stays the same. ``values`` are its metadata or fields, flattened
    (``action.command``), as text. ``at`` is when it was last changed, where it says so.
    """

    origin: Origin
    key: str
    text: str = ""
    values: dict[str, str] = Field(default_factory=dict)
    at: AwareDatetime | None = None


class Left(Record):
    """Something that was not imported, and why."""

    where: str
    why: str


class Reading(Record):
    """All that could be read of one origin.

    ``found`` counts what is there, broken lines included; ``digest`` changes when any of it does.
    """

    origin: Origin
    where: str
    found: int
    digest: str
    entries: tuple[Entry, ...] = ()
    left: tuple[Left, ...] = ()


class Imported(Record):
    """What became of one origin: of all that was ``found``, how much was imported now, or had been before.

    ``repeated`` are equal to another of the same file. ``left`` says what was not imported.
    """

    origin: Origin
    where: str
    found: int
    digest: str
    imported: int
    there_already: int
    repeated: int = 0
    left: tuple[Left, ...] = ()
    redacted: dict[str, int] = Field(default_factory=dict)


class Table(Record):
    """One table of the prototype's, of one host: how many rows, and of when."""

    name: str
    hostname: str
    rows: int
    first: AwareDatetime
    last: AwareDatetime
