"""Fetch one large file over HTTP into a partial file, over as many connections as it takes.

An attempt that breaks off is followed by one that goes on from there, with ``Range`` and ``If-Range``. A server that
cannot resume, or whose file is another one by now, sends the whole again, and what was there is forgotten.
"""

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from ai_sysadmin.llm_backend.weights.partial_file import DiskFull, PartialFile, Source
from ai_sysadmin.llm_backend.weights.publishers import Published
from ai_sysadmin.llm_backend.weights.web import ModelFileError, ServerAway, Web

T = TypeVar("T")
MAGIC = b"GGUF"
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")


class NotAModel(ModelFileError):
    """What came is no GGUF file."""


class Watch(Protocol):
    """Who is told how it goes. ``total`` is none where nobody knows."""

    def progress(self, done: int, total: int | None) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True)
class Limits:
    """How patient a download is. An attempt that brought ``progress_bytes`` or more does not count as a failed one.

    ``first_attempts``: how often it is tried while nothing at all came.
    """

    first_attempts: int = 3
    attempts: int = 8
    first_wait_seconds: float = 1
    wait_at_most_seconds: float = 60
    asked_wait_at_most_seconds: float = 300
    progress_bytes: int = 1 << 20
    spare_bytes: int = 512 << 20


@dataclass(frozen=True)
class Means:
    """What a download needs of this machine."""

    watch: Watch
    limits: Limits = Limits()
    sleep: Callable[[float], None] = time.sleep
    free_bytes: Callable[[Path], int] = lambda directory: shutil.disk_usage(directory).free


