"""Give root up: `ai-sysadmin up`, started by root, reads no line of log before this has been done."""

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.core.errors import SettingsError

ACCOUNT = "ai-sysadmin"
READERS = ("systemd-journal", "adm")
_FREE_UIDS = range(61184, 65520)
"""The range in which systemd makes its dynamic users: nobody's by convention."""


@dataclass(frozen=True)
class Account:
    """Who the suite runs as: a user and a group, and the groups that let it read the journal."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def account(state_dir: Path) -> Account:
    """Choose the unprivileged account: the user `ai-sysadmin`, else the one that has the state, else a free uid."""
    groups = tuple(gid for name in READERS if (gid := _gid(name)) is not None)
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        uid = _kept_uid(state_dir) or next(uid for uid in _FREE_UIDS if not _is_taken(uid))
        return Account(uid, uid, groups)
    return Account(entry.pw_uid, entry.pw_gid, groups)


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
    here = Path(__file__)
    if not os.access(here, os.R_OK):
        raise SettingsError(
            f"started by root, the suite gives its rights up, and then cannot read its own code in {here.parents[1]}: "
            "install it where every user may read, such as below /opt"
        )


def _kept_uid(state_dir: Path) -> int | None:
    """The group of a state directory from an earlier start is the account's."""
    try:
        gid = state_dir.stat().st_gid
    except OSError:
        return None
    return gid if gid in _FREE_UIDS else None


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _is_taken(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
