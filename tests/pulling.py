"""Pulling model files from a server of this host; import the fixtures by name."""

import random
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ai_sysadmin.llm_backend.weights.download import Limits, Means
from ai_sysadmin.llm_backend.weights.publishers import Hub
from ai_sysadmin.llm_backend.weights.pull import pull, wanted
from ai_sysadmin.llm_backend.weights.web import open_web
from tests.file_server import FileServer, file_server

DATA = b"GGUF" + random.Random(7).randbytes(300_000)
OTHER = b"GGUF" + random.Random(8).randbytes(300_000)
REPOSITORY, NAME = "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf"
PLAIN = "/files/some.gguf"
LIMITS = Limits(attempts=4, first_attempts=3)


@dataclass
class Kept:
    """A watch that remembers."""

    notes: list[str] = field(default_factory=list)
    marks: list[tuple[int, int | None]] = field(default_factory=list)

    def progress(self, done: int, total: int | None) -> None:
        self.marks.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Puller:
    """Pulls into a directory from a server that is also the hub; sleeps by taking note of it."""

    server: FileServer
    directory: Path
    token: str = ""
    free: int = 10**12
    limits: Limits = LIMITS
    slept: list[float] = field(default_factory=list)
    watch: Kept = field(default_factory=Kept)

    def __call__(self, what, sha256=None):
        environment = {"HF_ENDPOINT": self.server.url, "HF_TOKEN": self.token}
        hub = Hub.from_environment(environment)
        means = Means(self.watch, self.limits, self.slept.append, lambda _: self.free)
        web = open_web(hub.token)
        with closing(web):
            return pull(wanted(what, hub), self.directory, web, hub, means, sha256)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture(scope="module")
def running():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        with file_server() as server:
            yield server


@pytest.fixture
def server(running):
    running.pages.clear()
    running.seen.clear()
    return running


@pytest.fixture
def puller(server, tmp_path):
    return Puller(server, tmp_path)


def starts(server: FileServer, path: str = PLAIN) -> list[int]:
    return [asked.start for asked in server.asked(path)]
