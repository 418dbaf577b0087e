"""One literal set in a commit of its own, evaluated and built: what the build user does for ``apply_configuration``."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import Field

from ai_sysadmin.actions.nixos import changes_file
from ai_sysadmin.actions.nixos.git import Git, alone, change
from ai_sysadmin.actions.nixos.literals import Scalar, attributes, nix
from ai_sysadmin.actions.nixos.nix import Nix
from ai_sysadmin.actions.nixos.results import SYSTEM, Built, branch_of, plain
from ai_sysadmin.core.errors import Refused, Unavailable
from ai_sysadmin.core.records import Record

KEPT: Final = 12
"""So many builds are kept from the garbage collector: a proposal waits for a person no longer than that."""
BUILDS: Final = "refs/ai-sysadmin/builds"
_SYSTEMS: Final = "refs/ai-sysadmin/systems"
_BASE: Final = "refs/ai-sysadmin/base"
_HASH: Final = len("/nix/store/"), len("/nix/store/") + 32


class Job(Record):
    """Where a change is made: the settings ``actions.nixos``, as far as the build user needs them."""

    repository: Path
    branch: str
    attribute: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")
    changes_file: str
    build_dir: Path
    push_remote: str = ""
    seconds: float
    current_system: Path = Path("/run/current-system")

    def nix(self, git: Git) -> Nix:
        """Return Nix for the clone; what it fetches inputs by is more than the clone itself may be fetched by."""
        environment = {**git.environment, "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}
        return Nix(git.directory, self.attribute, self.seconds, environment)


class Base(NamedTuple):
    """What a change is made upon.

    ``carried`` are options that are set on this host as it runs, and not in the repository's branch. ``system`` is the
    running system where the base is what it was built of; else nobody knows yet what the base would build.
    """

    commit: str
    literals: Mapping[str, str]
    carried: tuple[str, ...] = ()
    system: str = ""


async def build(job: Job, option: str, value: Scalar, incident: str) -> Built:
    """Set an option in a commit on the incident's branch, evaluate that, build its system and keep it.

    Raises:
        Refused: the repository, the option or the value does not allow it.
        Unavailable: git or Nix is missing or failed, or the disk cannot be written.
    """
    literal, path, branch = nix(value), attributes(option), branch_of(incident, option)
    running = os.path.realpath(job.current_system)
    with change(job.build_dir, job.repository) as git:
        async with alone(job.build_dir):
            base = await _base(git, job, running)
            commit = await _set(git, job, base, option, literal, incident)
            await git("update-ref", f"{BUILDS}/{commit}", commit)
            await git("update-ref", f"refs/heads/{branch}", commit)
        found = await job.nix(git).look(f"{BUILDS}/{commit}", commit, path, literal)
        if not found.exists:
            raise Refused(f"{option} is no option of this configuration")
        if not found.holds:
            raise Refused(f"{option} would be {plain(found.shown)}, not {plain(literal)}: it is set elsewhere as well")
        built = await _keep(git, job, commit, found.system)
        async with alone(job.build_dir):
            await git("update-ref", _of_system(built), commit)
            await _forget(git, job, running)
        pushed = await git.push(job.repository, job.push_remote, branch) if job.push_remote else ""
        return Built(
            store_path=built,
            running=running,
            alone=await _is_running(git, job, base, running),
            branch=branch,
            commit=commit,
            option=option,
            literal=literal,
            type=plain(found.type),
            carried=base.carried[:100],
            pushed=plain(pushed, 300),
        )


async def fetched(git: Git, job: Job) -> str:
    """Bring the repository's branch up to date; return its commit. Raises: Refused, Unavailable."""
    if not git.directory.is_dir():
        await git("init", "--quiet", "--bare", "--template=", str(git.directory))
    ref = f"{_BASE}/{job.branch}"
    fault = f"the branch {job.branch} of {job.repository} cannot be fetched"
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    await git("fetch", *options, "--", str(job.repository), f"+refs/heads/{job.branch}:{ref}", fault=fault)
    commit = await git.commit_of(ref)
    if commit is None:
        raise Unavailable(f"{job.repository} has no branch {job.branch}")
    return commit


