"""What package managers write of themselves, as package changes: dpkg and apt, pacman, dnf. Pure parsers."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

Verb = Literal["installed", "upgraded", "removed", "reinstalled", "downgraded"]


@dataclass(frozen=True)
class PackageChange:
    """One package, installed, upgraded or removed. ``before`` and ``after`` are versions, empty where there is none."""

    at: datetime
    verb: Verb
    name: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if self.before and self.after and self.before != self.after:
            return f"{self.name} {self.before} → {self.after}"
        return f"{self.name} {self.after or self.before}".rstrip()


@dataclass(frozen=True)
class Run:
    """One call of a package manager: from when to when, by which command."""

    first: datetime
    last: datetime
    command: str


_DPKG = re.compile(r"^(\S+ \S+) (install|upgrade|remove|purge) (\S+) (\S+) (\S+)$", re.MULTILINE)
_PACMAN = re.compile(
    r"^\[(\S+)\] \[ALPM\] (installed|upgraded|removed|reinstalled|downgraded) (\S+) \((.+)\)$", re.MULTILINE
)
_PACMAN_RUN = re.compile(r"^\[(\S+)\] \[PACMAN\] Running '(.+)'$", re.MULTILINE)
_DNF = re.compile(
    r"^(\S+) SUBDEBUG (Installed|Upgrade|Upgraded|Erase|Downgrade|Downgraded|Reinstall|Reinstalled): (\S+)$",
    re.MULTILINE,
)
_NEVRA = re.compile(r"^(?P<name>.+)-(?P<version>[^-]+-[^-]+)\.(?P<arch>[^.-]+)$")
_NONE: Final = "<none>"


def dpkg_changes(text: str) -> Iterator[PackageChange]:
    """Yield what dpkg's log tells; its times are local."""
    for at, verb, package, before, after in _DPKG.findall(text):
        moment = _moment(at)
        if moment is None:
            continue
        old, new = ("" if each == _NONE else each for each in (before, after))
        name = package.partition(":")[0]
        if verb in {"remove", "purge"}:
            yield PackageChange(moment, "removed", name, old)
        elif not old:
            yield PackageChange(moment, "installed", name, "", new)
        else:
            yield PackageChange(moment, "reinstalled" if old == new else "upgraded", name, old, new)


def apt_runs(text: str) -> Iterator[Run]:
    """Yield the calls that apt's history tells; its times are local. The last one may still be running."""
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(Start-Date|Commandline|Requested-By|End-Date): +(.*)$", stanza, re.MULTILINE))
        first = _moment(" ".join(fields.get("Start-Date", "").split()))
        last = _moment(" ".join(fields.get("End-Date", "").split()))
        if first is None:
            continue
        by = fields.get("Requested-By", "")
        command = fields.get("Commandline", "apt") + (f" (asked for by {by})" if by else "")
        yield Run(first, last or first, command)


def pacman_changes(text: str) -> Iterator[PackageChange]:
    for at, verb, name, versions in _PACMAN.findall(text):
        moment = _moment(at)
        if moment is None:
            continue
        old, arrow, new = versions.partition(" -> ")
        if not arrow:
            old, new = (versions, "") if verb == "removed" else ("", versions)
        yield PackageChange(moment, verb, name, old, new)


def pacman_runs(text: str) -> Iterator[Run]:
    for at, command in _PACMAN_RUN.findall(text):
        if moment := _moment(at):
            yield Run(moment, moment, command)


def dnf_changes(text: str) -> Iterator[PackageChange]:
    """Yield what dnf's log of RPMs tells: the version that comes and the one that goes stand in lines of their own."""
    replaced: dict[str, str] = {}
    found: list[tuple[datetime, str, str, str]] = []
    for at, word, package in _DNF.findall(text):
        moment, name, version = _moment(at), *_name_and_version(package)
        if moment is None:
            continue
        if word in {"Upgraded", "Downgraded", "Reinstalled"}:
            replaced[name] = version
        else:
            found.append((moment, word, name, version))
    for moment, word, name, version in found:
        old = replaced.get(name, "")
        yield PackageChange(moment, *_of_dnf(word, name, version, old))


def _of_dnf(word: str, name: str, version: str, old: str) -> tuple[Verb, str, str, str]:
    if word == "Erase":
        return "removed", name, version, ""
    if word == "Upgrade":
        return "upgraded", name, old, version
    if word == "Downgrade":
        return "downgraded", name, old, version
    return ("reinstalled" if word == "Reinstall" else "installed"), name, "", version


def _name_and_version(package: str) -> tuple[str, str]:
    match = _NEVRA.match(package)
    return (match["name"], match["version"]) if match else (package, "")


def _moment(text: str) -> datetime | None:
    """Return a time; without an offset it is local."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return None


def last_of_each(changes: Sequence[PackageChange]) -> list[PackageChange]:
    """Return one change for each package: from the first version that it had to the last."""
    found: dict[str, PackageChange] = {}
    for each in changes:
        first = found.pop(each.name, each)
        verb = each.verb if each is first or each.verb == "removed" else first.verb
        found[each.name] = PackageChange(each.at, verb, each.name, first.before, each.after)
    return list(found.values())
