"""Evaluate module.nix with the stand-in for nixpkgs: what a system that enables it would get."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STORE_PROGRAM = re.compile(r"/nix/store/[0-9a-z]{32}-[^/\s\"]+/bin/([\w.-]+)")


class EvaluationFailed(Exception):
    """Nix refused the module or the options; the text says why."""


@dataclass(frozen=True)
class System:
    """The parts of an evaluated system that the suite's module declares."""

    units: dict[str, str]
    """Unit file name to its text."""
    wanted: dict[str, list[str]]
    """Unit to the targets that want it."""
    unchanged: list[str]
    """Services that a switch leaves running."""
    etc: dict[str, str]
    """Path below /etc to its text."""
    users: dict[str, dict[str, Any]]
    groups: list[str]
    tmpfiles: list[str]
    checks: list[str]
    """Commands that run when the system is built."""
    polkit: str
    """polkit's rules; empty where it is not enabled."""
    failedAssertions: list[str]  # noqa: N815 — as Nix says it
    warnings: list[str]

    def service(self, name: str) -> list[str]:
        """Return the lines of one service."""
        return self.units[f"{name}.service"].splitlines()

    @property
    def programs(self) -> set[str]:
        """The programs that the units start, by their path in the store."""
        return {found.group(0) for text in self.units.values() for found in STORE_PROGRAM.finditer(text)}

    def units_starting_from(self, directory: Path) -> dict[str, str]:
        """Return the units with every program of the store taken from one directory instead."""
        return {name: STORE_PROGRAM.sub(rf"{directory}/\1", text) for name, text in self.units.items()}


def evaluate(**suite: Any) -> System:
    """Evaluate a system whose `services.ai-sysadmin` is the given options.

    Raises:
        EvaluationFailed: an option is unknown or has a value of the wrong type.
    """
    options = json.dumps({"services": {"ai-sysadmin": suite}})
    # a store that holds nothing: evaluation needs none, and an ordinary user has none
    nix = ("nix-instantiate", "--store", "dummy://", "--eval", "--strict", "--json")
    argv = (*nix, str(HERE / "eval.nix"), "--argstr", "conf", options)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise EvaluationFailed(done.stderr)
    return System(**json.loads(done.stdout))
