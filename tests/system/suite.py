"""Put the suite on a machine as NixOS would: the units that module.nix renders, and nothing written by hand.

Only paths differ. What the units start from the Nix store is started from /opt/bin here, where a wrapper runs this
checkout with the interpreter that runs the tests.
"""

import compileall
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.nixos.evaluate import System, evaluate
from tests.system.machine import Machine

PROJECT = Path(__file__).parents[2]
UNITS = Path(__file__).with_name("units")
MAKE_MODEL = PROJECT / "tests/llama/make_tiny_gguf.py"

PEOPLE = ("alice", "bob")
PROGRAMS = Path("/opt/bin")
CHECKOUT = "/opt/ai-sysadmin"
LIBRARIES = f"{CHECKOUT}/site-packages"
MODEL = "/opt/models/tiny.gguf"

WRAPPER = """#!/bin/sh
# -P: what is in the current directory is not ours to import
# NixOS puts systemd's own programs behind a service's path
export PATH="$PATH:/usr/local/bin:/usr/bin:/bin"
export PYTHONPATH={checkout}:{libraries} PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
exec {python} -P -m {module} "$@"
"""


@dataclass(frozen=True)
class Suite:
    """What is installed on a machine, and how much of it is started.

    A test module that wants another than the whole suite sets `SUITE = Suite(...)`.
    """

    start: tuple[str, ...] = ("ai-sysadmin.target",)
    """Units to start besides the sockets; empty: the sockets only."""
    models: tuple[str, ...] = ()
    """Layers that get a real llama-server with a tiny model: trigger, review, meta."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of `services.ai-sysadmin`, settings included."""
    operators: tuple[str, ...] = ("alice",)
    people: tuple[str, ...] = PEOPLE
    """Ordinary users of the machine."""

    def evaluate(self) -> System:
        servers = {layer: {"model": MODEL, "contextSize": 4096, "threads": 1} for layer in self.models}
        system = evaluate(
            enable=True, operators=list(self.operators), **{"llama-cpp": {"models": servers}, **self.options}
        )
        assert not system.failedAssertions, system.failedAssertions
        return system


@dataclass(frozen=True)
class Staged:
    """Host directories that every machine sees read-only."""

    checkout: Path
    models: Path | None

    @property
    def binds(self) -> list[tuple[Path, str]]:
        libraries = Path(sysconfig.get_path("purelib"))
        binds = [(self.checkout / "ai_sysadmin", f"{CHECKOUT}/ai_sysadmin"), (libraries, LIBRARIES)]
        return binds + ([(self.models, str(Path(MODEL).parent))] if self.models else [])


def stage(directory: Path) -> Staged:
    """Copy the package to where every user may read it, compiled, and make the tiny model.

    A copy, since the checkout may lie where the services' users cannot go, and may change while a test runs.
    """
    package = directory / "checkout/ai_sysadmin"
    shutil.copytree(PROJECT / "ai_sysadmin", package, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(package, quiet=2, stripdir=str(directory / "checkout"), prependdir=CHECKOUT)
    for path in (package, *package.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Staged(package.parent, _make_model(directory / "models") if MAKE_MODEL.exists() else None)


def _make_model(directory: Path) -> Path:
    directory.mkdir()
    file = directory / Path(MODEL).name
    subprocess.run([sys.executable, str(MAKE_MODEL), str(file)], check=True, capture_output=True, timeout=120)
    directory.chmod(0o755)
    file.chmod(0o644)
    return directory


def install(machine: Machine, suite: Suite) -> System:
    """Install the suite on a booted machine and start what it says; return what was installed."""
    system = suite.evaluate()
    _forget_the_hosts_own(machine, system)
    _add_people(machine, suite.people)
    _add_users(machine, system)
    _add_programs(machine)
    for path, text in system.etc.items():
        machine.put(text, f"/etc/{path}")
    machine.put("\n".join(system.tmpfiles) + "\n", "/etc/tmpfiles.d/ai-sysadmin.conf")
    machine.run(["systemd-tmpfiles", "--create", "ai-sysadmin.conf"]).ok()
    if system.polkit:
        machine.put(system.polkit, "/etc/polkit-1/rules.d/10-nixos.rules")
        machine.systemctl("restart", "polkit.service").ok()
    _add_units(machine, system)
    machine.systemctl("start", *sorted(name for name in system.units if name.endswith(".socket"))).ok()
    if suite.start:
        machine.systemctl("start", *suite.start, timeout=120).ok()
    return system


def _forget_the_hosts_own(machine: Machine, system: System) -> None:
    """A machine begins as a copy of its host, on which somebody may have run the suite, or be called alice."""
    for user in (*system.users, *PEOPLE):
        machine.run(["userdel", "--force", user])
    for group in (*system.groups, *PEOPLE):
        machine.run(["groupdel", group])
    ours = ["/etc/ai-sysadmin", "/var/lib/ai-sysadmin", "/var/lib/ai-sysadmin-executor"]
    machine.run(["rm", "-rf", *ours, *(f"/home/{name}" for name in PEOPLE)]).ok()


def _add_users(machine: Machine, system: System) -> None:
    # `render` comes with NixOS; a container without graphics has none
    for group in ("render", *system.groups):
        machine.run(["groupadd", "--system", "--force", group]).ok()
    for name, user in system.users.items():
        groups = ["--gid", user["group"], "--groups", ",".join(user["extraGroups"])]
        what = ["--home-dir", user["home"], "--no-create-home", "--shell", "/usr/sbin/nologin"]
        machine.run(["useradd", "--system", *groups, *what, "--comment", user["description"], name]).ok()


def _add_people(machine: Machine, people: Sequence[str]) -> None:
    for name in people:
        machine.run(["useradd", "--create-home", "--shell", "/bin/sh", name]).ok()


def _add_programs(machine: Machine) -> None:
    python = Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"
    modules = {"ai-sysadmin": "ai_sysadmin", "llama-server": "ai_sysadmin.llm_backend.embedded_server"}
    for name, module in modules.items():
        text = WRAPPER.format(checkout=CHECKOUT, libraries=LIBRARIES, python=python, module=module)
        machine.put(text, str(PROGRAMS / name), mode=0o755)
    machine.path("/usr/local/bin/ai-sysadmin").symlink_to(PROGRAMS / "ai-sysadmin")


def _add_units(machine: Machine, system: System) -> None:
    directory = "/etc/systemd/system"
    for name, text in system.units_starting_from(PROGRAMS).items():
        machine.put(text, f"{directory}/{name}")
    for name, targets in system.wanted.items():
        for target in targets:
            link = machine.path(f"{directory}/{target}.wants/{name}")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"{directory}/{name}")
    for unit in UNITS.iterdir():
        machine.put(unit, f"{directory}/{unit.name}")
    machine.systemctl("daemon-reload").ok()
