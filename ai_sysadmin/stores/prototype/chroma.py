"""The prototype's six collections, read over ChromaDB's REST interface (version 2); nothing in it is ever changed."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from ai_sysadmin.core.errors import IndexUnavailable
from ai_sysadmin.stores.chroma import ROUTE
from ai_sysadmin.stores.prototype import COLLECTIONS, Entry, Left, Origin, Reading
from ai_sysadmin.stores.prototype.values import flat, moment_of

_PAGE: Final = 100
_REQUEST_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 2.0


async def read_collections(url: str) -> tuple[Reading, ...]:
    """Return what of the six collections there is.

    Raises: IndexUnavailable, with what went wrong and where.
    """
    async with _server(url) as server:
        numbers = await server.collections()
        return tuple(
            [await _reading(server, each, numbers[each.value]) for each in COLLECTIONS if each.value in numbers]
        )


async def answers(url: str) -> bool:
    """Tell whether a ChromaDB answers there."""
    try:
        async with _server(url) as server:
            await server.ask("GET", "/api/v2/heartbeat")
    except IndexUnavailable:
        return False
    return True


class _Server:
    """The few questions that are asked of a server."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self._client = client

    async def collections(self) -> Mapping[str, str]:
        """Return every collection's number, by its name."""
        numbers: dict[str, str] = {}
        while True:
            page = await self.ask("GET", f"{ROUTE}?limit={_PAGE}&offset={len(numbers)}")
            before = len(numbers)
            try:
                numbers |= {str(each["name"]): str(each["id"]) for each in page}
            except (KeyError, TypeError) as error:
                raise self._odd() from error
            if len(numbers) - before < _PAGE:
                return numbers

    async def count(self, number: str) -> int:
        found = await self.ask("GET", f"{ROUTE}/{number}/count")
        if not isinstance(found, int):
            raise self._odd()
        return found

    async def records(self, number: str) -> Sequence[tuple[str, str, Mapping[str, object]]]:
        """Return every record of a collection: id, document, metadata."""
        records: dict[str, tuple[str, str, Mapping[str, object]]] = {}
        offset = 0
        while True:
            wanted = {"include": ["documents", "metadatas"], "limit": _PAGE, "offset": offset}
            page = await self.ask("POST", f"{ROUTE}/{number}/get", wanted)
            try:
                found = list(zip(page["ids"], page["documents"], page["metadatas"], strict=True))
            except (KeyError, TypeError, ValueError) as error:
                raise self._odd() from error
            records |= {str(each): (str(each), str(text or ""), dict(values or {})) for each, text, values in found}
            offset += len(found)
            if len(found) < _PAGE:
                return tuple(records.values())

    async def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        try:
            answer = await self._client.request(method, path, json=body)
            if answer.is_success:
                return answer.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise IndexUnavailable(f"the prototype's ChromaDB at {self.url} cannot be read: {reason}") from error
        except ValueError as error:
            raise self._odd() from error
        if answer.status_code in {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED, httpx.codes.GONE}:
            raise self._odd()
        text = answer.text[:200]
        raise IndexUnavailable(f"the prototype's ChromaDB at {self.url} answers HTTP {answer.status_code}: {text}")

    def _odd(self) -> IndexUnavailable:
        return IndexUnavailable(
            f"what answers at {self.url} does not speak ChromaDB's interface of version 2: is it ChromaDB, 0.6 or"
            " later? An earlier one's directory can be read with --chroma-directory"
        )


@asynccontextmanager
async def _server(url: str) -> AsyncIterator[_Server]:
    limits = httpx.Timeout(_REQUEST_SECONDS, connect=_CONNECT_SECONDS)
    try:
        client = httpx.AsyncClient(base_url=url, timeout=limits, trust_env=False)
    except httpx.InvalidURL as error:
        raise IndexUnavailable(f"{url!r} is no URL of a ChromaDB: {error}") from error
    async with client:
        yield _Server(url, client)


async def _reading(server: _Server, origin: Origin, number: str) -> Reading:
    records = sorted(await server.records(number), key=lambda record: record[0])
    count = await server.count(number)
    missing = count - len(records)
    why = f"{missing} records came or went while it was read: run this again once nothing writes to it"
    where = f"ChromaDB {server.url}, collection {origin.value}"
    return Reading(
        origin=origin,
        where=where,
        found=count,
        digest=digest_of(records),
        entries=tuple(_entry(origin, *record) for record in records),
        left=(Left(where=where, why=why),) if missing else (),
    )


def digest_of(records: Sequence[tuple[str, str, Mapping[str, object]]]) -> str:
    """Return what changes with any id, document or metadata of a collection."""
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()[:16]


def _entry(origin: Origin, key: str, text: str, metadata: Mapping[str, object]) -> Entry:
    values = flat(metadata)
    return Entry(origin=origin, key=key, text=text, values=values, at=moment_of(values))
