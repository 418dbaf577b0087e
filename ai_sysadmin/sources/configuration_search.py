"""Lines of the operator's configuration that say something, with file and number: a plain search, bounded."""

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.sources.file_lines import masked_lines
from ai_sysadmin.sources.secret_files import why_secret

MOST_BYTES: Final = 512 << 10
MOST_FILES: Final = 20_000
SECONDS: Final = 6.0
AROUND: Final = 2

_TEXTS: Final = (".nix", ".md", ".toml", ".json", ".yaml", ".yml", ".conf", ".ini", ".cfg", ".sh", ".txt", ".lock", "")
_LEFT_OUT: Final = frozenset({"result", "node_modules", "target", "__pycache__"})
_ENCRYPTED: Final = (b"ENC[AES256_GCM", b"-----BEGIN AGE ENCRYPTED FILE", b"-----BEGIN PGP MESSAGE", b"\0GITCRYPT")
_WHOLE: Final = 100


class Place(NamedTuple):
    """Some lines of a file around those that were found; ``hits`` are their numbers, ``score`` how well they fit."""

    file: str
    first: int
    lines: tuple[str, ...]
    hits: tuple[int, ...]
    score: int


class Searched(NamedTuple):
    """What a search found, the best first.

    ``newest`` is when the newest file was changed, in seconds since 1970; ``gaps`` say what was left out.
    """

    places: tuple[Place, ...]
    files: int
    newest: float
    gaps: tuple[str, ...]


def search(
    directory: Path, words: str, clean: Callable[[str], str] = str, why_never: Callable[[str], str] = why_secret
) -> Searched:
    """Return where the words stand: lines with the whole of it first, then those with most of its words.

    Links are not followed; what is hidden, built, encrypted, not text or named as a secret is not read.

    Args:
        clean: takes the secrets out of a line: what only stands in one is not found, so that it cannot be guessed.
        why_never: says why a file of a path is never read; empty: it may be.

    Raises:
        NotFound: there is no such directory, or it may not be read.
    """
    wanted = words.lower().split()
    missed: Counter[str] = Counter()
    places: list[Place] = []
    newest, count, ends_at = 0.0, 0, time.monotonic() + SECONDS
    try:
        for name, data, changed in _texts(directory.resolve(), why_never, missed):
            count += 1
            newest = max(newest, changed)
            text = data.decode(errors="replace")
            if any(word in text.lower() for word in wanted):
                places += _places(name, masked_lines(text), words.lower(), wanted, clean)
            if count >= MOST_FILES or time.monotonic() > ends_at:
                missed[f"what follows after {count} files"] += 1
                break
    except OSError as error:
        why = f"({error.strerror}): correct knowledge.configuration_repository, or its permissions"
        raise NotFound(f"{directory} cannot be read {why}") from error
    best = max((place.score for place in places), default=0)
    # where some lines have all of it, those with a word or two of it say nothing
    kept = [place for place in places if 2 * place.score > best]
    gaps = tuple(f"{count} x {why}" if why[0] != "w" else why for why, count in sorted(missed.items()))
    return Searched(tuple(sorted(kept, key=lambda each: (-each.score, each.file, each.first))), count, newest, gaps)


def _places(
    name: str, lines: Sequence[str], whole: str, wanted: Sequence[str], clean: Callable[[str], str]
) -> Iterator[Place]:
    scores = [_score(line.lower(), whole, wanted) for line in lines]
    scores = [
        _score(clean(line).lower(), whole, wanted) if score else 0 for score, line in zip(scores, lines, strict=True)
    ]
    at = 0
    while at < len(lines):
        if not scores[at]:
            at += 1
            continue
        last = at
        while following := next((n for n in range(last + 1, min(len(lines), last + 2 + AROUND)) if scores[n]), 0):
            last = following
        start, end = max(0, at - AROUND), min(len(lines), last + 1 + AROUND)
        hits = tuple(number + 1 for number in range(at, last + 1) if scores[number])
        # the words of a place may stand on lines of their own, and in the file's name
        together = f"{name}\n{chr(10).join(lines[start:end])}".lower()
        named = sum(1 for word in wanted if word in together)
        score = max(scores[at : last + 1]) + named * len(wanted)
        yield Place(name, start + 1, tuple(lines[start:end]), hits, score)
        at = end


def _score(line: str, whole: str, wanted: Sequence[str]) -> int:
    if whole in line:
        return _WHOLE
    return sum(1 for word in wanted if word in line)


def _texts(base: Path, why_never: Callable[[str], str], missed: Counter[str]) -> Iterator[tuple[str, bytes, float]]:
    for at, directories, files, held in os.fwalk(base, follow_symlinks=False):
        directories[:] = sorted(each for each in directories if not _is_left_out(each))
        where = Path(at).relative_to(base)
        for name in sorted(files):
            path = (where / name).as_posix()
            if name.startswith(".") or Path(name).suffix not in _TEXTS:
                continue
            if why_never(f"{base}/{path}"):
                missed["a file that is never read"] += 1
                continue
            found = _read(held, name, missed)
            if found is not None:
                yield path, *found


def _is_left_out(name: str) -> bool:
    return name.startswith((".", "result-")) or name in _LEFT_OUT


def _read(held: int, name: str, missed: Counter[str]) -> tuple[bytes, float] | None:
    """Return a file's bytes and when it was changed; none: it is no regular file, too large, not text, encrypted."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=held)
    except OSError:
        missed["a file that is a link or may not be read"] += 1
        return None
    with os.fdopen(fd, "rb") as opened:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size > MOST_BYTES:
            missed[f"a file over {MOST_BYTES >> 10} KiB"] += 1
            return None
        data = opened.read(MOST_BYTES)
    if any(sign in data for sign in _ENCRYPTED):
        missed["an encrypted file"] += 1
        return None
    return None if b"\0" in data else (data, status.st_mtime)
