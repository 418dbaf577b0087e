"""Paths of a host whose root lies elsewhere: what it calls ``/etc/x`` is ``<root>/etc/x``, through all its links."""

from pathlib import Path
from typing import Final

STORE: Final = "/nix/store/"
_LINKS_MOST = 40


def inside(root: Path, path: str) -> Path:
    """Return where an absolute path of the host lies."""
    return root / path.lstrip("/")


def target_of(root: Path, path: str) -> str:
    """Return what a link of the host names, as a path of the host; empty: it is no link, or may not be read."""
    try:
        target = str(inside(root, path).readlink())
    except OSError:
        return ""
    return target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"


def resolved(root: Path, path: str) -> str:
    """Return a path of the host without links and dots; of what is not there, as far as it is."""
    links = 0
    left = path.split("/")[::-1]
    done = ""
    while left:
        name = left.pop()
        if name in {"", "."}:
            continue
        if name == "..":
            done = done.rpartition("/")[0]
            continue
        target = target_of(root, f"{done}/{name}") if links < _LINKS_MOST else ""
        if not target:
            done = f"{done}/{name}"
            continue
        links += 1
        left += target.split("/")[::-1]
        done = ""
    return done or "/"


def entry_of(path: str) -> str:
    """Return the store's entry that a path lies in (``<hash>-<name>``); empty: it is not in the store."""
    return path.removeprefix(STORE).partition("/")[0] if path.startswith(STORE) else ""
