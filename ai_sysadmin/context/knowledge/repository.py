"""The operator's NixOS configuration as documents, with file and lines: what is declared, and where."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final

from ai_sysadmin.context.knowledge.gathered import Gathered, of_directory
from ai_sysadmin.context.knowledge.nix_chunks import Chunk, lines_of, markdown_chunks, nix_chunks
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.sources.secret_files import why_secret

MOST_BYTES: Final = 512 << 10
MOST_CHUNKS: Final = 5000
MOST_FILES: Final = 20_000
_LOCK: Final = "flake.lock"
_MOST_INPUTS: Final = 100

Stamp = tuple[int, int, int]


class Repository:
    """Gathers the chunks of a directory; a file whose time and size are as before is not read again.

    Args:
        why_never: says why a file of a path is never read; empty: it may be.
    """

    name: Final = "configuration"

    def __init__(self, directory: Path, redactor: Redactor, why_never: Callable[[str], str] = why_secret) -> None:
        self._directory = directory
        self._redactor = redactor
        self._why_never = why_never
        self._held: dict[str, tuple[Stamp, tuple[Document, ...]]] = {}
        self._documents: tuple[Document, ...] = ()

    @property
    def sources(self) -> Sequence[str]:
        return (of_directory(self._directory),)

    async def gather(self) -> Sequence[Gathered]:
        return (await asyncio.to_thread(self.look),)

    def look(self) -> Gathered:
        """Return the chunks there are now; what could not be used is counted among the faults."""
        source = of_directory(self._directory)
        base = self._directory.resolve()
        if not base.is_dir():
            fault = f"{self._directory} is no directory that can be read: correct knowledge.configuration_repository"
            return Gathered(DocumentKind.CONFIGURATION, source, (), (fault,), is_known=False)
        missed: Counter[str] = Counter()
        held: dict[str, tuple[Stamp, tuple[Document, ...]]] = {}
        documents: list[Document] = []
        for path in _files(base, missed):
            name = path.relative_to(base).as_posix()
            if self._why_never(str(path)):
                missed["never read"] += 1
                continue
            found = self._of_file(path, name, missed)
            if found is None:
                continue
            held[name] = found
            documents += found[1]
            if len(documents) > MOST_CHUNKS:
                missed[f"what is beyond {MOST_CHUNKS} pieces, from {name} on"] += 1
                break
        if {name: stamp for name, (stamp, _) in held.items()} != {name: at for name, (at, _) in self._held.items()}:
            self._documents = tuple(documents[:MOST_CHUNKS])
        self._held = held
        faults = tuple(f"{self._directory}: {_counted(why, count)}" for why, count in sorted(missed.items()))
        return Gathered(DocumentKind.CONFIGURATION, source, self._documents, faults, is_clean=True)

    def _of_file(self, path: Path, name: str, missed: Counter[str]) -> tuple[Stamp, tuple[Document, ...]] | None:
        try:
            stat = path.stat()
            stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
            before = self._held.get(name)
            if before is not None and before[0] == stamp:
                return before
            if stat.st_size > MOST_BYTES:
                missed[f"over {MOST_BYTES >> 10} KiB"] += 1
                return None
            data = path.read_bytes()
        except OSError:
            missed["not to be read"] += 1
            return None
        if b"\0" in data:
            missed["not text"] += 1
            return None
        text = same_lines(data.decode(errors="replace"), self._redactor)
        at = datetime.fromtimestamp(stat.st_mtime, UTC)
        return stamp, tuple(_document(name, chunk, of_directory(self._directory), at) for chunk in chunks(name, text))


def _counted(why: str, count: int) -> str:
    return f"left out {why}" if why.startswith("what") else f"{count} files left out: {why}"


def _files(base: Path, missed: Counter[str]) -> Iterator[Path]:
    """Yield what may be read: Nix files, read-me files and the lock; no links, nothing hidden, no build results."""
    count = 0
    for at, directories, files in os.walk(base):
        directories[:] = sorted(each for each in directories if _is_own(Path(at) / each))
        for name in sorted(files):
            path = Path(at) / name
            if not _is_wanted(name) or path.is_symlink():
                continue
            count += 1
            if count > MOST_FILES:
                missed[f"what is beyond {MOST_FILES} files"] += 1
                return
            yield path


def _is_own(directory: Path) -> bool:
    name = directory.name
    return not (name.startswith((".", "result-")) or name in {"result", "node_modules"} or directory.is_symlink())


def _is_wanted(name: str) -> bool:
    return name.endswith(".nix") or name == _LOCK or (name.lower().startswith("readme") and not name.endswith(".nix"))


def chunks(name: str, text: str) -> list[Chunk]:
    """Cut one file of a repository into the pieces by which it is found."""
    if name.rpartition("/")[2] == _LOCK:
        return lock_chunk(text)
    return nix_chunks(text) if name.endswith(".nix") else markdown_chunks(text)


def _document(name: str, chunk: Chunk, source: str, at: datetime) -> Document:
    return Document(
        kind=DocumentKind.CONFIGURATION,
        name=f"{name}:{chunk.first}-{chunk.last}",
        title=f"{name}: {chunk.about}" if chunk.about else name,
        text=chunk.text,
        source=source,
        facts={"path": name, "first": str(chunk.first), "last": str(chunk.last)},
        updated_at=at,
    )


def same_lines(text: str, redactor: Redactor) -> str:
    """Return a text without its secrets, each line at the place where it was: a key of many lines leaves blank ones."""
    lines, kept = lines_of(text), lines_of(redactor.redact(text).text)
    if len(lines) == len(kept):
        return "\n".join(kept)
    placed: list[str] = []
    for _, first, last, other_first, other_last in SequenceMatcher(None, lines, kept, autojunk=False).get_opcodes():
        placed += _filling(kept[other_first:other_last], last - first)
    return "\n".join(placed)


def _filling(part: Sequence[str], size: int) -> list[str]:
    """Return lines in the room of so many: blank ones where there are fewer, the last ones joined where more."""
    if len(part) <= size:
        return [*part, *[""] * (size - len(part))]
    return [*part[: size - 1], " ".join(part[size - 1 :])] if size else []


def lock_chunk(text: str) -> list[Chunk]:
    """Return one piece that says which inputs a flake has locked, of which date."""
    try:
        nodes = json.loads(text)["nodes"]
        lines = [line for name, node in sorted(nodes.items()) if (line := _input(name, node))]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    shown = lines[:_MOST_INPUTS]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    head = "Inputs of the flake, as locked:"
    return [Chunk(1, len(lines_of(text)), "locked inputs", "\n".join([head, *shown]))] if lines else []


def _input(name: str, node: Mapping[str, Any]) -> str:
    locked = node.get("locked")
    if not isinstance(locked, Mapping):
        return ""
    where = "/".join(str(locked[key]) for key in ("owner", "repo") if key in locked) or str(
        locked.get("url") or locked.get("path") or ""
    )
    branch = (node.get("original") or {}).get("ref", "")
    said = [f"{name}: {locked.get('type', '')} {where}".rstrip()]
    if branch:
        said.append(f"branch {branch}")
    if "rev" in locked:
        said.append(f"revision {str(locked['rev'])[:12]}")
    modified = locked.get("lastModified")
    if isinstance(modified, int):
        said.append(f"of {datetime.fromtimestamp(modified, UTC):%Y-%m-%d}")
    return ", ".join(said)
