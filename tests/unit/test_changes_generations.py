"""NixOS generations: when one was activated and how it differs, with Nix and by its links alone."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.sources.changes import ChangesSeen
from ai_sysadmin.sources.changes.closures import System, differences, in_words, split_name
from ai_sysadmin.sources.changes.host_changes import HostChanges
from ai_sysadmin.sources.changes.profile import activations, read_profile
from ai_sysadmin.sources.changes.ranking import began_after
from ai_sysadmin.sources.changes.subject import Subject
from ai_sysadmin.sources.changes.window import Window
from tests.builders import NOW
from tests.judging import FixedClock

DAY = timedelta(days=1)
NGINX = Subject("nginx.service", names=frozenset({"nginx"}))


def entry(name: str, salt: str = "") -> str:
    return f"{hashlib.sha256(f'{name}{salt}'.encode()).hexdigest()[:32]}-{name}"


def store(name: str, salt: str = "") -> str:
    return f"/nix/store/{entry(name, salt)}"


@dataclass
class Nixos:
    """A host below a directory, with generations as NixOS links them."""

    root: Path
    closures: dict[str, list[str]] = field(default_factory=dict)

    def link(self, path: str, target: str, at: datetime = NOW - 9 * DAY) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        os.utime(place, (at.timestamp(), at.timestamp()), follow_symlinks=False)

    def write(self, path: str, text: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def generation(
        self,
        number: int,
        at: datetime,
        programs: Mapping[str, str],
        units: Mapping[str, str] = {},
        etc: Mapping[str, str] = {},
        kernel: str = "6.6.50",
    ) -> str:
        """Make a generation: programs by name with their store entry, units and files in /etc with their text."""
        system = store(f"nixos-system-host-24.05.{number}")
        sw, made = store("system-path", str(number)), store("etc", str(number))
        self.link(f"{system}/sw", sw)
        self.link(f"{system}/etc", f"{made}/etc")
        self.link(f"{system}/kernel", f"{store(f'linux-{kernel}')}/bzImage")
        self.write(f"{system}/nixos-version", "24.05")
        for name, package in programs.items():
            self.link(f"{sw}/bin/{name}", f"{package}/bin/{name}")
        self.link(f"{made}/etc/systemd/system", store("system-units", str(number)))
        files = {f"{made}/etc/{path}": (path.replace("/", "-"), text) for path, text in etc.items()}
        files |= {
            f"{store('system-units', str(number))}/{unit}": (f"unit-{unit}", text) for unit, text in units.items()
        }
        for link, (name, text) in files.items():
            self.write(f"{store(name, text)}/{link.rpartition('/')[2]}", text)
            self.link(link, f"{store(name, text)}/{link.rpartition('/')[2]}")
        self.closures[system] = [system, sw, made, *programs.values(), *(store(*each) for each in files.values())]
        self.link(f"/nix/var/nix/profiles/system-{number}-link", system, at)
        return system

    def activate(self, number: int, system: str, at: datetime, set_at: datetime | None = None) -> None:
        self.link("/nix/var/nix/profiles/system", f"system-{number}-link", set_at or at)
        self.link("/run/current-system", system, at)

    def boot(self, system: str, at: datetime) -> None:
        self.link("/run/booted-system", system, at)

    def nix_store(self, directory: Path, also: Mapping[str, list[str]] = {}) -> None:
        """Put a program on the path that answers as nix-store does."""
        said = directory / "closures"
        said.mkdir(parents=True)
        for system, entries in self.closures.items():
            (said / entry_name(system)).write_text("\n".join([*entries, *also.get(system, [])]) + "\n")
        program = directory / "nix-store"
        program.write_text(f'#!/bin/sh\n[ "$1 $2" = "--query --requisites" ] || exit 9\nexec cat "{said}/${{3##*/}}"\n')
        program.chmod(0o755)


def entry_name(path: str) -> str:
    return path.rpartition("/")[2]


async def seen(root: Path, unit: str = "nginx.service", moment: datetime = NOW) -> ChangesSeen:
    changes = HostChanges([Path("/etc")], FixedClock(NOW), limit_seconds=5, root=root)
    return await changes.before(unit, moment, DAY)


@pytest.fixture
def host(tmp_path: Path) -> Nixos:
    return Nixos(tmp_path / "root")


def web_unit(nginx: str) -> str:
    return f"[Service]\nExecStart={nginx}/bin/nginx -c {store('nginx.conf', nginx)}\n"


def upgrade(host: Nixos) -> tuple[str, str]:
    """Make generations 141 and 142; 142 was activated 40 s ago."""
    old, new = store("nginx-1.26.2"), store("nginx-1.28.0")
    editor, other_editor = store("vim-9.1"), store("vim-9.1", "rebuilt")
    before = host.generation(
        141,
        NOW - 5 * DAY,
        {"vim": editor, "htop": store("htop-3.3.0")},
        {"nginx.service": web_unit(old)},
        {"motd": "a"},
    )
    after = host.generation(
        142,
        NOW - timedelta(seconds=42),
        {"vim": other_editor, "redis-cli": store("redis-7.2")},
        {"nginx.service": web_unit(new), "redis.service": "[Service]\n"},
        {"motd": "b"},
        kernel="6.6.52",
    )
    host.boot(before, NOW - 4 * DAY)
    host.activate(142, after, NOW - timedelta(seconds=38), set_at=NOW - timedelta(seconds=40))
    return before, after


async def test_a_generation_is_named_with_its_differences_without_nix(
    host: Nixos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    upgrade(host)
    found = await seen(host.root)
    [change] = found.changes
    assert (change.what, change.kind) == ("generation 142 was activated", "generation")
    assert change.unit_related
    assert began_after(found.changes, NOW) == (change, 40.0)
    assert change.details[0] == "compared with generation 141 by what is linked in both (nix-store gave no answer):"
    assert change.details[1:] == (
        "nginx: 1.26.2 → 1.28.0",
        "rebuilt: nginx.conf",
        "unit file nginx.service changed",
        "kernel: linux 6.6.50 → linux 6.6.52",
        "/etc/motd changed",
        "unit file redis.service added",
        "added: redis 7.2",
        "removed: htop 3.3.0",
        "rebuilt: vim 9.1",
    )


async def test_nix_store_tells_of_what_is_linked_nowhere(
    host: Nixos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = upgrade(host)
    host.closures[before] += [store("nginx-1.26.2"), store("openssl-3.0.14")]
    host.closures[after] += [store("nginx-1.28.0"), store("openssl-3.0.15"), store("openssl-3.0.15-dev")]
    host.nix_store(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    [change] = (await seen(host.root)).changes
    assert change.details[:2] == ("compared with generation 141:", "nginx: 1.26.2 → 1.28.0")
    assert "openssl: 3.0.14 → 3.0.15" in change.details


async def test_a_nix_store_that_fails_is_done_without(
    host: Nixos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(host)
    host.nix_store(tmp_path / "bin")
    (tmp_path / "bin/nix-store").write_text("#!/bin/sh\necho /nix/store/nonsense\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    [change] = (await seen(host.root)).changes
    assert "nix-store gave no answer" in change.details[0]
    assert "nginx: 1.26.2 → 1.28.0" in change.details


async def test_an_upgrade_that_is_not_the_units_does_not_belong_to_it(host: Nixos) -> None:
    upgrade(host)
    [change] = (await seen(host.root, "postgresql.service")).changes
    assert not change.unit_related


async def test_of_a_generation_after_the_moment_nothing_is_said(host: Nixos) -> None:
    upgrade(host)
    assert (await seen(host.root, moment=NOW - timedelta(minutes=5))).changes == ()


async def test_a_host_that_is_no_nixos_has_no_generations_and_no_gap_for_it(tmp_path: Path) -> None:
    found = await seen(tmp_path)
    assert found.changes == ()
    assert not any("generation" in gap for gap in found.gaps)


def told(host: Nixos, switches: tuple[tuple[datetime, str], ...] = ()) -> list[tuple[str, float]]:
    profile = read_profile(host.root)
    assert profile
    found = activations(profile, Window.before(NOW, DAY, NOW), switches)
    return [(each.what, (NOW - each.at).total_seconds()) for each in found]


def three(host: Nixos) -> list[str]:
    return [
        host.generation(number, NOW - timedelta(hours=hours), {"vim": store(f"vim-{number}")})
        for number, hours in ((140, 90), (141, 50), (142, 2))
    ]


def test_a_rollback_is_a_change_too(host: Nixos) -> None:
    _, middle, _ = three(host)
    host.activate(141, middle, NOW - timedelta(hours=1))
    assert told(host) == [
        ("generation 141 was activated, a rollback from generation 142", 3600),
        ("generation 142 was made; it does not run now", 7200),
    ]


def test_what_waits_for_a_reboot_is_told_and_is_no_cause(host: Nixos) -> None:
    _, middle, newest = three(host)
    host.activate(142, middle, NOW - timedelta(hours=49), set_at=NOW - timedelta(hours=2))
    profile = read_profile(host.root)
    assert profile
    [pending] = activations(profile, Window.before(NOW, DAY, NOW))
    assert pending.what == "generation 142 was made the next boot's; it does not run yet"
    assert pending.is_pending
    assert (pending.before, pending.system) == (middle, newest)


def test_a_generation_that_came_with_a_boot_is_told_so(host: Nixos) -> None:
    *_, newest = three(host)
    host.activate(142, newest, NOW - timedelta(seconds=90), set_at=NOW - timedelta(hours=2))
    host.boot(newest, NOW - timedelta(seconds=89))
    assert told(host) == [("generation 142 was booted", 90)]


def test_a_generation_that_was_activated_long_after_it_was_made_says_when_that_was(host: Nixos) -> None:
    *_, newest = three(host)
    host.activate(142, newest, NOW - timedelta(seconds=30), set_at=NOW - timedelta(hours=2))
    profile = read_profile(host.root)
    assert profile
    [activation] = activations(profile, Window.before(NOW, DAY, NOW))
    assert activation.at == NOW - timedelta(seconds=30)
    assert activation.note.startswith("it was made 2026-11-20")


def test_the_journal_is_believed_before_the_links(host: Nixos) -> None:
    _, middle, newest = three(host)
    host.activate(142, newest, NOW - timedelta(seconds=10))
    switches = (
        (NOW - timedelta(seconds=12), newest),
        (NOW - timedelta(minutes=30), middle),
        (NOW - timedelta(hours=2), newest),
        (NOW - timedelta(hours=30), middle),
    )
    assert told(host, switches) == [
        ("generation 142 was activated", 12),
        ("generation 141 was activated, a rollback from generation 142", 1800),
        ("generation 142 was activated", 7200),
    ]


def test_a_system_outside_the_profile_is_named_by_its_path(host: Nixos) -> None:
    *_, newest = three(host)
    host.activate(142, newest, NOW - timedelta(hours=30))
    tried = store("nixos-system-host-test")
    assert told(host, ((NOW - timedelta(seconds=5), tried),))[0] == (
        f"a system that is no numbered generation was activated: {entry_name(tried)}",
        5,
    )


@pytest.mark.parametrize(
    ("full", "expected"),
    [
        ("nginx-1.26.2", ("nginx", "1.26.2")),
        ("python3.11-requests-2.31.0", ("python3.11-requests", "2.31.0")),
        ("openssl-3.0.14-dev", ("openssl", "3.0.14")),
        ("gcc-13.2.0-lib", ("gcc", "13.2.0")),
        ("unit-nginx.service", ("unit-nginx.service", "")),
        ("glibc-2.39-52", ("glibc", "2.39-52")),
        ("source", ("source", "")),
    ],
)
def test_a_store_entry_is_a_name_and_a_version(full: str, expected: tuple[str, str]) -> None:
    assert split_name(entry(full)) == expected


def system(*names: str) -> System:
    return System(frozenset(entry(*name.split("#")) for name in names))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["a-1"], ["a-2"], ["a: 1 → 2"]),
        (["a-1"], ["a-1#rebuilt"], ["rebuilt: a 1"]),
        (["a-1"], ["a-1", "a-1#variant"], []),
        (["a-1"], ["a-1", "a-2"], ["added: a 2"]),
        (["a-1", "a-2"], ["a-2", "a-3"], ["a: 1 → 3"]),
        (["a-1"], [], ["removed: a 1"]),
        (["a"], ["a-1"], ["a: no version → 1"]),
        (["unit-x.service#1", "system-path#1", "etc#1"], ["unit-x.service#2", "system-path#2", "etc#2"], []),
        (["b-1", "nginx-1"], ["b-2", "nginx-1#rebuilt"], ["rebuilt: nginx 1", "b: 1 → 2"]),
        (["etcd-3.5.1"], ["etcd-3.5.2"], ["etcd: 3.5.1 → 3.5.2"]),
    ],
)
def test_closures_differ(before: list[str], after: list[str], expected: list[str]) -> None:
    assert [each.text for each in differences(system(*before), system(*after), NGINX)] == expected


NAMES = st.frozensets(st.from_regex(r"[a-z]{1,6}-[0-9]{1,2}", fullmatch=True), max_size=30)


@given(NAMES, NAMES)
def test_what_is_in_both_is_no_difference_and_the_rest_is_counted(
    before: frozenset[str], after: frozenset[str]
) -> None:
    found = differences(system(*before), system(*after), NGINX)
    changed = {name.partition("-")[0] for name in before ^ after}
    assert len(found) == len(changed)
    words = in_words(found, most=3)
    assert len(words) == min(len(found), 4)
    if len(found) > 3:
        assert words[-1].startswith(f"and {len(found) - 3} more: ")
