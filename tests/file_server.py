"""A server of files that can do everything wrong that servers do: cut, lie about lengths, forget, redirect."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 1 << 14


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def start(self) -> int:
        """The first byte that was asked for."""
        given = self.headers.get("range", "bytes=0-")
        return int(given.removeprefix("bytes=").rstrip("-"))


@dataclass
class Answer:
    """One answer. ``cut``: after so many bytes of the body the connection is closed."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    length: int | None = None
    chunked: bool = False
    between_chunks: Callable[[int], None] | None = None


Page = Callable[[Asked], Answer]


@dataclass
class File:
    """A file with an ETag and ranges. ``cuts``: how many bytes the next answers bring before they break off."""

    data: bytes
    etag: str | None = '"v1"'
    ranges: bool = True
    heeds_if_range: bool = True
    cuts: list[int] = field(default_factory=list)
    first: list[Answer] = field(default_factory=list)
    length: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    between_chunks: Callable[[int], None] | None = None

    def __call__(self, asked: Asked) -> Answer:
        if self.first:
            return self.first.pop(0)
        headers = {"Content-Type": "application/octet-stream"} | self.headers
        if self.etag:
            headers["ETag"] = self.etag
        cut = self.cuts.pop(0) if self.cuts else None
        changed = self.heeds_if_range and asked.headers.get("if-range") not in {None, self.etag}
        if "range" not in asked.headers or not self.ranges or changed:
            return Answer(200, self.data, headers, cut, self.length, between_chunks=self.between_chunks)
        size = len(self.data)
        if asked.start >= size:
            return Answer(416, b"", headers | {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {asked.start}-{size - 1}/{size}"
        return Answer(206, self.data[asked.start :], headers, cut, between_chunks=self.between_chunks)


class FileServer:
    """Pages by path, and every request that was made."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.seen: list[Asked] = []
        self.url = ""

    def hub_file(self, repository: str, path: str, file: File, *, said: bytes | None = None) -> str:
        """Serve a file as a model hub does, its metadata those of ``said`` where that is given; return its URL."""
        data = file.data if said is None else said
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 135}
        listed = [
            {"type": "file", "oid": "0" * 40, "size": 10, "path": "README.md"},
            {"type": "file", "oid": "1" * 40, "size": len(data), "path": path, "lfs": lfs},
        ]
        self.pages[f"/api/models/{repository}/tree/main"] = lambda _: Answer(200, json.dumps(listed).encode())
        self.pages[f"/{repository}/resolve/main/{path}"] = file
        return f"{self.url}/{repository}/resolve/main/{path}"

    def asked(self, path: str) -> list[Asked]:
        return [request for request in self.seen if request.path == path and request.method == "GET"]


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Serve on a free port of this host until the block ends."""
    files = FileServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers)
            files.seen.append(asked)
            page = files.pages.get(self.path, lambda _: Answer(404, b"no such file"))
            self._send(page(asked))

        do_GET = do_HEAD = _answer  # noqa: N815

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif answer.length != -1:
                self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            if self.command != "HEAD":
                self._send_body(answer)
            if answer.cut is not None or answer.length is not None:
                self.close_connection = True

        def _send_body(self, answer: Answer) -> None:
            body = answer.body if answer.cut is None else answer.body[: answer.cut]
            for at in range(0, len(body), CHUNK):
                if answer.between_chunks:
                    answer.between_chunks(at)
                piece = body[at : at + CHUNK]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
            if answer.chunked and answer.cut is None:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Leave broken connections alone: tests break them on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    files.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
