"""Which services, timers and sockets are enabled: the links below /etc/systemd/system, and what they lead to."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import HostUnreadable

MOST_UNITS: Final = 400
_MOST_BYTES: Final = 64 << 10
_MOST_LINE: Final = 200
_DIRECTORIES: Final = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_KINDS: Final = (".service", ".timer", ".socket")
_SCHEDULES: Final = ("OnCalendar", "OnBootSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec", "OnActiveSec")
_SOCKETS: Final = ("ListenStream", "ListenDatagram", "ListenSequentialPacket", "ListenFIFO")


class UnitFile(NamedTuple):
    """An enabled unit, as its file declares it. ``path`` is where that lies; of a command the arguments are cut."""

    name: str
    description: str
    wanted_by: tuple[str, ...]
    commands: tuple[str, ...]
    user: str
    schedule: tuple[str, ...]
    sockets: tuple[str, ...]
    path: str


def enabled(root: Path = Path("/")) -> list[UnitFile]:
    """Return the enabled units, by name, at most ``MOST_UNITS``.

    Raises:
        HostUnreadable: there is no directory of systemd's units.
    """
    wanted: dict[str, set[str]] = {}
    base = root / _DIRECTORIES[0]
    if not base.is_dir():
        raise HostUnreadable("which units are enabled cannot be read: there is no /etc/systemd/system")
    for directory in _DIRECTORIES[:2]:
        for wants in sorted((root / directory).glob("*.wants")) + sorted((root / directory).glob("*.requires")):
            for name in _names(wants):
                wanted.setdefault(name, set()).add(wants.name.rpartition(".")[0])
    names = [name for name in sorted(wanted) if name.endswith(_KINDS)]
    return [_unit(root, name, tuple(sorted(wanted[name]))) for name in names[:MOST_UNITS]]


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except OSError:
        return []


def _unit(root: Path, name: str, wanted_by: tuple[str, ...]) -> UnitFile:
    path, text = _file(root, name)
    values = list(_assignments(text))

    def given(*keys: str) -> tuple[str, ...]:
        return tuple(f"{value}" for key, value in values if key in keys and value)

    return UnitFile(
        name=name,
        description=next(iter(given("Description")), ""),
        wanted_by=wanted_by,
        commands=tuple(_program(command) for command in given("ExecStart")),
        user=next(iter(given("User")), ""),
        schedule=tuple(f"{key}={value}" for key, value in values if key in _SCHEDULES and value),
        sockets=given(*_SOCKETS),
        path=path,
    )


def _file(root: Path, name: str) -> tuple[str, str]:
    """Return where a unit's file lies and its text; an instance's is its template's. Both empty: there is none."""
    stem, at, rest = name.partition("@")
    names = (name, f"{stem}@.{rest.rpartition('.')[2]}") if at else (name,)
    for each in names:
        for directory in _DIRECTORIES:
            path = _resolved(root, root / directory / each)
            try:
                text = path.read_text(errors="replace")[:_MOST_BYTES]
            except OSError:
                continue
            return "/" + path.relative_to(root).as_posix(), text
    return "", ""


def _resolved(root: Path, path: Path) -> Path:
    """Follow links as they lead below ``root``; at most eight, and never out of it."""
    for _ in range(8):
        try:
            target = path.readlink()
        except OSError:
            break
        joined = root / target.relative_to("/") if target.is_absolute() else path.parent / target
        path = Path(os.path.normpath(joined))
        if not path.is_relative_to(root):
            return root / "nowhere"
    return path


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """Yield a unit file's keys and values; a value that goes on in the next line is joined."""
    for line in text.replace("\\\n", " ").splitlines():
        if line and line[0] not in "#;[":
            key, equals, value = line.partition("=")
            if equals:
                yield key.strip(), " ".join(value.split())[:_MOST_LINE]


def _program(command: str) -> str:
    """Return a command's program without its arguments: those may hold what is not to be kept."""
    return command.lstrip("@-:+!|").partition(" ")[0]
