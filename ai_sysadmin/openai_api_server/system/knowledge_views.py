"""What is said about knowledge on the wire: the same shapes for the command line."""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.core.records import Record

MOST_TEXT: Final = 256 << 10

Text = Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


class Listed(Record):
    """A document in a list: all but its text."""

    id: str
    kind: DocumentKind
    name: str
    title: str
    source: str
    characters: int
    updated_at: AwareDatetime

    @classmethod
    def of(cls, document: Document) -> "Listed":
        return cls(
            id=document.id,
            kind=document.kind,
            name=document.name,
            title=document.title,
            source=document.source,
            characters=len(document.text),
            updated_at=document.updated_at,
        )


class Listing(Record):
    """Documents by kind and name; ``found`` is how many there are, ``by_kind`` how many of each kind."""

    documents: tuple[Listed, ...]
    found: int
    by_kind: dict[str, int] = Field(default_factory=dict)


class NewNote(Record):
    """What a person wants remembered."""

    title: Title
    text: Text


class NewFile(Record):
    """A Markdown file of a person's: a runbook where it begins with a head, else a note. ``path`` names it."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    text: Text


class Added(Record):
    """What became of an addition. ``redacted`` counts the secrets that were taken out of it, by kind."""

    document: Listed
    outcome: Literal["added", "changed", "unchanged"]
    redacted: dict[str, int] = Field(default_factory=dict)


class Reindexing(Record):
    """The last time that the index was made anew, since this service started."""

    state: Literal["never", "running", "done", "failed"] = "never"
    text: str = ""
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
