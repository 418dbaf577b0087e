"""`ai-sysadmin up`, for a machine without the module: as an ordinary user, and as root."""

import json
from dataclasses import dataclass

import pytest

from tests.system.machine import Completed, Machine
from tests.system.story import Story
from tests.system.suite import Suite

SUITE = Suite(start=())
SETTINGS = {"executor": {"post_check_seconds": 1}}


@dataclass(frozen=True)
class Up:
    """One `up` as a unit of its own, and the command line that speaks to it."""

    machine: Machine
    user: str
    state_dir: str

    @property
    def unit(self) -> str:
        return f"up-{self.user}.service"

    @property
    def _options(self) -> list[str]:
        return ["--state-dir", self.state_dir, "--settings", "/opt/up.json"]

    def start(self) -> None:
        out = [f"--property=StandardOutput=append:/opt/{self.unit}", "--property=KillMode=mixed"]
        argv = ["systemd-run", "-q", f"--unit={self.unit}", f"--uid={self.user}", *out]
        self.machine.run([*argv, "/opt/bin/ai-sysadmin", "up", *self._options]).ok()
        self.machine.eventually(lambda: "Watching; Ctrl-C stops." in self.said(), "it watches", 15)

    def interrupt(self) -> None:
        """Press Ctrl-C: the terminal sends it to every process of the foreground."""
        self.machine.systemctl("kill", "--signal=INT", "--kill-who=all", self.unit).ok()
        self.machine.eventually(lambda: "Stopped." in self.said(), "it stops", 15)
        self.machine.eventually(lambda: self.machine.show(self.unit, "ActiveState")["ActiveState"] != "active", "gone")

    def said(self) -> str:
        return self.machine.run(["cat", f"/opt/{self.unit}"]).stdout

    def forget(self) -> None:
        self.machine.run(["truncate", "-s", "0", f"/opt/{self.unit}"]).ok()

    def cli(self, *argv: str) -> Completed:
        return self.machine.run(["/opt/bin/ai-sysadmin", *argv, *self._options, "--json"], user=self.user)

    def action(self, unit: str) -> str:
        """Return the id of the action on a unit that waits."""

        def waiting() -> list[str]:
            done = self.cli("actions", "list", "--state", "pending")
            every = done.json["actions"] if done.exit_status == 0 else []
            return [action["id"] for action in every if action["arguments"] == {"unit": unit}]

        (found,) = self.machine.eventually(waiting, f"an action for {unit} waits", 20)
        return str(found)

    def state(self, unit: str) -> str:
        (incident,) = [each for each in self.cli("incidents").ok().json["incidents"] if each["unit"] == unit]
        return str(incident["state"])


@pytest.fixture(scope="module")
def machine(suite_machine: Machine) -> Machine:
    suite_machine.put(json.dumps(SETTINGS), "/opt/up.json")
    return suite_machine


def http_status(machine: Machine, path: str, key: str = "") -> str:
    code = (
        "import sys, urllib.request, urllib.error\n"
        "request = urllib.request.Request('http://127.0.0.1:8083' + sys.argv[1])\n"
        "if sys.argv[2]: request.add_header('Authorization', 'Bearer ' + sys.argv[2])\n"
        "try: print(urllib.request.urlopen(request, timeout=5).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    return machine.run(["/usr/bin/python3", "-c", code, path, key]).ok().stdout.strip()


def test_an_ordinary_user_gets_proposals_and_the_line_that_could(machine: Machine) -> None:
    story, up = Story(machine), Up(machine, "alice", "/home/alice/state")
    broken = story.fail("survey")
    machine.eventually(lambda: machine.show(broken, "ActiveState")["ActiveState"] == "failed", "it failed")
    up.start()
    assert f"{broken} failed (exit-code)" in up.said().partition("The worst of it")[2]
    assert "add this user to the group systemd-journal" in " ".join(up.said().split())
    key = machine.run(["cat", "/home/alice/state/api-key"]).ok().stdout.strip()
    assert key in up.said()
    assert (http_status(machine, "/v1/models", key), http_status(machine, "/v1/models")) == ("200", "401")
    assert http_status(machine, "/health") == "200"

    refused = up.cli("actions", "approve", up.action(broken))
    assert refused.exit_status == 3
    assert f"sudo systemctl restart -- {broken}" in refused.stderr
    assert up.cli("actions", "approve", "zzz").exit_status == 1
    second = machine.run(["/opt/bin/ai-sysadmin", "up", "--state-dir", up.state_dir], user="alice")
    assert second.exit_status == 3, second

    up.interrupt()
    up.forget()
    up.start()
    assert "still awaiting_approval" in up.said()
    machine.systemctl("restart", broken).ok()  # the person typed the line
    machine.eventually(lambda: up.state(broken) == "resolved", "what a person mended is resolved", 25)
    pending = ("actions", "list", "--state", "pending")
    machine.eventually(lambda: up.cli(*pending).json["actions"] == [], "what nobody needs any more is taken back")
    up.interrupt()


def test_root_keeps_the_executor_and_gives_the_rest_away(machine: Machine) -> None:
    story, up = Story(machine), Up(machine, "root", "/var/lib/up")
    up.start()
    users = machine.run(["ps", "-o", "user:20=", "-C", "python3.11"]).stdout.split()
    assert sorted(set(users)) == ["ai-sysadmin", "root"]
    assert machine.run(["stat", "-c", "%U:%a", "/var/lib/up/executor"]).ok().stdout.strip() == "root:700"
    broken = story.fail("root")
    up.cli("actions", "approve", up.action(broken)).ok()
    machine.eventually(lambda: up.state(broken) == "resolved", "it is resolved", 20)
    assert machine.show(broken, "ActiveState")["ActiveState"] == "active"
    up.interrupt()
    assert machine.run(["pgrep", "-f", "ai_sysadmin up"]).exit_status == 1
