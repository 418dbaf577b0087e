"""Chat over OpenAI's interface, which every kind of server speaks; the only place that knows the `openai` package.

Every answer is a stream inside, because leaving a stream frees the server's slot at once, and each stream has its
own connection, because llama-server closes it afterwards whatever it announced.
"""

import asyncio
import functools
import json
import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from ai_sysadmin.core.errors import AiSysadminError, BackendUnavailable, SettingsError
from ai_sysadmin.core.settings import LOOPBACK_HOSTS, Backend
from ai_sysadmin.llm_backend import BackendAway, BackendLoading, Delta, PromptTooLong, ServerHealth, TokenCount
from ai_sysadmin.llm_backend.answering import Answering, Request
from ai_sysadmin.llm_backend.openai_wire import Chunk, Gathered, body, names_in, to_leave_out
from ai_sysadmin.llm_backend.server_words import ServerWords, too_long
from ai_sysadmin.llm_backend.tokens import estimate, estimate_prompt
from ai_sysadmin.llm_backend.tool_calls import is_about_tools

if TYPE_CHECKING:
    import openai

log = logging.getLogger(__name__)

HEALTH_TIMEOUT_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 5.0
ONE_CONNECTION_EACH = {"Connection": "close"}
_MOST_STATUS_BYTES = 8 << 20


class _Dropped(BackendAway):
    """The connection broke before any byte of an answer."""


class Rejected(BackendUnavailable):
    """The server does not take the request as it is; ``said`` are its own words."""

    def __init__(self, sentence: object, said: str) -> None:
        super().__init__(str(sentence))
        self.said = said


