"""sources/host.py: mounts as the kernel lists them, pressure, a pending reboot."""

import os
from pathlib import Path

import pytest

from ai_sysadmin.sources import host
from ai_sysadmin.sources.host import HostUnreadable

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
24 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 254:0 /nix/store /nix/store ro,relatime shared:2 - ext4 /dev/vda rw,discard
29 27 254:1 / {tmp}/my\\040data ro,relatime - xfs /dev/vdb rw
30 27 0:40 / {tmp}/remote rw,relatime - nfs4 server:/x rw
31 27 0:50 / {tmp}/merged rw - overlay overlay rw,lowerdir=/a
32 27 0:60 /@home {tmp}/home rw - btrfs /dev/vdc rw
33 27 0:61 /@var {tmp}/variable rw - btrfs /dev/vdc rw
34 27 254:3 / {tmp}/missing rw - ext4 /dev/vdd rw
rubbish
"""


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    for name in ("my data", "remote", "merged", "home", "variable"):
        (tmp_path / name).mkdir()
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS.format(tmp=tmp_path))
    return path


def test_storage_is_listed_once_per_device(mountinfo: Path, tmp_path: Path) -> None:
    found = {each.mount_point: each for each in host.file_systems(mountinfo)}
    assert set(found) == {"/", f"{tmp_path}/my data", f"{tmp_path}/home"}
    assert found[f"{tmp_path}/my data"].read_only
    assert not found["/"].read_only
    root = os.statvfs("/")
    assert found["/"].inodes_total == root.f_files
    assert 0 <= found["/"].used_percent <= 100
    assert 0 <= found["/"].inodes_used_percent <= 100


def test_no_list_of_mounts_is_said(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="list of mounts"):
        host.file_systems(tmp_path / "nothing")


def test_this_host_has_memory_load_and_a_root() -> None:
    memory, load = host.memory(), host.load()
    assert 0 < memory.available_bytes <= memory.total_bytes
    assert 0 <= memory.used_percent <= 100
    assert load.processors >= 1
    assert "/" in {each.mount_point for each in host.file_systems()}


def test_pressure(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="does not report pressure"):
        host.pressure(tmp_path)
    (tmp_path / "cpu").write_text("some avg10=1.50 avg60=2.00 avg300=0.00 total=5\n")
    (tmp_path / "memory").write_text(
        "some avg10=9.00 avg60=1.00 avg300=0.00 total=5\nfull avg10=8.00 avg60=0.50 total=1\n"
    )
    cpu, memory = host.pressure(tmp_path)
    assert (cpu.resource, cpu.some_10, cpu.full_10) == ("cpu", 1.5, 0.0)
    assert (memory.some_10, memory.full_60) == (9.0, 0.5)


def test_debian_says_that_a_reboot_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "etc/debian_version").write_text("12\n")
    assert host.pending_reboot(tmp_path).pending is False
    (tmp_path / "run/reboot-required").touch()
    (tmp_path / "run/reboot-required.pkgs").write_text("linux-image\ndbus\nlinux-image\n")
    assert host.pending_reboot(tmp_path) == host.PendingReboot(pending=True, why="updated: dbus, linux-image")


def test_nixos_compares_what_runs_with_what_is_installed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for system in ("booted-system", "current-system"):
        (run / system).mkdir(parents=True)
        for name in ("kernel", "initrd", "kernel-modules"):
            (run / system / name).symlink_to(f"/nix/store/1-{name}")
    assert host.pending_reboot(tmp_path) == host.PendingReboot(pending=False, why="")
    (run / "current-system/kernel").unlink()
    (run / "current-system/kernel").symlink_to("/nix/store/2-kernel")
    assert host.pending_reboot(tmp_path) == host.PendingReboot(pending=True, why="changed since boot: kernel")


def test_elsewhere_it_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="not known"):
        host.pending_reboot(tmp_path)