class Patience:
    """Try again what a server that is away for a moment left undone, as often and as slowly as the limits say."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._failed = 0
        self._attempts = means.limits.first_attempts

    def __call__(self, call: Callable[[], T]) -> T:
        """Raises: ServerAway: it was tried often enough; and what the call raises else."""
        retrying = Retrying(
            retry=retry_if_exception_type(ServerAway),
            after=self._count,
            stop=self._gives_up,
            wait=self._wait,
            before_sleep=self._say_why,
            sleep=self._means.sleep,
            reraise=True,
        )
        return retrying(call)

    def came(self, count: int) -> None:
        """Take note of bytes that an attempt brought."""
        if count:
            self._attempts = self._means.limits.attempts
        if count >= self._means.limits.progress_bytes:
            self._failed = 0

    def _count(self, _state: RetryCallState) -> None:
        self._failed += 1

    def _gives_up(self, state: RetryCallState) -> bool:
        asked = _away(state).wait_seconds
        return self._failed >= self._attempts or (
            asked is not None and asked > self._means.limits.asked_wait_at_most_seconds
        )

    def _wait(self, state: RetryCallState) -> float:
        limits = self._means.limits
        longer = limits.first_wait_seconds * 2.0 ** (self._failed - 1)
        return max(min(longer, limits.wait_at_most_seconds), _away(state).wait_seconds or 0)

    def _say_why(self, state: RetryCallState) -> None:
        self._means.watch.note(f"{_away(state)}; tried again in {state.upcoming_sleep:.0f} s")


class Download:
    """One file, from one URL, into one partial file."""

    def __init__(self, web: Web, url: str, expected: Published, part: PartialFile, means: Means) -> None:
        self._web = web
        self._url = url
        self._expected = expected
        self._part = part
        self._means = means
        self._total = expected.size
        self._patience = Patience(means)

    def run(self) -> None:
        """Fetch what is missing; afterwards the partial file is as long as the server's.

        Raises:
            ServerAway: it was tried as often as the limits say; what came is kept.
            NotFound: there is no such file.
            NotAModel: it is something else.
            DiskFull: there is no room for it.
            ModelFileError: it cannot be had.
        """
        self._part.resume(self._url, self._expected.sha256, self._means.watch.progress)
        if self._part.size:
            self._means.watch.note(f"goes on after the {self._part.size} bytes that are there")
            if self._total is None and self._part.source is not None:
                self._total = self._part.source.size
        if self._total is not None and self._part.size > self._total:
            self._part.restart()
        self._patience(self._attempt)

    def _attempt(self) -> None:
        before = self._part.size
        if self._total is not None and before == self._total:
            return
        try:
            with self._web.stream("GET", self._url, self._headers()) as response:
                if self._begins(response):
                    self._read(response)
        finally:
            self._patience.came(max(0, self._part.size - before))
        self._check_length()

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self._part.size:
            headers["Range"] = f"bytes={self._part.size}-"
            etag = self._part.source.etag if self._part.source else None
            if etag and not etag.startswith("W/"):  # a weak one is not allowed there
                headers["If-Range"] = etag
        return headers

    def _begins(self, response: httpx.Response) -> bool:
        """Make ready for an answer's bytes: check that they are the next ones. False: there are none to read."""
        _check_kind(response)
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._ends_here(response)
            return False
        start, total = _extent(response)
        etag = response.headers.get("etag")
        if self._part.size and (start != self._part.size or self._is_another(etag, total)):
            self._part.restart()
            if start != 0:
                raise ServerAway(f"{response.url.host} has another file there now: from the beginning")
            self._means.watch.note("the server cannot go on from there, or has another file now: from the beginning")
        if start != self._part.size:
            raise ModelFileError(f"{response.url.host} sends a piece from byte {start} that nobody asked for")
        self._expect(total)
        self._check_end(response)
        self._check_room()
        self._part.comes_from(Source(url=self._url, sha256=self._expected.sha256, etag=etag, size=self._total))
        return True

    def _is_another(self, etag: str | None, total: int | None) -> bool:
        noted = self._part.source
        if noted is None:
            return True
        return (noted.etag is not None and etag is not None and noted.etag != etag) or (
            noted.size is not None and total is not None and noted.size != total
        )

    def _ends_here(self, response: httpx.Response) -> None:
        """Take ``416`` for the end where the server says that the file ends where the part does; else begin anew."""
        _, total = _extent(response)
        if total == self._part.size and self._total in {None, total}:
            self._total = total
            return
        self._part.restart()
        raise ServerAway(f"{response.url.host} has less of the file than is here: from the beginning")

    def _expect(self, total: int | None) -> None:
        published = self._expected.size
        if published is not None and total is not None and total != published:
            raise ModelFileError(
                f"{self._url} is {total} bytes long, but {self._expected.by} says {published}: not fetched"
            )
        self._total = total if total is not None else published

    def _check_end(self, response: httpx.Response) -> None:
        chunked = response.headers.get("transfer-encoding", "").lower() == "chunked"
        if self._total is None and not chunked and self._expected.sha256 is None:
            raise ModelFileError(
                f"{response.url.host} does not say how long the file is, so nobody could tell whether all of it came: "
                "give its hash with --sha256"
            )

    def _check_room(self) -> None:
        """Refuse what would fill the disk. A file of unknown length is let come, as far as there is room."""
        if self._total is None:
            return
        limits, directory = self._means.limits, self._part.path.parent
        free, missing = self._means.free_bytes(directory), self._total - self._part.size
        if free < missing + limits.spare_bytes:
            raise DiskFull(
                f"{directory} has {sized(free)} free; {self._part.final.name} needs {sized(missing)} more, and "
                f"{sized(limits.spare_bytes)} must stay free: make room, or choose another directory with --to"
            )

    def _read(self, response: httpx.Response) -> None:
        for chunk in response.iter_raw():  # as it comes: what a chunker holds back is lost when the line breaks
            known = self._part.size >= len(MAGIC)
            self._part.write(chunk)
            if not known:
                self._check_magic(whole=False)
            self._means.watch.progress(self._part.size, self._total)
        if self._part.size < len(MAGIC) and self._total in {None, self._part.size}:
            self._check_magic(whole=True)

    def _check_magic(self, *, whole: bool) -> None:
        head = self._part.head(len(MAGIC))
        if head != MAGIC[: len(head)] or (whole and head != MAGIC):
            self._part.restart()
            raise NotAModel(f"{self._url} is no GGUF file (it begins with {head!r}): nothing is kept of it")

    def _check_length(self) -> None:
        if self._total is None:
            self._total = self._part.size  # a server that names no length ends a whole body properly
        if self._part.size < self._total:
            raise ServerAway(f"{self._url} ended after {self._part.size} of {self._total} bytes")
        if self._part.size > self._total:
            self._part.restart()
            raise ModelFileError(f"{self._url} sent more than the {self._total} bytes that it has: nothing is kept")


def sized(count: int) -> str:
    """Say a number of bytes for people: ``512 B``, ``640 MB``, ``9.0 GB``."""
    for unit, size, places in (("GB", 10**9, 1), ("MB", 10**6, 0), ("kB", 10**3, 0)):
        if count >= size:
            return f"{count / size:.{places}f} {unit}"
    return f"{count} B"


def _away(state: RetryCallState) -> ServerAway:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, ServerAway) else ServerAway(str(error))


def _check_kind(response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {"text/html", "application/xhtml+xml"}:
        raise NotAModel(f"{response.url} is a web page, no model file: give the URL of the file itself")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ModelFileError(f"{response.url.host} sends the file compressed though asked not to: use another server")


def _extent(response: httpx.Response) -> tuple[int, int | None]:
    """Return the first byte that an answer carries, and how long the whole file is, if it says so."""
    if response.status_code == httpx.codes.OK:
        length = response.headers.get("content-length", "")
        return 0, int(length) if length.isdecimal() else None
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
    if found is None:
        return -1, None
    total = None if found["total"] == "*" else int(found["total"])
    return int(found["start"] or -1), total
