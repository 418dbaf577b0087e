"""A machine as NixOS whose executor may set two options of a web server, and may be killed, or lose its power, at will.

Stood in are NixOS's commands (tests/nixos_standin), ``nix`` and nixpkgs' ``lib`` (tests/nixos/standin_nix.py), and the
web server: nginx is not at hand, a program of a few lines is started by a real unit in its place. What would be built
is in the store already, under the path to which the evaluator, which is real, evaluates the configuration. Git, the
build user, systemd, its units, timers and jobs, the sandboxes and the executor are real, and so is the file system
on which power is lost: see ``tests/system/power.py``.
"""

import asyncio
import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.nixos import changes_file
from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.core.acting import ActionRequest, ActionState, Origin
from ai_sysadmin.core.errors import ExecutorUnavailable, Refused
from ai_sysadmin.core.records import ProposedAction
from tests.nixos.changing import FILES
from tests.nixos_standin import Nixos, make_system
from tests.system.machine import Machine
from tests.system.suite import CHECKOUT, LIBRARIES, PROGRAMS

HERE = Path(__file__).parent
STANDINS = HERE.parent / "nixos"
PYTHON = Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"
STATE: Final = "/var/lib/ai-sysadmin-executor"
EXECUTOR: Final = "ai-sysadmin-executor.service"
OTHERS: Final = tuple(
    f"ai-sysadmin-{name}.service" for name in ("trigger-monitor", "review-model", "meta-model", "api")
)
ACTIVATIONS: Final = "/srv/activations"
WEB: Final = "web.service"
TAKEN: Final = 7070
"""A port that another service listens on: a web server that is to listen there does not come up."""
PORT, SIZE = "services.web.port", "services.web.size"
BREAKS: Final = (PORT, TAKEN)
STARVES: Final = (SIZE, "0m")
"""The web server runs, and answers everybody with an error."""
HOLDS: Final = (SIZE, "2m")
NIXOS: Final[Mapping[str, Any]] = {
    "repository": "/etc/nixos",
    "attribute": "h",
    "changes_file": "ai/changes.nix",
    "check_seconds": 1,
    "rollback_seconds": 61,
    "options": [
        {"option": PORT, "type": "integer", "maximum": 65535, "units": [WEB]},
        {"option": SIZE, "type": "text", "units": [WEB]},
    ],
}
STANDIN = """#!/bin/sh
export STANDIN_LOG="${{HOME:-/tmp}}/log" STANDIN_LIB=/opt/standin/lib.nix STANDIN_VALID="$(ls -d /nix/store/*)"
exec {python} -S /opt/standin/{name} "$@"
"""
SERVER = """import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
port, size = int(sys.argv[1]), sys.argv[2]
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(413 if size.startswith("0") else 200)
        self.end_headers()
        self.wfile.write(size.encode())
HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""
UNIT = """[Unit]
Description=A web server
[Service]
ExecStart=/usr/bin/python3 /opt/web.py {port} {size}
"""
ACTIVATE = f"#!/bin/sh\necho {{name}} >>{ACTIVATIONS}\nsleep {{seconds}}\n"
BOOTED = """import os, runpy
from ai_sysadmin.executor import daemon
daemon.boot_id = lambda: os.environ["BOOT"]
runpy.run_path("/opt/crash_executor.py", run_name="__main__")
"""
"""A container has a boot id of its own, by a mount that a sandboxed service does not see: systemd tells it."""
ALWAYS = """[Service]
Environment=BOOT=%b
ExecStart=
ExecStart={program}
"""
ARMED = """[Service]
RestartSec=0
Restart={restart}
ExecCondition={condition}
"""


class Undoing(Nixos):
    """Such a machine. ``first`` is the system that runs, and is the boot default, when a test begins."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        machine.systemctl("stop", EXECUTOR).ok()
        self._put_executor()
        for other in OTHERS:  # what they would propose is not what is tested here
            machine.put("[Unit]\nConditionPathExists=/nowhere\n", f"/etc/systemd/system/{other}.d/off.conf")
        machine.put(SERVER, "/opt/web.py")
        machine.run(["mkdir", "-p", str(Path(ACTIVATIONS).parent)]).ok()
        # a program of NixOS's finds what it is made of, and so does what it starts; this interpreter is told
        places = machine.run([str(PYTHON), "-c", "import site; print(site.getsitepackages()[0])"]).ok().stdout.strip()
        machine.put(f"{CHECKOUT}\n{LIBRARIES}\n", f"{places}/ai-sysadmin.pth")
        self._put_nix()
        self._put_configuration()
        self.first = self.build()
        for change in (BREAKS, STARVES, HOLDS):
            self.build(change)
        self.install(self.first)
        wanted = "/etc/systemd/system/multi-user.target.wants/good-listener.service"
        machine.run(["ln", "-sf", "/etc/systemd/system/good-listener.service", wanted]).ok()

    def _put_executor(self) -> None:
        machine = self.machine
        machine.put(HERE / "crash_executor.py", "/opt/crash_executor.py")
        machine.put(BOOTED, "/opt/booted_executor.py")
        unit = machine.path(f"/etc/systemd/system/{EXECUTOR}").read_text()
        (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
        program = start.removeprefix("ExecStart=").replace('/ai-sysadmin"', '/ai-sysadmin-mortal"')
        wrapper = machine.path(str(PROGRAMS / "ai-sysadmin")).read_text()
        mortal = wrapper.replace("-P -m ai_sysadmin", "-P /opt/booted_executor.py")
        machine.put(mortal, "/opt/bin/ai-sysadmin-mortal", mode=0o755)
        machine.put(ALWAYS.format(program=program), f"/etc/systemd/system/{EXECUTOR}.d/mortal.conf")

    def _put_nix(self) -> None:
        self.machine.put(STANDINS / "lib.nix", "/opt/standin/lib.nix")
        for name in ("nix", "nix-store"):
            self.machine.put(STANDINS / "standin_nix.py", f"/opt/standin/{name}")
            self.machine.put(STANDIN.format(python=PYTHON, name=name), f"/usr/local/bin/{name}", mode=0o755)

    def _put_configuration(self) -> None:
        for name, text in FILES.items():
            self.machine.put(text, f"/etc/nixos/{name}")
        git = ("git", "-C", "/etc/nixos", "-c", "user.name=root", "-c", "user.email=root@localhost")
        for command in (
            ("init", "--quiet", "--initial-branch=main"),
            ("add", "--all"),
            ("commit", "--quiet", "-m", "by hand"),
        ):
            self.machine.run([*git, *command]).ok()

    def build(self, change: tuple[str, Any] | None = None, seconds: float = 0) -> str:
        """Put into the store what the configuration comes to with an option set; return its path.

        ``seconds`` is how long its activation script takes.
        """
        path, web = evaluated(dict([change] if change else []))
        name = "first" if change is None else f"{change[0].rpartition('.')[2]}-{change[1]}"
        files = {"activate": ACTIVATE.format(name=name, seconds=seconds)}
        made = make_system(self.machine.path("/"), name, {WEB: UNIT.format(**web)}, files)
        self.machine.run(["rm", "-rf", path]).ok()
        self.machine.run(["mv", "-T", made, path]).ok()
        return path

    def begin(self) -> None:
        """Have the first system run again, be the boot default, and nothing be pending."""
        self.disarm()
        self.machine.systemctl("stop", "ai-sysadmin-rollback.timer")
        self.machine.run(["flock", "/run/nixos/switch-to-configuration.lock", "true"]).ok()
        self.machine.run(["rm", "-rf", "/nix/var/nix/gcroots/ai-sysadmin", ACTIVATIONS]).ok()
        if (self.running, self.profile, self.default) != (self.first, self.first, self.first):
            self.install(self.first)
        self.machine.systemctl("start", EXECUTOR, "good-listener.service").ok()
        self.machine.eventually(lambda: self.answers == "1m", "the web server answers")
        self.machine.run(["rm", "-f", ACTIVATIONS]).ok()

    # --- what is asked of the executor

    def client(self, door: str) -> ExecutorClient:
        return ExecutorClient(self.machine.path(f"/run/ai-sysadmin/{door}.sock"))

    def request(self, change: tuple[str, Any]) -> ActionRequest:
        arguments = {"option": change[0], "value": json.dumps(change[1]), "incident": "k7m3x9"}
        action = ProposedAction(name="apply_configuration", arguments=arguments)
        return ActionRequest.propose(
            self.machine.name, "k7m3x9", action, Origin.RULES, "it was asked", datetime.now(UTC)
        )

    def live(self, request: ActionRequest, within: float = 60) -> ActionFacts:
        """Propose and approve, as often as it takes, until it has ended; return what the executor says of it."""
        return asyncio.run(self._live(request, within))

    async def _live(self, request: ActionRequest, within: float) -> ActionFacts:
        async with asyncio.timeout(within):
            while True:
                try:
                    facts = await self.client("propose").propose(request)
                    if facts.state.ended:
                        return facts
                    if facts.state is ActionState.PENDING:
                        await self.client("operate").approve(request.id, facts.digest)
                except (ExecutorUnavailable, Refused):
                    pass
                await asyncio.sleep(0.05)

    def live_until_dead(self, request: ActionRequest) -> None:
        """Propose and approve until the executor has died."""

        async def dead() -> None:
            async with asyncio.timeout(60):
                while not self.died:
                    try:
                        facts = await self.client("propose").propose(request)
                        assert not facts.state.ended, facts.text
                        if facts.state is ActionState.PENDING:
                            await self.client("operate").approve(request.id, facts.digest)
                    except (ExecutorUnavailable, Refused):
                        pass
                    await asyncio.sleep(0.05)

        asyncio.run(dead())

    def live_until(self, request: ActionRequest, *states: ActionState) -> None:
        """Propose and approve until it is in one of the states, and leave it there."""

        async def there() -> None:
            async with asyncio.timeout(30):
                while (facts := await self.client("propose").propose(request)).state not in states:
                    assert not facts.state.ended, facts.text
                    if facts.state is ActionState.PENDING:
                        await self.client("operate").approve(request.id, facts.digest)
                    await asyncio.sleep(0.02)

        asyncio.run(there())

    def ended(self, request: ActionRequest, within: float = 60) -> ActionFacts:
        """Wait until an action that is known has ended; nothing more is proposed or approved."""

        async def over() -> ActionFacts:
            async with asyncio.timeout(within):
                while True:
                    try:
                        if (facts := await self.client("operate").show(request.id)).state.ended:
                            return facts
                    except ExecutorUnavailable:
                        pass
                    await asyncio.sleep(0.1)

        return asyncio.run(over())

    # --- how it dies

    def arm(self, point: str, *, stays: bool = False) -> None:
        """Have the executor die at a point (crash_executor.py says which), and come back unless it ``stays``."""
        self.machine.put(f"{point}\n", f"{STATE}/crash-at", mode=0o600)
        condition, restart = (f"/usr/bin/test -s {STATE}/crash-at", "no") if stays else ("/usr/bin/true", "on-failure")
        drop_in = ARMED.format(condition=condition, restart=restart)
        self.machine.put(drop_in, f"/run/systemd/system/{EXECUTOR}.d/crash.conf")
        self.machine.systemctl("daemon-reload").ok()
        self.machine.systemctl("restart", EXECUTOR).ok()

    def disarm(self) -> None:
        self.machine.run(["rm", "-rf", f"{STATE}/crash-at", f"/run/systemd/system/{EXECUTOR}.d"]).ok()
        self.machine.systemctl("daemon-reload").ok()
        self.machine.systemctl("reset-failed", EXECUTOR)

    @property
    def died(self) -> bool:
        """Tell whether it has died at the point that was armed."""
        file = self.machine.path(f"{STATE}/crash-at")
        return file.exists() and not file.read_text()

    def kill(self) -> None:
        self.machine.systemctl("kill", "--signal=KILL", EXECUTOR).ok()

    # --- what has become of the host

    @property
    def answers(self) -> str:
        """What the web server says on the port of the first system; empty: nothing good."""
        ask = ("curl", "--silent", "--fail", "--max-time", "5", "http://127.0.0.1:80/")
        return self.machine.run(ask).stdout

    @property
    def activations(self) -> list[str]:
        """The systems that were activated since the test began, by the first letters of their names."""
        file = self.machine.path(ACTIVATIONS)
        return file.read_text().split() if file.exists() else []

    @property
    def timer(self) -> bool:
        return self.active("ai-sysadmin-rollback.timer") == "active"

    def stands(self) -> tuple[str, str, str, bool, bool]:
        """Return what runs, what is the profile's and the boot's default, what is pending, whether the timer runs."""
        return self.running, self.profile, self.default, self.pending, self.timer

    def wait_for(self, *systems: str) -> str:
        """Wait until one of the systems is it in every way, and its web server answers; return it."""

        def whole() -> str:
            system = self.running
            is_whole = self.stands() == (system, system, system, False, False)
            return system if is_whole and system in systems and self.answers else ""

        return str(self.machine.eventually(whole, "one system, whole", within=30))

    def audit_holds(self) -> bool:
        return bool(self.machine.run(["/opt/bin/ai-sysadmin", "audit", "verify", "--json"]).exit_status == 0)


def evaluated(changes: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the path and the web server's options of the configuration with literals in its file of changes."""
    literals = {option: json.dumps(value) for option, value in changes.items()}
    with tempfile.TemporaryDirectory() as place:
        for name, text in {**FILES, "ai/changes.nix": changes_file.render(literals)}.items():
            path = Path(place, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        host = f"import {place}/system.nix {{ lib = import {STANDINS}/lib.nix; }}"
        source = f"let h = {host}; in [ h.config.system.build.toplevel.outPath h.config.services.web ]"
        argv = ("nix-instantiate", "--store", "dummy://", "--eval", "--strict", "--json", "-E", source)
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    path, web = json.loads(done.stdout)
    return str(path), {"port": web["port"], "size": web["size"]}
