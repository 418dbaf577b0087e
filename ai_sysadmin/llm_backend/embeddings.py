"""Texts as vectors: by a server of embeddings (llama-server, Ollama, anything like OpenAI's), over ``/v1/embeddings``.

``onnx_embeddings`` makes them in this process instead, without a server. ``open_embedder`` builds what the settings
say.
"""

import asyncio
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlsplit

import httpx

from ai_sysadmin.core.errors import BackendUnavailable, SettingsError
from ai_sysadmin.core.settings import LOOPBACK_HOSTS, Backend

TextKind = Literal["query", "document"]
Vector = list[float]

_BATCH: Final = 32
_ASK_SECONDS: Final = 5.0
"""The longest that a question about the server, or the vector of a query, may take: somebody waits for it."""

_SHORTEST_CUT: Final = 64
_CONNECTION: Final = {"Connection": "close"}

_INSTRUCTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "nomic-embed": ("search_query: ", "search_document: "),
    "embeddinggemma": ("task: search result | query: ", "title: none | text: "),
    "qwen3-embedding": (
        "Instruct: Given a question about a server, retrieve passages that help to answer it\nQuery: ",
        "",
    ),
    "mxbai-embed": ("Represent this sentence for searching relevant passages: ", ""),
    "multilingual-e5": ("query: ", "passage: "),
    "e5-small": ("query: ", "passage: "),
    "e5-base": ("query: ", "passage: "),
    "e5-large": ("query: ", "passage: "),
}
"""What a family of models was trained to see before a query and before a document."""


class Embedder(Protocol):
    """A model that makes vectors of texts."""

    @property
    def id(self) -> str:
        """The model's name; empty while it is not known yet."""
        ...

    async def identify(self) -> str:
        """Ask which model there is now; wakes none. Raises: BackendUnavailable."""
        ...

    async def asleep(self) -> bool:
        """Tell whether the model would have to be loaded first. Never raises, wakes nothing."""
        ...

    async def embed(self, texts: Sequence[str], kind: TextKind) -> list[Vector]:
        """Return a vector of length 1 for each text. Raises: BackendUnavailable."""
        ...

    async def close(self) -> None: ...


class _TooLong(BackendUnavailable):
    """The server says that a text is too long for its model."""


