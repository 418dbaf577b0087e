"""An embedded ChromaDB's directory, read through a server on a copy: two processes on one directory corrupt it."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ai_sysadmin.core.errors import IndexUnavailable, Refused
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.stores.chroma_server import own_chroma

_DATABASE: Final = "chroma.sqlite3"


@asynccontextmanager
async def served_copy(settings: Settings, directory: Path) -> AsyncIterator[str]:
    """Serve a copy of a directory for as long as the context lasts; return the server's URL. The copy goes with it.

    Raises:
        Refused: it is no such directory, it cannot be copied, or somebody writes to it meanwhile.
        IndexUnavailable: ChromaDB is not installed, or does not start.
    """
    if not (directory / _DATABASE).is_file():
        raise Refused(f"{directory} is no directory of ChromaDB's: it holds no {_DATABASE}")
    with tempfile.TemporaryDirectory(prefix="ai-sysadmin-chroma-") as temporary:
        await asyncio.to_thread(_copy, directory, Path(temporary) / "chroma")
        async with own_chroma(_settings(settings, Path(temporary))) as own:
            if not own.url:
                raise IndexUnavailable(f"{own.said} {_last_words(Path(temporary) / 'chroma.log')}".strip())
            yield own.url


def _settings(settings: Settings, state_dir: Path) -> Settings:
    """Return settings by which `up` would serve STATE_DIR/chroma, whatever it does otherwise."""
    wanted = {"chroma_in_up": True, "chroma_url": "", "onnx_archive": state_dir / "no-model-is-asked"}
    knowledge = settings.knowledge.model_copy(update=wanted)
    return settings.model_copy(update={"state_dir": state_dir, "knowledge": knowledge})


def _copy(directory: Path, target: Path) -> None:
    before = _state(directory)
    try:
        shutil.copytree(directory, target, symlinks=True)
    except (OSError, shutil.Error) as error:
        raise Refused(
            f"{directory} cannot be copied to {target.parent} (TMPDIR names another place): {error}"
        ) from error
    if _state(directory) != before:
        raise Refused(f"{directory} changed while it was copied: stop whoever writes to it, then run this again")


def _state(directory: Path) -> dict[Path, tuple[int, int]]:
    """Return size and time of change of every file."""
    try:
        found = {path: path.lstat() for path in directory.rglob("*")}
    except OSError as error:
        raise Refused(f"{directory} cannot be read: {error}") from error
    return {path: (each.st_size, each.st_mtime_ns) for path, each in found.items()}


def _last_words(file: Path) -> str:
    """Return the end of what a server said on stderr, which goes with the copy."""
    try:
        return file.read_text(errors="replace").strip()[-500:]
    except OSError:
        return ""