class OpenAIChat(Answering):
    """One model server, as one layer sees it; a subclass knows what kind it is.

    ``no_thinking`` are the parameters that turn thoughts off, ``let_think`` those that let the model have them,
    ``learns`` whether parameters that the server refuses are left out from then on.

    Raises:
        SettingsError: the API key's file cannot be read.
    """

    speaks = "a model server"
    start = "start a model server there"
    no_thinking: Mapping[str, object] = {"chat_template_kwargs": {"enable_thinking": False}}
    let_think: Mapping[str, object] = {}
    learns = True

    def __init__(self, name: str, backend: Backend) -> None:
        self.name = name
        self.url = backend.url
        self.timeout_seconds = backend.timeout_seconds
        self.words = ServerWords(name, backend.url, self.speaks, self.start)
        self.backend = backend
        self._key = _key_of(name, backend)
        self._own_host = urlsplit(backend.url).hostname in LOOPBACK_HOSTS
        self._left_out: frozenset[str] = frozenset()

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
            timeout=openai.Timeout(self.timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, self.timeout_seconds)),
            default_headers=ONE_CONNECTION_EACH,
            # neither a proxy named in the environment nor a redirection may take what is asked to another host
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not self._own_host, follow_redirects=False),
        )

    async def close(self) -> None:
        if "_probe" in self.__dict__:
            await self._probe.aclose()
        if "_client" in self.__dict__:
            await self._client.close()

    # --- how it is ---------------------------------------------------------------------------------------------

    @abstractmethod
    async def _look(self) -> ServerHealth:
        """Ask the server how it is. Raises: BackendUnavailable."""

    async def health(self) -> ServerHealth:
        try:
            return await self._look()
        except BackendLoading as error:
            return ServerHealth(state="loading", text=str(error))
        except BackendUnavailable as error:
            return ServerHealth(state="away", text=str(error))

    async def count_tokens(self, text: str) -> TokenCount:
        return TokenCount(estimate(text), exact=False)

    async def _status(self, method: str, path: str, content: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Ask for something that is no answer of the model. Raises: BackendUnavailable."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_SECONDS), self._probe.stream(method, path, json=content) as said:
                raw = bytearray()
                async for piece in said.aiter_bytes():
                    raw += piece
                    if len(raw) > _MOST_STATUS_BYTES:
                        raise self.words.odd()
        except (httpx.TimeoutException, TimeoutError) as error:
            raise self.words.silent(HEALTH_TIMEOUT_SECONDS) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.words.away(error) from error
        return self._understood(said.status_code, bytes(raw))

    def _understood(self, status: int, raw: bytes) -> dict[str, Any]:
        try:
            content = json.loads(raw)
        except ValueError as error:
            if httpx.codes.is_success(status):
                raise self.words.odd() from error
            content = {}
        if not httpx.codes.is_success(status):
            fault = content.get("error", content) if isinstance(content, dict) else {}
            message = fault.get("message", "") if isinstance(fault, dict) else fault
            raise _unavailable(self._status_error(status, fault if isinstance(fault, dict) else {}, str(message)))
        if not isinstance(content, dict):
            raise self.words.odd()
        return content

    # --- what it says ------------------------------------------------------------------------------------------

    @abstractmethod
    async def _prepare(self, request: Request) -> str:
        """Return the model to ask for. Raises: BackendUnavailable; PromptTooLong where the server would not say so."""

    def check_room(self, request: Request, context_tokens: int) -> None:
        """Raise ``PromptTooLong`` where a prompt and its answer do not fit, as far as can be told without asking."""
        prompt = estimate_prompt(request.messages, request.extras.tools)
        if context_tokens and prompt + request.max_tokens > context_tokens:
            raise PromptTooLong(prompt, context_tokens, request.max_tokens)

    def about_thinking(self, request: Request) -> Mapping[str, object]:
        return self.let_think if request.thinks else self.no_thinking

    async def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        gathered = Gathered(request)
        stream, chunk = await self._open(request)
        async with stream:
            if chunk is None:
                raise self.words.odd()
            while chunk is not None and not gathered.is_over:
                for delta in self._added(gathered, chunk):
                    yield delta
                with self._translated(began=True):
                    async with asyncio.timeout_at(request.deadline):
                        chunk = await anext(stream, None)
        if not gathered.finish_reason:
            raise self.words.broke_off()
        for delta in gathered.rest():
            yield delta
        yield Delta(completion=gathered.completion())

    def _added(self, gathered: Gathered, chunk: object) -> tuple[Delta, ...]:
        """Take in a chunk; the client library hands on whatever was valid JSON as one."""
        try:
            return gathered.add(cast("Chunk", chunk))
        except (AttributeError, TypeError, ValueError) as error:
            raise self.words.odd() from error

    async def _open(self, request: Request) -> tuple["openai.AsyncStream[object]", object]:
        """Send a request and wait for the first piece of its answer; go without what the server does not know."""
        try:
            async with asyncio.timeout_at(request.deadline):
                model = await self._prepare(request)
        except TimeoutError as error:
            raise self.words.too_slow(self.timeout_seconds) from error
        left_out = self._left_out
        while True:
            sent = body(model, request, self.about_thinking(request), left_out)
            try:
                opened = await self._send(sent, request.deadline)
            except Rejected as error:
                if request.extras.tools and is_about_tools(error.said):
                    raise self.words.refuses_tools(error.said) from error
                more = to_leave_out(names_in(sent), error.said) if self.learns else frozenset[str]()
                if not more:
                    raise
                left_out |= more
            else:
                self._learn(left_out)
                return opened

    def _learn(self, left_out: frozenset[str]) -> None:
        self.words.answered()
        if news := left_out - self._left_out:
            self._left_out = left_out
            log.info(
                "%s does not take %s and is asked without it",
                self.words.it,
                ", ".join(sorted(news)),
                extra={"event": "parameter_left_out"},
            )

    @retry(stop=stop_after_attempt(2), retry=retry_if_exception_type(_Dropped), reraise=True)
    async def _send(self, sent: dict[str, Any], deadline: float) -> tuple["openai.AsyncStream[object]", object]:
        import openai

        with self._translated(began=False):
            async with asyncio.timeout_at(deadline), AsyncExitStack() as undo:
                stream = await self._client.post(
                    "/chat/completions", cast_to=object, body=sent, stream=True, stream_cls=openai.AsyncStream[object]
                )
                undo.push_async_callback(stream.close)
                first = await anext(stream, None)
                undo.pop_all()
        return stream, first

    @contextmanager
    def _translated(self, *, began: bool) -> Iterator[None]:
        """Turn the client library's errors into ours; ``began``: part of the answer is there already."""
        import openai

        try:
            yield
        except (openai.APITimeoutError, httpx.TimeoutException, TimeoutError) as error:
            raise self._late(error) from error
        except (openai.APIConnectionError, httpx.HTTPError) as error:
            reason = error.__cause__ or error
            raise (self.words.broke_off() if began else _Dropped(str(self.words.away(reason)))) from error
        except openai.APIStatusError as error:
            fault = error.body if isinstance(error.body, dict) else {}
            raise self._status_error(error.status_code, fault, str(fault.get("message", error.message))) from error
        except openai.APIError as error:
            raise too_long(error.message) or self.words.failed(error.message) from error
        except ValueError as error:  # neither JSON nor UTF-8
            raise self.words.odd() from error

    def _late(self, error: BaseException) -> BackendUnavailable:
        if "ConnectTimeout" in {type(error).__name__, type(error.__cause__).__name__}:
            return self.words.silent(CONNECT_TIMEOUT_SECONDS)
        return self.words.too_slow(self.timeout_seconds)

    def _status_error(self, status: int, fault: Mapping[str, Any], message: str) -> AiSysadminError:
        """Return what an HTTP status says, with what this kind of server means by it."""
        if error := too_long(message, str(fault.get("code") or fault.get("type") or "")):
            return error
        if status == httpx.codes.SERVICE_UNAVAILABLE and "load" in message.lower():
            return self.words.loading()
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return self.words.busy(message)
        if status == httpx.codes.NOT_FOUND and "model" in message.lower():
            return self.words.without_model(self.backend.model, f"set backends.{self.name}.model to one that it has")
        if status in {httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY}:
            return Rejected(self.words.refused(status, message), message)
        return self.words.refused(status, message)


def _unavailable(error: AiSysadminError) -> BackendUnavailable:
    return error if isinstance(error, BackendUnavailable) else BackendUnavailable(str(error))


def _key_of(name: str, backend: Backend) -> str:
    if backend.api_key_file is None:
        return ""
    try:
        return backend.api_key_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"backends.{name}.api_key_file = {str(backend.api_key_file)!r} cannot be read: {error}"
        ) from error
