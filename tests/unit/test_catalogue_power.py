"""Rebooting: only where the host comes up again without a person, and nobody holds it off."""

import asyncio
from pathlib import Path

import pytest

from ai_sysadmin.actions.action import Host, Session
from ai_sysadmin.actions.catalogue.power import GIVEN_UP_SECONDS, HOLD_SECONDS, BootSeen, RebootHost
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.testing.host import FakeClock, FakeUnits

REBOOT = RebootHost()
BOOT = "0f9c0d2e-8a27-4d0e-9f0b-000000000001"


class Sessions:
    def __init__(self, *sessions: Session) -> None:
        self.sessions = sessions

    async def live(self):
        return self.sessions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A NixOS host up for a day, on an ordinary disk, whose booted system is the current one."""
    for name, text in {
        "proc/sys/kernel/random/boot_id": f"{BOOT}\n",
        "proc/uptime": "86400.50 100.00\n",
        "proc/1/mounts": "/dev/sda1 / ext4 rw 0 0\n",
        "proc/locks": "1: FLOCK  ADVISORY  WRITE 99 08:01:4242 0 EOF\n",
    }.items():
        put(tmp_path, name, text)
    for system in ("booted", "current"):
        for part in ("kernel", "initrd", "kernel-modules"):
            link(tmp_path, f"run/{system}-system/{part}", f"/nix/store/aaa-linux/{part}")
    return tmp_path


def put(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def link(root: Path, name: str, target: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def device(root: Path, number: int, uuid: str, name: str) -> None:
    put(root, f"sys/block/dm-{number}/dm/uuid", f"{uuid}\n")
    put(root, f"sys/block/dm-{number}/dm/name", f"{name}\n")


def seen(root: Path, *sessions: Session) -> BootSeen:
    host = Host(Settings(host_name="box"), FakeUnits(), Sessions(*sessions), FakeClock(), root=root)
    return asyncio.run(REBOOT.observe(host))


def obstacle(root: Path) -> str:
    return REBOOT.obstacle(seen(root)) or ""


def test_a_host_that_may_not_be_rebooted_is_not():
    assert "actions.reboot is not set" in (REBOOT.refuse(Settings(host_name="box")) or "")
    assert REBOOT.refuse(Settings.model_validate({"host_name": "box", "actions": {"reboot": True}})) is None


def test_a_plain_host_may_be_rebooted_and_that_is_destructive(root):
    assert obstacle(root) == ""
    assert REBOOT.risk(seen(root)) is Risk.DESTRUCTIVE
    assert REBOOT.warrant(seen(root)) is None


@pytest.mark.parametrize(
    ("line", "asks"),
    [
        ("data UUID=1 none luks", True),
        ("data UUID=1 -", True),
        ("data UUID=1", True),
        ("data UUID=1 none luks,nofail", True),
        ("data UUID=1 none luks,noauto", False),
        ("# data UUID=1 none luks", False),
        ("data UUID=1 /etc/keys/data luks", False),
        ("swap /dev/sda2 /dev/urandom swap", False),
        ("data UUID=1 none luks,tpm2-device=auto", False),
        ("data UUID=1 none luks,tpm2-device=auto,tpm2-pin=yes", True),
        ("data UUID=1 none luks,fido2-device=auto", True),
        ("data UUID=1 none luks,pkcs11-uri=auto", True),
        ("data UUID=1 sda2_crypt luks,keyscript=/lib/cryptsetup/scripts/decrypt_derived", False),
        ("data UUID=1 none luks,keyscript=decrypt_keyctl", True),
    ],
)
def test_a_disk_that_asks_for_a_passphrase_at_boot_forbids_it(root, line, asks):
    put(root, "etc/crypttab", f"# <target> <source> <key> <options>\n\n{line}\n")
    assert ("data:" in obstacle(root)) is asks


def test_an_open_disk_of_which_nobody_knows_how_it_was_opened_forbids_it(root):
    device(root, 0, "LVM-abc", "vg-root")
    assert obstacle(root) == ""
    device(root, 1, "CRYPT-LUKS2-123-cryptroot", "cryptroot")  # as NixOS opens it, in the initrd
    assert "cryptroot: it is open" in obstacle(root)
    put(root, "etc/crypttab", "cryptroot UUID=1 none tpm2-device=auto\n")
    assert obstacle(root) == ""


@pytest.mark.parametrize(
    ("what", "mode", "holds"),
    [
        ("shutdown", "block", True),
        ("sleep:shutdown:idle", "block", True),
        ("shutdown", "delay", False),
        ("sleep", "block", False),
    ],
)
def test_who_holds_a_shutdown_off_is_heeded(root, what, mode, holds):
    put(
        root,
        "run/systemd/inhibit/1",
        f"# This is private data. Do not parse.\nWHAT={what}\nMODE={mode}\nUID=0\nWHO=apt\n",
    )
    assert ("held off by the program 'apt' of user id 0" in obstacle(root)) is holds


def test_a_package_manager_at_work_is_heeded(root):
    lock = put(root, "var/lib/dpkg/lock-frontend", "")
    assert obstacle(root) == ""
    put(root, "proc/locks", f"1: POSIX  ADVISORY  WRITE 99 08:01:{lock.stat().st_ino} 0 EOF\n")
    assert "package manager" in obstacle(root)


def test_what_cannot_be_seen_is_not_taken_for_absent(root):
    (root / "proc/locks").unlink()
    with pytest.raises(Unavailable, match="locked"):
        seen(root)


@pytest.mark.parametrize("part", ["kernel", "initrd", "kernel-modules"])
def test_another_kernel_than_the_booted_one_warrants_it(root, part):
    link(root, f"run/current-system/{part}", "/nix/store/bbb-linux/x")
    assert part in (REBOOT.warrant(seen(root)) or "")


def test_an_update_that_says_so_warrants_it(root):
    put(root, "run/reboot-required", "*** System restart required ***\n")
    assert "reboot-required" in (REBOOT.warrant(seen(root)) or "")


def test_a_person_sees_who_is_logged_in_and_what_cannot_be_known(root):
    put(root, "proc/1/mounts", "tank/root / zfs rw 0 0\n")
    alice = Session(user="alice", uid=1000, kind="user")
    facts = dict(REBOOT.plan(seen(root, alice, alice)).facts)
    assert facts["Logged in"] == "alice"
    assert facts["Up for"] == "1 days and 0 hours"
    assert "zfs" in facts["Encryption"]


def test_it_is_proved_by_another_boot_and_given_up_in_time():
    before = BootSeen(boot_id="a", uptime_seconds=1000)
    waiting = BootSeen(boot_id="a", uptime_seconds=1000 + GIVEN_UP_SECONDS - 1)
    too_long = BootSeen(boot_id="a", uptime_seconds=1000 + GIVEN_UP_SECONDS)
    assert REBOOT.shortfall(before, waiting) is None
    assert "has not rebooted" in (REBOOT.shortfall(before, too_long) or "")
    assert REBOOT.shortfall(before, BootSeen(boot_id="b", uptime_seconds=20)) is None
    assert REBOOT.shortfall(before, BootSeen(boot_id="b", uptime_seconds=99_999)) is None
    # the check ends after the reboot must have come: without one it cannot pass
    assert HOLD_SECONDS > GIVEN_UP_SECONDS


def test_it_can_be_called_off_and_is_where_it_does_not_come(root):
    plan = REBOOT.plan(seen(root))
    assert plan.run.commands == (("shutdown", "-r", "+1"),)
    assert plan.revert is not None
    assert plan.revert.commands == (("shutdown", "-c"),)
    assert plan.hold_seconds == HOLD_SECONDS
