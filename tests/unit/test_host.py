"""sources/host: mounts as the kernel lists them, how full they are, which take no writes and which do not answer."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources import host
from ai_sysadmin.sources.host import Aside, HostUnreadable, Hung, LocalFileSystems, RemoteFileSystems

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
35 30 254:4 / {tmp}/remote/below rw - ext4 /dev/vde rw
36 27 0:70 / {tmp}/fused rw - fuse.s3fs s3fs rw
37 27 0:71 / /run/credentials/a.service ro - tmpfs tmpfs ro,size=1024k
rubbish
"""


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    for name in ("my data", "remote/below", "merged", "home", "variable", "fused"):
        (tmp_path / name).mkdir(parents=True)
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


# --- samples of what answers at once -------------------------------------------------------------------------


def _of(samples: list[Sample], name: str) -> dict[str, float]:
    return {sample.about: sample.value for sample in samples if sample.name == name}


def test_every_file_system_is_sampled(mountinfo: Path, tmp_path: Path) -> None:
    samples = LocalFileSystems(mountinfo, tmp_path / "fstab", tmp_path).sample()
    storage = {"/", f"{tmp_path}/my data", f"{tmp_path}/home"}
    for name in ("file_system_used_percent", "file_system_free_bytes", "file_system_total_bytes"):
        assert set(_of(samples, name)) == storage
    root = os.statvfs("/")
    assert _of(samples, "file_system_free_bytes")["/"] == pytest.approx(root.f_bavail * root.f_frsize, rel=0.05)
    assert {sample.unit for sample in samples} == {"percent", "bytes", "bool"}


LINE = "40 27 {number} / {tmp} {own} - {type} {source} {super}\n"


def _mount(tmp: Path, own: str = "rw", super_: str = "rw", type_: str = "ext4", number: str = "254:9") -> str:
    source = "tmpfs" if type_ == "tmpfs" else "/dev/vdz"
    return LINE.format(tmp=tmp, own=own, type=type_, source=source, number=number, super=super_)


@pytest.mark.parametrize(
    ("first", "then", "fstab", "expected"),
    [
        pytest.param(("rw", "rw", "ext4"), ("rw", "rw", "ext4"), "", 0.0, id="writable"),
        pytest.param(("ro", "ro", "ext4"), ("ro", "ro", "ext4"), "", 1.0, id="found read-only"),
        pytest.param(("rw", "rw", "ext4"), ("rw", "ro", "ext4"), "", 1.0, id="the kernel took it after an error"),
        pytest.param(("ro", "rw", "ext4"), ("ro", "rw", "ext4"), "", 0.0, id="only a read-only view"),
        pytest.param(("ro", "ro", "ext4"), ("ro", "ro", "ext4"), "ro,noatime", None, id="fstab wants it"),
        pytest.param(("rw", "ro", "ext4"), ("rw", "ro", "ext4"), "errors=remount-ro", 1.0, id="fstab does not"),
        pytest.param(("ro", "ro", "tmpfs"), ("ro", "ro", "tmpfs"), "", None, id="memory made read-only"),
        pytest.param(("rw", "rw", "tmpfs"), ("ro", "ro", "tmpfs"), "", 1.0, id="memory that became read-only"),
    ],
)
def test_read_only_now(
    tmp_path: Path,
    first: tuple[str, str, str],
    then: tuple[str, str, str],
    fstab: str,
    expected: float | None,
) -> None:
    (tmp_path / "fstab").write_text(f"# {tmp_path} ro\n/dev/vdz {tmp_path} ext4 {fstab} 0 2\n" if fstab else "")
    local = LocalFileSystems(tmp_path / "mountinfo", tmp_path / "fstab", tmp_path)
    for options in (first, then):
        (tmp_path / "mountinfo").write_text(_mount(tmp_path, *options))
        found = _of(local.sample(), "file_system_read_only")
    assert found.get(str(tmp_path)) == expected


