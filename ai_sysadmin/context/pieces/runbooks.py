"""The runbooks that fit best: those that name this kind of fault or this unit, then what a search finds."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final, Protocol

from ai_sysadmin.context.knowledge import Search
from ai_sysadmin.context.pieces.drafts import Cleaner, Draft, first_lines
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.knowledge import Document, DocumentKind

_MOST_DOCUMENTS: Final = 1000
_CHARACTERS: Final = 5000
_FOUND: Final = 8


class RunbookShelf(Protocol):
    """What of ``stores.knowledge_store.KnowledgeStore`` is asked here."""

    async def list(self, kinds: Sequence[DocumentKind] = (), limit: int = 1000) -> Sequence[Document]: ...


async def look(
    incident: Incident, shelf: RunbookShelf | None, search: Search | None, query: str, most: int, clean: Cleaner
) -> Draft | None:
    """Return the best runbooks; none: nothing fits. Raises: StoreUnavailable."""
    if most <= 0:
        return None
    found = await search.search(query, [DocumentKind.RUNBOOK], _FOUND) if search else None
    hits = [hit.document for hit in found.hits] if found else []
    shelved = await shelf.list([DocumentKind.RUNBOOK], _MOST_DOCUMENTS) if shelf else hits
    books = ranked(incident, shelved, hits)[:most]
    if not books:
        return None
    lines: list[str] = []
    missing: list[str] = []
    for book in books:
        text, more = first_lines(_lines(book, clean), _CHARACTERS)
        lines += text
        missing += [f"{more} lines of {book.name}"] if more else []
    if found and found.degraded:
        missing.append(clean.line(f"searched with less than there should be: {found.degraded}"))
    return Draft(
        kind="runbooks",
        title="runbooks that may fit",
        lines=tuple(lines),
        facts={"names": ", ".join(book.name for book in books)},
        left_out="; ".join(missing),
    )


def ranked(incident: Incident, shelved: Sequence[Document], hits: Sequence[Document]) -> list[Document]:
    """Return the runbooks that fit, the best first: by unit and kind, then by how the search ranks them."""
    order = {document.id: place for place, document in enumerate(hits)}
    books = {document.id: document for document in (*hits, *shelved)}
    fits = {id_: _fit(incident, document) for id_, document in books.items()}
    told = [document for id_, document in books.items() if fits[id_] > 0 or id_ in order]
    return sorted(told, key=lambda each: (-fits[each.id], order.get(each.id, len(order)), each.name))


def _fit(incident: Incident, document: Document) -> int:
    """Return how well a runbook's front matter fits: 2 for the unit, 1 for the kind."""
    units, kinds = (document.facts.get(name, "").replace(",", " ").split() for name in ("units", "kinds"))
    of_unit = bool(incident.unit) and any(fnmatchcase(incident.unit, pattern) for pattern in units)
    of_kind = incident.kind.value in kinds
    if units and incident.unit and not of_unit:  # it is about other units
        return 0
    return 2 * of_unit + of_kind


def _lines(document: Document, clean: Cleaner) -> list[str]:
    """Return a runbook's text, its code still indented."""
    text = clean.whole(document.text).splitlines()
    return [clean.line(f"# {document.title} ({document.name})"), *(line.rstrip() for line in text if line.strip())]
