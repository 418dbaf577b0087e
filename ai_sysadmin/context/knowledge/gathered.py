"""What every maker of documents hands over, and the names of where documents come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ai_sysadmin.core.knowledge import Document, DocumentKind

SHIPPED: Final = "shipped"
INCIDENTS: Final = "incidents"
HOST: Final = "host"
_IMPORTED: Final = "imported by "


@dataclass(frozen=True)
class Gathered:
    """All documents of one kind from one source. ``faults`` say what is missing among them, one sentence each.

    Not ``is_known``: nothing can be seen there now, and what was there before stands. ``is_clean``: secrets are taken
    out already.
    """

    kind: DocumentKind
    source: str
    documents: tuple[Document, ...]
    faults: tuple[str, ...] = ()
    is_known: bool = True
    is_clean: bool = False


class Gatherer(Protocol):
    """Makes documents of one thing that there is; what has not changed it does not read again."""

    @property
    def name(self) -> str:
        """Return what is gathered, in words."""
        ...

    @property
    def sources(self) -> Sequence[str]:
        """Return the sources of its documents."""
        ...

    async def gather(self) -> Sequence[Gathered]:
        """Return what there is now. Raises: AiSysadminError, where it cannot be looked at."""
        ...


def imported_by(person: str) -> str:
    """Return the source of what a person imported."""
    return f"{_IMPORTED}{person}"


def of_directory(directory: Path) -> str:
    """Return the source of what lies in a directory."""
    return str(directory.absolute())


def is_of_directory(source: str) -> bool:
    return source.startswith("/")


def why_kept(document: Document) -> str:
    """Say why a document cannot be removed by hand; empty: it can, being a person's note or import."""
    if document.kind is DocumentKind.NOTE or document.source.startswith(_IMPORTED):
        return ""
    if document.source == SHIPPED:
        return "it is shipped with ai-sysadmin; a runbook of yours of the same name takes its place"
    if is_of_directory(document.source):
        return f"it is made from {document.source}: change or remove it there"
    if document.kind is DocumentKind.INCIDENT:
        return "it is made from an incident that is on record"
    return "it is made from this host itself, and would be back at the next look"
