"""Where this host's programs are: looked up in places that only root writes, never in an inherited PATH."""

import os
from pathlib import Path
from typing import Final

PLACES: Final = (
    "/run/current-system/sw/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
)


def program(name: str, root: Path = Path("/")) -> str:
    """Return a program's absolute path on the host below ``root``; empty: the host has no such program."""
    paths = (f"{place}/{name}" for place in PLACES)
    return next((path for path in paths if os.access(root / path.lstrip("/"), os.X_OK)), "")
