"""Open WebUI as a process, set up as the guide says, and its own API where a test has to look behind the page."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.suite_up import free_port

TASK_HEADERS = {"X-OWUI-Task": "{{TASK}}"}
IDENTITY_SECRET = "what Open WebUI signs its users with"
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "OFFLINE_MODE": "true",
    "ENABLE_VERSION_UPDATE_CHECK": "false",
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "ENABLE_COMMUNITY_SHARING": "False",
    "RAG_EMBEDDING_ENGINE": "openai",
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
    "AUDIO_STT_ENGINE": "openai",
    "USE_SLIM_DOCKER": "true",
}
"""It loads no model of its own and asks no other host."""
START_SECONDS = 180


@dataclass(frozen=True)
class OpenWebUI:
    """One that runs. ``token`` is the session of its only user."""

    url: str
    token: str
    log: Path

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, content: Mapping[str, Any]) -> Any:
        return self._ask("POST", path, content)

    def chat(self, chat_id: str) -> dict[str, Any]:
        """Return a conversation as Open WebUI keeps it."""
        return dict(self.get(f"/api/v1/chats/{chat_id}"))

    def _ask(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.request(method, self.url + path, json=content, headers=headers, timeout=30, trust_env=False)
        return answer.raise_for_status().json()


@contextmanager
def open_webui(home: Path, data: Path, api: str, key: str) -> Iterator[OpenWebUI]:
    """Run one on the API at a base URL until the block ends; its first start takes some ten seconds."""
    url = f"http://127.0.0.1:{free_port()}"
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
        **OFFLINE,
        "DATA_DIR": str(data),
        "WEBUI_AUTH": "False",
        "WEBUI_SECRET_KEY": "a-secret-of-these-tests-and-nothing-else",
        "ENABLE_OLLAMA_API": "False",
        "OPENAI_API_BASE_URL": api,
        "OPENAI_API_KEY": key,
        "OPENAI_API_CONFIGS": json.dumps({"0": {"enable": True, "headers": TASK_HEADERS}}),
        "TASK_MODEL_EXTERNAL": "ai-sysadmin-fast",
        "ENABLE_FORWARD_USER_INFO_HEADERS": "True",
        "FORWARD_USER_INFO_HEADER_JWT_SECRET": IDENTITY_SECRET,
        "CORS_ALLOW_ORIGIN": url,
        "DEFAULT_LOCALE": "en-US",
    }
    argv = [str(home / "venv/bin/open-webui"), "serve", "--host", "127.0.0.1", "--port", url.rsplit(":", 1)[1]]
    log = data / "open-webui.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            argv,
            cwd=data,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _entered(url, log, process)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _entered(url: str, log: Path, process: subprocess.Popen[bytes]) -> OpenWebUI:
    until = time.monotonic() + START_SECONDS
    while not _is_healthy(url):
        if process.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"Open WebUI does not answer:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.2)
    nobody = {"email": "", "password": ""}
    session = httpx.post(f"{url}/api/v1/auths/signin", json=nobody, timeout=60, trust_env=False).raise_for_status()
    ui = OpenWebUI(url, session.json()["token"], log)
    version = ui.get("/api/version")["version"]
    ui.post("/api/v1/users/user/settings/update", {"ui": {"version": version}})  # what is new is not shown
    return ui


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=3, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
