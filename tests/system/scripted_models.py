"""Runs inside a machine in place of its three llama-servers, and says what a test wrote down.

``/opt/courses.json`` is read anew for each request: ``slots`` a server has, and the courses. A course is meant where
the prompt holds its ``match``: ``steps`` are what the model looks up one after the other, ``reply`` fills in any other
shape it is held to, ``answer`` streams in words, ``pause`` seconds apart. ``/busy`` tells how many answers stream;
``/opt/offered.json`` names the tools that were offered last.
"""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ai_sysadmin.testing.scripted_model import smallest

PORTS = (8080, 8081, 8082)
COURSES = Path("/opt/courses.json")
OFFERED = Path("/opt/offered.json")
CONTEXT = 100_000


class Slots:
    """The slots of one server; an answer waits for one."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.busy = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.busy < self.most)
            self.busy += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self.busy -= 1
            self._changed.notify_all()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.slots = Slots(1)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self.server.slots.most = courses()["slots"]
        if self.path == "/busy":
            self._json({"busy": self.server.slots.busy})
        elif self.path == "/props":
            settings = {"n_ctx": CONTEXT}
            slots = self.server.slots.most
            self._json({"model_alias": "scripted", "default_generation_settings": settings, "total_slots": slots})
        else:
            self._json({"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self._json({"tokens": list(range(len(body["content"]) // 4))})
            return
        course = course_of(body)
        with self.server.slots:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                self._say(body, said(body, course), course.get("pause", 0))
            except ConnectionError:
                return  # the suite left

    def _say(self, body: dict[str, Any], text: str, pause: float) -> None:
        words = [word + " " for word in text.split(" ")] if pause else [text]
        for word in words:
            self._event(choices=[{"index": 0, "delta": {"content": word}, "finish_reason": None}])
            time.sleep(pause)
        self._event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
        prompt = len(text_of(body)) // 4
        self._event(
            choices=[], usage={"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt}
        )
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, **more: object) -> None:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "scripted", **more}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def courses() -> dict[str, Any]:
    return {"slots": 1, "courses": [], **json.loads(COURSES.read_text())}


def text_of(body: dict[str, Any]) -> str:
    return "\n".join(str(message["content"]) for message in body["messages"] if message["role"] != "system")


def course_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return the course of the newest words that one is meant by; an empty one where there is none."""
    for message in reversed(body["messages"]):
        for course in courses()["courses"]:
            if asks(message, course["match"]):
                return dict(course)
    return {}


def asks(message: dict[str, Any], match: str) -> bool:
    """Tell whether a message asks for something with these words; what was looked up may have them too."""
    return message["role"] == "user" and match in message["content"] and not message["content"].startswith("<<<t")


def said(body: dict[str, Any], course: dict[str, Any]) -> str:
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if offered := offered_in(schema) if schema else described_in(body):
        OFFERED.write_text(json.dumps(sorted(offered)))
        newest = max(at for at, message in enumerate(body["messages"]) if asks(message, course.get("match", "")))
        taken = sum(message["role"] == "assistant" for message in body["messages"][newest:])
        steps = course.get("steps", [])
        if taken < len(steps):
            return json.dumps({"plan": "see", **steps[taken]})
        if schema:
            return "{}"
    if schema is None:
        return str(course.get("answer", "nothing was written down for this"))
    small = smallest(schema)
    return json.dumps({**small, **{name: each for name, each in course.get("reply", {}).items() if name in small}})


def described_in(body: dict[str, Any]) -> set[str]:
    """Return the names of the tools that a prompt describes, for a model that asks for them in words."""
    system = "\n".join(str(message["content"]) for message in body["messages"] if message["role"] == "system")
    return set(re.findall(r"^([a-z_0-9]+)\(", system.partition("\nTools:\n")[2], re.MULTILINE))


def offered_in(schema: dict[str, Any]) -> set[str]:
    """Return the names of what a step may do."""
    kinds = [branch["properties"].get("do", {}) for branch in schema.get("anyOf", ())]
    return {str(kind["const"]) for kind in kinds if "const" in kind}


if __name__ == "__main__":
    servers = [Server(port) for port in PORTS]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()
