"""Bring one model file into a directory: from its publisher, from any URL, or from this machine; checked, recorded."""

import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.llm_backend.weights.catalogue import LAYERS, CatalogueEntry, entry_of, entry_of_file
from ai_sysadmin.llm_backend.weights.download import Download, Means, Patience, sized
from ai_sysadmin.llm_backend.weights.model_files import (
    SUFFIX,
    ModelRecord,
    check_magic,
    hash_of,
    known_names,
    read_record,
)
from ai_sysadmin.llm_backend.weights.partial_file import DiskFull, PartialFile, Source, held, record_of, write_record
from ai_sysadmin.llm_backend.weights.publishers import (
    Hub,
    HubFile,
    Published,
    published_beside,
    published_by_hub,
    sha256_in,
)
from ai_sysadmin.llm_backend.weights.web import ModelFileError, ServerAway, Web

BY_HAND = "--sha256"
_COPY_BYTES = 1 << 20
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


class ChecksumMismatch(ModelFileError):
    """The file is not what its publisher says it is."""


@dataclass(frozen=True)
class Wanted:
    """What a person asked for: where it is, and what it will be called here."""

    url: str
    file_name: str
    entry: CatalogueEntry | None = None
    hub_file: HubFile | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Pulled:
    """A model file that is there now. ``was_there``: nothing had to be fetched."""

    file: Path
    record: ModelRecord
    entry: CatalogueEntry | None
    was_there: bool


def wanted(text: str, hub: Hub) -> Wanted:
    """Read a short name, a URL, or a path.

    Raises:
        NotFound: it is neither a short name nor a file.
        ModelFileError: it is a URL of another kind, or no file name can be read out of it.
    """
    entry = entry_of(text)
    if entry is not None:
        listed = HubFile(entry.repository, entry.file)
        return Wanted(hub.url(listed), entry.file, entry, listed)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme in {"http", "https"}:
        hub_file = hub.file_at(text)
        url = hub.url(hub_file) if hub_file else text
        name = _file_name(unquote(urlsplit(url).path).rpartition("/")[2])
        return Wanted(url, name, entry_of_file(name), hub_file)
    if scheme not in {"", "file"}:
        raise ModelFileError(f"{text}: only http, https and file URLs can be fetched")
    path = Path(unquote(urlsplit(text).path) if scheme else text).expanduser()
    if not path.is_file():
        raise NotFound(f"{text} is no short name, no URL and no file; {known_names()}")
    path = path.resolve()
    name = _file_name(path.name)
    return Wanted(path.as_uri(), name, entry_of_file(name), path=path)


def pull(asked: Wanted, directory: Path, web: Web, hub: Hub, means: Means, sha256: str | None = None) -> Pulled:
    """Bring a model file into a directory that is there.

    Args:
        sha256: the hash that a person expects; else the publisher is asked.

    Raises:
        ServerAway: the server does not answer; what came is kept, and the next pull goes on from there.
        NotFound: there is no such file.
        ModelFileError: it cannot be had or kept; ChecksumMismatch, NotAModel and DiskFull are kinds of it.
    """
    try:
        target = directory / asked.file_name
        published = _published(asked, web, hub, means, sha256)
        there = _there_already(asked, target, published, means)
        if there is not None:
            return Pulled(target, there, asked.entry, was_there=True)
        record = _from_here(asked.path, target, published, means) if asked.path else None
        record = record or _fetched(asked, target, web, published, means)
    except OSError as error:
        raise ModelFileError(f"{error.filename or directory} cannot be used: {error.strerror}") from error
    return Pulled(target, record, asked.entry, was_there=False)


def _file_name(name: str) -> str:
    """Return what a file is called here; a layer's own name is left to its link."""
    if not _FILE_NAME.fullmatch(name):
        raise ModelFileError(f"{name!r} cannot be a model file's name: give the URL or path of the file itself")
    name = name if name.lower().endswith(SUFFIX) else name + SUFFIX
    stem = name[: -len(SUFFIX)]
    return f"{stem}-model{SUFFIX}" if stem in LAYERS else stem + SUFFIX


def _published(asked: Wanted, web: Web, hub: Hub, means: Means, sha256: str | None) -> Published:
    patience = Patience(means)
    if asked.path is not None:
        found = _published_beside_file(asked.path)
    elif asked.hub_file is not None:
        hub_file = asked.hub_file
        found = patience(lambda: published_by_hub(web, hub, hub_file))
    else:
        found = Published() if sha256 else patience(lambda: published_beside(web, asked.url))
    if sha256 is None:
        return found
    if found.sha256 not in {None, sha256}:
        raise ChecksumMismatch(f"--sha256 is {sha256}, but {found.by} says {found.sha256}: nothing was fetched")
    return found if found.sha256 else replace(found, sha256=sha256, by=BY_HAND)


