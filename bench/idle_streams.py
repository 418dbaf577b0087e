"""A thousand answers that are under way and say nothing, in three rounds: what they cost the API's process.

Behind the API stands a model that says one word and then nothing. Printed by round: resident memory before, with and
after them, open files, and how long GET /health takes meanwhile, on connections of its own. Limits: 200 KiB a stream;
in the last round a tenth more memory than in the first; as many open files afterwards as before; p95 of /health 250 ms
while all are there.

    python bench/idle_streams.py [STREAMS]    1,000 unless told otherwise
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from _api import Served, api, process, until_it_answers

from ai_sysadmin.testing.http_server import HttpReply, HttpRequest, http_server
from tests.scripted_llama import ANSWER
from tests.suite_up import LAYERS

STREAMS = int(next((word for word in sys.argv[1:] if word.isdigit()), 1000))
ROUNDS, IDLE_SECONDS, SILENT_SECONDS, LEAVING_TENTHS = 3, 5.0, 60.0, 150
COMING_AT_A_TIME = 4
MOST_KIB, MOST_GROWTH, MOST_P95_MS = 200, 1.1, 250
ENOUGH_FILES = 8 * STREAMS + 1000
SERVE = "--serve"
PAGE_KIB = os.sysconf("SC_PAGESIZE") / 1024


# --- the model


async def says_a_word(request: HttpRequest, reply: HttpReply) -> None:
    """Answer at once where a schema is to be kept; else say a word and be silent until the caller leaves."""
    if request.path == "/health":
        await reply.json({"status": "ok"})
    elif request.path == "/props":
        slots = 4 * STREAMS
        await reply.json({"default_generation_settings": {"n_ctx": 8192}, "total_slots": slots, "model_alias": "m"})
    else:
        await reply.begin("text/event-stream")
        shape = request.content.get("response_format")
        if shape is None:
            await reply.raw(_chunk("Well", None))
            await asyncio.wait({asyncio.ensure_future(reply.reader.read())}, timeout=SILENT_SECONDS)
            return
        word = {"word": "r7k2"} if "r7k2" in json.dumps(shape) else ANSWER
        await reply.raw(_chunk(json.dumps(word), None) + _chunk("", "stop") + b"data: [DONE]\n\n")


def _chunk(text: str, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps(head | {'choices': [choice]})}\n\n".encode()


async def serve(port_file: Path) -> None:
    async with http_server(says_a_word) as url:
        port_file.write_text(url)
        await asyncio.Event().wait()


# --- who asks


@dataclass
class Round:
    """What was seen in one round: KiB before, with and after the streams, open files, milliseconds of /health."""

    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    coming: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kib_each(self) -> float:
        return (self.memory[1] - self.memory[0]) / STREAMS


def memory(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KIB


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _head(served: Served, line: str, body: bytes = b"") -> bytes:
    host = served.url.removeprefix("http://")
    lines = [f"{line} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {served.key}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _connect(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = served.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def begun(served: Served, number: int) -> asyncio.StreamWriter:
    """Ask, and return the connection once the first word is there."""
    asked = {"model": "ai-sysadmin", "stream": True, "messages": [{"role": "user", "content": f"Question {number}?"}]}
    reader, writer = await _connect(served)
    writer.write(_head(served, "POST /v1/chat/completions", json.dumps(asked).encode()))
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"stream {number}: {status!r} {await reader.read(2000)!r}")
    while b'"content":"Well' not in await reader.readuntil(b"\n"):
        pass
    return writer


async def look_at_health(served: Served, into: Callable[[], list[float]]) -> None:
    """Ask how the API is, again and again."""
    while True:
        began = time.perf_counter()
        reader, writer = await _connect(served)
        writer.write(_head(served, "GET /health"))
        status = await reader.readline()
        into().append(1000 * (time.perf_counter() - began))
        writer.close()
        if b" 200 " not in status:
            raise SystemExit(f"/health: {status!r}")
        await asyncio.sleep(0.02)


async def one_round(served: Served) -> Round:
    seen, here, began = Round(), asyncio.Event(), time.monotonic()
    _note(seen, served.pid)
    files = seen.files[0]
    looking = asyncio.create_task(look_at_health(served, lambda: seen.idle if here.is_set() else seen.coming))
    few = asyncio.Semaphore(COMING_AT_A_TIME)

    async def come(number: int) -> asyncio.StreamWriter:
        async with few:
            return await begun(served, number)

    writers = await asyncio.gather(*map(come, range(STREAMS)))
    seen.seconds = time.monotonic() - began
    here.set()
    await asyncio.sleep(IDLE_SECONDS)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    _note(seen, served.pid)
    for writer in writers:
        writer.close()
    for _ in range(LEAVING_TENTHS):
        if open_files(served.pid) <= files:
            break
        await asyncio.sleep(0.1)
    _note(seen, served.pid)
    return seen


def _note(seen: Round, pid: int) -> None:
    seen.memory.append(memory(pid))
    seen.files.append(open_files(pid))


async def rounds(served: Served) -> list[Round]:
    warm = [await begun(served, number) for number in range(COMING_AT_A_TIME)]
    for writer in warm:
        writer.close()
    await asyncio.sleep(1)
    return [await one_round(served) for _ in range(ROUNDS)]


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def told(number: int, seen: Round) -> None:
    before, with_, after = seen.memory
    files = " → ".join(map(str, seen.files))
    print(
        f"  round {number}: {before / 1024:6.1f} → {with_ / 1024:6.1f} → {after / 1024:6.1f} MiB,"
        f" {seen.kib_each:5.1f} KiB a stream; open files {files};"
        f" /health p95 {p95(seen.coming):5.1f} ms while they come ({seen.seconds:.1f} s),"
        f" {p95(seen.idle):5.1f} ms while all are there"
    )


def main() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, ENOUGH_FILES)), hard))
    with tempfile.TemporaryDirectory() as made:
        port_file, log = Path(made) / "url", Path(made) / "log"
        with process([sys.executable, __file__, str(STREAMS), SERVE, str(port_file)], log):
            until = time.monotonic() + 20
            while not port_file.exists() and time.monotonic() < until:
                time.sleep(0.05)
            url = port_file.read_text()
            until_it_answers(f"{url}/health", log)
            with api(dict.fromkeys(LAYERS, url)) as served:
                seen = asyncio.run(rounds(served))
    print(f"{STREAMS} streams that say nothing, {ROUNDS} rounds, resident memory before, with and after them:")
    for number, each in enumerate(seen, 1):
        told(number, each)
    most, growth = max(each.kib_each for each in seen), seen[-1].memory[1] / seen[0].memory[1]
    slowest = max(p95(each.idle) for each in seen)
    left = max(each.files[2] - each.files[0] for each in seen)
    print(
        f"  of the limits: {most / MOST_KIB:.2f} of {MOST_KIB} KiB a stream; {growth:.2f} times the memory of the first"
        f" round, of at most {MOST_GROWTH}; {slowest / MOST_P95_MS:.2f} of {MOST_P95_MS} ms; {max(0, left)} files"
        " left open"
    )
    return 0 if most <= MOST_KIB and growth <= MOST_GROWTH and slowest <= MOST_P95_MS and left <= 0 else 1


if __name__ == "__main__":
    if SERVE in sys.argv:
        asyncio.run(serve(Path(sys.argv[-1])))
    else:
        sys.exit(main())
