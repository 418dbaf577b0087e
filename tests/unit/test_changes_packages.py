"""What package managers' logs tell of a time: which packages, by which command, and which are the unit's."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ai_sysadmin.sources.changes import Change
from ai_sysadmin.sources.changes import packages as packages_module
from ai_sysadmin.sources.changes.package_logs import apt_runs, dnf_changes, dpkg_changes, last_of_each, pacman_changes
from ai_sysadmin.sources.changes.packages import look_at_packages
from ai_sysadmin.sources.changes.subject import Subject
from ai_sysadmin.sources.changes.window import Window

MOMENT = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
WINDOW = Window.before(MOMENT, timedelta(hours=24), MOMENT)
NGINX = Subject("nginx.service", names=frozenset({"nginx"}), programs=("/usr/sbin/nginx",))

DPKG = """\
2026-11-18 09:00:00 upgrade nginx:amd64 1.16.0-1 1.18.0-6
2026-11-20 02:58:01 startup archives unpack
2026-11-20 02:58:02 upgrade libssl3:amd64 3.0.14-1 3.0.15-1
2026-11-20 02:58:02 status half-configured libssl3:amd64 3.0.14-1
2026-11-20 02:58:03 upgrade nginx:amd64 1.18.0-6 1.18.0-7
2026-11-20 02:58:04 install zstd:amd64 <none> 1.5.4
2026-11-20 02:58:05 configure nginx:amd64 1.18.0-7 <none>
2026-11-20 02:58:06 remove htop:amd64 3.2.2 <none>
2026-11-20 02:58:07 purge htop:amd64 3.2.2 <none>
2026-11-20 01:00:00 install vim:amd64 <none> 9.0
2026-11-20 03:00:09 upgrade bash:amd64 5.1 5.2
a line that is none
2026-99-99 02:58:04 install never:amd64 <none> 1
"""
HISTORY = """
Start-Date: 2026-11-20  02:58:00
Commandline: apt-get dist-upgrade
Requested-By: alice (1000)
Upgrade: libssl3:amd64 (3.0.14-1, 3.0.15-1)
End-Date: 2026-11-20  02:58:08

"""


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logs of dpkg and apt are in local time."""
    monkeypatch.setenv("TZ", "UTC")
    __import__("time").tzset()


def put(root: Path, path: str, text: str) -> Path:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def looked(root: Path, subject: Subject = NGINX) -> list[Change]:
    return sorted(look_at_packages(root, WINDOW, subject).changes, key=lambda each: each.at)


def test_a_run_of_apt_is_one_change_with_the_units_package_first(tmp_path: Path) -> None:
    put(tmp_path, "/var/log/dpkg.log", DPKG)
    put(tmp_path, "/var/log/apt/history.log", HISTORY)
    earlier, run = looked(tmp_path)
    assert earlier.what == "dpkg: installed 1 package: vim 9.0"
    assert run.what == (
        "apt-get dist-upgrade (asked for by alice (1000)): upgraded 2 packages, installed 1 package, removed 1 package:"
        " nginx 1.18.0-6 → 1.18.0-7, libssl3 3.0.14-1 → 3.0.15-1, zstd 1.5.4, …"
    )
    assert run.details[0] == "upgraded: nginx 1.18.0-6 → 1.18.0-7"
    assert run.details[-1] == "removed: htop 3.2.2"
    assert (run.kind, run.unit_related, run.about) == ("package", True, "nginx")
    assert run.at == datetime(2026, 11, 20, 2, 58, 3, tzinfo=UTC)


def test_the_log_before_a_rotation_is_read_where_it_may_hold_the_time(tmp_path: Path) -> None:
    rotated = put(tmp_path, "/var/log/dpkg.log.1", DPKG)
    put(tmp_path, "/var/log/dpkg.log", "")
    os.utime(rotated, ((MOMENT - timedelta(hours=1)).timestamp(),) * 2)
    assert len(looked(tmp_path)) == 2
    os.utime(rotated, ((MOMENT - timedelta(hours=30)).timestamp(),) * 2)
    assert looked(tmp_path) == []


def test_local_times_are_read_as_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    __import__("time").tzset()
    [change] = dpkg_changes("2026-11-20 03:58:04 install zstd:amd64 <none> 1.5.4\n")
    assert change.at == datetime(2026, 11, 20, 2, 58, 4, tzinfo=UTC)


