"""Git as the build user uses it: a bare clone of its own, and an index for each change; nothing is ever checked out.

So no link of the repository is followed, no filter and no hook of it is run, and nothing is written outside the clone.
"""

import asyncio
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.actions.nixos.results import plain
from ai_sysadmin.core.errors import Refused, Unavailable
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run

SECONDS: Final = 300.0
MOST_BYTES: Final = 1 << 20
_LEFT_SECONDS: Final = 86_400
_ADDRESS: Final = re.compile(r"(?:https|ssh)://[^\s]+|(?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9.-]+:(?!//)[^\s:][^\s]*|/[^\s]*")
_SETTINGS: Final = """\
[core]
	hooksPath = /dev/null
	attributesFile = /dev/null
	fsmonitor = false
	symlinks = false
[protocol]
	allow = never
[protocol "file"]
	allow = always
[fetch]
	recurseSubmodules = no
[push]
	recurseSubmodules = no
[gc]
	auto = 0
[maintenance]
	auto = false
[commit]
	gpgSign = false
[safe]
"""
_WHO: Final = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "AI sysadmin"), ("EMAIL", "ai-sysadmin@localhost"))
}


class Blob(NamedTuple):
    """A file of a commit."""

    mode: str
    hash: str


class Changed(NamedTuple):
    """A file that differs between two commits; a mode of 000000 is none."""

    before: str
    after: str
    path: str


@dataclass(frozen=True)
class Git:
    """The clone below ``home``. ``index`` is the file of the index that belongs to one change."""

    home: Path
    index: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return self.home / "repository.git"

    async def __call__(
        self, *arguments: str, text: str | None = None, fault: str = "", settings: tuple[str, ...] = ()
    ) -> str:
        """Run one command and return what it wrote.

        Args:
            text: what it reads.
            fault: what a failure means, for a person; it is then a refusal.
            settings: settings for this command alone.

        Raises:
            Refused: it failed, and ``fault`` says what that means.
            Unavailable: it failed, is missing, took too long, or said too much.
        """
        environment = {**os.environ, **self.environment}
        if self.index is not None:
            environment["GIT_INDEX_FILE"] = str(self.index)
        given = None if text is None else text.encode()
        argv = ("git", f"--git-dir={self.directory}", *settings, *arguments)
        try:
            done = await run(
                argv, timeout_seconds=SECONDS, max_bytes=MOST_BYTES, input=given, env=environment, cwd=self.home
            )
        except (CommandMissing, CommandTimedOut) as error:
            raise Unavailable(str(error)) from error
        said = plain(done.stderr[-600:], 400)
        if done.exit_status and fault:
            raise Refused(f"{fault}: {said}")
        if done.exit_status or done.truncated:
            raise Unavailable(f"git {arguments[0]} failed: {said or 'it said too much'}")
        return done.stdout.decode(errors="surrogateescape")

    async def commit_of(self, name: str) -> str | None:
        """Return the commit that a name means; none: there is no such name."""
        said = await self("for-each-ref", "--format=%(objectname)", "--", name)
        return said.strip() or None

    async def blob(self, commit: str, path: str) -> Blob | None:
        """Return a file of a commit; none: there is none of that path."""
        said = await self("ls-tree", "-z", "--full-tree", commit, "--", path)
        for entry in said.split("\0"):
            about, _, name = entry.partition("\t")
            if name == path:
                mode, _kind, found = about.split()
                return Blob(mode, found)
        return None

    async def text_of(self, blob: Blob) -> str:
        """Return a file's text. Raises: Refused: it is no ordinary file."""
        if blob.mode not in {"100644", "100755"}:
            raise Refused("the file of changes is a link or a directory in the repository, not an ordinary file")
        return await self("cat-file", "blob", blob.hash)

    async def changed(self, before: str, after: str) -> list[Changed]:
        """Return the files that differ between two commits or trees."""
        said = await self("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", before, after)
        parts = said.split("\0")
        return [
            Changed(about.split()[0].lstrip(":"), about.split()[1], path)
            for about, path in zip(parts[0:-1:2], parts[1::2], strict=True)
        ]

    async def commit(self, tree: str, parent: str, message: str) -> str:
        """Write a commit and return it."""
        return (await self("commit-tree", tree, "-p", parent, "-F", "-", text=message)).strip()

    async def put(self, path: str, text: str, fault: str) -> None:
        """Set a file of the index to a text. Raises: Refused: its path cannot be one of this repository's files."""
        blob = (await self("hash-object", "-w", "--no-filters", "--stdin", text=text)).strip()
        await self("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", fault=fault)

    async def is_ancestor(self, commit: str, of: str) -> bool:
        """Tell whether one commit came before another, or is the same."""
        return not (await self("rev-list", "-n", "1", commit, f"^{of}")).strip()

    async def push(self, repository: Path, remote: str, branch: str) -> str:
        """Push a branch to a remote of the operator's repository; return how that went, as a sentence."""
        try:
            address = (await self("config", "--file", str(_settings_of(repository)), f"remote.{remote}.url")).strip()
            if not _ADDRESS.fullmatch(address):
                return f"not pushed: the remote {remote} is neither https, ssh nor a path"
            allowed = ("-c", "protocol.https.allow=always", "-c", "protocol.ssh.allow=always")
            ref = f"refs/heads/{branch}"
            await self("push", "--force", "--quiet", "--no-verify", "--", address, f"{ref}:{ref}", settings=allowed)
        except Unavailable as error:
            return f"not pushed to {remote}: {error}"
        return f"pushed to {remote}"


def _settings_of(repository: Path) -> Path:
    inside = repository / ".git" / "config"
    return inside if inside.exists() else repository / "config"


@contextmanager
def change(home: Path, repository: Path) -> Generator[Git]:
    """Give the clone with an index of its own.

    Nothing of the user's and the machine's settings of git counts, only what stands here; the repository belongs to
    somebody else, which git has to be told is meant so.
    """
    settings = home / "gitconfig"
    for left in home.glob("change-*"):  # by one that was killed
        if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    safe = (repository, repository / ".git", home / "repository.git")
    lines = "".join(f"\tdirectory = {_quoted(str(path))}\n" for path in safe)
    with tempfile.TemporaryDirectory(prefix="change-", dir=home) as own:
        fresh = Path(own) / "gitconfig"
        fresh.write_text(_SETTINGS + lines)
        fresh.replace(settings)
        environment = {
            "HOME": str(home),
            "GIT_CONFIG_GLOBAL": str(settings),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
            "GIT_LITERAL_PATHSPECS": "1",
            "LC_ALL": "C.UTF-8",
            **_WHO,
        }
        yield Git(home, Path(own) / "index", environment)


@asynccontextmanager
async def alone(home: Path) -> AsyncGenerator[None]:
    """Keep other changes from the clone meanwhile. Raises: Unavailable: another one does not let go of it."""
    with (home / "lock").open("w") as lock:
        try:
            async with asyncio.timeout(SECONDS):
                while not _locked(lock.fileno()):  # noqa: ASYNC110 — nobody tells when a file's lock is let go
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise Unavailable(f"another change keeps {home} busy for more than {SECONDS:.0f} s") from error
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
