"""Packages that were installed, upgraded or removed, by the logs of dpkg, apt, pacman and dnf."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import Final

from ai_sysadmin.sources.changes import Change
from ai_sysadmin.sources.changes.package_logs import (
    PackageChange,
    Run,
    apt_runs,
    dnf_changes,
    dpkg_changes,
    last_of_each,
    pacman_changes,
    pacman_runs,
)
from ai_sysadmin.sources.changes.rooted import inside
from ai_sysadmin.sources.changes.subject import Subject
from ai_sysadmin.sources.changes.window import Look, Window

LOG_BYTES: Final = 4 << 20
"""How much of a log is read, from its end."""

NAMED_IN_WHAT: Final = 3
_NAMED_MOST = 12
_LIST_BYTES = 2 << 20
_LISTS_MOST = 400
_ONE_RUN = timedelta(minutes=2)
_SLACK = timedelta(seconds=5)


@dataclass(frozen=True)
class Manager:
    """A package manager: where its changes and its calls are logged, and how to read them."""

    name: str
    log: str
    changes: Callable[[str], Iterator[PackageChange]]
    runs_log: str = ""
    runs: Callable[[str], Iterator[Run]] | None = None


MANAGERS: Final = (
    Manager("dpkg", "/var/log/dpkg.log", dpkg_changes, "/var/log/apt/history.log", apt_runs),
    Manager("pacman", "/var/log/pacman.log", pacman_changes, "/var/log/pacman.log", pacman_runs),
    Manager("dnf", "/var/log/dnf.rpm.log", dnf_changes),
)


def look_at_packages(root: Path, window: Window, subject: Subject) -> Look:
    """Return the runs of package managers within a time, each with its packages, the unit's own first."""
    changes: list[Change] = []
    gaps: list[str] = []
    for manager in MANAGERS:
        try:
            changes += _runs_of(root, manager, window, subject)
        except OSError as error:
            gaps.append(f"packages: {manager.log} cannot be read: {error.strerror}")
    return Look(tuple(changes), tuple(gaps))


def _runs_of(root: Path, manager: Manager, window: Window, subject: Subject) -> Iterator[Change]:
    text = _both(root, manager.log, window)
    found = [each for each in manager.changes(text) if window.holds(each.at)]
    if not found:
        return
    runs = list(manager.runs(_both(root, manager.runs_log, window))) if manager.runs else []
    for run, members in _grouped(sorted(found, key=lambda each: each.at), runs):
        yield _described(root, run.command if run else manager.name, last_of_each(members), subject)


def _both(root: Path, log: str, window: Window) -> str:
    """Return the end of a log, with the one before where a rotation may lie within the time. Raises: OSError."""
    try:
        text = _end_of(inside(root, log))
    except FileNotFoundError:
        return ""
    former = inside(root, f"{log}.1")
    try:
        is_of_time = former.stat().st_mtime >= window.first.timestamp()
        return f"{_end_of(former)}\n{text}" if is_of_time else text
    except OSError:
        return text


def _end_of(path: Path) -> str:
    with path.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - LOG_BYTES))
        return opened.read(LOG_BYTES).decode(errors="replace")


def _grouped(changes: Sequence[PackageChange], runs: Sequence[Run]) -> Iterator[tuple[Run | None, list[PackageChange]]]:
    """Yield the changes by run: of one call, or else so close to each other that they may be."""
    members: list[PackageChange] = []
    of_run: Run | None = None
    for each in changes:
        run = _run_of(each, runs)
        if members and (run != of_run or each.at - members[-1].at > _ONE_RUN):
            yield of_run, members
            members = []
        of_run = run
        members.append(each)
    if members:
        yield of_run, members


def _run_of(change: PackageChange, runs: Sequence[Run]) -> Run | None:
    """Return the call that a change was part of: one whose time holds it, else the last that began shortly before."""
    for run in runs:
        if run.first - _SLACK <= change.at <= run.last + _SLACK:
            return run
    close = [run for run in runs if run.first == run.last and timedelta() <= change.at - run.first <= 15 * _ONE_RUN]
    return close[-1] if close else None


def _described(root: Path, command: str, members: Sequence[PackageChange], subject: Subject) -> Change:
    related = _related(root, members, subject)
    ordered = [*related, *(each for each in members if each not in related)]
    counts = Counter(each.verb for each in ordered)
    said = ", ".join(f"{verb} {count} package{'s' * (count > 1)}" for verb, count in counts.items())
    named = ", ".join(map(str, ordered[:NAMED_IN_WHAT]))
    left = len(ordered) - _NAMED_MOST
    details = [f"{each.verb}: {each}" for each in ordered[:_NAMED_MOST]] if len(ordered) > NAMED_IN_WHAT else []
    return Change(
        at=max(each.at for each in related or members).astimezone(UTC),
        kind="package",
        what=f"{command}: {said}: {named}" + (", …" if len(ordered) > NAMED_IN_WHAT else ""),
        about=ordered[0].name,
        details=(*details, *((f"and {left} more packages",) if left > 0 else ())),
        unit_related=bool(related),
    )


def _related(root: Path, members: Sequence[PackageChange], subject: Subject) -> list[PackageChange]:
    """Return the packages that are the unit's: of its name, or such that hold its program or its unit file."""
    if not subject.unit:
        return []
    files = _spelled_both_ways((*subject.files, *subject.programs))
    return [
        each
        for number, each in enumerate(members)
        if subject.is_named(each.name) or (number < _LISTS_MOST and _holds(root, each.name, files))
    ]


def _spelled_both_ways(files: Iterable[str]) -> frozenset[bytes]:
    """Return paths as a package may list them: ``/lib`` and ``/bin`` are links into ``/usr`` by now."""
    return frozenset(
        spelling.encode()
        for file in files
        for spelling in (file, file.removeprefix("/usr"), f"/usr{file}")
        if spelling.startswith("/")
    )


def _holds(root: Path, package: str, files: frozenset[bytes]) -> bool:
    """Tell whether an installed Debian package has one of these files."""
    directory = inside(root, "/var/lib/dpkg/info")
    for path in (directory / f"{package}.list", *_of_architectures(directory, package)):
        try:
            with path.open("rb") as opened:
                if not files.isdisjoint(opened.read(_LIST_BYTES).split(b"\n")):
                    return True
        except OSError:
            continue
    return False


def _of_architectures(directory: Path, package: str) -> Iterable[Path]:
    return (directory / f"{package}:{machine}.list" for machine in ("amd64", "arm64", "i386", "armhf", "riscv64"))
