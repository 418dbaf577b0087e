"""`models` as a process, against a server that stands for the hub: fetched, killed in the middle, checked, used."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.file_server import Answer, File, file_server

DATA = b"GGUF" + random.Random(5).randbytes(2_000_000)
REPOSITORY, NAME = "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf"
PATH = f"/{REPOSITORY}/resolve/main/{NAME}"


@pytest.fixture(scope="module")
def running():
    with file_server() as server:
        yield server


@pytest.fixture
def server(running):
    running.pages.clear()
    running.seen.clear()
    return running


class Cli:
    """The command line on a state directory of its own."""

    def __init__(self, hub, state_dir):
        self.environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        self.environment |= {"HF_ENDPOINT": hub, "COLUMNS": "80"}
        self.environment.pop("HF_TOKEN", None)
        self.state_dir = state_dir
        self.models = state_dir / "models"

    def argv(self, *arguments):
        return [sys.executable, "-m", "ai_sysadmin", "models", *map(str, arguments), "--state-dir", str(self.state_dir)]

    def __call__(self, *arguments):
        done = subprocess.run(self.argv(*arguments), env=self.environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def start(self, *arguments, stderr=subprocess.PIPE):
        return subprocess.Popen(
            self.argv(*arguments), env=self.environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )


@pytest.fixture
def cli(server, tmp_path):
    return Cli(server.url, tmp_path / "state")


def half_way(server):
    """Serve the file so that it stops in the middle; return what says that it has, and what lets it go on."""
    there, go_on = threading.Event(), threading.Event()

    def pause(at):
        if at >= len(DATA) // 2 and not go_on.is_set():
            there.set()
            go_on.wait(30)

    server.hub_file(REPOSITORY, NAME, File(DATA, between_chunks=pause))
    return there, go_on


def wait_for_some(directory):
    """Wait until some of the file is on the disk."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (directory / f"{NAME}.part").stat().st_size == 0:
        time.sleep(0.01)


def test_pull_verify_list_and_use(server, cli):
    server.hub_file(REPOSITORY, NAME, File(DATA))
    code, out, err = cli("pull", "qwen3-4b")
    assert (code, f"{NAME}: 2.0 MB of 2.0 MB" in err or f"{NAME}: 2 MB of 2 MB" in err) == (0, True)
    assert hashlib.sha256(DATA).hexdigest() in out
    assert "'s metadata" in out
    assert "Used by  trigger, review, meta" in out
    assert out.endswith("Next     ai-sysadmin up\n")
    assert (cli.models / "review.gguf").readlink().name == NAME
    assert cli.state_dir.stat().st_mode & 0o777 == 0o700
    assert cli.models.stat().st_mode & 0o777 == 0o755
    code, out, _ = cli("list", "--json")
    view = json.loads(out)
    assert [file["sha256"] for file in view["files"]] == [hashlib.sha256(DATA).hexdigest()]
    assert {used["layer"]: used["because"] for used in view["layers"]} == {
        "trigger": "matched by size",
        "review": "`models use`",
        "meta": "matched by size",
    }
    assert [entry["name"] for entry in view["catalogue"] if entry["here"]] == ["qwen3-4b"]
    code, out, _ = cli("verify")
    assert (code, out.startswith(f"ok    {NAME}: as recorded")) == (0, True)
    with (cli.models / NAME).open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"!")
    code, out, _ = cli("verify", "qwen3-4b", "--json")
    assert (code, json.loads(out)["files"][0]["state"]) == (1, "differs")
    code, out, _ = cli("use", "meta", "qwen3-4b")
    assert (code, out.splitlines()[0]) == (0, f"The meta layer uses {NAME}.")
    assert (cli.models / "meta.gguf").readlink().name == NAME


