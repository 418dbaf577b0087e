"""The links by which NixOS keeps its generations, and what they tell of when which system was activated."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ai_sysadmin.core.clock import local
from ai_sysadmin.sources.changes.rooted import entry_of, inside, target_of
from ai_sysadmin.sources.changes.window import Window, moment_of

CURRENT: Final = "/run/current-system"
_PROFILES = "/nix/var/nix/profiles"
_BOOTED = "/run/booted-system"
_LINK = re.compile(r"system-(\d+)-link")
_ONE_SWITCH = timedelta(minutes=15)
"""The profile is set as a switch begins, ``/run/current-system`` during it, units are restarted between and after."""
_AT_BOOT = timedelta(minutes=2)


@dataclass(frozen=True)
class Generation:
    """A numbered system of the profile; ``made_at`` is when its link was made."""

    number: int
    system: str
    made_at: datetime


@dataclass(frozen=True)
class Profile:
    """What the links say: the generations by number, the next boot's default, what runs and what was booted."""

    generations: tuple[Generation, ...]
    default: Generation | None = None
    default_since: datetime | None = None
    current: str = ""
    current_since: datetime | None = None
    booted_since: datetime | None = None

    def numbered(self, system: str) -> Generation | None:
        """Return the generation that is such a system: the default if it is, else the latest."""
        if self.default and self.default.system == system:
            return self.default
        return next((each for each in reversed(self.generations) if each.system == system), None)

    def name_of(self, system: str) -> str:
        """Return what a system is called."""
        generation = self.numbered(system)
        return f"generation {generation.number}" if generation else entry_of(system) or system


@dataclass(frozen=True)
class Activation:
    """A system became the running one, or the next boot's default. ``before``: the system that it replaced.

    ``is_pending``: it does not run yet.
    """

    at: datetime
    system: str
    what: str
    before: str = ""
    note: str = ""
    is_pending: bool = False


def read_profile(root: Path) -> Profile | None:
    """Read the links; none: this is no NixOS. Raises: OSError."""
    try:
        names = [match for path in inside(root, _PROFILES).iterdir() if (match := _LINK.fullmatch(path.name))]
    except (FileNotFoundError, NotADirectoryError):
        return None
    found = sorted((_generation(root, match) for match in names), key=lambda each: each.number)
    if not found:
        return None
    default = target_of(root, f"{_PROFILES}/system").rpartition("/")[2]
    return Profile(
        generations=tuple(found),
        default=next((each for each in found if f"system-{each.number}-link" == default), None),
        default_since=_made_at(root, f"{_PROFILES}/system"),
        current=target_of(root, CURRENT),
        current_since=_made_at(root, CURRENT),
        booted_since=_made_at(root, _BOOTED),
    )


def _generation(root: Path, link: "re.Match[str]") -> Generation:
    path = f"{_PROFILES}/{link[0]}"
    return Generation(int(link[1]), target_of(root, path), _made_at(root, path) or moment_of(0))


def _made_at(root: Path, link: str) -> datetime | None:
    try:
        return moment_of(inside(root, link).lstat().st_mtime)
    except OSError:
        return None


def activations(
    profile: Profile, window: Window, switches: Sequence[tuple[datetime, str]] = ()
) -> tuple[Activation, ...]:
    """Return which systems were activated within a time, the newest first.

    Args:
        switches: what the journal tells of switches: when, to which system. That is exact; of a system that it tells
            nothing of, the links tell the last activation, or when its generation was made.
    """
    told = [switch for switch in sorted(switches) if window.holds(switch[0])]
    befores = ["", *(system for _, system in told)]
    found = [_activated(profile, at, system, befores[number]) for number, (at, system) in enumerate(told)]
    known = {system for _, system in told}
    for each in (_running(profile), _default(profile), *(_made(profile, each) for each in profile.generations)):
        if each and window.holds(each.at) and each.system not in known:
            known.add(each.system)
            found.append(each)
    return tuple(sorted(found, key=lambda each: each.at, reverse=True))


def _activated(profile: Profile, at: datetime, system: str, before: str = "") -> Activation:
    """Describe an activation. ``before``: what ran until then; empty: not known, and concluded from the numbers."""
    generation = profile.numbered(system)
    if generation is None:
        ran = before or (profile.default.system if profile.default else "")
        return Activation(at, system, f"a system that is no numbered generation was activated: {entry_of(system)}", ran)
    replaced = (profile.numbered(before) if before else None) or _concluded(profile, generation, at)
    what = f"generation {generation.number} was activated"
    if replaced and replaced.number > generation.number:
        what += f", a rollback from generation {replaced.number}"
    note = "" if abs(at - generation.made_at) <= _ONE_SWITCH else f"it was made {local(generation.made_at)}"
    return Activation(at, system, what, before or (replaced.system if replaced else ""), note)


def _concluded(profile: Profile, generation: Generation, at: datetime) -> Generation | None:
    """Return what a generation presumably replaced: the newest other one that there was by then."""
    others = [each for each in profile.generations if each.system != generation.system and each.made_at <= at]
    return others[-1] if others else None


def _running(profile: Profile) -> Activation | None:
    """Tell when the running system was activated, by the links."""
    system = profile.current or (profile.default.system if profile.default else "")
    since = profile.current_since if profile.current else profile.default_since
    if since is None or not system:
        return None
    if profile.booted_since and abs(since - profile.booted_since) <= _AT_BOOT:
        activation = _activated(profile, since, system)
        return Activation(since, system, activation.what.replace("activated", "booted"), activation.before)
    began = profile.default_since
    is_default = profile.default is not None and profile.default.system == system
    if is_default and began and timedelta() <= since - began <= _ONE_SWITCH:
        since = began
    return _activated(profile, since, system)


def _default(profile: Profile) -> Activation | None:
    """Tell of a generation that is the next boot's and does not run yet."""
    default = profile.default
    if not default or not profile.current or not profile.default_since or default.system == profile.current:
        return None
    what = f"generation {default.number} was made the next boot's; it does not run yet"
    return Activation(profile.default_since, default.system, what, profile.current, is_pending=True)


def _made(profile: Profile, generation: Generation) -> Activation:
    """Tell of a generation that runs no more, or never did: that it was made is all that is known."""
    earlier = [g for g in profile.generations if g.number < generation.number and g.system != generation.system]
    what = f"generation {generation.number} was made; it does not run now"
    return Activation(generation.made_at, generation.system, what, earlier[-1].system if earlier else "")
