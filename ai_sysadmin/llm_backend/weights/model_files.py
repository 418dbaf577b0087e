"""The model files in a directory: what is there, what was recorded of each, and which layer a link gives one to.

Beside ``FILE.gguf`` stands its record, ``FILE.gguf.json``. ``LAYER.gguf`` (``review.gguf``) is a layer's own link.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import Record
from ai_sysadmin.llm_backend.weights.catalogue import CATALOGUE, LAYERS, Layer, entry_of
from ai_sysadmin.llm_backend.weights.partial_file import record_of
from ai_sysadmin.llm_backend.weights.web import ModelFileError

SUFFIX = ".gguf"
_READ_BYTES = 1 << 20
_MAGIC = b"GGUF"


class ModelRecord(Record):
    """What was found out of a file as it came. ``checked_against`` names who vouched for the hash; none: nobody."""

    url: str
    size: int
    sha256: str
    checked_against: str | None
    at: datetime


@dataclass(frozen=True)
class ModelFile:
    """A model file on this host. ``record`` is none where nothing is known of it, or of a file of another size."""

    path: Path
    size: int
    record: ModelRecord | None


class Verdict(Record):
    """What a second look at a file says: it is as recorded, it is not, nothing was recorded, or it cannot be read."""

    file: Path
    state: Literal["matches", "differs", "unrecorded", "unreadable"]
    text: str
    sha256: str | None = None


def models_in(directory: Path) -> tuple[ModelFile, ...]:
    """Return a directory's models, smallest first, without layers' links; none where there is no such directory."""
    names = {link_of(directory, layer).name for layer in LAYERS}
    found = [read for path in directory.glob(f"*{SUFFIX}") if path.name not in names and (read := _read(path))]
    return tuple(sorted(found, key=lambda model: (model.size, model.path.name)))


def link_of(directory: Path, layer: Layer) -> Path:
    return directory / f"{layer}{SUFFIX}"


def linked(directory: Path) -> dict[Layer, Path]:
    """Return the layers that have a file of their own in a directory, and that file; a link to nothing counts not."""
    return {layer: link for layer in LAYERS if (link := link_of(directory, layer)).is_file()}


def dangling(directory: Path) -> dict[Layer, Path]:
    """Return the layers whose link names a file that is not there, and that file."""
    links = {layer: link_of(directory, layer) for layer in LAYERS}
    return {
        layer: directory / link.readlink() for layer, link in links.items() if link.is_symlink() and not link.exists()
    }


def locate(text: str, directory: Path) -> Path:
    """Return the file that a person means: a path, a file of the directory, a short name, or a layer.

    Raises:
        NotFound: there is none.
    """
    entry = entry_of(text)
    names = [entry.file] if entry else [text, f"{text}{SUFFIX}"]
    candidates = [directory / name for name in names] + ([] if entry else [Path(text).absolute()])
    for path in candidates:
        if path.is_file():
            return path
    if entry:
        raise NotFound(f"{entry.file} is not in {directory}: get it with `ai-sysadmin models pull {entry.name}`")
    raise NotFound(f"there is no model file {text}, neither here nor in {directory}; {known_names()}")


def known_names() -> str:
    return "the short names are " + ", ".join(entry.name for entry in CATALOGUE)


def give_to_layer(layer: Layer, file: Path, directory: Path) -> Path:
    """Make a layer use a file: point the layer's link in the directory at it. Return the link.

    Raises:
        ModelFileError: the file is no model, or a file stands where the link would be.
        OSError: the link cannot be written.
    """
    check_magic(file)
    link = link_of(directory, layer)
    if file.resolve() == link.absolute() or (link.exists() and not link.is_symlink()):
        raise ModelFileError(f"{link} is a file of its own, not a link: the {layer} layer uses it; move it away first")
    inside = file.absolute().parent == directory.absolute()
    fresh = directory / f".{link.name}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(file.name if inside else file.absolute())
    fresh.replace(link)
    return link


def check_magic(file: Path) -> None:
    """Raises: ModelFileError: it cannot be read, or is no GGUF file."""
    try:
        with file.open("rb") as opened:
            head = opened.read(len(_MAGIC))
    except OSError as error:
        raise ModelFileError(f"{file} cannot be read: {error.strerror}") from error
    if head != _MAGIC:
        raise ModelFileError(f"{file} is no GGUF file: it begins with {head!r}")


def verify(file: Path, watch: Callable[[int, int | None], None]) -> Verdict:
    """Hash a file again and compare it with its record. Never raises."""
    record = read_record(file)
    try:
        size = file.stat().st_size
        if record is not None and size != record.size:
            text = f"{size} bytes, but {record.size} were recorded: fetch it again"
            return Verdict(file=file, state="differs", text=text)
        sha256 = hash_of(file, watch)
    except OSError as error:
        return Verdict(file=file, state="unreadable", text=f"cannot be read: {error.strerror}")
    if record is None:
        text = "nothing was recorded, so there is nothing to compare it with"
        return Verdict(file=file, state="unrecorded", text=text, sha256=sha256)
    if sha256 != record.sha256:
        text = f"its SHA-256 is {sha256}, but {record.sha256} was recorded: fetch it again"
        return Verdict(file=file, state="differs", text=text, sha256=sha256)
    return Verdict(file=file, state="matches", text=f"as recorded; {standing(record)}", sha256=sha256)


def standing(record: ModelRecord | None) -> str:
    """Say how far a file's hash is known to be right."""
    if record is None:
        return "not verified"
    if record.checked_against is None:
        return "not checked against a publisher"
    return f"checked against {record.checked_against}"


def read_record(file: Path) -> ModelRecord | None:
    """Return what was recorded of a file; none: nothing that can be read."""
    for path in (record_of(file), record_of(file.resolve())):  # a link's record stands beside what it names
        with suppress(OSError, ValidationError):
            return ModelRecord.model_validate_json(path.read_bytes())
    return None


def hash_of(file: Path, watch: Callable[[int, int | None], None]) -> str:
    """Return a file's SHA-256, telling how far it is; raises OSError."""
    digest, done = hashlib.sha256(), 0
    with file.open("rb") as opened:
        total = os.fstat(opened.fileno()).st_size
        while chunk := opened.read(_READ_BYTES):
            digest.update(chunk)
            done += len(chunk)
            watch(done, total)
    return digest.hexdigest()


def _read(path: Path) -> ModelFile | None:
    try:
        size = path.stat().st_size
    except OSError:
        return None
    if not path.is_file():
        return None
    record = read_record(path)
    return ModelFile(path, size, record if record is not None and record.size == size else None)
