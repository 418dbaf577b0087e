"""A unit's files and the host's configuration: what was touched, when, and what of it is the unit's."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.changes.configuration import look_at_configuration
from ai_sysadmin.sources.changes.rooted import resolved
from ai_sysadmin.sources.changes.subject import Subject, subject_of
from ai_sysadmin.sources.changes.unit_files import look_at_unit_files, with_reload_due
from ai_sysadmin.sources.changes.window import Look, Window
from tests.builders import NOW

UNIT = "web.service"
TEXT = """\
[Service]
EnvironmentFile=-/etc/default/web
ExecStart=/usr/local/bin/webd --config=/srv/web/site.conf \\
    --keys /etc/keys/%p
ConfigurationDirectory=webd
Environment=PATH=/usr/bin:/bin
"""


def put(root: Path, path: str, text: str = "", ago: float | None = None) -> Path:
    """Write a file; with `ago`, its contents are so many seconds old."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    if ago is not None:
        aged(place, ago)
    return place


def aged(place: Path, ago: float) -> None:
    at = time.time() - ago
    os.utime(place, (at, at), follow_symlinks=False)


def past(ago: float = 60, hours: float = 1) -> Window:
    """The time before a moment so many seconds ago: what this test made just now came after it, but for `ago` files."""
    now = datetime.now(UTC)
    return Window.before(now - timedelta(seconds=ago), timedelta(hours=hours), now)


def recent() -> Window:
    now = datetime.now(UTC)
    return Window.before(now, timedelta(minutes=10), now)


def whats(look: Look) -> set[str]:
    return {each.what for each in look.changes}


# --- the unit


