"""Mounting and remounting: only what fstab and the settings name, by systemd, and never what may be damaged."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.actions.catalogue.mounts import MountFileSystem, MountSeen, RemountFileSystem, fstab_line, mount_unit
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.units import UnitStatus
from tests.acting import host_at

FSTAB = """\
# a comment
/dev/sda1 / ext4 defaults 0 1
UUID=1 /srv/data ext4 defaults,errors=remount-ro 0 2
UUID=2 /srv/old\\040data ext4 ro 0 2
/dev/sdc1 /srv/frozen xfs ro,noatime 0 2
//nas/x /srv/share cifs credentials=/etc/secret 0 0
"""
DECLARED = {"mount_points": ["/srv/data", "/srv/frozen", "/srv/share", "/srv/unlisted", "/", "/nix/store"]}


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/srv/data", "srv-data.mount"),
        ("/", "-.mount"),
        ("/srv/with-dash", r"srv-with\x2ddash.mount"),
        ("/.hidden", r"\x2ehidden.mount"),
        ("/srv/a.b", "srv-a.b.mount"),
        ("/srv/@x", r"srv-\x40x.mount"),
    ],
)
def test_a_path_has_systemds_unit_name(path, unit):
    assert mount_unit(path) == unit


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="systemd-escape is not here")
def test_systemd_itself_names_them_so():
    paths = ["/srv/data", "/", "/a-b/c_d", "/.x/.y", "/x@y/z=1/~t", "/a,b/c+d:e"]
    said = subprocess.run(
        ["systemd-escape", "--path", "--suffix=mount", *paths], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == [mount_unit(path) for path in paths]


@pytest.mark.parametrize("entry", [MountFileSystem, RemountFileSystem])
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/srv/data", None),
        ("/srv/other", "is not declared"),
        ("/srv/data/below", "is not declared"),
        ("/", "the system lives in it"),
        ("/nix/store", "the system lives in it"),
        ("/run/x", "the system lives in it"),
    ],
)
def test_only_what_is_declared_is_touched(entry, path, why):
    said = entry(path=path).refuse(Settings.model_validate({"actions": DECLARED}))
    assert (said is None) if why is None else (why in (said or ""))


def test_a_line_of_fstab_is_read():
    line = fstab_line(FSTAB, "/srv/old data")
    assert line is not None
    assert line.is_read_only
    assert fstab_line(FSTAB, "/srv/dat") is None
    assert fstab_line(FSTAB + "UUID=9 /srv/data xfs ro 0 0\n", "/srv/data").source == "UUID=9"


@given(st.text(max_size=200), st.text(max_size=20))
def test_any_fstab_is_survived(text, path):
    fstab_line(text, path)


def observed(
    tmp_path: Path,
    entry,
    *,
    mounts: str = "",
    active: str = "failed",
    errors: str | None = None,
    path: str = "/srv/data",
):
    host = host_at(tmp_path, DECLARED, mounts)
    (tmp_path / "etc").mkdir(exist_ok=True)
    (tmp_path / "etc/fstab").write_text(FSTAB)
    host.units.put(
        mount_unit(path), active, load_state="loaded", result="exit-code" if active == "failed" else "success"
    )
    if errors is not None:
        device = tmp_path / "sys/devices/sdb1"
        device.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/dev/block").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/dev/block/8:17").symlink_to(device)
        (tmp_path / "sys/fs/ext4/sdb1").mkdir(parents=True)
        (tmp_path / "sys/fs/ext4/sdb1/errors_count").write_text(errors + "\n")
    action = entry(path=path)
    return action, asyncio.run(action.observe(host))


def mounted(path: str, options: str = "rw", kind: str = "ext4") -> str:
    return f"50 21 8:17 / {path} rw,relatime - {kind} /dev/sdb1 {options}\n"


def test_a_file_system_whose_mount_failed_is_mounted_and_taken_back_by_systemd(tmp_path):
    action, seen = observed(tmp_path, MountFileSystem)
    assert action.obstacle(seen) is None
    assert action.risk(seen) is Risk.REVERSIBLE
    assert "has failed" in (action.warrant(seen) or "")
    plan = action.plan(seen)
    assert plan.run.commands == (("systemctl", "start", "--", "srv-data.mount"),)
    assert plan.calls == (("StartUnit", "srv-data.mount"),)
    assert plan.revert is not None
    assert plan.run.sandbox.capabilities == ()
    assert action.subject == "srv-data.mount"


def test_what_was_unmounted_by_hand_or_would_hide_files_costs_more_and_is_not_warranted(tmp_path):
    action, seen = observed(tmp_path, MountFileSystem, active="inactive")
    assert (action.warrant(seen), action.risk(seen)) == (None, Risk.DISRUPTIVE)
    (tmp_path / "srv/data").mkdir(parents=True)
    (tmp_path / "srv/data/file").touch()
    action, seen = observed(tmp_path, MountFileSystem)
    assert action.risk(seen) is Risk.DISRUPTIVE
    assert action.plan(seen).facts[0][0] == "Hidden"


def test_an_automounter_is_not_set_off_by_a_look(tmp_path):
    (tmp_path / "srv/data").mkdir(parents=True)
    (tmp_path / "srv/data/file").touch()
    _, seen = observed(tmp_path, MountFileSystem, mounts="50 21 0:70 / /srv/data rw - autofs systemd-1 rw\n")
    assert (seen.type, seen.occupied) == ("", False)


@pytest.mark.parametrize(
    ("entry", "path", "mounts", "active", "why"),
    [
        (MountFileSystem, "/srv/data", mounted("/srv/data"), "active", "mounted already"),
        (MountFileSystem, "/srv/data", "", "activating", "at work"),
        (MountFileSystem, "/srv/unlisted", "", "failed", "no line"),
        (RemountFileSystem, "/srv/data", "", "failed", "not mounted"),
        (RemountFileSystem, "/srv/data", mounted("/srv/data"), "active", "is writable"),
        (
            RemountFileSystem,
            "/srv/frozen",
            mounted("/srv/frozen", "ro", "xfs"),
            "active",
            "wants /srv/frozen read-only",
        ),
    ],
)
def test_a_precondition_that_does_not_hold_is_said(tmp_path, entry, path, mounts, active, why):
    action, seen = observed(tmp_path, entry, mounts=mounts, active=active, path=path)
    assert why in (action.obstacle(seen) or "")


def test_a_unit_that_systemd_does_not_know_is_an_obstacle(tmp_path):
    action, seen = observed(tmp_path, MountFileSystem)
    gone = seen.unit.model_copy(update={"load_state": "not-found"})
    assert "daemon-reload" in (action.obstacle(seen.model_copy(update={"unit": gone})) or "")


def test_a_healthy_file_system_that_became_read_only_is_remounted(tmp_path):
    action, seen = observed(tmp_path, RemountFileSystem, mounts=mounted("/srv/data", "ro"), active="active", errors="0")
    assert action.obstacle(seen) is None
    assert action.risk(seen) is Risk.DISRUPTIVE
    assert "counts no errors" in (action.warrant(seen) or "")
    assert action.plan(seen).run.commands == (("systemctl", "reload", "--", "srv-data.mount"),)


def test_a_file_system_with_errors_is_never_made_writable(tmp_path):
    action, seen = observed(tmp_path, RemountFileSystem, mounts=mounted("/srv/data", "ro"), active="active", errors="3")
    assert "run fsck" in (action.obstacle(seen) or "")
    assert action.warrant(seen) is None


def test_where_nobody_counts_errors_a_person_has_to_want_it(tmp_path):
    mounts = mounted("/srv/data", "ro", "xfs")
    action, seen = observed(tmp_path, RemountFileSystem, mounts=mounts, active="active", errors="0")
    assert action.obstacle(seen) is None
    assert action.warrant(seen) is None


def seen_as(**changes: object) -> MountSeen:
    _, seen = RemountFileSystem.example()
    return seen.model_copy(update={"type": "ext4", "is_read_only": False, "errors": 0, **changes})


@pytest.mark.parametrize(
    ("entry", "now", "fault"),
    [
        (MountFileSystem, seen_as(), None),
        (MountFileSystem, seen_as(type=""), "is not mounted"),
        (MountFileSystem, seen_as(is_read_only=True), "read-only"),
        (RemountFileSystem, seen_as(), None),
        (RemountFileSystem, seen_as(is_read_only=True), "read-only"),
        (RemountFileSystem, seen_as(type=""), "not mounted any more"),
        (RemountFileSystem, seen_as(errors=1), "1 errors"),
    ],
)
def test_the_check_looks_at_what_the_kernel_lists(entry, now, fault):
    said = entry(path="/srv/data").shortfall(seen_as(type=""), now)
    assert (said is None) if fault is None else (fault in (said or ""))


@pytest.mark.parametrize("entry", [MountFileSystem, RemountFileSystem])
def test_the_page_has_an_example(entry):
    action, seen = entry.example()
    assert isinstance(seen.unit, UnitStatus)
    assert action.obstacle(seen) is None
    assert action.plan(seen).run.commands
