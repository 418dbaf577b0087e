"""What it costs to ask what changed: each look on a synthetic host of a size that few hosts reach.

20,000 files in /etc, 4 MiB of dpkg's log with a thousand packages in the time, two NixOS systems of 4,000 programs and
500 units with closures of 6,000 entries. Files are in the page cache. Argument: where to make it (a new directory).
"""

import asyncio
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.sources.changes.configuration import look_at_configuration
from ai_sysadmin.sources.changes.generations import generation_changes
from ai_sysadmin.sources.changes.host_changes import HostChanges
from ai_sysadmin.sources.changes.packages import look_at_packages
from ai_sysadmin.sources.changes.profile import activations, read_profile
from ai_sysadmin.sources.changes.subject import subject_of
from ai_sysadmin.sources.changes.unit_files import look_at_unit_files
from ai_sysadmin.sources.changes.window import Window

UNIT = "web7.service"
WITHIN = timedelta(hours=24)


def entry(name: str) -> str:
    return f"/nix/store/{hashlib.sha256(name.encode()).hexdigest()[:32]}-{name}"


def link(root: Path, path: str, target: str) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def make_etc(root: Path) -> None:
    for directory in range(400):
        place = root / f"etc/d{directory}"
        place.mkdir(parents=True)
        for number in range(50):
            (place / f"{number}.conf").touch()
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / UNIT).write_text("[Service]\nExecStart=/usr/bin/web7 --config /etc/d7\n")


def make_packages(root: Path) -> None:
    stamp = f"{datetime.now():%Y-%m-%d %H:%M:%S}"  # noqa: DTZ005 — dpkg's log is in local time
    lines = [f"{stamp} upgrade p{number}:amd64 1.0-1 1.0-2" for number in range(1000)]
    while len(lines) < 60_000:
        lines.append(f"2020-01-01 00:00:00 status half-configured p{len(lines) % 1000}:amd64 1.0-1")
    log = root / "var/log/dpkg.log"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(reversed(lines)) + "\n")


def make_generation(root: Path, number: int) -> list[str]:
    system, path, etc = entry(f"nixos-system-{number}"), entry(f"system-path-{number}"), entry(f"etc-{number}")
    link(root, f"{system}/sw", path)
    link(root, f"{system}/etc", f"{etc}/etc")
    programs = [entry(f"program{each}-{1 + (number if each % 40 == 0 else 0)}.0") for each in range(4000)]
    for each in programs:
        link(root, f"{path}/bin/{each.rpartition('-')[0][-12:]}", f"{each}/bin/x")
    link(root, f"{etc}/etc/systemd/system", entry(f"system-units-{number}"))
    for each in range(500):
        unit = entry(f"unit-web{each}.service-{number if each % 10 == 0 else 0}")
        place = root / unit.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"web{each}.service").write_text(f"[Service]\nExecStart={programs[each]}/bin/x\n")
        link(root, f"{entry(f'system-units-{number}')}/web{each}.service", f"{unit}/web{each}.service")
    link(root, f"/nix/var/nix/profiles/system-{number}-link", system)
    return [*programs, *(entry(f"library{each}-{number if each % 5 == 0 else 0}.1") for each in range(2000))]


def make_nix(root: Path) -> None:
    closures = {number: make_generation(root, number) for number in (141, 142)}
    link(root, "/nix/var/nix/profiles/system", "system-142-link")
    link(root, "/run/current-system", entry("nixos-system-142"))
    directory = root / "bin"
    directory.mkdir()
    for number, entries in closures.items():
        (directory / entry(f"nixos-system-{number}").rpartition("/")[2]).write_text("\n".join(entries) + "\n")
    program = directory / "nix-store"
    program.write_text(f'#!/bin/sh\nexec cat "{directory}/${{3##*/}}"\n')
    program.chmod(0o755)


def timed(name: str, work: Callable[[], object]) -> None:
    best = min(_seconds(work) for _ in range(3))
    print(f"{name:45} {best * 1e3:8.1f} ms")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bench(root: Path) -> None:
    now = datetime.now(UTC)
    window = Window.before(now, WITHIN, now)
    subject = subject_of(root, UNIT)
    timed("the unit's own files", lambda: look_at_unit_files(root, window, subject_of(root, UNIT)))
    timed("configuration (20,000 files)", lambda: look_at_configuration(root, ["/etc"], window, subject, seconds=60))
    timed("packages (1,000 of 4 MiB)", lambda: look_at_packages(root, window, subject))
    profile = read_profile(root)
    assert profile
    found = activations(profile, window)
    compare = lambda: asyncio.run(generation_changes(root, profile, found, subject))  # noqa: E731
    timed("generations, by links", compare)
    os.environ["PATH"] = f"{root / 'bin'}:{os.environ['PATH']}"
    timed("generations, with nix-store", compare)
    whole = HostChanges([Path("/etc")], SystemClock(), limit_seconds=10, root=root)
    timed("all of it, as it is asked", lambda: asyncio.run(whole.before(UNIT, now, WITHIN)))


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        root = Path(directory)
        for make in (make_etc, make_packages, make_nix):
            make(root)
        bench(root)


main()
