"""How exposed systemd thinks a transient unit is, without starting it: its properties as a unit's file."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai_sysadmin.core.acting import Stage
from ai_sysadmin.executor.sandbox import CAPABILITIES, Property, properties

_UNSAID = {"Description", "ExecStart", "LogExtraFields", "StandardInput", "StandardInputData", "SuccessExitStatus"}
_LEVEL = re.compile(r"Overall exposure level for \S+: ([\d.]+)")


def unit_file(stage: Stage) -> str:
    """Return a stage's unit as a file that says as much as its properties do of the sandbox."""
    programs = [f"/usr/bin/{number}" for number, _argv in enumerate(stage.commands)]
    lines = [line for each in properties(stage, programs, {}, 90) for line in _lines(each)]
    return "\n".join(["[Service]", "ExecStart=/bin/true", *lines, ""])


def _lines(each: Property) -> Iterator[str]:
    name, value = each[0], each[1].value
    if name in _UNSAID or name.endswith("USec"):
        return
    for text in _texts(name, each[1].signature, value):
        yield f"{name}={text}"


def _texts(name: str, signature: str, value: Any) -> list[str]:
    if name in {"CapabilityBoundingSet", "AmbientCapabilities"}:
        return [" ".join(capability for bit, capability in enumerate(CAPABILITIES) if value >> bit & 1)]
    if name == "IPAddressDeny":
        return ["any"]
    rendered = {
        "b": lambda: ["yes" if value else "no"],
        "s": lambda: [value],
        "t": lambda: ["yes"],  # RestrictNamespaces: none is allowed
        "u": lambda: [f"{value:04o}"],
        "i": lambda: [str(value)],
        "as": lambda: [" ".join(f'"{text}"' for text in value)],
        "(bas)": lambda: [("" if value[0] else "~") + (" ".join(value[1]) or "none")],
        "a(ss)": lambda: [" ".join(pair) for pair in value],
    }
    return list(rendered[signature]())


def exposure(stage: Stage, directory: Path) -> float:
    """Return systemd's exposure level of a stage's unit, from 0 to 10."""
    units = directory / "etc/systemd/system"
    units.mkdir(parents=True, exist_ok=True)
    (units / "stage.service").write_text(unit_file(stage))
    argv = ("systemd-analyze", "security", "--offline=true", "--no-pager", f"--root={directory}", "stage.service")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert "ignoring" not in done.stderr, done.stderr
    found = _LEVEL.search(done.stdout)
    assert found, done.stderr
    return float(found.group(1))
