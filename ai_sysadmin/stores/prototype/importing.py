"""Import the prototype's entries, each once: what is there already is left as it is, whoever changed it since.

A document is kept under a name that only its origin and key decide, so a run that was broken off anywhere is taken
up by the next, and a run after that changes nothing.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from ai_sysadmin.core.knowledge import Document
from ai_sysadmin.stores.prototype import Imported, Reading
from ai_sysadmin.stores.prototype.mapping import document_of

log = logging.getLogger(__name__)

_AT_ONCE: Final = 200

Clean = Callable[[Document], tuple[Document, dict[str, int]]]
"""Return a document without secrets, and how many were taken out, by kind."""


class Shelf(Protocol):
    """Where documents are kept, or only looked up."""

    async def known(self, ids: Sequence[str]) -> frozenset[str]:
        """Return those of the ids that there are. Raises: StoreUnavailable."""
        ...

    async def put(self, documents: Sequence[Document]) -> int:
        """Raises: StoreUnavailable."""
        ...


async def take_in(reading: Reading, shelf: Shelf, clean: Clean, source: str, now: datetime) -> Imported:
    """Import what of one origin is not there yet. Raises: StoreUnavailable: the next run goes on from there."""
    imported = there = 0
    seen: set[str] = set()
    redacted: Counter[str] = Counter()
    for start in range(0, len(reading.entries), _AT_ONCE):
        fresh: dict[str, tuple[Document, dict[str, int]]] = {}
        for entry in reading.entries[start : start + _AT_ONCE]:
            document, counts = _cleaned(document_of(entry, source, now), clean)
            if document.id not in seen:
                fresh[document.id] = document, counts
        seen |= fresh.keys()
        known = await shelf.known(tuple(fresh))
        wanted = [pair for each, pair in fresh.items() if each not in known]
        await shelf.put([document for document, _ in wanted])
        for _, counts in wanted:
            redacted.update(counts)
        imported += len(wanted)
        there += len(fresh) - len(wanted)
    if imported:
        log.info("%d of %s taken in", imported, reading.where, extra={"event": "prototype_imported"})
    return Imported(
        origin=reading.origin,
        where=reading.where,
        found=reading.found,
        digest=reading.digest,
        imported=imported,
        there_already=there,
        repeated=len(reading.entries) - len(seen),
        left=reading.left,
        redacted=dict(sorted(redacted.items())),
    )


def _cleaned(document: Document, clean: Clean) -> tuple[Document, dict[str, int]]:
    """Take the secrets out; names that differ in a secret only are kept apart by a digest."""
    done, counts = clean(document)
    if done.name != document.name:
        digest = hashlib.sha256(document.name.encode()).hexdigest()[:10]
        done = done.model_copy(update={"name": f"{done.name}-{digest}"})
    return done, counts