def test_a_subject_knows_its_files_and_what_they_name(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/web.service", TEXT)
    put(tmp_path, "/etc/systemd/system/web.service.d/10-limits.conf")
    put(tmp_path, "/etc/systemd/system/service.d/all.conf")
    put(tmp_path, "/etc/systemd/system/web.service.d/README")
    put(tmp_path, "/etc/systemd/system/webmail.service")
    subject = subject_of(tmp_path, UNIT)
    assert subject.files == tuple(
        f"/etc/systemd/system/{name}" for name in ("web.service", "web.service.d/10-limits.conf", "service.d/all.conf")
    )
    assert subject.programs == ("/usr/local/bin/webd",)
    assert set(subject.paths) == {
        "/etc/default/web",
        "/usr/local/bin/webd",
        "/srv/web/site.conf",
        "/etc/keys/web",
        "/etc/webd",
    }


@pytest.mark.parametrize(
    ("unit", "path", "is_its_own"),
    [
        ("nginx.service", "/etc/nginx/sites-enabled/a.conf", True),
        ("nginx.service", "/etc/logrotate.d/nginx", True),
        ("nginx.service", "/etc/cron.d/nginx-reload", True),
        ("nginx.service", "/etc/apache2/apache2.conf", False),
        ("postgresql@15-main.service", "/etc/postgresql/15/main/postgresql.conf", True),
        ("postgresql@15-main.service", "/etc/default/keyboard", False),
        ("wg-quick@office.service", "/etc/wireguard/office.conf", True),
        ("systemd-resolved.service", "/etc/systemd/resolved.conf", True),
        ("systemd-resolved.service", "/etc/systemd/logind.conf", False),
        ("", "/etc/nginx/nginx.conf", False),
    ],
)
def test_a_path_is_the_units_by_name(tmp_path: Path, unit: str, path: str, is_its_own: bool) -> None:
    assert subject_of(tmp_path, unit).owns(path) is is_its_own


def test_an_alias_has_the_files_of_the_unit_that_it_stands_for(tmp_path: Path) -> None:
    put(tmp_path, "/usr/lib/systemd/system/ssh.service", "[Service]\nExecStart=/usr/sbin/sshd -D\n")
    put(tmp_path, "/etc/systemd/system/ssh.service.d/port.conf")
    (tmp_path / "etc/systemd/system/sshd.service").symlink_to("/usr/lib/systemd/system/ssh.service")
    assert set(subject_of(tmp_path, "sshd.service").files) == {
        "/etc/systemd/system/sshd.service",
        "/usr/lib/systemd/system/ssh.service",
        "/etc/systemd/system/ssh.service.d/port.conf",
    }


def test_a_template_and_its_prefixes_are_looked_at(tmp_path: Path) -> None:
    for name in ("a-b@.service", "a-b@.service.d/x.conf", "a-b@one.service.d/x.conf", "a-@.service.d/x.conf"):
        put(tmp_path, f"/usr/lib/systemd/system/{name}", "[Service]\nExecStart=/opt/ab/%i\n")
    subject = subject_of(tmp_path, "a-b@one.service")
    assert len(subject.files) == 4
    assert subject.programs == ("/opt/ab/one",)


# --- unit files


def test_changed_unit_files_and_drop_ins_are_told_with_their_time(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/web.service", TEXT, ago=90)
    put(tmp_path, "/etc/systemd/system/web.service.d/10-limits.conf", ago=95)
    put(tmp_path, "/usr/lib/systemd/system/web.service", TEXT, ago=9000)
    aged(tmp_path / "etc/systemd/system/web.service.d", 9000)
    look = look_at_unit_files(tmp_path, past(), subject_of(tmp_path, UNIT))
    assert whats(look) == {
        "unit file /etc/systemd/system/web.service was changed",
        "drop-in /etc/systemd/system/web.service.d/10-limits.conf was changed",
    }
    assert all(each.unit_related and each.kind == "unit_file" for each in look.changes)
    assert sorted(round(time.time() - each.at.timestamp()) for each in look.changes) == [90, 95]


def test_masked_dangling_and_enabled_units_are_told(tmp_path: Path) -> None:
    system = tmp_path / "etc/systemd/system"
    (system / "multi-user.target.wants").mkdir(parents=True)
    (system / "web.service").symlink_to("/dev/null")
    (system / "api.service").symlink_to("/opt/gone/api.service")
    (system / "multi-user.target.wants/web.service").symlink_to("../web.service")
    assert whats(look_at_unit_files(tmp_path, recent(), subject_of(tmp_path, UNIT))) == {
        "web.service was masked",
        "web.service was enabled for multi-user.target",
    }
    assert whats(look_at_unit_files(tmp_path, recent(), subject_of(tmp_path, "api.service"))) == {
        "unit file /etc/systemd/system/api.service points to /opt/gone/api.service, which is not there"
    }


def test_a_removed_drop_in_and_a_removed_unit_file_are_told(tmp_path: Path) -> None:
    put(tmp_path, "/usr/lib/systemd/system/web.service", TEXT)
    (tmp_path / "etc/systemd/system/web.service.d").mkdir(parents=True)
    assert "a drop-in was removed from /etc/systemd/system/web.service.d, or renamed in it" in whats(
        look_at_unit_files(tmp_path, recent(), subject_of(tmp_path, UNIT))
    )
    (tmp_path / "etc/systemd/system/web.service.d").rmdir()
    gone = look_at_unit_files(tmp_path, recent(), subject_of(tmp_path, "gone.service"))
    assert whats(gone) == {"gone.service has no unit file, and something was removed from /etc/systemd/system"}
    assert look_at_unit_files(tmp_path, recent(), subject_of(tmp_path, UNIT)).changes[0].about.startswith("/usr/lib")


def test_what_lies_in_the_nix_store_never_changes(tmp_path: Path) -> None:
    put(tmp_path, f"/nix/store/{'a' * 32}-unit-web.service/web.service", TEXT)
    link = tmp_path / "etc/systemd/system/web.service"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"/nix/store/{'a' * 32}-unit-web.service/web.service")
    subject = subject_of(tmp_path, UNIT)
    assert subject.programs
    assert look_at_unit_files(tmp_path, recent(), subject).changes == ()
    assert look_at_configuration(tmp_path, ["/etc"], recent(), subject).changes == ()


def test_generated_unit_files_are_made_anew_all_the_time(tmp_path: Path) -> None:
    put(tmp_path, "/run/systemd/generator/srv.mount", "[Unit]\nSourcePath=/etc/fstab\n")
    put(tmp_path, "/etc/fstab", ago=90)
    subject = subject_of(tmp_path, "srv.mount")
    assert look_at_unit_files(tmp_path, recent(), subject).changes == ()
    [change] = look_at_configuration(tmp_path, ["/etc"], past(), subject).changes
    assert (change.about, change.unit_related) == ("/etc/fstab", True)


class FixedBus(SystemBus):
    """A bus on which one property has one value, or systemd does not answer."""

    def __init__(self, value: bool | None) -> None:
        super().__init__()
        self._value = value

    async def call(self, *_what: object, **_more: object) -> list[object]:
        if self._value is None:
            raise SystemdUnavailable("there is no system bus here")
        return ["/unit"]

    async def property(self, path: str, interface: str, name: str) -> object:
        assert (path, name) == ("/unit", "NeedDaemonReload")
        return self._value


async def test_an_outstanding_reload_is_noted_where_the_files_changed(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/web.service", TEXT)
    look = look_at_unit_files(tmp_path, recent(), subject_of(tmp_path, UNIT))
    due = await with_reload_due(look, UNIT, FixedBus(True))
    assert due.changes[0].details == ("systemd has not read it yet: a daemon-reload is outstanding",)
    assert await with_reload_due(look, UNIT, FixedBus(False)) == look
    assert "daemon-reload is outstanding" in (await with_reload_due(Look(), UNIT, FixedBus(True))).gaps[0]
    assert "is not known" in (await with_reload_due(look, UNIT, FixedBus(None))).gaps[0]


# --- configuration


def test_configuration_is_told_by_its_times_the_units_own_marked(tmp_path: Path) -> None:
    put(tmp_path, "/etc/web/site.conf", ago=100)
    put(tmp_path, "/etc/hosts", ago=200)
    put(tmp_path, "/etc/fstab", ago=9000)
    put(tmp_path, "/etc/later", ago=30)
    put(tmp_path, "/etc/tomorrow", ago=-90000)
    look = look_at_configuration(tmp_path, ["/etc"], past(), subject_of(tmp_path, UNIT))
    assert {(each.what, each.unit_related) for each in look.changes} == {
        ("/etc/web/site.conf was changed", True),
        ("/etc/hosts was changed", False),
    }
    assert look.gaps == ()


def test_a_file_that_was_moved_in_shows_by_its_inode_alone(tmp_path: Path) -> None:
    put(tmp_path, "/etc/web.conf", ago=9000)
    [change] = look_at_configuration(tmp_path, ["/etc"], recent(), Subject()).changes
    assert change.what == "/etc/web.conf had its metadata changed, or was moved in"
    assert change.details[0].startswith("its contents were last modified ")
    assert datetime.now(UTC) - change.at < timedelta(seconds=10)


def test_files_that_the_unit_names_are_looked_at_wherever_they_are(tmp_path: Path) -> None:
    put(tmp_path, "/etc/systemd/system/web.service", TEXT, ago=9000)
    put(tmp_path, "/srv/web/site.conf", ago=70)
    put(tmp_path, "/usr/local/bin/webd", ago=75)
    look = look_at_configuration(tmp_path, ["/etc"], past(), subject_of(tmp_path, UNIT))
    assert {(each.what, each.unit_related) for each in look.changes} == {
        ("/srv/web/site.conf was changed", True),
        ("web.service's program /usr/local/bin/webd was changed", True),
    }


def test_noise_is_not_told(tmp_path: Path) -> None:
    for name in ("mtab", "ld.so.cache", "ssl/certs/abc.0", "alternatives/vi", "cups/subscriptions.conf.O", ".web.swp"):
        put(tmp_path, f"/etc/{name}")
    put(tmp_path, "/etc/web.conf~")
    put(tmp_path, "/etc/.git/objects/12/34")
    (tmp_path / "etc/motd").symlink_to("/etc/static/motd")
    assert look_at_configuration(tmp_path, ["/etc"], recent(), Subject()).changes == ()


def test_many_files_at_once_are_one_change_and_the_units_own_stay(tmp_path: Path) -> None:
    for number in range(30):
        put(tmp_path, f"/etc/pkg/{number:02}.conf")
    put(tmp_path, "/etc/web.conf")
    look = look_at_configuration(tmp_path, ["/etc"], recent(), subject_of(tmp_path, UNIT))
    together, own = sorted(look.changes, key=lambda each: each.unit_related)
    assert together.what.startswith("30 files below /etc/pkg were changed or replaced together: /etc/pkg/00.conf, ")
    assert together.details[-1] == "and 20 more"
    assert own.about == "/etc/web.conf"


def test_a_removed_file_shows_by_its_directory(tmp_path: Path) -> None:
    put(tmp_path, "/etc/web/sites/a.conf", ago=9000)
    aged(tmp_path / "etc/web/sites", 80)
    look = look_at_configuration(tmp_path, ["/etc"], past(), subject_of(tmp_path, UNIT))
    assert whats(look) == set()  # its file was touched later than the directory: that explains it
    (tmp_path / "etc/web/sites/a.conf").unlink()
    aged(tmp_path / "etc/web/sites", 80)
    look = look_at_configuration(tmp_path, ["/etc"], past(), subject_of(tmp_path, UNIT))
    assert whats(look) == {"something was removed from /etc/web/sites, or renamed in it"}
    assert look.changes[0].unit_related


def test_a_walk_that_is_cut_says_so_and_has_seen_the_units_own_first(tmp_path: Path) -> None:
    for number in range(60):
        put(tmp_path, f"/etc/dir{number % 6}/{number}")
    put(tmp_path, "/etc/web/zz/site.conf")
    look = look_at_configuration(tmp_path, ["/etc"], recent(), subject_of(tmp_path, UNIT), most=20)
    assert "/etc/web/zz/site.conf was changed" in whats(look)
    assert "too many for the time" in look.gaps[0]
    look = look_at_configuration(tmp_path, ["/etc"], recent(), subject_of(tmp_path, UNIT), seconds=0)
    assert look.changes == ()
    assert "too many for the time" in look.gaps[0]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/web").symlink_to("/etc/web2")
    (tmp_path / "etc/web2").symlink_to("/etc/web")
    (tmp_path / "etc/up").symlink_to("..")
    look = look_at_configuration(tmp_path, ["/etc", "/etc/web"], recent(), subject_of(tmp_path, UNIT))
    assert {each.about for each in look.changes} == {"/etc/web", "/etc/web2", "/etc/up"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/a/file", "/srv/real/file"),
        ("/etc/a/../file", "/srv/file"),
        ("/etc/b/./x", "/srv/real/x"),
        ("/etc/missing/../x", "/etc/x"),
        ("/../../etc/x", "/etc/x"),
        ("/", "/"),
    ],
)
def test_links_lead_to_the_hosts_own_paths(tmp_path: Path, path: str, expected: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "srv/real").mkdir(parents=True)
    (tmp_path / "etc/a").symlink_to("/srv/real")
    (tmp_path / "etc/b").symlink_to("../etc/a/")
    assert resolved(tmp_path, path) == expected


# --- times


@pytest.mark.parametrize(
    ("now_after", "last_after"),
    [(3600, 5), (5, 5), (0, 2), (-60, -58)],
)
def test_a_moment_is_in_doubt_for_seconds_and_the_future_never_counts(now_after: float, last_after: float) -> None:
    window = Window.before(NOW, timedelta(hours=1), NOW + timedelta(seconds=now_after))
    assert window.last == NOW + timedelta(seconds=last_after)
    assert window.holds(NOW - timedelta(hours=1))
    assert not window.holds(NOW - timedelta(hours=1, seconds=1))


def test_a_file_that_was_written_and_moved_in_later_counts_from_the_later_time(tmp_path: Path) -> None:
    put(tmp_path, "/etc/web.conf", ago=300)
    [change] = look_at_configuration(tmp_path, ["/etc"], recent(), Subject()).changes
    assert change.what == "/etc/web.conf was changed"
    assert datetime.now(UTC) - change.at < timedelta(seconds=10)
    assert change.details[0].startswith("its contents were last modified ")