def test_killed_in_the_middle_it_goes_on_there(server, cli):
    there, go_on = half_way(server)
    process = cli.start("pull", "qwen3-4b")
    assert there.wait(20)
    wait_for_some(cli.models)
    process.kill()
    process.communicate()
    go_on.set()
    assert not (cli.models / NAME).exists()
    kept = (cli.models / f"{NAME}.part").stat().st_size
    assert 0 < kept < len(DATA)
    code, out, err = cli("pull", "qwen3-4b", "--json")
    assert (code, "goes on after" in err) == (0, True)
    assert [asked.start for asked in server.asked(PATH)] == [0, kept]
    assert json.loads(out)["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert (cli.models / NAME).read_bytes() == DATA
    assert sorted(path.name for path in cli.models.iterdir()) == [NAME, f"{NAME}.json", "review.gguf"]


def test_ctrl_c_keeps_what_came_and_says_how_to_go_on(server, cli):
    there, go_on = half_way(server)
    process = cli.start("pull", "qwen3-4b")
    assert there.wait(20)
    wait_for_some(cli.models)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    go_on.set()
    assert (process.returncode, out) == (130, "")
    assert "the same command goes on from there" in err
    assert (cli.models / f"{NAME}.part").stat().st_size > 0


def test_on_a_terminal_there_is_a_bar(server, cli):
    server.hub_file(REPOSITORY, NAME, File(DATA, cuts=[1_000_000]))
    terminal, end = os.openpty()
    process = cli.start("pull", "qwen3-4b", stderr=end)
    os.close(end)
    seen = b""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            seen += os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
    process.communicate(timeout=20)
    os.close(terminal)
    assert process.returncode == 0
    assert "━".encode() in seen
    assert b"tried again in 1 s" in seen


@pytest.mark.parametrize(
    ("page", "code", "text"),
    [
        (lambda _: Answer(404), 1, "404"),
        (lambda _: Answer(200, b"<html>", {"Content-Type": "text/html"}), 1, "web page"),
        (File(b"GGUF" + bytes(len(DATA) - 4)), 1, "it is not kept"),
    ],
)
def test_what_does_not_work_is_said_with_its_exit_code(server, cli, page, code, text):
    server.hub_file(REPOSITORY, NAME, File(DATA))
    server.pages[PATH] = page
    found, out, err = cli("pull", "qwen3-4b", "--json")
    assert found == code
    assert text in err
    assert json.loads(out)["error"]["exit_code"] == code
    assert list(cli.models.iterdir()) == []


def test_a_hub_that_is_away_is_exit_4(server, cli):
    server.pages[f"/api/models/{REPOSITORY}/tree/main"] = lambda _: Answer(503, headers={"Retry-After": "86400"})
    code, _, err = cli("pull", "qwen3-4b")
    assert (code, "127.0.0.1 answers 503" in err) == (4, True)


def test_wrong_usage_is_exit_2_and_a_wrong_endpoint_78(cli):
    assert cli("use", "brain", "qwen3-4b")[0] == 2
    assert cli("pull", "qwen3-4b", "--sha256", "abc")[0] == 2
    assert cli("use", "meta", "qwen3-4b")[0] == 1
    cli.environment["HF_ENDPOINT"] = "huggingface.co"
    assert cli("pull", "qwen3-4b")[0] == 78


def test_any_url_goes_anywhere_and_to_any_layer(server, cli, tmp_path):
    server.pages["/m/tuned.gguf"] = File(DATA)
    code, out, _ = cli("pull", f"{server.url}/m/tuned.gguf", "--to", tmp_path / "other")
    assert (code, "NOT checked against a publisher" in out) == (0, True)
    assert f"models use LAYER {tmp_path}/other/tuned.gguf" in out
    code, out, _ = cli("pull", f"{server.url}/m/tuned.gguf", "--to", tmp_path / "other", "--layer", "meta", "--json")
    view = json.loads(out)
    assert (code, view["was_there"], view["layers"], view["checked_against"]) == (0, True, ["meta"], None)
    assert (cli.models / "meta.gguf").resolve() == tmp_path / "other" / "tuned.gguf"
    server.hub_file(REPOSITORY, NAME, File(DATA))
    cli("pull", "qwen3-4b", "--layer", "review")
    server.hub_file("Qwen/Qwen3-8B-GGUF", "Qwen3-8B-Q4_K_M.gguf", File(DATA))
    code, out, _ = cli("pull", "qwen3-8b")
    assert (code, "models use meta qwen3-8b (meta has tuned.gguf now)" in out) == (0, True)


def test_the_settings_win_and_that_is_said(server, cli, tmp_path):
    server.pages["/m/tuned.gguf"] = File(DATA)
    own = tmp_path / "own.gguf"
    own.write_bytes(DATA)
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"models": {"meta": str(own)}}))
    code, out, err = cli("pull", f"{server.url}/m/tuned.gguf", "--layer", "meta", "--settings", file)
    assert (code, "the settings name another file for meta" in err) == (0, True)
    assert "Used by  trigger, review" in out
