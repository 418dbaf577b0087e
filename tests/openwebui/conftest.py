"""A machine with the suite, as module.nix sets it up; Open WebUI and a browser in its network; and a scripted model.

All of it shares the machine's loopback, which leads nowhere else: what would ask another host fails.
"""

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.llama import make_tiny_gguf
from tests.llama.server import serve
from tests.openwebui.browser import FLAGS, Person, person
from tests.openwebui.front_end import IDENTITY_SECRET, OpenWebUI, open_webui
from tests.scripted_llama import ScriptedLlama, scripted_llama
from tests.system.conftest import why_not
from tests.system.machine import Machine
from tests.system.story import Story
from tests.system.suite import Suite, install, stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

API = "http://127.0.0.1:8083/v1"
META_FLAGS = ("--port", "0", "-c", "32768", "-np", "2", "-t", "1", "-cram", "64", "--alias", "tiny")
HOST_NAME = "web1"
SECRET_FILE = "/etc/open-webui-identity"
SETTINGS = {
    "host_name": HOST_NAME,
    "executor": {"post_check_seconds": 1},
    "review_model": {"every_seconds": 0},
    "policy": {"identity_secret_file": SECRET_FILE, "approvers": ["admin@localhost"]},
}
START_SECONDS = 30
_NEW_NETWORK = 0x40000000

collect_ignore_glob = [] if "OPENWEBUI_HOME" in os.environ else ["test_*.py"]
"""Nothing here belongs to `make test`."""


@dataclass(frozen=True)
class Host:
    """The machine that is looked after, and what "the model" of layer 4 says."""

    machine: Machine
    script: ScriptedLlama
    key: str

    @property
    def story(self) -> Story:
        return Story(self.machine)


@pytest.fixture(scope="session")
def home() -> Path:
    """Return where Open WebUI and the browser's driver are."""
    given = os.environ.get("OPENWEBUI_HOME")
    if not given:
        pytest.skip("`tools/test-openwebui` sets Open WebUI up, and runs these")
    sys.path.insert(0, f"{given}/driver")
    if reason := why_not():
        pytest.fail(reason)
    return Path(given)


@pytest.fixture(scope="session")
def host(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    machine = Machine(f"owui-{os.getpid()}", tmp_path_factory.mktemp("machines"))
    model = tmp_path_factory.mktemp("models") / "tiny.gguf"
    make_tiny_gguf.main([str(model)])
    try:
        machine.up(stage(tmp_path_factory.mktemp("staged")).binds)
        with _network_of(machine), serve(model, META_FLAGS) as upstream, scripted_llama(upstream) as (script, url):
            machine.put(IDENTITY_SECRET, SECRET_FILE, 0o600)
            settings = SETTINGS | {"backends": {"meta": {"url": url}}}
            install(machine, Suite(models=("trigger", "review"), options={"settings": settings}))
            yield Host(machine, script, _key(machine))
    finally:
        _keep_journal(home, machine)
        machine.down()


def _keep_journal(home: Path, machine: Machine) -> None:
    lines = machine.run(["journalctl", "-q", "--no-pager", "-o", "short-precise"]).stdout
    (home / "journal.txt").write_text(lines)


@contextmanager
def _network_of(machine: Machine) -> Iterator[None]:
    """Let this process, and all that it starts, use the machine's network until the block ends."""
    leader = (machine.directory / machine.name / "leader").read_text().strip()
    with Path("/proc/self/ns/net").open() as own, Path(f"/proc/{leader}/ns/net").open() as theirs:
        _enter(theirs.fileno())
        try:
            yield
        finally:
            _enter(own.fileno())


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "the machine's network cannot be entered")


def _key(machine: Machine) -> str:
    """Return a key for the front end, with which a person may also approve."""
    scopes = [word for scope in ("chat", "read", "approve") for word in ("--scope", scope)]
    argv = ["/opt/bin/ai-sysadmin", "keys", "create", "open-webui", *scopes, "--json"]

    until = time.monotonic() + START_SECONDS
    while machine.run(["/opt/bin/ai-sysadmin", "keys"]).exit_status and time.monotonic() < until:
        time.sleep(0.2)  # the API is starting
    return str(machine.run(argv).ok().json["key"])


@pytest.fixture(scope="session")
def ui(home: Path, host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenWebUI]:
    with open_webui(home, tmp_path_factory.mktemp("open-webui"), API, host.key) as running:
        yield running


@pytest.fixture(scope="session")
def browser(host: Host) -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def anna(browser: "Browser", ui: OpenWebUI, home: Path, request: pytest.FixtureRequest) -> Iterator[Person]:
    """Somebody at the front end. Whatever the test is about, their browser asks no other host."""
    pictures = Path(os.environ.get("OPENWEBUI_PICTURES", home / "pictures"))
    pictures.mkdir(parents=True, exist_ok=True)
    with person(browser, ui, pictures, request.node.name.removeprefix("test_")) as somebody:
        yield somebody
        assert somebody.foreign == [] and somebody.dialogs == []
