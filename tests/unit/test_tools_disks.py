"""tools/disks and sources/usage: what takes the space, on real directories and made-up lists of mounts."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.sources.host import HostUnreadable
from ai_sysadmin.sources.host.mounts import mounts_in
from ai_sysadmin.sources.usage import SHOWN_DEPTH, Limits, usage
from ai_sysadmin.tools.disks import covering, disk_tools, place
from tests.looking import looked, tree

ROOT = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
BLOCK = 4096


def _host(root: Path, mounts: str = ROOT) -> Path:
    return tree(root, {"proc/1/mountinfo": mounts, "proc/self/mountinfo": mounts})


# --- counting


def test_sizes_are_summed_for_the_directories_above(tmp_path: Path) -> None:
    tree(tmp_path, {"a/b/c/d/big": b"x" * 40_000, "a/small": b"x" * 5000, "e/other": b"x" * 9000, "f/empty": b""})
    found = usage(tmp_path, threading.Event())
    held = {each.path: each.held_bytes for each in found.directories}
    deep = held["a/b/c"]
    assert deep >= 40_000
    assert held["a"] >= held["a/b"] + 5000
    assert held["a/b"] >= deep
    assert found.directories[0].path == "a"
    assert "a/b/c/d" not in held
    assert SHOWN_DEPTH == 3
    assert [each.path for each in found.files] == ["a/b/c/d/big", "e/other", "a/small"]
    assert found.total.held_bytes == sum(held[each] for each in ("a", "e", "f"))
    assert found.entries == 10
    assert not found.unfinished


def test_links_are_not_followed_and_files_with_two_names_count_once(tmp_path: Path) -> None:
    tree(tmp_path, {"outside/huge": b"x" * 900_000, "in/file": b"x" * 50_000})
    (tmp_path / "in/to").symlink_to(tmp_path / "outside")
    (tmp_path / "in/file2").hardlink_to(tmp_path / "in/file")
    found = usage(tmp_path / "in", threading.Event())
    assert found.total.held_bytes < 60_000
    assert len(found.files) == 1


OVERLAY = """
set -e
cd "$1"
mkdir lower memory merged lower/below
mount -t tmpfs tmpfs memory
mkdir memory/upper memory/work
echo below > lower/below/file
echo above > memory/upper/above
mount -t overlay overlay -o lowerdir=lower,upperdir=memory/upper,workdir=memory/work,xino=off merged
mkdir merged/other
mount -t tmpfs tmpfs merged/other
echo no > merged/other/file
exec "$2" -c "$3"
"""
COUNT = """
import threading
from pathlib import Path
from ai_sysadmin.sources.usage import usage
found = usage(Path('merged'), threading.Event())
print(*sorted(each.path for each in found.files), *found.elsewhere)
"""


def test_the_files_of_an_overlay_are_its_own(tmp_path: Path) -> None:
    """They show the device of the file system that they come from, its directories another."""
    inside = ("unshare", "--map-root-user", "--mount")
    if shutil.which("unshare") is None or subprocess.run((*inside, "true"), capture_output=True).returncode:
        pytest.skip("this system lets nobody make a mount of their own")
    argv = (*inside, "sh", "-c", OVERLAY, "sh", str(tmp_path), sys.executable, COUNT)
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    if "overlay" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout.split() == ["above", "below/file", "other"], done.stderr


def test_a_sparse_file_counts_what_it_takes(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert usage(tmp_path, threading.Event()).total.held_bytes < 1 << 20


def test_only_the_largest_files_are_kept(tmp_path: Path) -> None:
    tree(tmp_path, {f"f{number}": b"x" * (BLOCK * number) for number in range(1, 9)})
    found = usage(tmp_path, threading.Event(), Limits(largest=3))
    assert [each.path for each in found.files] == ["f8", "f7", "f6"]


def test_a_directory_of_200_000_entries_keeps_its_time(tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    first = many / "0"
    first.touch()
    # Names of one file are made fast, and each costs a look all the same.
    names = iter(range(1, 200_000))
    for start in range(0, 200_000, 50_000):
        file = many / f"file{start}"
        file.touch()
        for _ in range(49_999):
            try:
                os.link(file, many / str(next(names)))
            except StopIteration:
                break
    began = time.monotonic()
    found = usage(tmp_path, threading.Event(), Limits(seconds=0.2))
    assert time.monotonic() - began < 0.6
    assert "time of 0.2 s was over" in found.unfinished
    assert 0 < found.entries < 200_000
    assert usage(tmp_path, threading.Event(), Limits(entries=1000)).entries <= 1200


def test_many_empty_directories_keep_the_time_too(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).mkdir()
    clock = iter(range(10_000))
    found = usage(tmp_path, threading.Event(), Limits(seconds=50), now=lambda: float(next(clock)))
    assert "its time of 50 s was over; 2" in found.unfinished
    assert "were not reached" in found.unfinished


def test_a_count_that_is_stopped_ends(tmp_path: Path) -> None:
    tree(tmp_path, {"a/b": b"x"})
    stop = threading.Event()
    stop.set()
    assert usage(tmp_path, stop).unfinished.startswith("it was stopped")


def test_deep_nesting_ends(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(120):
        deep /= "d"
    deep.mkdir(parents=True)
    found = usage(tmp_path, threading.Event())
    assert found.unreadable_count == 1


@pytest.mark.parametrize("kind", ["missing", "file", "link"])
def test_what_is_no_directory_is_said(tmp_path: Path, kind: str) -> None:
    tree(tmp_path, {"file": b"x"})
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises((NotFound, HostUnreadable)):
        usage(tmp_path / kind, threading.Event())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_what_may_not_be_looked_into_is_named(tmp_path: Path) -> None:
    tree(tmp_path, {"closed/file": b"x"})
    (tmp_path / "closed").chmod(0)
    found = usage(tmp_path, threading.Event())
    (tmp_path / "closed").chmod(0o700)
    assert found.unreadable == ("closed",)


# --- the tool


async def test_below_a_path(tmp_path: Path) -> None:
    root = _host(tmp_path)
    tree(root, {"var/log/big.log": b"x" * 2_000_000, "var/log/j/small": b"x" * 10})
    text = (await looked(disk_tools(root), path="/var/log")).text
    assert re.match(r"/var/log on / \(ext4\): 2[.\d]* MB in 3 entries\n", text)
    assert "/var/log/big.log" in text
    assert "/var/log/j/" in text
    assert "not complete" not in text


async def test_names_with_line_ends_and_escapes_stay_on_their_line(tmp_path: Path) -> None:
    root = _host(tmp_path)
    tree(root, {"d/x\n  9 GB  /etc/shadow\x1b[2J": b"x" * 9000})
    lines = (await looked(disk_tools(root), path="/d")).text.splitlines()
    assert lines[-1].endswith("/d/x 9 GB /etc/shadow")
    assert not any(line.strip().startswith("9 GB") for line in lines)


@pytest.mark.parametrize("path", ["var/log", "../etc", "~", "./x", "/a\0b"])
async def test_a_path_is_absolute(tmp_path: Path, path: str) -> None:
    with pytest.raises(Refused, match="no absolute path"):
        await looked(disk_tools(_host(tmp_path)), path=path)


async def test_the_kernels_file_systems_hold_no_storage(tmp_path: Path) -> None:
    root = _host(tmp_path, ROOT + "22 27 0:21 / /proc rw - proc proc rw\n30 27 0:9 / /net rw - autofs systemd-1 rw\n")
    for path in ("/proc", "/proc/1", "/proc/../proc/1", "/net/server"):
        with pytest.raises(Refused, match="holds no storage"):
            await looked(disk_tools(root), path=path)


async def test_a_count_runs_no_longer_than_somebody_waits(tmp_path: Path) -> None:
    root = _host(tmp_path)
    for number in range(3000):
        (root / f"d{number}").mkdir()
    tool = disk_tools(root, Limits(seconds=60))
    looking = asyncio.create_task(looked(tool, path="/"))
    await asyncio.sleep(0.005)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    for _ in range(200):
        if not [each for each in threading.enumerate() if each.name == "aside"]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the count goes on although nobody waits for it")


async def test_all_file_systems_with_their_mode_and_odd_names(tmp_path: Path) -> None:
    odd = tmp_path / "my disk\nwith 100 %"
    odd.mkdir()
    point = str(odd).replace(" ", "\\040").replace("\n", "\\012")
    mounts = (
        f"27 1 254:0 / {tmp_path} rw - ext4 /dev/vda rw\n"
        f"28 27 254:1 / {point} ro,relatime - ext4 /dev/vdb ro\n"
        f"29 27 0:50 / /mnt/share rw - nfs4 server:/share rw\n"
    )
    (line_rw, line_ro, line_nfs, line_deleted) = (await looked(disk_tools(_host(tmp_path, mounts)))).text.splitlines()[
        1:
    ]
    assert line_rw.startswith(str(tmp_path))
    assert " rw " in line_rw
    assert line_ro.startswith(f"{tmp_path}/my disk with 100 %")
    assert " ro " in line_ro
    assert "server:/share" in line_nfs
    assert line_deleted.startswith("deleted files that still take space: none seen")


async def test_no_list_of_mounts(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="list of mounts"):
        await looked(disk_tools(tmp_path))


def test_what_a_sandbox_puts_in_a_places_stead_is_another_place(tmp_path: Path) -> None:
    real = mounts_in(_host(tmp_path, ROOT + "40 27 0:30 / /home rw - ext4 /dev/vdb rw\n") / "proc/1/mountinfo")
    sandboxed = mounts_in(
        _host(
            tmp_path / "own",
            ROOT
            + "41 27 254:0 /var/lib/it /var/lib/it rw - ext4 /dev/vda rw\n"
            + "42 27 254:0 /tmp/systemd-private-1/tmp /tmp rw - ext4 /dev/vda rw\n"
            + "43 27 0:22 /systemd/inaccessible/dir /home ro - tmpfs tmpfs rw\n",
        )
        / "proc/1/mountinfo"
    )

    def same(path: str) -> bool:
        one, other = covering(real, path), covering(sandboxed, path)
        assert one is not None
        assert other is not None
        return place(one, path) == place(other, path)

    assert same("/var/log")
    assert same("/var/lib/it/deep")
    assert not same("/tmp")
    assert not same("/home/anybody")
    assert covering(real, "/homeless") is not None
    assert covering(real, "/homeless").mount_point == "/"  # type: ignore[union-attr]
