"""What a NixOS system is made of, read without Nix from what is linked in it: programs, ``/etc``, kernel, units.

That is less than its closure, and holds what a person declared: every package in the system's path, every file in
``/etc``, and every unit with the programs that it starts.
"""

import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ai_sysadmin.sources.changes.closures import System
from ai_sysadmin.sources.changes.rooted import entry_of, inside, resolved, target_of

_PARTS: Final = ("kernel", "initrd", "kernel-modules", "systemd", "firmware")
_TEXTS: Final = ("nixos-version", "kernel-params")
_ENTRIES_MOST = 20_000
_PATH_DEPTH = 1
_ETC_DEPTH = 6
_UNITS_MOST = 600
_FILE_BYTES = 32 << 10
_STORE_ENTRY = re.compile(rb"/nix/store/([0-9a-z]{32}-[\w.+?=-]+)")
_UNITS = "systemd/system/"


def read_system(root: Path, system: str) -> System:
    """Return what is linked in a system. A part that cannot be read is absent; never raises for that.

    Args:
        system: the system's path in the store.
    """
    etc = dict(_links(root, f"{system}/etc", _ETC_DEPTH))
    entries = {entry_of(target) for _, target in _links(root, f"{system}/sw", _PATH_DEPTH)}
    entries |= {entry_of(target) for target in etc.values()}
    entries |= set(_started_by(root, etc))
    parts = {part: entry_of(target) for part in _PARTS if (target := target_of(root, f"{system}/{part}"))}
    parts |= {part: text for part in _TEXTS if (text := _text(inside(root, f"{system}/{part}")))}
    return System(frozenset(entries - {""}), etc, parts)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            return " ".join(opened.read(_FILE_BYTES).decode(errors="replace").split())
    except OSError:
        return ""


def _links(root: Path, start: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the links and files below a directory, by their path in it, with what they are in the store.

    Links are not followed, but for the directory of units.
    """
    queue = deque([("", resolved(root, start), 0)])
    seen = 0
    while queue and seen < _ENTRIES_MOST:
        name, directory, level = queue.popleft()
        for entry in _listed(inside(root, directory)):
            seen += 1
            path = f"{name}{entry.name}"
            place = f"{directory}/{entry.name}"
            place = target_of(root, place) if entry.is_symlink() else place
            if level < depth and _is_entered(entry, path):
                queue.append((f"{path}/", resolved(root, place), level + 1))
            else:
                yield path, place


def _is_entered(entry: os.DirEntry[str], path: str) -> bool:
    return path in {"systemd", "systemd/system"} or entry.is_dir(follow_symlinks=False)


def _listed(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return sorted(found, key=lambda each: each.name)
    except OSError:
        return []


def _started_by(root: Path, etc: dict[str, str]) -> Iterator[str]:
    """Yield the store's entries that the system's own units name: what they start is in no search path."""
    units = [target for path, target in etc.items() if path.startswith(_UNITS) and entry_of(target)]
    for target in sorted(set(units))[:_UNITS_MOST]:
        try:
            with inside(root, resolved(root, target)).open("rb") as opened:
                text = opened.read(_FILE_BYTES)
        except OSError:
            continue
        yield from (match.decode() for match in _STORE_ENTRY.findall(text))
