"""One request with its deadline, on its way through what stands around a model server."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import (
    PLAIN,
    BackendFailed,
    Completion,
    Delta,
    Extras,
    Message,
    ModelServer,
    Schema,
    ServerHealth,
    TokenCount,
)


@dataclass(frozen=True)
class Request:
    """What is asked. ``deadline`` is in the event loop's time, and waiting counts.

    ``whole``: nobody looks at the pieces, so the answer may be begun anew. ``urgent``: a person waits.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    schema: Schema | None
    seed: int | None
    temperature: float
    deadline: float
    extras: Extras = PLAIN
    whole: bool = False
    urgent: bool = False

    @property
    def thinks(self) -> bool:
        """Tell whether the model may think first; before a schema it may not, as thoughts are no part of one."""
        return self.extras.thinking and self.schema is None


class Answering(ABC):
    """A ``ModelServer`` as everything in this package builds it: one way to answer, and the two to ask for it."""

    name: str
    url: str
    timeout_seconds: float

    @abstractmethod
    def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Yield an answer as it is made, its last piece with the whole. Raises: as ``ModelServer.complete``."""

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Schema | None = None,
        seed: int | None = None,
        temperature: float = 0.2,
    ) -> Completion:
        deadline = asyncio.get_running_loop().time() + self.timeout_seconds
        request = Request(tuple(messages), max_tokens, schema, seed, temperature, deadline, whole=True)
        done = None
        async with aclosing(self.answer(request)) as deltas:
            async for delta in deltas:
                done = delta.completion or done
        if done is None:
            raise BackendFailed(f"{self.name} model at {self.url} broke off its answer")
        return done

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Schema | None = None,
        seed: int | None = None,
        temperature: float = 0.2,
        extras: Extras = PLAIN,
    ) -> AsyncGenerator[Delta, None]:
        if schema is not None and extras.tools:
            raise ValueError("a schema and tools exclude each other: no server could make a call within the schema")
        deadline = asyncio.get_running_loop().time() + self.timeout_seconds
        return self.answer(Request(tuple(messages), max_tokens, schema, seed, temperature, deadline, extras))


class Around(Answering):
    """A model server with something around it; what is not about answers is the inner one's."""

    def __init__(self, inner: ModelServer, timeout_seconds: float) -> None:
        self.name = inner.name
        self.url = inner.url
        self.timeout_seconds = timeout_seconds
        self._inner = inner

    async def health(self) -> ServerHealth:
        return await self._inner.health()

    async def count_tokens(self, text: str) -> TokenCount:
        return await self._inner.count_tokens(text)

    async def close(self) -> None:
        await self._inner.close()


def ask(server: ModelServer, request: Request) -> AsyncGenerator[Delta, None]:
    """Return a server's answer to a request, within its deadline."""
    if isinstance(server, Answering):
        return server.answer(request)
    return _in_time(server, request)


async def _in_time(server: ModelServer, request: Request) -> AsyncGenerator[Delta, None]:
    stream = server.stream(
        request.messages,
        max_tokens=request.max_tokens,
        schema=request.schema,
        seed=request.seed,
        temperature=request.temperature,
        extras=request.extras,
    )
    async with aclosing(stream) as deltas:
        while True:
            try:
                async with asyncio.timeout_at(request.deadline):
                    delta = await anext(deltas, None)
            except TimeoutError as error:
                raise BackendUnavailable(
                    f"{server.name} model at {server.url} did not finish its answer in time"
                ) from error
            if delta is None:
                return
            yield delta
