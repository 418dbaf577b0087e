"""A server of embeddings with a small model that really is one: static token vectors, served as ``/v1/embeddings``.

The vectors are those that the package ``wordllama`` bundles (MIT); a text's vector is the mean of its tokens'.
"""

import functools
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MODEL = "l2-supercat-256"


class StaticModel:
    """Mean token vectors, at length 1."""

    def __init__(self) -> None:
        spec = find_spec("wordllama")  # importing it would set up logging
        if spec is None or spec.origin is None:
            pytest.skip("wordllama is not installed, whose trained vectors meaning is tested with")
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        directory = Path(spec.origin).parent
        weights = load_file(directory / "weights" / "l2_supercat_256.safetensors")
        (self._table,) = weights.values()
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizers" / "l2_supercat_tokenizer_config.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        means = np.stack([self._table[each.ids or [0]].astype(np.float32).mean(0) for each in encoded])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).tolist()


@functools.cache
def static_model() -> StaticModel:
    return StaticModel()


class EmbeddingServer(ThreadingHTTPServer):
    """Keeps what was asked. ``fault`` (status, message) is answered instead of vectors; ``most``: a text's length."""

    daemon_threads = True

    def __init__(self, model: str = MODEL) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.texts: list[str] = []
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.fault: tuple[int, str] | None = None
        self.most = 0
        self.is_sleeping = False
        self.drops = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """A client that went away is no concern of a test."""


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers), {}))
        match self.path:
            case "/v1/models":
                self._say(200, {"object": "list", "data": [{"id": self.server.model, "object": "model"}]})
            case "/props":
                self._say(200, {"is_sleeping": self.server.is_sleeping})
            case _:
                self._fail(404, "no such thing")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        if self.server.drops:
            self.server.drops -= 1
            self.close_connection = True
            return
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if self.server.fault:
            self._fail(*self.server.fault)
        elif self.server.most and any(len(text) > self.server.most for text in texts):
            self._fail(500, f"input (9 tokens) is too large to process. (current batch size: {self.server.most})")
        else:
            self.server.is_sleeping = False
            self.server.texts += texts
            rows = enumerate(static_model().vectors(texts))
            data = [{"object": "embedding", "index": number, "embedding": vector} for number, vector in rows]
            self._say(200, {"object": "list", "model": self.server.model, "data": data[::-1]})

    def _fail(self, status: int, message: str) -> None:
        self._say(status, {"error": {"code": status, "message": message, "type": "server_error"}})

    def _say(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def embedding_server(model: str = MODEL) -> Iterator[EmbeddingServer]:
    """Serve until the block ends."""
    server = EmbeddingServer(model)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
