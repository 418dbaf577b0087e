"""Runbooks as documents: those that are shipped, and those in the operator's directories.

A runbook is a Markdown file with a small head (``front_matter``). A broken file is passed over and said.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ai_sysadmin.context.knowledge import front_matter
from ai_sysadmin.context.knowledge.gathered import SHIPPED, Gathered, of_directory
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.knowledge import Document, DocumentKind

MOST_BYTES: Final = 256 << 10
MOST_FILES: Final = 2000
_DIRECTORY: Final = Path(__file__).parents[1] / "runbooks"
_PASSED_OVER: Final = frozenset({"readme", "license", "changelog", "contributing"})


class TextUnreadable(AiSysadminError):
    """A file's text cannot be used."""


def shipped() -> Gathered:
    """Return the runbooks that come with the package. One that is broken is a fault of the package, and said."""
    return _gathered(_DIRECTORY, SHIPPED)


def from_directory(directory: Path) -> Gathered:
    """Return the runbooks in a directory and below it; what cannot be used is among the faults."""
    if not directory.is_dir():
        fault = f"{directory} is no directory that can be read: correct knowledge.runbooks"
        return Gathered(DocumentKind.RUNBOOK, of_directory(directory), (), (fault,), is_known=False)
    return _gathered(directory, of_directory(directory))


def parse(text: str, *, name: str, source: str, at: datetime) -> Document:
    """Return a runbook as a document; without a head it has the title of its first heading, and names no kinds.

    Raises:
        FrontMatterWrong: names the line and the key.
    """
    if not front_matter.has_head(text):
        title = front_matter.heading_of(text) or name.rpartition("/")[2].replace("-", " ")
        facts: dict[str, str] = {}
        body = text
    else:
        head = front_matter.read(text)
        title, facts, body = head.title, head.facts, head.body
    return Document(
        kind=DocumentKind.RUNBOOK, name=name, title=title, text=body, source=source, facts=facts, updated_at=at
    )


def files_in(directory: Path) -> Iterator[Path]:
    """Yield the Markdown files in a directory and below it, in order; hidden ones and links to elsewhere are not."""
    base = directory.resolve()
    for at, directories, files in os.walk(base):
        directories[:] = sorted(each for each in directories if not each.startswith("."))
        for name in sorted(files):
            path = Path(at) / name
            is_wanted = path.suffix.lower() in {".md", ".markdown"} and not name.startswith(".")
            if is_wanted and path.stem.lower() not in _PASSED_OVER and path.resolve().is_relative_to(base):
                yield path


def text_in(path: Path) -> str:
    """Return a file's text. Raises: TextUnreadable: too large, binary, or not to be read."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise TextUnreadable(f"has {size} bytes, a text may have {MOST_BYTES}")
        data = path.read_bytes()
        if b"\0" in data:
            raise TextUnreadable("is not text: it holds zero bytes")
        return data.decode()
    except UnicodeDecodeError as error:
        raise TextUnreadable(f"is not UTF-8: byte {error.start} cannot be read") from error
    except OSError as error:
        raise TextUnreadable(f"cannot be read: {error.strerror}") from error


def name_of(path: Path, directory: Path) -> str:
    """Return what a file's runbook is known by: its path below the directory, without suffix."""
    return path.relative_to(directory.resolve()).with_suffix("").as_posix()


def _gathered(directory: Path, source: str) -> Gathered:
    documents: list[Document] = []
    faults: list[str] = []
    for count, path in enumerate(files_in(directory)):
        if count >= MOST_FILES:
            faults.append(f"{directory} holds more than {MOST_FILES} runbooks: the rest is left out")
            break
        try:
            at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            documents.append(parse(text_in(path), name=name_of(path, directory), source=source, at=at))
        except (AiSysadminError, OSError) as error:
            faults.append(f"{path}: {error}")
    return Gathered(DocumentKind.RUNBOOK, source, tuple(documents), tuple(faults))


class Runbooks:
    """Gathers all runbooks. Of several with one name the operator's stands, the first directory's before the next."""

    name: Final = "runbooks"

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = tuple(directories)
        self._seen: object = None
        self._held: tuple[Gathered, ...] = ()

    @property
    def sources(self) -> Sequence[str]:
        return (*(of_directory(directory) for directory in self._directories), SHIPPED)

    async def gather(self) -> Sequence[Gathered]:
        return await asyncio.to_thread(self._read)

    def _read(self) -> Sequence[Gathered]:
        seen = tuple(_stamp(directory) for directory in self._directories)
        if seen != self._seen or not self._held:
            own = [from_directory(directory) for directory in self._directories]
            self._held = _without_doubles([*own, shipped()])
            self._seen = seen
        return self._held


def _stamp(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when a file in a directory does."""
    try:
        stats = [(path, path.stat()) for path in files_in(directory)]
    except OSError:
        return ()
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)


def _without_doubles(ranked: Sequence[Gathered]) -> tuple[Gathered, ...]:
    taken: dict[str, str] = {}
    kept: list[Gathered] = []
    for each in ranked:
        doubles = [doc for doc in each.documents if doc.name in taken and each.source != SHIPPED]
        faults = [f"{each.source}/{doc.name}.md is left out: {taken[doc.name]} has one of that name" for doc in doubles]
        documents = tuple(doc for doc in each.documents if doc.name not in taken)
        taken |= {doc.name: each.source for doc in documents}
        kept.append(replace(each, documents=documents, faults=(*each.faults, *faults)))
    return tuple(kept)
