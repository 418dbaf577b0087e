"""OpenAI's own JavaScript client drives every endpoint of the whole suite, on a real model server."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.llama.server import serve
from tests.suite_up import MODEL_FLAGS, PROJECT, SuiteUp, suite_up, talkative_model

HERE = PROJECT / "tests/javascript"
SLOT_FREE_SECONDS = 2.0
MODELS = {"ai-sysadmin", "ai-sysadmin-fast"}


def missing(reason: str) -> None:
    """A laptop without it goes on; where everything has to hold, it is there."""
    pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.fixture(scope="module")
def node() -> str:
    """Return a Node that OpenAI's client runs on: that of this environment, or the machine's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("node", path=path)
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout if found else ""
    if not found or int(version.strip("v\n").split(".")[0]) < 22:
        missing(f"OpenAI's JavaScript client needs Node 22 or later, here is {version.strip() or 'none'}")
    return str(found)


@pytest.fixture(scope="module")
def driver(node: str) -> Path:
    """Return the script, beside the client that the lock names: installed once into .cache."""
    directory = PROJECT / ".cache/javascript"
    directory.mkdir(parents=True, exist_ok=True)
    lock = HERE / "package-lock.json"
    kept = directory / "node_modules/.installed"
    for name in ("package.json", "package-lock.json", ".npmrc", "drive.mjs"):
        shutil.copy(HERE / name, directory / name)
    if not kept.exists() or kept.read_bytes() != lock.read_bytes():
        npm = Path(node).with_name("npm")
        path = os.pathsep.join([str(npm.parent), os.environ.get("PATH", "")])
        got = subprocess.run(
            [npm if npm.exists() else "npm", "ci"],
            cwd=directory,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if got.returncode:
            missing(f"the npm package openai cannot be installed: {got.stderr.strip()[-300:]}")
        kept.write_bytes(lock.read_bytes())
    return directory / "drive.mjs"


def drive(node: str, driver: Path, suite: SuiteUp, *cases: str) -> dict[str, Any]:
    done = subprocess.run(
        [node, str(driver), *cases],
        env={"PATH": os.environ["PATH"], **suite.environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


CASES = (
    *("models", "whole", "streamed", "schema", "parts", "tools"),
    *("errors", "responses", "embeddings", "together", "bare"),
)


@pytest.fixture(scope="module")
def outcomes(node: str, driver: Path, tiny_model: Path) -> Iterator[dict[str, Any]]:
    pytest.importorskip("xllamacpp", reason="the embedded model server needs x86-64 with AVX2", exc_type=ImportError)
    with serve(tiny_model, MODEL_FLAGS) as models, suite_up(models) as suite:
        yield drive(node, driver, suite, *CASES)


def came(outcomes: dict[str, Any], case: str) -> dict[str, Any]:
    assert "came" in outcomes[case], outcomes[case]
    return dict(outcomes[case]["came"])


def test_the_models_are_listed(outcomes):
    assert set(came(outcomes, "models")["listed"]) == MODELS
    assert came(outcomes, "models")["one"] == "ai-sysadmin"
    assert set(came(outcomes, "bare")["listed"]) == MODELS


def test_answers_come_whole_and_in_pieces(outcomes):
    whole, streamed = came(outcomes, "whole"), came(outcomes, "streamed")
    assert whole["text"] and streamed["text"]
    assert (streamed["roles"], len(streamed["reasons"])) == (["assistant"], 1)
    for usage in (whole["usage"], streamed["usage"]):
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


def test_a_schema_is_kept(outcomes):
    verdict = came(outcomes, "schema")
    assert isinstance(verdict["healthy"], bool) and verdict["level"] in {"low", "high"}


def test_parts_are_read_and_the_front_ends_tools_are_not(outcomes):
    assert came(outcomes, "parts")["text"]
    assert came(outcomes, "tools")["calls"] == [] and came(outcomes, "tools")["reason"] != "tool_calls"


def test_errors_are_the_clients_own_kinds(outcomes):
    kinds = {name: (error["kind"], error.get("status")) for name, error in came(outcomes, "errors").items()}
    assert kinds == {
        "stranger": ("AuthenticationError", 401),
        "monitoring": ("PermissionDeniedError", 403),
        "missing": ("NotFoundError", 404),
        "empty": ("BadRequestError", 400),
        "path": ("NotFoundError", 404),
    }
    assert came(outcomes, "errors")["empty"]["param"] == "messages"


def test_responses_come_whole_and_as_events(outcomes):
    said = came(outcomes, "responses")
    assert said["output_text"] and said["text"] and said["text"] == said["whole"]
    assert said["usage"]["total_tokens"] > 0
    assert said["types"][0] == "response.created"
    assert said["types"][-1] in {"response.completed", "response.incomplete"}


def test_without_an_embedder_embeddings_say_so(outcomes):
    error = came(outcomes, "embeddings")
    assert error["status"] == 404 and "embed" in error["message"].lower()


def test_two_chats_at_once(outcomes):
    assert all(came(outcomes, "together")["texts"])


def test_an_abort_frees_the_slot(node, driver, tmp_path):
    with (
        serve(talkative_model(tmp_path / "talkative.gguf"), MODEL_FLAGS) as models,
        suite_up(models, {"meta_model": {"max_reply_tokens": 6000}}) as suite,
    ):
        ended = came(drive(node, driver, suite, "aborted"), "aborted")
        _, written = suite.tokens()
    assert ended["busy"] is not None, "the model was never asked"
    assert ended["free"] is not None and ended["free"] <= SLOT_FREE_SECONDS
    assert ended["ended"]["kind"] in {"APIUserAbortError", "none"}
    assert written < 6000, "the model wrote on for nobody"
