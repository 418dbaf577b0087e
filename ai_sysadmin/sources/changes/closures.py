"""Two systems of the Nix store compared: by what they are made of, in words. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from ai_sysadmin.sources.changes.rooted import entry_of
from ai_sysadmin.sources.changes.subject import Subject

DETAILS_MOST: Final = 14
_NAMED_MOST = 8

_ENTRY = re.compile(r"^[0-9a-z]{32}-(.+)$")
_VERSION = re.compile(r"-(?=[^A-Za-z])")
_OUTPUTS = ("lib", "bin", "dev", "doc", "man", "info", "out", "debug", "data", "dist", "devdoc", "devman", "tools")
_ALWAYS_DIFFERENT = (
    "nixos-system-",
    "system-path",
    "system-units",
    "user-units",
    "unit-",
    "etc-",
    "X-Restart-Triggers",
)


@dataclass(frozen=True)
class System:
    """A system as far as it was looked at.

    Attributes:
        entries: names of the store's entries that it is made of (``<hash>-<name>``).
        files: its links and files by path below ``/etc``, with what each points to.
        parts: its other parts: kernel, initrd, systemd, nixos-version and their like.
    """

    entries: frozenset[str] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One difference in words; the lowest rank is the most telling. ``group`` is how it is counted where it is cut."""

    rank: int
    text: str
    group: str
    is_related: bool


def split_name(entry: str) -> tuple[str, str]:
    """Return a store entry's name and version; without its hash, and without the name of its output."""
    match = _ENTRY.match(entry)
    full = match[1] if match else entry
    split = _VERSION.search(full)
    if split is None:
        return full, ""
    name, version = full[: split.start()], full[split.end() :]
    head, dash, last = version.rpartition("-")
    return name, head if dash and last in _OUTPUTS else version


def differences(before: System, after: System, subject: Subject) -> list[Difference]:
    """Return how two systems differ, the most telling first: what is the unit's, versions, files, the rest."""
    found = [
        *_of_parts(before.parts, after.parts),
        *_of_files(before.files, after.files, subject),
        *_of_entries(_without_files(before), _without_files(after), subject),
    ]
    return sorted(found, key=lambda each: (each.rank, each.text))


def _without_files(system: System) -> frozenset[str]:
    """Return a system's entries without those that are one file in ``/etc``: it is named by its path there."""
    files = {entry_of(target) for target in system.files.values()}
    return frozenset(entry for entry in system.entries if entry not in files or split_name(entry)[1])


def in_words(found: list[Difference], most: int = DETAILS_MOST) -> tuple[str, ...]:
    """Return the most telling differences, one a line; the last line counts the rest."""
    shown, rest = found[:most], found[most:]
    if not rest:
        return tuple(each.text for each in shown)
    ordered = sorted(each.group for each in rest)
    counts = [f"{len(list(same))} {group}" for group, same in groupby(ordered)]
    return (*(each.text for each in shown), f"and {len(rest)} more: {', '.join(counts)}")


def _of_parts(before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[Difference]:
    for part in sorted({*before, *after}):
        old, new = before.get(part, ""), after.get(part, "")
        if old == new:
            continue
        one, other = (_part(each) for each in (old, new))
        text = f"{part}: {one} → {other}" if one != other else f"{part} was rebuilt ({one})"
        yield Difference(1, text, "other parts", is_related=False)


def _part(value: str) -> str:
    return " ".join(filter(None, split_name(value))) if _ENTRY.match(value) else value or "none"


def _of_files(before: Mapping[str, str], after: Mapping[str, str], subject: Subject) -> Iterable[Difference]:
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        how = "added" if old is None else "removed" if new is None else "changed"
        is_unit = path.startswith("systemd/system/")
        group = "unit files" if is_unit else "files in /etc"
        name = path.removeprefix("systemd/system/") if is_unit else f"/etc/{path}"
        related = _is_unit_file(path, subject) if is_unit else subject.owns(f"/etc/{path}")
        yield Difference(0 if related else 3, f"{'unit file ' if is_unit else ''}{name} {how}", group, related)


def _is_unit_file(path: str, subject: Subject) -> bool:
    """Tell whether a file below ``systemd/system`` is the unit's own, its drop-in, or that of a unit of its name."""
    name = path.removeprefix("systemd/system/").partition("/")[0].removesuffix(".d")
    return bool(subject.unit) and (name == subject.unit or subject.is_named(name.rpartition(".")[0]))


def _of_entries(before: frozenset[str], after: frozenset[str], subject: Subject) -> Iterable[Difference]:
    old, new = _by_name(before - after), _by_name(after - before)
    kept = _by_name(before & after)
    for name in sorted({*old, *new}):
        related = subject.is_named(name)
        gone, came = old.get(name, set()), new.get(name, set())
        if gone and came:
            yield _replaced(name, gone, came, related)
        elif not (gone | came) <= kept.get(name, set()):  # else one more or one less of what there still is
            how, versions = ("added", came) if came else ("removed", gone)
            yield Difference(0 if related else 4, f"{how}: {name} {_list(versions)}".rstrip(), how, related)


def _replaced(name: str, gone: set[str], came: set[str], related: bool) -> Difference:
    if gone != came:
        text = f"{name}: {_list(gone - came or gone) or 'no version'} → {_list(came - gone or came) or 'no version'}"
        return Difference(0 if related else 2, text, "with another version", related)
    return Difference(0 if related else 5, f"rebuilt: {name} {_list(came)}".rstrip(), "rebuilt", related)


def _by_name(entries: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in entries:
        name, version = split_name(entry)
        if name != "etc" and not name.startswith(_ALWAYS_DIFFERENT):
            found.setdefault(name, set()).add(version)
    return found


def _list(versions: set[str]) -> str:
    return ", ".join(sorted(filter(None, versions))[:_NAMED_MOST])
