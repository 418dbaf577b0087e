"""The whole suite as `ai-sysadmin up` runs it: a process of its own, on real model servers, spoken to over TCP."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.llama import make_tiny_gguf

PROJECT = Path(__file__).parents[1]
NOBODY = 65534
LAYERS = ("trigger", "review", "meta")
MODEL_FLAGS = ("--port", "0", "-c", "32768", "-np", "4", "-t", "1", "-cram", "64", "--alias", "tiny", "--metrics")
"""Flags of one model server for every layer: four slots of 8192 tokens, one thread, and figures to compare with."""
QUIET: Mapping[str, Any] = {"review_model": {"every_seconds": 0}}
"""Nothing but the test asks the models."""


@dataclass(frozen=True)
class SuiteUp:
    """A suite that is up. ``models`` is the URL of the model server of all its layers."""

    url: str
    models: str
    state_dir: Path
    log: Path

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def key(self) -> str:
        return (self.state_dir / "api-key").read_text().split()[0]

    @property
    def ingest_key(self) -> str:
        return (self.state_dir / "ingest-key").read_text().split()[0]

    @property
    def environment(self) -> dict[str, str]:
        """Return what a client in another process needs to find and enter it."""
        return {
            "BASE_URL": self.base_url,
            "API_KEY": self.key,
            "INGEST_KEY": self.ingest_key,
            "MODELS_URL": self.models,
        }

    def busy_slots(self) -> int:
        """Count the slots of the model server that work."""
        return sum(slot["is_processing"] for slot in httpx.get(f"{self.models}/slots").raise_for_status().json())

    def tokens(self) -> tuple[int, int]:
        """Return how many tokens the model server has read and written in all."""
        lines = httpx.get(f"{self.models}/metrics").raise_for_status().text.splitlines()
        figures = dict(line.split() for line in lines if not line.startswith("#"))
        return tuple(int(float(figures[f"llamacpp:{name}_total"])) for name in ("prompt_tokens", "tokens_predicted"))


def talkative_model(path: Path) -> Path:
    """Make a tiny model that ends no free text by itself: its answers last until they are cut, or left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_tiny_gguf, "MEAN_LENGTH", 1e12)
        make_tiny_gguf.main([str(path)])
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def suite_up(models: str, settings: Mapping[str, Any] | None = None) -> Iterator[SuiteUp]:
    """Run the suite on a model server until the block ends; yield it once it answers.

    Root's run gives its rights up, as `up` would with an account made on this host: nothing here is to change.
    ``settings`` are the file's, beside the port and the backends.
    """
    with tempfile.TemporaryDirectory(prefix="suite-up-", ignore_cleanup_errors=True) as made:
        directory = Path(made)
        port = free_port()
        given = {**QUIET, **(settings or {})}
        given["api"] = {"port": port, **given.get("api", {})}
        given["backends"] = {**{layer: {"url": models} for layer in LAYERS}, **given.get("backends", {})}
        (directory / "settings.json").write_text(json.dumps(given))
        (directory / "state").mkdir()
        if os.geteuid() == 0:
            for path in (directory, directory / "settings.json", directory / "state"):
                shutil.chown(path, NOBODY, NOBODY)
        suite = SuiteUp(f"http://127.0.0.1:{port}", models, directory / "state", directory / "log")
        with _process(directory, suite.log) as process:
            _until_it_answers(suite, process)
            yield suite


@contextmanager
def _process(directory: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "ai_sysadmin", "up", "--state-dir", str(directory / "state")]
    argv += ["--settings", str(directory / "settings.json")]
    rights = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    environment = os.environ | {"HOME": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    with (
        log.open("wb") as out,
        subprocess.Popen(
            argv, cwd=PROJECT, env=environment, stdout=out, stderr=out, start_new_session=True, **rights
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _until_it_answers(suite: SuiteUp, process: subprocess.Popen[bytes], within: float = 30) -> None:
    until = time.monotonic() + within
    while True:
        try:
            if httpx.get(f"{suite.url}/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"`up` does not answer (status {process.poll()}):\n{suite.log.read_text()}")
        time.sleep(0.05)
