"""What is known beside the incident at hand: runbooks, past incidents, the configuration, the host, notes.

``retrieval`` finds, ``indexing`` keeps text and vectors in step; ``runbooks``, ``repository``, ``history`` and
``discoveries`` make documents of what there is.
"""

from collections.abc import Sequence
from typing import Protocol

from ai_sysadmin.core.knowledge import DocumentKind, Found


class Search(Protocol):
    """A search of all that is known."""

    async def search(self, query: str, kinds: Sequence[DocumentKind] = (), limit: int = 5) -> Found:
        """Return the documents that fit best, the best first. Degrades, and says so; raises only StoreUnavailable."""
        ...
