"""A free change as a branch for people to read: what the build user does for ``draft_configuration``."""

import textwrap
from pathlib import PurePosixPath
from typing import Final

from ai_sysadmin.actions.nixos.building import BUILDS, Job, fetched
from ai_sysadmin.actions.nixos.diffs import diff_fault
from ai_sysadmin.actions.nixos.git import Changed, Git, alone, change
from ai_sysadmin.actions.nixos.results import Drafted, draft_branch, plain
from ai_sysadmin.core.errors import Refused, Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.sources.secret_files import why_secret

FILES: Final = 30
KEPT: Final = 50
_NONE, _FILES = "000000", frozenset({"100644", "100755"})
_NEVER: Final = frozenset({".git", ".gitmodules", ".gitattributes", ".sops.yaml", "secrets", "secrets.nix"})


class Draft(Record):
    """A free change, as somebody proposes it."""

    diff: str
    title: str
    why: str
    incident: str = ""

    @property
    def branch(self) -> str:
        return draft_branch(self.diff, self.incident)

    @property
    def message(self) -> str:
        """The commit's message: a proposal that a person can read, with the proposer's words set apart."""
        of = f" for the incident {self.incident}" if self.incident else ""
        why = "\n".join(textwrap.wrap(plain(self.why, 2000), 68)) or "none was given"
        return (
            f"Proposal: {plain(self.title, 60)}\n\n"
            f"A model proposes this change{of}. Nobody has checked it, and nothing of it\nis active.\n\n"
            f"Its reason, unverified:\n\n{textwrap.indent(why, '    ')}\n"
        )


async def draft(job: Job, wanted: Draft) -> Drafted:
    """Put a free change on a branch of its own. Raises: Refused: it does not apply or touches what it may not."""
    fault = diff_fault(wanted.diff)
    if fault:
        raise Refused(fault)
    text = wanted.diff if wanted.diff.endswith("\n") else wanted.diff + "\n"
    with change(job.build_dir, job.repository) as git:
        async with alone(job.build_dir):
            base = await fetched(git, job)
            await git("read-tree", base)
            tree = await _applied(git, base, text)
            changed = await git.changed(base, tree)
            commit = await git.commit(tree, base, wanted.message)
            await git("update-ref", f"{BUILDS}/{commit}", commit)
            await git("update-ref", f"refs/heads/{wanted.branch}", commit)
            await _forget(git)
        stat = await git("diff-tree", "--stat=100", "--stat-count=40", "--no-ext-diff", base, commit)
        return Drafted(
            branch=wanted.branch,
            commit=commit,
            look=f"git fetch {job.build_dir}/repository.git {wanted.branch}",
            stat=tuple(plain(line, 120) for line in stat.splitlines())[:40],
            evaluates=await _evaluates(git, job, commit, changed),
        )


async def _forget(git: Git) -> None:
    """Let go of the oldest drafts: whoever proposes may do so at every level of autonomy."""
    sort = ("--sort=-committerdate", "--format=%(refname) %(objectname)")
    drafts = (await git("for-each-ref", *sort, "--", "refs/heads/ai-sysadmin/draft-*")).splitlines()
    for line in drafts[KEPT:]:
        name, commit = line.split()
        await git("update-ref", "-d", name)
        await git("update-ref", "-d", f"{BUILDS}/{commit}")


async def push(job: Job, branch: str) -> str:
    """Push a finished branch to the operator's remote; return how that went."""
    with change(job.build_dir, job.repository) as git:
        if await git.commit_of(f"refs/heads/{branch}") is None:
            raise Refused(f"there is no branch {plain(branch)}")
        return await git.push(job.repository, job.push_remote, branch)


async def _applied(git: Git, base: str, text: str) -> str:
    """Apply a diff to the index and return its tree, once every file that differs is one that it may change."""
    await git("apply", "--cached", "--check", "--whitespace=nowarn", "-", text=text, fault="the diff does not apply")
    await git("apply", "--cached", "--whitespace=nowarn", "-", text=text, fault="the diff does not apply")
    tree = (await git("write-tree")).strip()
    changed = await git.changed(base, tree)
    if not changed or len(changed) > FILES:
        raise Refused(f"the diff changes {len(changed)} files; it may change 1 to {FILES}")
    for each in changed:
        if fault := file_fault(each):
            raise Refused(f"the diff may not change {plain(each.path)}: {fault}")
    return tree


def file_fault(changed: Changed) -> str | None:
    """Say why a file may not be changed by a draft; none: it may. What git made of the diff counts, not its text."""
    if not {changed.before, changed.after} <= {*_FILES, _NONE}:
        return "a link or a submodule"
    path = PurePosixPath(changed.path)
    if not all(character.isprintable() for character in changed.path) or path.is_absolute() or ".." in path.parts:
        return "no plain path"
    if not _NEVER.isdisjoint(part.lower() for part in path.parts):
        return "it is git's own, or where secrets are kept"
    return why_secret(f"/{changed.path}") or None


async def _evaluates(git: Git, job: Job, commit: str, changed: list[Changed]) -> str:
    nix = job.nix(git)
    try:
        for each in changed:
            blob = await git.blob(commit, each.path) if each.path.endswith(".nix") else None
            fault = await nix.parses(await git.text_of(blob)) if blob else None
            if fault:
                return plain(f"{each.path} is no Nix: {fault}", 500)
        return await nix.evaluates(f"{BUILDS}/{commit}", commit)
    except Unavailable as error:
        return plain(f"it was not evaluated: {error}", 500)
