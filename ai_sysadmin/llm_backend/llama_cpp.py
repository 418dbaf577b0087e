"""llama.cpp's server, through its OpenAI-compatible interface; the only place that knows the `openai` package.

Every answer is a stream inside, because leaving a stream frees the server's slot at once, and each stream has its
own connection, because llama-server closes it afterwards whatever it announced.
"""

import asyncio
import functools
import json
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from ai_sysadmin.core.errors import BackendUnavailable, SettingsError
from ai_sysadmin.core.settings import LOOPBACK_HOSTS, Backend
from ai_sysadmin.llm_backend import Completion, Delta, Message, PromptTooLong, Schema, ServerHealth

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionChunk

HEALTH_TIMEOUT_SECONDS = 5.0
ONE_CONNECTION_EACH = {"Connection": "close"}


class _Dropped(BackendUnavailable):
    """The connection broke before any byte of an answer."""


class LlamaCpp:
    """One llama-server, as one layer sees it.

    Raises:
        SettingsError: the API key's file cannot be read.
    """

    def __init__(self, name: str, backend: Backend) -> None:
        self.name = name
        self.url = backend.url
        self._backend = backend
        self._key = _key_of(name, backend)
        self._own_host = urlsplit(backend.url).hostname in LOOPBACK_HOSTS
        self._loading_since: float | None = None

    @functools.cached_property
    def _probe(self) -> httpx.AsyncClient:
        headers = ONE_CONNECTION_EACH | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        return httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=HEALTH_TIMEOUT_SECONDS, trust_env=not self._own_host
        )

    @functools.cached_property
    def _client(self) -> "openai.AsyncOpenAI":
        import openai  # half a second of CPU: only where a model is really asked

        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1",
            api_key=self._key or "none",
            max_retries=0,
            timeout=self._backend.timeout_seconds,
            default_headers=ONE_CONNECTION_EACH,
            # a proxy named in the environment must not see what is asked of this host's own server
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not self._own_host),
        )

    async def close(self) -> None:
        if "_probe" in self.__dict__:
            await self._probe.aclose()
        if "_client" in self.__dict__:
            await self._client.close()

    # --- how it is ---------------------------------------------------------------------------------------------

    async def health(self) -> ServerHealth:
        try:
            answer = await self._probe.get("/health")
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                return ServerHealth(state="loading", text=str(self._loading()))
            props = await self._probe.get("/props")
            return self._ready(props) if props.is_success else self._odd(props.status_code)
        except httpx.TimeoutException:
            return ServerHealth(
                state="away", text=f"{self._is} does not answer: no reply in {HEALTH_TIMEOUT_SECONDS:.0f} s"
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return ServerHealth(state="away", text=self._away(error))

    def _ready(self, answer: httpx.Response) -> ServerHealth:
        self._loading_since = None
        try:
            props = answer.json()
            return ServerHealth(
                state="ready",
                text=f"{self._is} is ready",
                model=_short(str(props.get("model_alias") or props.get("model_path", ""))),
                context_tokens=int(props["default_generation_settings"]["n_ctx"]),
                slots=int(props["total_slots"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return ServerHealth(state="away", text=f"{self._is} answers, but not as a llama-server does")

    def _odd(self, status: int) -> ServerHealth:
        return ServerHealth(state="away", text=str(self._refused(status, "")))

    # --- what it says ------------------------------------------------------------------------------------------

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Schema | None = None,
        seed: int | None = None,
        temperature: float = 0.2,
    ) -> Completion:
        async with aclosing(
            self.stream(messages, max_tokens=max_tokens, schema=schema, seed=seed, temperature=temperature)
        ) as deltas:
            async for delta in deltas:
                if delta.completion:
                    return delta.completion
        raise BackendUnavailable(f"{self._is} broke off its answer")

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Schema | None = None,
        seed: int | None = None,
        temperature: float = 0.2,
    ) -> AsyncGenerator[Delta, None]:
        request = _request(self._backend.model, messages, max_tokens, schema, seed, temperature)
        deadline = asyncio.get_running_loop().time() + self._backend.timeout_seconds
        gathered = _Gathered()
        stream, chunk = await self._open(request, deadline)
        async with stream:
            while chunk is not None:
                if text := gathered.add(chunk):
                    yield Delta(text=text)
                with self._translated(BackendUnavailable):
                    async with asyncio.timeout_at(deadline):
                        chunk = await anext(stream, None)
        if not gathered.finish_reason:
            raise BackendUnavailable(f"{self._is} broke off its answer")
        yield Delta(completion=gathered.completion())

    @retry(stop=stop_after_attempt(2), retry=retry_if_exception_type(_Dropped), reraise=True)
    async def _open(
        self, request: dict[str, Any], deadline: float
    ) -> tuple["openai.AsyncStream[ChatCompletionChunk]", "ChatCompletionChunk | None"]:
        """Send a request and wait for the first piece of its answer; losing the connection is ``_Dropped`` here."""
        with self._translated(_Dropped):
            async with asyncio.timeout_at(deadline), AsyncExitStack() as undo:
                stream = await self._client.chat.completions.create(**request)
                undo.push_async_callback(stream.close)
                first = await anext(stream, None)
                undo.pop_all()
        self._loading_since = None
        return stream, first

    @contextmanager
    def _translated(self, broken: type[BackendUnavailable]) -> Iterator[None]:
        """Turn the client library's errors into ours; ``broken`` is what a lost connection becomes."""
        import openai

        try:
            yield
        except (openai.APITimeoutError, TimeoutError) as error:
            raise BackendUnavailable(
                f"{self._is} did not finish its answer in {self._backend.timeout_seconds:.0f} s"
            ) from error
        except openai.APIConnectionError as error:
            reason = error.__cause__ or error
            raise broken(self._away(reason)) from error
        except openai.APIStatusError as error:
            raise self._status_error(error.status_code, error.body, error.message) from error
        except openai.APIError as error:
            raise BackendUnavailable(f"{self._is} failed: {error.message}") from error
        except json.JSONDecodeError as error:
            raise BackendUnavailable(f"{self._is} answers, but not as a llama-server does") from error

    def _status_error(self, status: int, body: object, message: str) -> BackendUnavailable | PromptTooLong:
        fault = body if isinstance(body, dict) else {}
        if fault.get("type") == "exceed_context_size_error":
            return PromptTooLong(int(fault.get("n_prompt_tokens", 0)), int(fault.get("n_ctx", 0)))
        if status == httpx.codes.SERVICE_UNAVAILABLE:
            return self._loading()
        return self._refused(status, str(fault.get("message", message)))

    # --- in words ----------------------------------------------------------------------------------------------

    @property
    def _is(self) -> str:
        return f"{self.name} model at {self.url}"

    def _away(self, reason: BaseException) -> str:
        return (
            f"{self._is} is away ({str(reason) or type(reason).__name__}): "
            f"start a llama-server there, or set backends.{self.name}.url"
        )

    def _loading(self) -> BackendUnavailable:
        now = time.monotonic()
        self._loading_since = self._loading_since or now
        return BackendUnavailable(f"{self._is} is loading, {now - self._loading_since:.0f} s so far")

    def _refused(self, status: int, message: str) -> BackendUnavailable:
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return BackendUnavailable(
                f"{self._is} refuses the API key: set backends.{self.name}.api_key_file to the file with its key"
            )
        return BackendUnavailable(f"{self._is} answers HTTP {status}" + (f": {message}" if message else ""))


class _Gathered:
    """An answer as it comes together."""

    def __init__(self) -> None:
        self.finish_reason = ""
        self._model = ""
        self._pieces: list[str] = []
        self._prompt_tokens = self._completion_tokens = self._cached_tokens = 0

    def add(self, chunk: "ChatCompletionChunk") -> str:
        """Take in one chunk; return its text."""
        self._model = chunk.model or self._model
        if chunk.usage:
            self._prompt_tokens = chunk.usage.prompt_tokens
            self._completion_tokens = chunk.usage.completion_tokens
        timings = (chunk.model_extra or {}).get("timings") or {}
        self._cached_tokens = int(timings.get("cache_n", self._cached_tokens))
        text = ""
        for choice in chunk.choices:
            text += choice.delta.content or ""
            self.finish_reason = choice.finish_reason or self.finish_reason
        self._pieces.append(text)
        return text

    def completion(self) -> Completion:
        return Completion(
            text="".join(self._pieces),
            model=_short(self._model),
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            cached_tokens=self._cached_tokens,
            finish_reason=self.finish_reason,
        )


def _request(
    model: str,
    messages: Sequence[Message],
    max_tokens: int,
    schema: Schema | None,
    seed: int | None,
    temperature: float,
) -> dict[str, Any]:
    """Build the request. Thinking is off: a model that thinks first spends max_tokens before its answer begins."""
    request: dict[str, Any] = {
        "model": model or "default",
        "messages": [message.model_dump() for message in messages],
        "max_tokens": max_tokens,
        "temperature": temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
        "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
    }
    if seed is not None:
        request["seed"] = seed
    if schema is not None:
        named = {"name": "reply", "strict": True, "schema": dict(schema)}
        request["response_format"] = {"type": "json_schema", "json_schema": named}
    return request


def _short(model: str) -> str:
    """Return a model's name; a server that was given none says its file's path."""
    return PurePath(model).name.removesuffix(".gguf") if model.startswith("/") else model


def _key_of(name: str, backend: Backend) -> str:
    if backend.api_key_file is None:
        return ""
    try:
        return backend.api_key_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"backends.{name}.api_key_file = {str(backend.api_key_file)!r} cannot be read: {error}"
        ) from error
