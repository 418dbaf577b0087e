"""The generations of NixOS and how two of them differ; and on any host, what changed lately."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.context.pieces.drafts import iso
from ai_sysadmin.core.clock import Clock, since
from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.sources.changes import Change, Changes
from ai_sysadmin.sources.changes.generations import generation_changes
from ai_sysadmin.sources.changes.profile import Activation, Generation, Profile, read_profile
from ai_sysadmin.sources.changes.rooted import target_of
from ai_sysadmin.sources.changes.subject import Subject
from ai_sysadmin.sources.running_system import distribution, said_by
from ai_sysadmin.tools.tool import Told, Tool, beyond, tool_of
from ai_sysadmin.tools.unit_names import full_name

_SECONDS: Final = 15.0
_LISTED: Final = 30
_BOOTED: Final = "/run/booted-system"

Compare = Annotated[
    str,
    Field(max_length=40, description="two generations, such as 141..142 or booted..current; empty: the newest two"),
]
Hours = Annotated[int, Field(ge=1, le=24 * 90, description="how far back")]
Unit = Annotated[str, Field(max_length=255, description="a unit whose own changes are marked")]


def nixos_tools(changes: Changes, clock: Clock, root: Path = Path("/")) -> tuple[Tool, ...]:
    async def nixos_generations(compare: Compare = "") -> Told:
        """List NixOS generations (date, kernel, current, booted, commit) and how two of them differ."""
        profile = await asyncio.to_thread(_profile, root)
        lines = await asyncio.to_thread(lambda: list(_listed(root, profile)))
        return Told("\n".join([*lines, *await _compared(root, profile, compare.strip())]))

    async def what_changed(hours: Hours = 24, unit: Unit = "") -> Told:
        """Tell what changed on this host lately: packages, configuration, generations, reboots, commands by hand."""
        now = clock.now()
        seen = await changes.before(full_name(unit) if unit.strip() else "", now, timedelta(hours=hours))
        lines = [line for each in seen.changes for line in _told(each, since(each.at, now))]
        lines = lines or [f"nothing that is looked at changed in the last {hours} h"]
        lines += [f"not known: {gap}" for gap in seen.gaps]
        narrow = "give fewer `hours`, or a `unit`"
        return Told("\n".join(lines), narrow, beyond(seen.left_out, "changes"))

    return (
        tool_of(nixos_generations, says="NixOS generations {compare}", seconds=_SECONDS, absent=not_nixos(root)),
        tool_of(what_changed, says="what changed in {hours} h {unit}", seconds=2 * _SECONDS),
    )


def not_nixos(root: Path) -> str:
    """Say what runs here where it is not NixOS; empty: it is."""
    return "" if (root / "etc/NIXOS").exists() else f"this host runs {distribution(root)}, not NixOS"


def _profile(root: Path) -> Profile:
    try:
        profile = read_profile(root)
    except OSError as error:
        raise Refused(f"the generations cannot be read: {error.strerror}") from error
    if profile is None:
        what = not_nixos(root) or "this NixOS keeps no generations (/nix/var/nix/profiles)"
        raise Refused(f"{what}: ask what_changed")
    return profile


def _listed(root: Path, profile: Profile) -> Iterator[str]:
    """Yield one line a generation, the newest first."""
    booted = target_of(root, _BOOTED)
    newest = profile.generations[::-1]
    for each in newest[:_LISTED]:
        said = said_by(root, each.system)
        parts = [f"generation {each.number}, made {iso(each.made_at)}", said.version and f"NixOS {said.version}"]
        parts += [said.kernel, said.revision and f"configuration {said.revision[:18]}", *_marks(profile, each, booted)]
        yield ", ".join(filter(None, parts))
    if len(newest) > _LISTED:
        yield f"and {len(newest) - _LISTED} older ones, back to generation {newest[-1].number}"
    systems = {each.system for each in newest}
    for system, what in ((profile.current, "running"), (booted, "booted")):
        if system and system not in systems:
            yield f"the {what} system is no numbered generation: {system}"
    if booted and profile.current and booted != profile.current:
        yield "the running system is not the one that was booted: its kernel and drivers are the booted one's"


def _marks(profile: Profile, generation: Generation, booted: str) -> list[str]:
    system = generation.system
    marks = [word for word, other in (("CURRENT", profile.current), ("BOOTED", booted)) if other == system]
    return [*marks, *(["NEXT BOOT"] if profile.default == generation else [])]


async def _compared(root: Path, profile: Profile, compare: str) -> Sequence[str]:
    pair = _pair(root, profile, compare)
    if pair is None:
        return ("there is one generation, and nothing to compare it with",)
    one, other = pair
    if one.system == other.system:
        return (f"generations {one.number} and {other.number} are the same system: {one.system}",)
    what = f"from generation {one.number} to generation {other.number}"
    asked = Activation(other.made_at, other.system, what, one.system)
    change = (await generation_changes(root, profile, [asked], Subject("")))[0]
    return (f"{what}:", *(f"    {line}" for line in change.details))


def _pair(root: Path, profile: Profile, compare: str) -> tuple[Generation, Generation] | None:
    if not compare:
        return (profile.generations[-2], profile.generations[-1]) if len(profile.generations) > 1 else None
    match = re.fullmatch(r"(\w+)(?:\s*(?:\.\.+|-|,|to)\s*(\w+))?", compare)
    if match is None:
        raise Refused(f"compare = {compare!r} names no two generations: 141..142, or booted..current")
    return _one(root, profile, match[1]), _one(root, profile, match[2] or "current")


def _one(root: Path, profile: Profile, name: str) -> Generation:
    systems = {"current": profile.current, "booted": target_of(root, _BOOTED)}
    found = profile.numbered(systems.get(name.lower(), ""))
    if name.isdecimal():
        found = next((each for each in profile.generations if each.number == int(name)), None)
    if found is None:
        first, last = profile.generations[0].number, profile.generations[-1].number
        raise NotFound(f"there is no generation {name!r}: there are {len(profile.generations)}, from {first} to {last}")
    return found


def _told(change: Change, ago: str) -> Iterator[str]:
    marks = "".join(
        (" [the unit's own]" if change.unit_related else "", "" if change.took_effect else " [not in effect yet]")
    )
    yield f"{ago} ago ({iso(change.at)}), {change.kind.replace('_', ' ')}: {change.what}{marks}"
    yield from (f"    {detail}" for detail in change.details)
