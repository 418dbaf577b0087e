"""What ``open_model(...).complete`` costs beside a bare streamed httpx call to the same server, in one run.

Two servers: a trivial one that answers at once in two pieces, and a real llama-server on a tiny model (sixteen
tokens, with the prompt cached). Calls alternate; the median of each counts. A third figure is the whole suite's
client with a lease store in SQLite and the background's turn, as a review asks. At last, long answers are streamed in
the foreground, as chat does: the time to the first piece, and tokens a second.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.door import open_model
from ai_sysadmin.runtime.sqlite import Database, SqliteRelational
from ai_sysadmin.stores.relational.leases import SqlLeases
from ai_sysadmin.testing.http_server import HttpReply, HttpRequest, http_server
from tests.llama import make_tiny_gguf
from tests.llama.server import serve

CALLS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
TOKENS = 16
STREAMS, LONG_TOKENS = 7, 600
LONG_ANSWER = {"type": "array", "items": {"type": "integer"}, "minItems": 900, "maxItems": 1000}
MESSAGES = (Message(role="system", content="Answer in a word."), Message(role="user", content="hello"))

Call = Callable[[], Awaitable[object]]


async def trivial(request: HttpRequest, reply: HttpReply) -> None:
    if request.path == "/health":
        await reply.json({"status": "ok"})
    elif request.path == "/props":
        await reply.json({"default_generation_settings": {"n_ctx": 8192}, "total_slots": 1, "model_alias": "m"})
    else:
        await reply.begin("text/event-stream")
        await reply.raw(_chunk("hel", None) + _chunk("lo", "stop") + b"data: [DONE]\n\n")


def _chunk(text: str, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps(head | {'choices': [choice]})}\n\n".encode()


async def pieces(url: str, client: httpx.AsyncClient, **more: object) -> AsyncIterator[str]:
    """Yield an answer as it comes, with as little as will do."""
    body = {
        "messages": [{"role": message.role, "content": message.content} for message in MESSAGES],
        "max_tokens": TOKENS,
        "temperature": 0.2,
        "seed": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"enable_thinking": False},
    } | more
    headers = {"Connection": "close"}
    async with client.stream("POST", f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                break
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    yield choice["delta"].get("content") or ""


def bare(url: str, client: httpx.AsyncClient) -> Call:
    async def call() -> str:
        return "".join([piece async for piece in pieces(url, client)])

    return call


async def milliseconds(calls: dict[str, Call]) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(CALLS + 10):
        for name, call in calls.items():
            began = time.perf_counter()
            await call()
            if number >= 10:
                taken[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(each) for name, each in taken.items()}


@asynccontextmanager
async def leases(directory: Path) -> AsyncIterator[SqlLeases]:
    database = Database(directory / "bench.db", files("ai_sysadmin.stores.relational") / "migrations" / "sqlite")
    await database.open()
    try:
        yield SqlLeases(SqliteRelational(database), "bench")
    finally:
        await database.close()


async def compare(what: str, url: str, directory: Path) -> None:
    async with leases(directory) as kept, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        plain = open_model("review", Backend(url=url))
        background = open_model("review", Backend(url=url), leases=kept, turn="background")
        taken = await milliseconds(
            {
                "bare httpx (peer)": bare(url, client),
                "open_model": lambda: plain.complete(MESSAGES, max_tokens=TOKENS, seed=1),
                "open_model, background": lambda: background.complete(MESSAGES, max_tokens=TOKENS, seed=1),
            }
        )
        await plain.close()
        await background.close()
    peer = taken["bare httpx (peer)"]
    print(f"{what}, {CALLS} calls each, median:")
    for name, each in taken.items():
        print(f"  {name:24} {each:7.2f} ms a call   {each - peer:+6.2f} ms   {each / peer:5.2f} of the peer")


async def of_stream(deltas: AsyncIterator[object]) -> tuple[float, float]:
    """Return the milliseconds until the first piece that is not empty, and pieces a second."""
    began, first, count = time.perf_counter(), 0.0, 0
    async for piece in deltas:
        count += 1
        first = first or (1000 * (time.perf_counter() - began) if piece else 0.0)
    return first, count / (time.perf_counter() - began)


async def compare_streams(url: str, directory: Path) -> None:
    named = {"name": "reply", "strict": True, "schema": LONG_ANSWER}
    more = {"response_format": {"type": "json_schema", "json_schema": named}, "max_tokens": LONG_TOKENS}
    async with leases(directory) as kept, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        chat = open_model("meta", Backend(url=url), leases=kept, turn="foreground")
        await chat.complete(MESSAGES, max_tokens=1, schema=LONG_ANSWER)
        seen: dict[str, list[tuple[float, float]]] = {"bare httpx (peer)": [], "open_model, foreground": []}
        for _ in range(STREAMS):
            ours = chat.stream(MESSAGES, max_tokens=LONG_TOKENS, schema=LONG_ANSWER, seed=1)
            for name, deltas in zip(seen, (pieces(url, client, **more), ours), strict=True):
                seen[name].append(await of_stream(deltas))
        await chat.close()
    firsts, rates = ({name: statistics.median(each) for name, each in _column(seen, at).items()} for at in (0, 1))
    print(f"a real llama-server, {STREAMS} streams of {LONG_TOKENS} tokens each, median:")
    for name in seen:
        share = rates[name] / rates["bare httpx (peer)"]
        print(
            f"  {name:24} first piece {firsts[name]:6.2f} ms   {rates[name]:7.1f} pieces/s   {share:5.2f} of the peer"
        )


def _column(seen: dict[str, list[tuple[float, float]]], at: int) -> dict[str, list[float]]:
    return {name: [each[at] for each in rows] for name, rows in seen.items()}


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with http_server(trivial) as url:
            await compare("a server that answers at once", url, directory)
        make_tiny_gguf.main([str(directory / "tiny.gguf")])
        with serve(directory / "tiny.gguf") as url:
            await compare(f"a real llama-server, {TOKENS} tokens", url, directory)
            await compare_streams(url, directory)


if __name__ == "__main__":
    asyncio.run(main())
