"""A machine that has NixOS's commands and generations, by scripts that stand in for them; see README.md."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_sysadmin.actions.ladder import PROGRAMS
from tests.system.machine import Machine

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
INSIDE = "/opt/nixos-standin"
CURRENT = "/run/current-system"
PROFILE = "/nix/var/nix/profiles/system"
DEFAULT = "/boot/default-system"
PENDING = "/nix/var/nix/gcroots/ai-sysadmin/pending"
_DIGITS = "0123456789abcdfghijklmnpqrsvwxyz"
_BOOT = """[Unit]
Description=What stage 2 of a NixOS boot does
After=local-fs.target dbus.socket
Before=ai-sysadmin-recover.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/opt/nixos-standin/bin/boot
"""
WEB = """[Unit]
Description=A web server, or what stands for one
[Service]
ExecStart=/bin/sh -c 'exec sleep {seconds}'
"""


def store_path(name: str) -> str:
    """Return where the store has a system of such a name."""
    digest = hashlib.sha256(name.encode()).digest()
    return f"/nix/store/{''.join(_DIGITS[each % 32] for each in digest)}-nixos-system-standin-{name}"


def make_system(
    root: Path, name: str, units: Mapping[str, str], files: Mapping[str, str] | None = None, programs: str = "/usr/bin"
) -> str:
    """Write a system into a root's store: units by name, all wanted by multi-user.target, and further files."""
    system = store_path(name)
    place = root / system.lstrip("/")
    shutil.rmtree(place, ignore_errors=True)
    wants = place / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (place / "bin").mkdir()
    (place / "sw/bin").mkdir(parents=True)
    for unit, text in units.items():
        (wants.parent / unit).write_text(text)
        (wants / unit).symlink_to(f"../{unit}")
    for path, text in {"init-interface-version": "systemd 1\n", "nixos-version": name, **(files or {})}.items():
        (place / path).write_text(text)
        (place / path).chmod(0o755 if text.startswith("#!") else 0o644)
    shutil.copy(HERE / "switch-to-configuration", place / "bin/switch-to-configuration")
    for program in PROGRAMS:
        (place / "sw/bin" / program).symlink_to(
            f"{INSIDE}/bin/nix-env" if program == "nix-env" else f"{programs}/{program}"
        )
    return system


def recovery() -> dict[str, Any]:
    """Return what nixos/recovery.nix evaluates to, with the programs that stand in."""
    expression = f'import {PROJECT}/nixos/recovery.nix {{ coreutils = "/usr"; nix = "{INSIDE}"; systemd = "/usr"; }}'
    argv = ("nix-instantiate", "--option", "build-users-group", "", "--eval", "--strict", "--json", "-E", expression)
    found = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    evaluated: dict[str, Any] = json.loads(found.stdout)
    return evaluated


def rendered(unit: Mapping[str, Any]) -> str:
    """Return a service as NixOS writes it, as far as recovery.nix uses it."""
    limit = unit["startLimitIntervalSec"]
    head = {"Description": unit["description"], "After": " ".join(unit["after"]), "StartLimitIntervalSec": limit}
    head |= unit["unitConfig"]
    lines = ["[Unit]", *_lines(head), "[Service]", *_lines(unit["serviceConfig"])]
    return "\n".join(lines) + "\n"


def _lines(section: Mapping[str, Any]) -> list[str]:
    pairs = [(key, each) for key, value in section.items() for each in (value if isinstance(value, list) else [value])]
    return [f"{key}={'true' if value is True else 'false' if value is False else value}" for key, value in pairs]


class Nixos:
    """A machine as NixOS. ``make`` makes systems, ``install`` makes one a generation, as nixos-rebuild does."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        for name in ("boot", "nix-env"):
            machine.put(HERE / name, f"{INSIDE}/bin/{name}", mode=0o755)
        machine.put("", "/etc/NIXOS")
        machine.run(["mkdir", "-p", "/nix/var/nix/profiles", "/nix/var/nix/gcroots", "/nix/store", "/boot"]).ok()
        wants = "/etc/systemd/system/multi-user.target.wants"
        machine.put(_BOOT, "/etc/systemd/system/standin-boot.service")
        machine.put(
            rendered(recovery()["services"]["ai-sysadmin-recover"]), "/etc/systemd/system/ai-sysadmin-recover.service"
        )
        machine.run(["mkdir", "-p", wants]).ok()
        for unit in ("standin-boot.service", "ai-sysadmin-recover.service"):
            machine.run(["ln", "-sf", f"/etc/systemd/system/{unit}", f"{wants}/{unit}"]).ok()
        machine.systemctl("daemon-reload").ok()

    def make(self, name: str, units: Mapping[str, str], files: Mapping[str, str] | None = None) -> str:
        return make_system(self.machine.path("/"), name, units, files)

    def install(self, system: str, how: str = "switch") -> None:
        self.machine.run([f"{INSIDE}/bin/nix-env", "--profile", PROFILE, "--set", system]).ok()
        program = f"{system}/bin/switch-to-configuration"
        if not self.running:
            self.machine.run([program, "boot"]).ok()
            self.machine.run([program, "--boot"]).ok()
        self.machine.run([program, how]).ok()

    @property
    def running(self) -> str:
        return self._target(CURRENT)

    @property
    def profile(self) -> str:
        return self._target(PROFILE)

    @property
    def default(self) -> str:
        return self.machine.path(DEFAULT).read_text().strip()

    @property
    def pending(self) -> bool:
        return self.machine.path(f"{PENDING}/activated").is_symlink()

    def active(self, unit: str) -> str:
        return self.machine.show(unit, "ActiveState")["ActiveState"]

    def lose_power(self) -> None:
        """End every process at once, with /run gone, and boot again from the same files."""
        state = self.machine.directory / self.machine.name
        leader = int((state / "leader").read_text())
        os.kill(leader, signal.SIGRTMIN + 15)
        self.machine.eventually(lambda: not Path(f"/proc/{leader}").exists(), "it is off")
        found = self.machine.eventually(lambda: systemd_below(state, leader), "it is on again", within=30)
        (state / "leader").write_text(f"{found}\n")
        self.machine.run(["systemctl", "is-system-running", "--wait"], timeout=90)

    def _target(self, link: str) -> str:
        return self.machine.run(["readlink", "-e", link]).stdout.strip()


def systemd_below(state: Path, before: int) -> int | None:
    """Return the process that is a machine's systemd once it listens."""
    nspawn = (state / "nspawn").read_text().strip()
    children = Path(f"/proc/{nspawn}/task/{nspawn}/children")
    time.sleep(0.05)
    for pid in children.read_text().split() if children.exists() else ():
        if int(pid) != before and Path(f"/proc/{pid}/root/run/systemd/private").exists():
            return int(pid)
    return None
