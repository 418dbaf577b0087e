"""Small programs of the suite's own that run as an action's transient unit.

Each is one file that needs Python's standard library and nothing else: it is started by its path, isolated from the
environment and from every other package, so that what runs with a capability is what stands in that file.
"""

import sys
from pathlib import Path
from typing import Final

_DIRECTORY: Final = Path(__file__).resolve().parent
_HOMES: Final = ("/home/", "/root/", "/run/user/")


def own_program(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs one of the programs here."""
    return (sys.executable, "-I", "-S", str(_DIRECTORY / f"{name}.py"), *arguments)


def needs_home(*paths: str) -> bool:
    """Tell whether a program here, or one of these paths, lies where a unit has to be let see people's homes."""
    return any(path.startswith(_HOMES) for path in (sys.executable, str(_DIRECTORY), *paths))