def test_the_package_that_holds_the_units_program_is_the_units(tmp_path: Path) -> None:
    put(tmp_path, "/var/log/dpkg.log", "2026-11-20 02:58:04 upgrade webserver-core:amd64 1 2\n")
    assert not looked(tmp_path)[0].unit_related
    put(tmp_path, "/var/lib/dpkg/info/webserver-core:amd64.list", "/.\n/usr\n/usr/sbin\n/usr/sbin/nginx\n")
    assert looked(tmp_path)[0].unit_related


def test_of_a_huge_log_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages_module, "LOG_BYTES", 200)
    put(tmp_path, "/var/log/dpkg.log", "x" * 5000 + "\n2026-11-20 02:58:04 install zstd:amd64 <none> 1.5.4\n")
    assert looked(tmp_path)[0].what == "dpkg: installed 1 package: zstd 1.5.4"


def test_a_log_that_cannot_be_read_is_a_gap_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "var/log/dpkg.log").mkdir(parents=True)
    put(tmp_path, "/var/log/dnf.rpm.log", "2026-11-20T02:58:04+0000 SUBDEBUG Installed: zstd-1.5.4-1.el9.x86_64\n")
    look = look_at_packages(tmp_path, WINDOW, NGINX)
    assert [each.what for each in look.changes] == ["dnf: installed 1 package: zstd 1.5.4-1.el9"]
    assert look.gaps == ("packages: /var/log/dpkg.log cannot be read: Is a directory",)


def test_pacman(tmp_path: Path) -> None:
    text = """\
[2026-11-20T02:57:00+0000] [PACMAN] Running 'pacman -Syu'
[2026-11-20T03:58:00+0100] [ALPM] upgraded nginx (1.24.0-1 -> 1.26.0-1)
[2026-11-20T02:58:01+0000] [ALPM] installed brotli (1.1.0-1)
[2026-11-20T02:58:02+0000] [ALPM] removed old (0.9)
[2026-11-20T02:58:02+0000] [ALPM] running 'systemd-update.hook'...
"""
    put(tmp_path, "/var/log/pacman.log", text)
    [change] = looked(tmp_path)
    assert change.what.startswith("pacman -Syu: upgraded 1 package, installed 1 package, removed 1 package: nginx 1.24")
    assert [each.verb for each in pacman_changes(text)] == ["upgraded", "installed", "removed"]


def test_dnf_joins_what_comes_with_what_goes() -> None:
    text = """\
2026-11-20T02:58:04+0000 SUBDEBUG Upgrade: nginx-core-1:1.22.1-4.el9.x86_64
2026-11-20T02:58:05+0000 SUBDEBUG Upgraded: nginx-core-1:1.20.1-2.el9.x86_64
2026-11-20T02:58:05+0000 SUBDEBUG Erase: htop-3.2.2-1.el9.x86_64
2026-11-20T02:58:06+0000 INFO --- logging initialized ---
"""
    assert [f"{each.verb}: {each}" for each in dnf_changes(text)] == [
        "upgraded: nginx-core 1:1.20.1-2.el9 → 1:1.22.1-4.el9",
        "removed: htop 3.2.2-1.el9",
    ]


def test_two_steps_of_one_package_are_one_change_from_first_to_last() -> None:
    text = "2026-11-20 02:00:00 upgrade a:all 1 2\n2026-11-20 02:01:00 upgrade a:all 2 3\n"
    [change] = last_of_each(list(dpkg_changes(text)))
    assert (change.before, change.after, change.at.minute) == ("1", "3", 1)


def test_a_run_of_apt_that_has_not_ended_holds_what_came_after_its_start(tmp_path: Path) -> None:
    unfinished = HISTORY.partition("End-Date")[0]
    [run] = apt_runs(unfinished)
    assert run.first == run.last
    put(tmp_path, "/var/log/apt/history.log", unfinished)
    put(tmp_path, "/var/log/dpkg.log", "2026-11-20 02:59:30 upgrade nginx:amd64 1 2\n")
    assert looked(tmp_path)[0].what.startswith("apt-get dist-upgrade")
