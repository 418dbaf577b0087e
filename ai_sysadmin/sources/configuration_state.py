"""Where the operator's configuration stands: its commit, what is not committed, when it was last changed."""

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, Completed, run

_SECONDS: Final = 4.0
_MOST_BYTES: Final = 256 << 10
_MOST_TEXT: Final = 1 << 20
_HASH: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ENVIRONMENT: Final = {
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
_SETTINGS: Final = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"


class RepositoryState(NamedTuple):
    """A repository's commit and what of its files is not in it.

    ``commit`` is empty where there is none, or it cannot be told. ``changed`` are the files that differ from the
    commit or are not in it; none: that is not known, and ``gap`` says why.
    """

    commit: str = ""
    committed_at: str = ""
    subject: str = ""
    changed: tuple[str, ...] | None = None
    gap: str = ""


class Repository(NamedTuple):
    """Where a repository lies: its work tree, its own directory, and the one that it shares with others."""

    tree: Path
    git: Path
    common: Path


async def state_of(directory: Path) -> RepositoryState:
    """Return where a directory's repository stands; where git is not here, its commit as its files name it.

    A repository may name programs for git to start (filters, hooks, a monitor), and who may write there is not who
    this service runs as. So git is shown its objects and its index, and none of its settings.
    """
    found = await asyncio.to_thread(_repository, directory)
    commit = _commit(found) if found else ""
    if found is None or not commit:
        what = "it is no git repository, or may not be read" if found is None else "it has no commit that can be read"
        return RepositoryState(gap=f"its commit is not known: {what}")
    try:
        with TemporaryDirectory(prefix="ai-sysadmin-git-") as made:
            return await _asked(found, commit, directory, Path(made))
    except (CommandMissing, CommandTimedOut, OSError) as error:
        return RepositoryState(commit, gap=f"what is not committed is not known: {error}")


async def _asked(found: Repository, commit: str, directory: Path, made: Path) -> RepositoryState:
    """Ask git, by a directory made for it."""
    for name in ("refs", "objects", "info"):
        (made / name).mkdir()
    (made / "HEAD").write_text(f"{commit}\n")
    (made / "config").write_text(_SETTINGS)
    (made / "info/exclude").write_text(_text(found.common / "info/exclude"))
    env = _ENVIRONMENT | {
        "PATH": os.environ.get("PATH", "/run/current-system/sw/bin:/usr/bin:/bin"),
        "GIT_DIR": str(made),
        "GIT_WORK_TREE": str(found.tree),
        "GIT_OBJECT_DIRECTORY": str(found.common / "objects"),
        "GIT_INDEX_FILE": str(found.git / "index"),
    }
    head = await _git(found, env, "log", "-1", "--no-show-signature", "--format=%cI%x00%s", commit)
    at, _, subject = head.stdout.decode(errors="replace").strip().partition("\0")
    prefix = directory.resolve().relative_to(found.tree).as_posix()
    words = ("status", "--porcelain=v1", "-z", "--untracked-files=normal", "--ignore-submodules=all", "--", prefix)
    status = await _git(found, env, *words)
    if status.exit_status != 0:
        why = _last_line(status.stderr) or "git gave no status"
        return RepositoryState(commit, at, subject, gap=f"what is not committed is not known: {why}")
    names = changed_files(status.stdout.decode(errors="replace"))
    return RepositoryState(commit, at, subject, tuple(name.removeprefix(f"{prefix}/") for name in names))


async def _git(found: Repository, env: Mapping[str, str], *words: str) -> Completed:
    argv = ("git", "-C", str(found.tree), *words)
    return await run(argv, timeout_seconds=_SECONDS, max_bytes=_MOST_BYTES, env=env)


def changed_files(porcelain: str) -> tuple[str, ...]:
    """Return the files that ``git status --porcelain -z`` names; of a renamed one its name now."""
    entries = iter(porcelain.split("\0"))
    found: list[str] = []
    for entry in entries:
        if len(entry) > 3:
            found.append(entry[3:])
            if entry[0] in "RC":
                next(entries, "")
    return tuple(found)


def _repository(directory: Path) -> Repository | None:
    """Return the repository that a directory is in; none: there is none, or it may not be read."""
    directory = directory.resolve()
    for tree in (directory, *directory.parents):
        git = tree / ".git"
        if beside := _text(git):  # a work tree beside its repository
            git = tree / beside.removeprefix("gitdir:").strip()
        if _text(git / "HEAD"):
            shared = _text(git / "commondir").strip()
            return Repository(tree, git, git / shared if shared else git)
    return None


def _commit(found: Repository) -> str:
    """Return the commit that a repository's own files name; empty: none."""
    head = _text(found.git / "HEAD").strip()
    if _HASH.fullmatch(head):
        return head
    ref = head.removeprefix("ref:").strip()
    if not re.fullmatch(r"refs/[\w./@+-]{1,200}", ref) or ".." in ref:
        return ""
    for place in (found.git, found.common):
        if _HASH.fullmatch(commit := _text(place / ref).strip()):
            return commit
    packed = re.search(rf"^({_HASH.pattern}) {re.escape(ref)}$", _text(found.common / "packed-refs"), re.MULTILINE)
    return packed[1] if packed else ""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            return opened.read(_MOST_TEXT).decode(errors="replace")
    except OSError:
        return ""


def _last_line(said: str) -> str:
    lines = [line for line in said.split("\n") if line.strip()]
    return lines[-1][:200] if lines else ""


def against_running(state: RepositoryState, revision: str, activated: datetime | None, newest: float) -> str:
    """Say in one sentence whether the running system was built from what the repository holds. Pure.

    Args:
        revision: the commit that the running system says it was built from; empty: it says none.
        activated: when it was activated, or none.
        newest: when the newest file of the repository was changed, in seconds since 1970.
    """
    dirty = revision.endswith("-dirty") or revision == "dirty"
    built = revision.removesuffix("-dirty")
    loose = _loose(state.changed)
    if not _HASH.fullmatch(built) and not re.fullmatch(r"[0-9a-f]{7,40}", built):
        why = f"says {revision!r}" if revision else "records none (system.configurationRevision is not set)"
        return f"Which commit the running generation was built from is not known: it {why}{_by_time(activated, newest)}"
    if not state.commit:
        return f"The running generation was built from commit {built[:12]}; {state.gap}"
    if not state.commit.startswith(built):
        return (
            f"The repository DIFFERS from the running generation: that was built from commit {built[:12]}, the"
            f" repository is at {state.commit[:12]}{f', and {loose}' if loose else ''}"
        )
    if loose or dirty:
        was = "was built with uncommitted changes" if dirty else "holds none of that"
        has = loose or "nothing uncommitted is there now"
        return f"Same commit {built[:12]} as the running generation, which {was}; {has}: the two MAY DIFFER"
    if state.changed is None:
        return f"Same commit {built[:12]} as the running generation; {state.gap}"
    return f"The running generation was built from exactly this: commit {built[:12]}, nothing uncommitted"


def _loose(changed: Sequence[str] | None) -> str:
    if not changed:
        return ""
    named = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
    return f"{len(changed)} files are changed and not committed ({named})"


def _by_time(activated: datetime | None, newest: float) -> str:
    if activated is None or not newest:
        return ""
    is_newer = newest > activated.timestamp()
    return f"; files here {'WERE CHANGED SINCE' if is_newer else 'are all older than when'} it was activated"