class ServerEmbeddings:
    """``Embedder`` on a server of embeddings.

    Raises:
        SettingsError: the API key's file cannot be read.
    """

    def __init__(self, backend: Backend) -> None:
        self.url = backend.url
        self.id = ""
        self._backend = backend
        self._key = _key_of(backend)

    @functools.cached_property
    def _client(self) -> httpx.AsyncClient:
        headers = _CONNECTION | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        is_own = urlsplit(self.url).hostname in LOOPBACK_HOSTS
        # a proxy named in the environment must not see what is asked of this host's own server
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=None, trust_env=not is_own)  # noqa: S113 — each request has its own deadline

    async def close(self) -> None:
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def identify(self) -> str:
        self.id = self._backend.model or _only_model(await self._ask("GET", "/v1/models", _ASK_SECONDS))
        if not self.id:
            raise BackendUnavailable(f"{self._is} does not say which model it has: set backends.embedding.model")
        return self.id

    async def asleep(self) -> bool:
        if self._backend.type != "llama-cpp":
            return False
        try:
            return bool((await self._ask("GET", "/props", _ASK_SECONDS)).get("is_sleeping", False))
        except BackendUnavailable:
            return False

    async def embed(self, texts: Sequence[str], kind: TextKind) -> list[Vector]:
        if not self.id:
            await self.identify()
        asked = self.id
        vectors = await self._all(texts, kind)
        # another model answered than was thought: it is to see what it was trained to see, and no mixture comes back
        return vectors if self.id == asked else await self._all(texts, kind)

    async def _all(self, texts: Sequence[str], kind: TextKind) -> list[Vector]:
        before = instruction(self.id, kind)
        seconds = _ASK_SECONDS if kind == "query" else self._backend.timeout_seconds
        vectors: list[Vector] = []
        for start in range(0, len(texts), _BATCH):
            batch = [before + _sendable(text) for text in texts[start : start + _BATCH]]
            vectors += await self._batch(batch, seconds)
        return vectors

    async def _batch(self, texts: Sequence[str], seconds: float) -> list[Vector]:
        """Embed a few texts; where one of them is too long for the model, its first part stands for it."""
        try:
            return await self._vectors(texts, seconds)
        except _TooLong:
            if len(texts) > 1:
                return [vector for text in texts for vector in await self._batch([text], seconds)]
            if len(texts[0]) <= _SHORTEST_CUT:
                raise
            return await self._batch([texts[0][: len(texts[0]) // 2]], seconds)

    async def _vectors(self, texts: Sequence[str], seconds: float) -> list[Vector]:
        request: dict[str, Any] = {"input": list(texts), "encoding_format": "float"}
        if self._backend.model or self._backend.type != "llama-cpp":
            request["model"] = self._backend.model or self.id
        said = await self._ask("POST", "/v1/embeddings", seconds, request)
        try:
            rows = sorted(said["data"], key=lambda row: int(row["index"]))
            vectors = [normalised([float(value) for value in row["embedding"]]) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise BackendUnavailable(f"{self._is} answers, but not with vectors") from error
        if len(vectors) != len(texts):
            raise BackendUnavailable(f"{self._is} made {len(vectors)} vectors of {len(texts)} texts")
        if self._backend.type == "llama-cpp" and not self._backend.model:
            self.id = _short(str(said.get("model", ""))) or self.id
        return vectors

    async def _ask(
        self, method: str, path: str, seconds: float, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make one request; each may be made twice, so a connection that broke is tried again.

        Raises: BackendUnavailable, with what went wrong and where.
        """
        try:
            async with asyncio.timeout(seconds):
                try:
                    answer = await self._client.request(method, path, json=body)
                except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                    answer = await self._client.request(method, path, json=body)
        except TimeoutError as error:
            raise BackendUnavailable(f"{self._is} does not answer in {seconds:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BackendUnavailable(
                f"{self._is} is away ({str(error) or type(error).__name__}): start a llama-server --embeddings there,"
                " or set backends.embedding.url"
            ) from error
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            said = answer.json()
        except ValueError:
            said = None
        if answer.is_success and isinstance(said, dict):
            return said
        if answer.is_success:
            raise BackendUnavailable(f"{self._is} answers, but not as a server of embeddings does")
        raise self._refused(answer.status_code, _message(said))

    def _refused(self, status: int, message: str) -> BackendUnavailable:
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return BackendUnavailable(
                f"{self._is} refuses the API key: set backends.embedding.api_key_file to the file with its key"
            )
        if status == httpx.codes.SERVICE_UNAVAILABLE:
            return BackendUnavailable(f"{self._is} is loading")
        if status == httpx.codes.NOT_IMPLEMENTED:
            return BackendUnavailable(f"{self._is} makes no embeddings: start it with --embeddings")
        kind = _TooLong if _says_too_long(message) else BackendUnavailable
        return kind(f"{self._is} answers HTTP {status}" + (f": {message}" if message else ""))

    @property
    def _is(self) -> str:
        return f"embedding model at {self.url}"


def instruction(model: str, kind: TextKind) -> str:
    """Return what the model expects before a text of this kind."""
    known = next((pair for family, pair in _INSTRUCTIONS.items() if family in model.lower()), ("", ""))
    return known[0] if kind == "query" else known[1]


def normalised(vector: Vector) -> Vector:
    """Return a vector of length 1 in the same direction. Raises: ValueError, where it has none."""
    length = math.hypot(*vector)
    if not math.isfinite(length) or length == 0:
        raise ValueError("a vector without a direction")
    return [value / length for value in vector]


def _sendable(text: str) -> str:
    """Return a text that a server takes: servers refuse empty ones, and half a surrogate pair is no UTF-8."""
    return text.encode(errors="replace").decode() if text.strip() else "."


def _only_model(said: Mapping[str, Any]) -> str:
    """Return the first model's name."""
    models = said.get("data") or []
    return _short(str(models[0].get("id", ""))) if isinstance(models, list) and models else ""


def _short(name: str) -> str:
    """Return a model's name; a server that was given none says its file's path."""
    return PurePath(name).name.removesuffix(".gguf") if name.startswith("/") else name


def _message(said: object) -> str:
    fault = said.get("error", said) if isinstance(said, dict) else ""
    return str(fault.get("message", "")) if isinstance(fault, dict) else str(fault)


def _says_too_long(message: str) -> bool:
    low = message.lower()
    return any(words in low for words in ("too large to process", "context size", "context length", "maximum context"))


def _key_of(backend: Backend) -> str:
    if backend.api_key_file is None:
        return ""
    try:
        return backend.api_key_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"backends.embedding.api_key_file = {str(backend.api_key_file)!r} cannot be read: {error}"
        ) from error