def _published_beside_file(path: Path) -> Published:
    beside = path.with_name(path.name + ".sha256")
    try:
        sha256 = sha256_in(beside.read_text(errors="replace"), path.name)
    except OSError:
        return Published()
    return Published(sha256=sha256, by=str(beside)) if sha256 else Published()


def _there_already(asked: Wanted, target: Path, published: Published, means: Means) -> ModelRecord | None:
    """Return the record of what is there if that is what was asked for; none: it has to come.

    Raises:
        ModelFileError: another file has that name.
    """
    if not target.exists():
        return None
    record = read_record(target)
    size = target.stat().st_size
    if record is not None and record.size == size and record.sha256 == (published.sha256 or record.sha256):
        if record.url == asked.url or published.sha256:
            return _vouched(target, record, published)
    elif record is not None and record.url == asked.url:
        means.watch.note(f"{target.name} is not what {published.by or 'was recorded'} says: fetched anew")
        return None
    is_it = asked.path is not None and asked.path == target.resolve()
    if is_it or published.sha256 is not None:
        means.watch.note(f"{target.name} is there; hashing it")
        check_magic(target)
        sha256 = hash_of(target, means.watch.progress)
        if is_it:
            _check(sha256, published, asked.url, "it stays there, and is not recorded")
        if is_it or sha256 == published.sha256:
            return _recorded(target, asked.url, sha256, published)
    raise ModelFileError(f"{target} is there and is another file: move it away, or choose another directory with --to")


def _vouched(target: Path, record: ModelRecord, published: Published) -> ModelRecord:
    if record.checked_against is None and published.sha256 is not None:
        record = record.model_copy(update={"checked_against": published.by})
        write_record(record_of(target), record)
    return record


def _from_here(path: Path, target: Path, published: Published, means: Means) -> ModelRecord:
    check_magic(path)
    if _link(path, target):
        try:
            sha256 = hash_of(target, means.watch.progress)
            _check(sha256, published, str(path))
        except BaseException:
            target.unlink()
            raise
        return _recorded(target, path.as_uri(), sha256, published)
    with held(target) as part:
        part.restart()
        _copy(path, part, means)
        return _kept(part, path.as_uri(), published)


def _link(path: Path, target: Path) -> bool:
    """Make the file appear in the directory too, where everybody may read it and both are on one disk."""
    if not path.stat().st_mode & 0o004:
        return False
    try:
        os.link(path, target)
    except OSError:
        return False
    return True


def _copy(path: Path, part: PartialFile, means: Means) -> None:
    size = path.stat().st_size
    free, spare = means.free_bytes(part.path.parent), means.limits.spare_bytes
    if free < size + spare:
        raise DiskFull(
            f"{part.path.parent} has {sized(free)} free; {path.name} needs {sized(size)}, and {sized(spare)} must stay "
            "free: make room, or choose another directory with --to"
        )
    part.comes_from(Source(url=path.as_uri(), size=size))
    with path.open("rb") as file:
        while chunk := file.read(_COPY_BYTES):
            part.write(chunk)
            means.watch.progress(part.size, size)


def _fetched(asked: Wanted, target: Path, web: Web, published: Published, means: Means) -> ModelRecord:
    with held(target) as part:
        try:
            Download(web, asked.url, published, part, means).run()
        except ServerAway as error:
            kept = f"; {sized(part.size)} are kept, and the same command goes on from there" if part.size else ""
            raise ServerAway(f"{error}{kept}", error.wait_seconds) from error
        return _kept(part, asked.url, published)


def _kept(part: PartialFile, url: str, published: Published) -> ModelRecord:
    """Give what came its name, once its hash is right; else nothing is kept of it."""
    try:
        _check(part.sha256, published, url)
    except ChecksumMismatch:
        part.discard()
        raise
    part.keep()
    return _recorded(part.final, url, part.sha256, published)


def _check(sha256: str, published: Published, what: str, hence: str = "it is not kept") -> None:
    if published.sha256 is not None and sha256 != published.sha256:
        raise ChecksumMismatch(
            f"{what} has the SHA-256 {sha256}, but {published.by} says {published.sha256}: {hence}. "
            "Fetch it once more; if that ends the same way, do not use it"
        )


def _recorded(file: Path, url: str, sha256: str, published: Published) -> ModelRecord:
    record = ModelRecord(
        url=url,
        size=file.stat().st_size,
        sha256=sha256,
        checked_against=published.by if published.sha256 else None,
        at=datetime.now(UTC),
    )
    write_record(record_of(file), record)
    return record
