"""The API as a process of its own, and who asks it as an OpenAI client would, for the benches of :8083."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from tests.suite_up import LAYERS, PROJECT, free_port

UNLIMITED = {"requests_per_minute": 10_000_000, "concurrent_answers": 10_000}
"""What is measured is no limit that the settings set."""


@dataclass(frozen=True)
class Served:
    """Something that answers chat completions, and the key that it wants. ``pid``: of its process."""

    url: str
    key: str = "none"
    pid: int = 0


@dataclass(frozen=True)
class Answer:
    """One streamed answer: milliseconds from the request to its first and its last piece of text."""

    first: float
    last: float
    text: str
    prompt_tokens: int
    tokens: int

    @property
    def rate(self) -> float:
        """Return tokens a second, over the whole of the answer."""
        return 1000 * self.tokens / self.last


@contextmanager
def api(models: Mapping[str, str], settings: Mapping[str, Any] | None = None) -> Iterator[Served]:
    """Run ``ai-sysadmin api`` on model servers, by layer, until the block ends; its state is its own."""
    with tempfile.TemporaryDirectory(prefix="bench-api-", ignore_cleanup_errors=True) as made:
        directory, port = Path(made), free_port()
        (directory / "state").mkdir()
        given = {
            "state_dir": str(directory / "state"),
            "runtime_dir": str(directory / "run"),
            "backends": {layer: {"url": models[layer]} for layer in LAYERS},
            **(settings or {}),
            "api": {"port": port, **UNLIMITED},
        }
        (directory / "settings.json").write_text(json.dumps(given))
        argv = [sys.executable, "-m", "ai_sysadmin", "api", "--settings", str(directory / "settings.json")]
        log = directory / "log"
        with process(argv, log) as pid:
            url = f"http://127.0.0.1:{port}"
            until_it_answers(f"{url}/health", log)
            yield Served(url, (directory / "state" / "api-key").read_text().split()[0], pid)


@contextmanager
def process(argv: list[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a process until the block ends; yield its id."""
    with (
        log.open("wb") as out,
        subprocess.Popen(argv, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as one,
    ):
        try:
            yield one.pid
        finally:
            one.terminate()
            try:
                one.wait(15)
            except subprocess.TimeoutExpired:
                one.kill()


def until_it_answers(url: str, log: Path, within: float = 60) -> None:
    """Wait until a server answers with 200. Raises: SystemExit: it does not."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if httpx.get(url, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"{url} does not answer:\n{log.read_text()[-2000:]}")


def client() -> httpx.Client:
    """Return a client that opens a connection for each answer: llama-server closes it afterwards."""
    return httpx.Client(timeout=120, trust_env=False, headers={"Connection": "close"})


def ask(http: httpx.Client, served: Served, body: Mapping[str, Any]) -> Answer:
    """Stream one answer."""
    first, last, text, usage = 0.0, 0.0, [], {}
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    began = time.perf_counter()
    with http.stream(
        "POST", f"{served.url}/v1/chat/completions", json=asked, headers={"Authorization": f"Bearer {served.key}"}
    ) as said:
        if said.is_error:
            raise SystemExit(f"{served.url} answers {said.status_code}: {said.read()[:500]!r}")
        for line in said.iter_lines():
            if not line.startswith("data: {"):
                continue
            now, chunk = 1000 * (time.perf_counter() - began), json.loads(line[6:])
            if "error" in chunk:
                raise SystemExit(f"{served.url} fails: {chunk['error']}")
            for choice in chunk["choices"]:
                if piece := choice["delta"].get("content"):
                    first, last = first or now, now
                    text.append(piece)
            usage = chunk.get("usage") or usage
    return Answer(first, last, "".join(text), usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))