async def _base(git: Git, job: Job, running: str) -> Base:
    """Return what to start from: the branch, and what is set on the running system beyond it.

    Without the second, a change for one incident would take back that for another which nobody has merged yet.
    """
    tip = await fetched(git, job)
    literals = await _literals(git, job, tip)
    own = await git.commit_of(_of_system(running)) if re.fullmatch(SYSTEM, running) else None
    if own is None:
        return Base(tip, literals)
    set_here = await _literals(git, job, own)
    if await git.is_ancestor(tip, own):
        return Base(own, set_here, system=running)
    more = {option: literal for option, literal in set_here.items() if option not in literals}
    if not more:
        return Base(tip, literals)
    both = {**literals, **more}
    carried = tuple(sorted(more))
    message = "Keep what is set on this host\n\n" + "\n".join(f"{each} = {more[each]}" for each in carried) + "\n"
    return Base(await _written(git, job, tip, both, message), both, carried)


async def _literals(git: Git, job: Job, commit: str) -> Mapping[str, str]:
    blob = await git.blob(commit, job.changes_file)
    return changes_file.parse(await git.text_of(blob)) if blob else {}


async def _set(git: Git, job: Job, base: Base, option: str, literal: str, incident: str) -> str:
    if base.literals.get(option) == literal:
        raise Refused(f"{option} = {plain(literal)} stands in {job.changes_file} already; what runs may be older")
    what = f" for the incident {incident}" if incident else ""
    message = f"{option} = {plain(literal, 100)}\n\nSet{what} by the AI sysadmin on {job.attribute}.\n"
    return await _written(git, job, base.commit, {**base.literals, option: literal}, message)


async def _written(git: Git, job: Job, base: str, literals: Mapping[str, str], message: str) -> str:
    text = changes_file.render(literals)
    if len(text.encode()) > changes_file.MOST_BYTES:
        raise Refused(f"{job.changes_file} would be larger than {changes_file.MOST_BYTES >> 10} KB")
    await git("read-tree", base)
    await git.put(job.changes_file, text, f"{job.changes_file} cannot be a file of this repository")
    tree = (await git("write-tree")).strip()
    paths = [changed.path for changed in await git.changed(base, tree)]
    if paths != [job.changes_file]:
        raise Refused(f"the change would touch more than {job.changes_file}: {plain(', '.join(paths))}")
    return await git.commit(tree, base, message)


async def _keep(git: Git, job: Job, commit: str, expected: str) -> str:
    roots = job.build_dir / "roots"
    roots.mkdir(exist_ok=True)
    built = await job.nix(git).build(f"{BUILDS}/{commit}", commit, roots / commit)
    if built != expected:
        raise Refused(f"{plain(built)} was built where {plain(expected)} was evaluated")
    return built


async def _is_running(git: Git, job: Job, base: Base, running: str) -> bool:
    """Tell whether the base is what runs, so that the change is the only difference."""
    if base.system:
        return base.system == running
    await git("update-ref", f"{BUILDS}/{base.commit}", base.commit)
    try:
        return await job.nix(git).system(f"{BUILDS}/{base.commit}", base.commit) == running
    except Refused:  # the branch as it stands does not evaluate without the change
        return False


def _of_system(store_path: str) -> str:
    return f"{_SYSTEMS}/{store_path[slice(*_HASH)]}"


async def _forget(git: Git, job: Job, running: str) -> None:
    """Let go of the oldest builds."""
    links = sorted((job.build_dir / "roots").iterdir(), key=lambda link: link.lstat().st_mtime, reverse=True)
    for link in links[KEPT:]:
        target = str(link.readlink())
        link.unlink()
        await git("update-ref", "-d", f"{BUILDS}/{link.name}")
        if target != running:
            await git("update-ref", "-d", _of_system(target))
