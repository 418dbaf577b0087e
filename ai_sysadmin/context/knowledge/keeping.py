"""Keep what is known in step with what there is: runbooks, the configuration, past incidents, the host itself."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from ai_sysadmin.context.knowledge.discoveries import Discoveries, FailedUnits
from ai_sysadmin.context.knowledge.gathered import SHIPPED, Gathered, Gatherer, is_of_directory
from ai_sysadmin.context.knowledge.history import EndedIncidents, History
from ai_sysadmin.context.knowledge.repository import Repository
from ai_sysadmin.context.knowledge.runbooks import Runbooks
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.context_settings import Knowledge
from ai_sysadmin.core.errors import AiSysadminError, StoreUnavailable
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.sources.secret_files import why_secret
from ai_sysadmin.stores.knowledge_store import KnowledgeStore

log = logging.getLogger(__name__)

MOST_DOCUMENTS: Final = 50_000
_OF_DIRECTORIES: Final = (DocumentKind.RUNBOOK, DocumentKind.CONFIGURATION)


class Kept(NamedTuple):
    """What one refresh came to: how many documents changed, and what could not be gathered, one sentence each."""

    changed: int
    faults: tuple[str, ...]


class Keeper:
    """Puts what the gatherers find into the store; what is as it was costs no write.

    Each gatherer fails by itself: what it gave before stays, and the fault is told. All but what is shipped goes
    through the redactor.
    """

    def __init__(self, store: KnowledgeStore, gatherers: Sequence[Gatherer], redactor: Redactor) -> None:
        self._store = store
        self._gatherers = tuple(gatherers)
        self._redactor = redactor
        self._kept: dict[tuple[DocumentKind, str], tuple[tuple[Document, ...], str]] = {}
        self._is_first = True

    async def refresh(self, everything: bool = False) -> Kept:
        """Bring the store up to date; ``everything``: also what has not changed since the last time.

        Raises:
            StoreUnavailable: the store does not answer; the next refresh does it all.
        """
        if everything:
            self._kept.clear()
        changed = 0
        faults: list[str] = []
        for gatherer in self._gatherers:
            try:
                found = await gatherer.gather()
            except StoreUnavailable:
                raise
            except (AiSysadminError, OSError) as error:
                faults.append(f"{gatherer.name}: {error}")
                continue
            for each in found:
                changed += await self._keep(each)
                faults += each.faults
        if self._is_first or everything:
            changed += await self._forget_others()
        self._is_first = False
        return Kept(changed, tuple(faults))

    async def _keep(self, gathered: Gathered) -> int:
        key, documents = (gathered.kind, gathered.source), gathered.documents
        before, digest_before = self._kept.get(key, (None, ""))
        if not gathered.is_known or documents is before:
            return 0
        digest = await asyncio.to_thread(_digest, documents)
        if digest == digest_before:
            return 0
        if gathered.source != SHIPPED and not gathered.is_clean:
            documents = await asyncio.to_thread(self._cleaned, documents)
        changed = await self._store.replace(gathered.kind, gathered.source, documents)
        self._kept[key] = gathered.documents, digest
        return changed

    def _cleaned(self, documents: Sequence[Document]) -> tuple[Document, ...]:
        return tuple(self._clean(document) for document in documents)

    def _clean(self, document: Document) -> Document:
        facts, _ = self._redactor.mapping(document.facts)
        title, text = self._redactor.redact(document.title).text, self._redactor.redact(document.text).text
        if (title, text, facts) == (document.title, document.text, document.facts):
            return document
        return document.model_copy(update={"title": title, "text": text, "facts": facts})

    async def _forget_others(self) -> int:
        """Forget what came from directories that the settings no longer name."""
        sources = {source for gatherer in self._gatherers for source in gatherer.sources}
        held = await self._store.list(_OF_DIRECTORIES, MOST_DOCUMENTS)
        gone = {(each.kind, each.source) for each in held if is_of_directory(each.source)}
        gone = {(kind, source) for kind, source in gone if source not in sources}
        return sum([await self._store.replace(kind, source, ()) for kind, source in sorted(gone)])


def _digest(documents: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.id}{document.hash}".encode())
    return digest.hexdigest()


def build(
    settings: Knowledge,
    store: KnowledgeStore,
    reader: EndedIncidents,
    redactor: Redactor,
    clock: Clock,
    failed: FailedUnits | None = None,
    why_never: Callable[[str], str] = why_secret,
) -> Keeper:
    """Return a keeper of all that the settings name.

    Args:
        failed: asks systemd which units are failed.
        why_never: says why a file of the configuration is never read; empty: it may be.
    """
    gatherers: list[Gatherer] = [Runbooks(settings.runbooks), History(reader), Discoveries(clock, failed)]
    if settings.configuration_repository is not None:
        gatherers.append(Repository(settings.configuration_repository, redactor, why_never))
    return Keeper(store, gatherers, redactor)


async def keep_forever(
    keeper: Keeper,
    sync: Callable[[], Awaitable[object]],
    every_seconds: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Refresh, then bring the index in step with ``sync``, again and again.

    A store that is away is waited for. A fault is logged when it appears, not each time.
    """
    told: frozenset[str] = frozenset()
    while True:
        try:
            kept = await keeper.refresh()
            told = _tell(kept, told)
            await sync()
        except StoreUnavailable as error:
            log.warning("knowledge cannot be kept now: %s", error, extra={"event": "knowledge_not_kept"})
        await sleep(every_seconds)


def _tell(kept: Kept, told: frozenset[str]) -> frozenset[str]:
    """Log what is worth it; return the faults that were told."""
    if kept.changed:
        log.info("%d documents of knowledge changed", kept.changed, extra={"event": "knowledge_kept"})
    for fault in dict.fromkeys(kept.faults):
        if fault not in told:
            log.warning("knowledge lacks something: %s", fault, extra={"event": "knowledge_fault"})
    return frozenset(kept.faults)
