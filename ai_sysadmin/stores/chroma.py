"""The index of vectors on a ChromaDB server, over its REST interface (version 2 of it, as of ChromaDB 1.x).

The package ``chromadb`` is not imported: it costs a second of CPU and 80 MB in every process. Nothing here is
canonical: a collection that is gone is made again as documents are indexed, one whose vectors do not fit the model
is given up.
"""

import asyncio
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx

from ai_sysadmin.core.errors import IndexUnavailable
from ai_sysadmin.core.knowledge import DocumentKind

ROUTE: Final = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_REQUEST_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 2.0
_PAGE: Final = 2000
_EMPTY: Final = "the vector index holds nothing yet: it is filled as documents are indexed"


class _Gone(IndexUnavailable):
    """The collection is not there."""


class _WrongDimension(IndexUnavailable):
    """The collection holds vectors of another length."""


class ChromaIndex:
    """``VectorIndex`` on a ChromaDB server, in the collection of one embedding model.

    Args:
        url: the server, without a path.
        embedding_id: names the model at each call; while it is empty, nothing is looked up.
    """

    def __init__(self, url: str, embedding_id: Callable[[], str]) -> None:
        self.url = url
        self._embedding_id = embedding_id
        self._numbers: dict[str, str] = {}

    @functools.cached_property
    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Timeout(_REQUEST_SECONDS, connect=_CONNECT_SECONDS)
        return httpx.AsyncClient(base_url=self.url, timeout=limits, trust_env=False)

    async def close(self) -> None:
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def upsert(
        self, vectors: Mapping[str, Sequence[float]], hashes: Mapping[str, str], kinds: Mapping[str, str]
    ) -> None:
        if not vectors:
            return
        records = {
            "ids": list(vectors),
            "embeddings": [list(vector) for vector in vectors.values()],
            "metadatas": [{"hash": hashes[each], "kind": kinds[each]} for each in vectors],
        }
        try:
            await self._ask("upsert", records, make=True)
        except _WrongDimension:  # the model behind the name is another one: none of its vectors is of use
            await self.clear()
            await self._ask("upsert", records, make=True)

    async def delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _PAGE):
            try:
                await self._ask("delete", {"ids": list(ids[start : start + _PAGE])})
            except _Gone:
                return

    async def hashes(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        try:
            while True:
                page = await self._ask("get", {"include": ["metadatas"], "limit": _PAGE, "offset": len(found)})
                before = len(found)
                found |= {
                    each: str((metadata or {}).get("hash", ""))
                    for each, metadata in zip(page["ids"], page["metadatas"], strict=True)
                }
                if len(found) - before < _PAGE:
                    return found
        except _Gone:
            return {}

    async def nearest(
        self, vector: Sequence[float], limit: int, kinds: Sequence[DocumentKind] = ()
    ) -> Sequence[tuple[str, float]]:
        query: dict[str, Any] = {"query_embeddings": [list(vector)], "n_results": limit, "include": ["distances"]}
        if kinds:
            query["where"] = {"kind": {"$in": [kind.value for kind in kinds]}}
        try:
            found = await self._ask("query", query)
        except _Gone as error:
            raise IndexUnavailable(_EMPTY) from error
        except _WrongDimension:
            await self.clear()
            raise
        if not found["ids"][0] and not kinds:
            raise IndexUnavailable(_EMPTY)
        near = zip(found["ids"][0], found["distances"][0], strict=True)
        return tuple((each, 1.0 - float(distance)) for each, distance in near)

    async def clear(self) -> None:
        name = self._name
        self._numbers.pop(name, None)
        try:
            await self._call("DELETE", f"{ROUTE}/{name}")
        except _Gone:
            return

    @property
    def _name(self) -> str:
        model = self._embedding_id()
        if not model:
            raise IndexUnavailable("it is not known yet which embedding model there is: its server has not answered")
        return collection_name(model)

    async def _ask(self, verb: str, body: Mapping[str, Any], *, make: bool = False) -> dict[str, Any]:
        """Ask the collection for something. A number that was remembered may be of a collection made again since."""
        name = self._name
        if number := self._numbers.get(name):
            try:
                return await self._call("POST", f"{ROUTE}/{number}/{verb}", body)
            except _Gone:
                del self._numbers[name]
        found = await (self._made(name) if make else self._call("GET", f"{ROUTE}/{name}"))
        self._numbers[name] = number = str(found["id"])
        return await self._call("POST", f"{ROUTE}/{number}/{verb}", body)

    async def _made(self, name: str) -> dict[str, Any]:
        wanted = {
            "name": name,
            "get_or_create": True,
            "metadata": {"model": self._embedding_id(), "made_by": "ai-sysadmin"},
            "configuration": {"hnsw": {"space": "cosine"}},
        }
        return await self._call("POST", ROUTE, wanted)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make one request; every one may be made twice, so a connection that broke is tried again.

        Raises: IndexUnavailable, with what went wrong and where.
        """
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                try:
                    answer = await self._client.request(method, path, json=body)
                except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                    answer = await self._client.request(method, path, json=body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise IndexUnavailable(f"ChromaDB at {self.url} does not answer in {_REQUEST_SECONDS:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise IndexUnavailable(f"ChromaDB at {self.url} is away ({reason})") from error
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            said = answer.json()
        except ValueError as error:
            raise self._odd(answer.status_code, "") from error
        if not isinstance(said, dict):
            raise self._odd(answer.status_code, "")
        if answer.is_success:
            return said
        message = str(said.get("message", ""))
        if answer.status_code == httpx.codes.NOT_FOUND and said.get("error") == "NotFoundError":
            raise _Gone(f"ChromaDB at {self.url}: {message}")
        if "dimension" in message:
            raise _WrongDimension(
                f"the vector index does not fit the embedding model ({message}) and is made anew at the next indexing"
            )
        if "readonly database" in message:
            message += " (was its directory removed? it has to be restarted then)"
        raise self._odd(answer.status_code, message)

    def _odd(self, status: int, message: str) -> IndexUnavailable:
        what = f"answers HTTP {status}" + (f": {message}" if message else ", but not as a ChromaDB server does")
        return IndexUnavailable(f"ChromaDB at {self.url} {what}")


def collection_name(embedding_id: str) -> str:
    """Return the collection's name for a model: as ChromaDB allows it, and another for every model."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", embedding_id).strip("._-")[:80].rstrip("._-")
    digest = "" if plain == embedding_id else hashlib.sha256(embedding_id.encode()).hexdigest()[:8]
    return "-".join(part for part in ("knowledge", plain, digest) if part)
