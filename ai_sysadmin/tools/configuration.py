"""Where the operator's NixOS configuration says something: file and line, and whether that is what runs."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.context.knowledge import Search
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import Refused, StoreUnavailable
from ai_sysadmin.core.knowledge import Document, DocumentKind, Found
from ai_sysadmin.sources.changes.profile import CURRENT, read_profile
from ai_sysadmin.sources.changes.rooted import resolved
from ai_sysadmin.sources.configuration_search import Place, Searched, search
from ai_sysadmin.sources.configuration_state import RepositoryState, against_running, state_of
from ai_sysadmin.sources.host.aside import Aside
from ai_sysadmin.sources.readable_files import ReadableFiles
from ai_sysadmin.sources.running_system import said_by
from ai_sysadmin.tools.tool import Told, Tool, Words, beyond, tool_of

_SECONDS: Final = 10.0
_PLACES: Final = 12
_BY_MEANING: Final = 3
_LINES_BY_MEANING: Final = 25

Sought = Annotated[Words, Field(description="an option, a name or words to look for")]


def configuration_tools(
    repository: Path | None,
    knowledge: Search,
    files: ReadableFiles,
    redactor: Redactor,
    root: Path = Path("/"),
    absent: str = "",
) -> tuple[Tool, ...]:
    """Return the tool ``nixos_configuration``. ``absent``: why it is not offered on this host."""
    aside = Aside()

    def clean(line: str) -> str:
        return redactor.redact(line).text

    async def nixos_configuration(words: Sought) -> Told:
        """Search this host's own NixOS configuration: file, line, and whether the running generation has it."""
        if repository is None:
            raise Refused("no configuration repository is set: knowledge.configuration_repository names its directory")
        searched, found, state = await asyncio.gather(
            aside.ask(
                str(repository),
                partial(search, repository, words, clean, files.why_never),
                _SECONDS,
            ),
            _by_meaning(knowledge, words),
            state_of(repository),
        )
        running = await asyncio.to_thread(_running, root)
        head = _head(repository, state, running, searched)
        lines = [head, *_places(searched, state, words), *_meant(found, searched)]
        more = beyond(len(searched.places) - _PLACES, "places")
        return Told("\n".join(lines), narrow="give more `words`, or a longer name", truncated=more)

    return (tool_of(nixos_configuration, says="the NixOS configuration: {words}", seconds=2 * _SECONDS, absent=absent),)


async def _by_meaning(knowledge: Search, words: str) -> Found:
    try:
        return await knowledge.search(words, [DocumentKind.CONFIGURATION], _BY_MEANING)
    except StoreUnavailable as error:
        return Found(hits=(), degraded=f"not searched by meaning: {error}")


def _running(root: Path) -> tuple[str, datetime | None]:
    """Return the commit that the running system says it was built from, and when it was activated."""
    try:
        profile = read_profile(root)
    except OSError:
        profile = None
    return said_by(root, resolved(root, CURRENT)).revision, profile.current_since if profile else None


def _head(repository: Path, state: RepositoryState, running: tuple[str, datetime | None], searched: Searched) -> str:
    revision, activated = running
    at = f" at commit {state.commit[:12]}" if state.commit else ""
    of = f" of {state.committed_at} ({state.subject[:80]})" if state.committed_at else ""
    left_out = f" Not searched: {'; '.join(searched.gaps)}." if searched.gaps else ""
    said = against_running(state, revision, activated, searched.newest)
    return f"{repository}{at}{of}, {searched.files} files. {said}.{left_out}"


def _places(searched: Searched, state: RepositoryState, words: str) -> Iterator[str]:
    if not searched.places:
        yield f"no line has {words!r}, nor a word of it"
    for place in searched.places[:_PLACES]:
        yield f"{place.file}:{place.hits[0]}{_marks(place, state)}"
        for number, line in enumerate(place.lines, place.first):
            yield f"  {'>' if number in place.hits else ' '} {number}: {line}"


def _marks(place: Place, state: RepositoryState) -> str:
    changed = state.changed or ()
    is_loose = any(place.file == each or (each.endswith("/") and place.file.startswith(each)) for each in changed)
    return " (this file is changed and not committed)" if is_loose else ""


def _meant(found: Found, searched: Searched) -> Iterator[str]:
    """Yield what the search by meaning adds to the lines that were found by their words."""
    shown = searched.places[:_PLACES]
    others = [hit.document for hit in found.hits if not _is_shown(hit.document, shown)]
    if others:
        yield "by meaning, as it was last indexed:"
    for document in others:
        yield f"{document.name} ({document.title})"
        yield from (f"    {line}" for line in document.text.split("\n")[:_LINES_BY_MEANING])
    if found.degraded:
        yield f"({found.degraded})"


def _is_shown(document: Document, places: Sequence[Place]) -> bool:
    facts = document.facts
    try:
        first, last = int(facts["first"]), int(facts["last"])
    except (KeyError, ValueError):
        return False
    return any(place.file == facts.get("path") and first <= place.hits[0] <= last for place in places)
