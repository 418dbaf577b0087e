"""How the NixOS systems that were activated differ from what ran before them."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run
from ai_sysadmin.sources.changes import Change
from ai_sysadmin.sources.changes.closures import System, differences, in_words
from ai_sysadmin.sources.changes.profile import CURRENT, Activation, Profile
from ai_sysadmin.sources.changes.rooted import entry_of, inside, resolved
from ai_sysadmin.sources.changes.subject import Subject
from ai_sysadmin.sources.changes.system_tree import read_system

COMPARED_MOST: Final = 3
"""How many activations are compared with what was before; of the others it is only said that they were."""

CLOSURE_SECONDS: Final = 1.5
_CLOSURE_BYTES = 8 << 20


@dataclass(frozen=True)
class Contents:
    """A system as its links show it, and its closure as far as Nix tells it."""

    tree: System
    closure: frozenset[str]


async def generation_changes(
    root: Path, profile: Profile, found: Sequence[Activation], subject: Subject
) -> tuple[Change, ...]:
    """Return the activations as changes, the newest of them with how they differ from what was before."""
    compared = found[:COMPARED_MOST]
    systems = list(dict.fromkeys(system for each in compared for system in (each.before, each.system) if system))
    contents = dict(zip(systems, await asyncio.gather(*(_contents(root, each) for each in systems)), strict=True))
    return tuple(
        _change(each, _compared(profile, each, contents, subject) if each in compared else Compared()) for each in found
    )


@dataclass(frozen=True)
class Compared:
    """What a comparison says, and whether the unit is concerned."""

    lines: tuple[str, ...] = ()
    is_related: bool = False


def _change(activation: Activation, compared: Compared) -> Change:
    return Change(
        at=activation.at,
        kind="generation",
        what=activation.what,
        about=activation.system,
        details=(*((activation.note,) if activation.note else ()), *compared.lines),
        unit_related=compared.is_related,
        took_effect=not activation.is_pending,
    )


def _compared(profile: Profile, activation: Activation, contents: Mapping[str, Contents], subject: Subject) -> Compared:
    if not activation.before:
        return Compared(("there is no other generation to compare it with",))
    before, after = contents[activation.before], contents[activation.system]
    if not before.tree.files and not before.closure:
        return Compared((f"{profile.name_of(activation.before)}, which it replaced, cannot be read any more",))
    head = f"compared with {profile.name_of(activation.before)}"
    one, other = before.tree, after.tree
    if before.closure and after.closure:
        one, other = replace(one, entries=before.closure), replace(other, entries=after.closure)
    else:
        head += " by what is linked in both (nix-store gave no answer)"
    found = differences(one, other, subject)
    return Compared(
        (f"{head}:", *(in_words(found) or ("no difference was found",))), any(each.is_related for each in found)
    )


async def _contents(root: Path, system: str) -> Contents:
    place = resolved(root, system)
    tree, closure = await asyncio.gather(asyncio.to_thread(read_system, root, place), _closure(root, place))
    return Contents(tree, closure)


async def _closure(root: Path, system: str) -> frozenset[str]:
    """Return the names of the entries in a system's closure; empty: Nix is not here, or gives no answer in time."""
    program = shutil.which("nix-store") or str(inside(root, f"{CURRENT}/sw/bin/nix-store"))
    argv = (program, "--query", "--requisites", system)
    try:
        done = await run(argv, timeout_seconds=CLOSURE_SECONDS, max_bytes=_CLOSURE_BYTES)
    except (CommandMissing, CommandTimedOut):
        return frozenset()
    if done.exit_status != 0 or done.truncated:
        return frozenset()
    return frozenset(filter(None, map(entry_of, done.stdout.decode(errors="replace").split("\n"))))
