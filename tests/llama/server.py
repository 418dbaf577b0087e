"""A real llama-server on a tiny model, for any test that asks for ``llama`` (import the fixtures by name)."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.llama import make_tiny_gguf

FLAGS = ("--port", "0", "-c", "16384", "-np", "2", "-t", "1", "-cram", "64", "--alias", "tiny")
"""Two slots of 8192 tokens, one thread: more of them would starve whatever else the machine does."""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A model file of under 1 MB that says nonsense in valid shapes."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    make_tiny_gguf.main([str(path)])
    return path


@pytest.fixture(scope="session")
def llama(tiny_model) -> Iterator[str]:
    """The URL of a llama-server that is ready."""
    pytest.importorskip("xllamacpp", reason="the embedded model server needs x86-64 with AVX2", exc_type=ImportError)
    with serve(tiny_model) as url:
        yield url


@contextmanager
def serve(model: Path, flags: Sequence[str] = FLAGS) -> Iterator[str]:
    """Run an embedded server until the block ends; yield its URL once it answers."""
    argv = [sys.executable, "-m", "ai_sysadmin.llm_backend.embedded_server", "-m", str(model), *flags]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    with subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            yield _url_in(process)
        finally:
            process.terminate()
            process.wait(10)


def _url_in(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("listening on "):
            return line.split()[-1]
    raise AssertionError(f"the model server ended with status {process.wait()}")