def test_a_device_that_takes_no_writes_is_no_news(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(_mount(tmp_path, "ro", "ro"))
    device = tmp_path / "dev/block/254:9"
    device.mkdir(parents=True)
    (device / "ro").write_text("1\n")
    local = LocalFileSystems(tmp_path / "mountinfo", tmp_path / "fstab", tmp_path)
    assert local.sample() == []
    (device / "ro").write_text("0\n")
    assert _of(local.sample(), "file_system_read_only") == {str(tmp_path): 1.0}


def test_this_host_has_a_root() -> None:
    assert "/" in _of(LocalFileSystems().sample(), "file_system_used_percent")


# --- what may hang -------------------------------------------------------------------------------------------


class HangingShare:
    """Answers at once, except for the paths that end in one of its names."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.asked: list[str] = []
        self.released = threading.Event()

    def __call__(self, path: Path) -> None:
        self.asked.append(path.name)
        if path.name in self.names:
            self.released.wait(10)


@pytest.fixture
def share() -> Iterator[HangingShare]:
    share = HangingShare()
    yield share
    share.released.set()


async def test_shares_that_answer(mountinfo: Path, tmp_path: Path, share: HangingShare) -> None:
    samples = await RemoteFileSystems(Aside(), mountinfo, 2.0, share).sample()
    assert _of(samples, "file_system_unresponsive") == {f"{tmp_path}/remote": 0.0, f"{tmp_path}/fused": 0.0}


async def test_a_share_that_hangs_costs_one_thread(mountinfo: Path, tmp_path: Path, share: HangingShare) -> None:
    share.names = ("remote",)
    remote = RemoteFileSystems(Aside(), mountinfo, 0.05, share)
    before = _threads()
    for _ in range(3):
        samples = await remote.sample()
        assert _of(samples, "file_system_unresponsive") == {f"{tmp_path}/remote": 1.0}
        assert len(_threads() - before) == 1
    assert share.asked == ["remote"]
    share.names = ()
    share.released.set()
    for thread in _threads() - before:
        thread.join(5)
    assert set(_of(await remote.sample(), "file_system_unresponsive").values()) == {0.0}


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "aside"}


async def test_a_share_that_says_no_answers(mountinfo: Path) -> None:
    path = mountinfo.with_name("remote")
    (path / "below").rmdir()
    path.rmdir()
    assert set(_of(await RemoteFileSystems(Aside(), mountinfo).sample(), "file_system_unresponsive").values()) == {0.0}


@pytest.mark.parametrize(("timeout", "asked"), [("60", []), ("0", ["share"])])
async def test_what_an_automounter_unmounts_is_not_kept_awake(
    tmp_path: Path, share: HangingShare, timeout: str, asked: list[str]
) -> None:
    (tmp_path / "mountinfo").write_text(
        f"30 1 0:30 / /net/share rw - autofs systemd-1 rw,fd=36,timeout={timeout},direct\n"
        "31 30 0:31 / /net/share rw - nfs4 server:/x rw\n"
    )
    await RemoteFileSystems(Aside(), tmp_path / "mountinfo", 2.0, share).sample()
    assert share.asked == asked


async def test_an_error_aside_reaches_the_asker() -> None:
    def refuse() -> None:
        raise PermissionError(13, "Permission denied")

    def say_nothing() -> None:
        raise HostUnreadable("this host does not say")

    aside = Aside()
    with pytest.raises(PermissionError):
        await aside.ask("a file", refuse, 1.0)
    with pytest.raises(HostUnreadable, match="does not say"):
        await aside.ask("a figure", say_nothing, 1.0)
    assert await aside.ask("a number", lambda: 7, 1.0) == 7


async def test_what_hangs_is_named(share: HangingShare) -> None:
    share.names = ("x",)
    aside = Aside()
    for asked in ("the first", "the second"):
        with pytest.raises(Hung, match="a look at the first does not come back"):
            await aside.ask(asked, lambda: share(Path("x")), 0.02)
