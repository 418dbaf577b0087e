"""Give root up: `ai-sysadmin up`, started by root, reads no line of log before this has been done."""

import grp
import os
import pwd
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.core.errors import SettingsError
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run

ACCOUNT = "ai-sysadmin"
FALLBACK = "nobody"
READERS = ("systemd-journal", "adm")
_SECONDS = 20


@dataclass(frozen=True)
class Account:
    """Who the suite runs as: a user and its group, and the groups that let it read the journal."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def account() -> Account | None:
    """Return the suite's own user; none: there is no such user. D-Bus talks to users that have a name only."""
    return _account(ACCOUNT)


async def make_account() -> Account:
    """Make the suite's own system user; where that cannot be, return ``nobody``.

    Raises:
        SettingsError: there is not even that one.
    """
    with suppress(CommandMissing, CommandTimedOut):
        flags = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent")
        await run(("useradd", *flags, "--shell", "/usr/sbin/nologin", ACCOUNT), timeout_seconds=_SECONDS)
    made = _account(ACCOUNT) or _account(FALLBACK)
    if made is None:
        raise SettingsError(f"started by root, the suite gives its rights up: make a user {ACCOUNT} that it can become")
    return made


def _account(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = tuple(gid for group in READERS if (gid := _gid(group)) is not None)
    return Account(name, entry.pw_uid, entry.pw_gid, groups)


def prepare(state_dir: Path, runtime_dir: Path, who: Account) -> None:
    """Make the directories: root's own, writable by the account, in which nobody can move what is another's."""
    for directory, mode in ((state_dir, 0o1770), (runtime_dir, 0o1775)):
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, 0, who.gid)
        directory.chmod(mode)


def drop(who: Account) -> None:
    """Become the account, for good.

    Raises:
        SettingsError: the account could not read this program's own files.
    """
    os.setgroups(who.groups)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    os.umask(0o027)
    os.chdir("/")  # where root was, this account may not be able to stay
    here = Path(__file__)
    if not os.access(here, os.R_OK):
        raise SettingsError(
            f"started by root, the suite gives its rights up, and then cannot read its own code in {here.parents[1]}: "
            "install it where every user may read, such as below /opt"
        )


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
