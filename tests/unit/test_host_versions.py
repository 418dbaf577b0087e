"""sources/host: a pending reboot, NixOS generations, backups."""

import fcntl
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources import host
from ai_sysadmin.sources.host import Aside, Backups, HostUnreadable

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

# --- reboot --------------------------------------------------------------------------------------------------


def test_debian_says_that_a_reboot_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "etc/debian_version").write_text("12\n")
    assert host.pending_reboot(tmp_path).pending is False
    assert host.reboot_samples(tmp_path) == [Sample("reboot_pending", 0.0, "", "bool")]
    (tmp_path / "run/reboot-required").touch()
    (tmp_path / "run/reboot-required.pkgs").write_text("linux-image\ndbus\nlinux-image\n")
    assert host.pending_reboot(tmp_path) == host.PendingReboot(pending=True, why="updated: dbus, linux-image")
    assert host.reboot_samples(tmp_path) == [Sample("reboot_pending", 1.0, "", "bool")]


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


# --- generations ---------------------------------------------------------------------------------------------


class NixOS:
    """A made-up root of a NixOS host with numbered generations."""

    def __init__(self, root: Path, systems: dict[int, str], profile: int, current: str) -> None:
        self.root = root
        profiles = root / "nix/var/nix/profiles"
        profiles.mkdir(parents=True)
        (root / "run/nixos").mkdir(parents=True)
        for number, system in systems.items():
            (profiles / f"system-{number}-link").symlink_to(f"/nix/store/{system}")
        (profiles / "system").symlink_to(f"system-{profile}-link")
        (root / "run/current-system").symlink_to(f"/nix/store/{current}")
        (root / "run/booted-system").symlink_to("/nix/store/a")

    @property
    def lock(self) -> Path:
        return self.root / "run/nixos/switch-to-configuration.lock"


@pytest.mark.parametrize(
    ("systems", "profile", "current", "expected"),
    [
        pytest.param({1: "a", 2: "b"}, 2, "b", 2, id="the latest"),
        pytest.param({1: "a", 2: "b", 9: "c", 10: "d"}, 9, "c", 9, id="rolled back"),
        pytest.param({1: "a", 2: "b", 3: "a"}, 1, "a", 1, id="equal ones: what the profile names"),
        pytest.param({9: "a", 10: "a", 11: "b"}, 11, "a", 10, id="equal ones: the latest"),
        pytest.param({1: "a"}, 1, "tried", None, id="only tried"),
    ],
)
def test_which_generation_runs(
    tmp_path: Path, systems: dict[int, str], profile: int, current: str, expected: int | None
) -> None:
    nixos = NixOS(tmp_path, systems, profile, current)
    activated = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
    os.utime(tmp_path / "run/current-system", (0, activated.timestamp()), follow_symlinks=False)
    found = host.generations(nixos.root)
    assert found.number == expected
    assert (found.current, found.booted) == (f"/nix/store/{current}", "/nix/store/a")
    assert found.switched_at == activated
    assert not found.switching
    if expected is None:
        with pytest.raises(HostUnreadable, match="none of the numbered"):
            host.generation_samples(tmp_path)
    else:
        assert host.generation_samples(tmp_path) == [Sample("nixos_generation", float(expected), "", "count")]


def test_other_hosts_have_no_generations(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="no NixOS generations"):
        host.generations(tmp_path)


def _locks(proc: Path, kind: str, mode: str, status: os.stat_result, inode: int) -> None:
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    (proc / "locks").write_text(
        f"1: POSIX  ADVISORY  WRITE 77 00:01:5 0 EOF\n2: {kind}  ADVISORY  {mode} 4711 {device}:{inode} 0 EOF\n"
    )


@pytest.mark.parametrize(
    ("kind", "mode", "offset", "expected"),
    [
        ("FLOCK", "WRITE", 0, True),
        ("FLOCK", "READ ", 0, False),
        ("POSIX", "WRITE", 0, False),
        ("FLOCK", "WRITE", 1, False),
    ],
)
def test_a_switch_is_under_way(tmp_path: Path, kind: str, mode: str, offset: int, expected: bool) -> None:
    nixos = NixOS(tmp_path, {1: "a"}, 1, "a")
    nixos.lock.touch()
    status = nixos.lock.stat()
    _locks(tmp_path, kind, mode, status, status.st_ino + offset)
    assert host.generations(nixos.root, tmp_path).switching is expected


def test_a_lock_that_is_really_held_is_seen() -> None:
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK):
        pytest.skip("no file system in memory, as /run is one")
    root = shared_memory / f"ai-sysadmin-test-{os.getpid()}"
    nixos = NixOS(root, {1: "a"}, 1, "a")
    try:
        with nixos.lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert host.generations(root).switching
        assert not host.generations(root).switching
    finally:
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        root.rmdir()


# --- backups -------------------------------------------------------------------------------------------------


def _written(path: Path, hours_ago: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    at = (NOW - timedelta(hours=hours_ago)).timestamp()
    os.utime(path, (at, at))


async def _age(pattern: str, most: float = 26.0) -> dict[str, float]:
    samples = await Backups(Aside()).sample("database", pattern, most, NOW)
    assert {sample.about for sample in samples} == {"database"}
    return {sample.name: sample.value for sample in samples}


async def test_the_newest_backup_counts(tmp_path: Path) -> None:
    _written(tmp_path / "a/1.dump", 90)
    _written(tmp_path / "b/2.dump", 30)
    _written(tmp_path / "b/2.log", 1)
    assert await _age(f"{tmp_path}/*/*.dump") == {"backup_age_hours": 30.0, "backup_overdue": 1.0}
    _written(tmp_path / "a/3.dump", 25.5)
    assert await _age(f"{tmp_path}/**/*.dump") == {"backup_age_hours": 25.5, "backup_overdue": 0.0}


async def test_a_backup_of_tomorrow_is_of_now(tmp_path: Path) -> None:
    _written(tmp_path / "x", -5)
    assert await _age(f"{tmp_path}/x") == {"backup_age_hours": 0.0, "backup_overdue": 0.0}


@pytest.mark.parametrize("pattern", ["none-*", "none/*/x", "none/x", "gone"])
async def test_no_backup_at_all_is_overdue(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert await _age(f"{tmp_path}/{pattern}") == {"backup_overdue": 1.0}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
async def test_a_place_that_may_not_be_read_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(HostUnreadable, match="Permission denied"):
        await _age(f"{tmp_path}/closed/*")


async def test_a_place_that_cannot_be_listed_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostUnreadable, match="Not a directory"):
        await _age(f"{tmp_path}/file/*.dump")
