"""What changed on a host: all looks together, in order, with what may be the cause."""

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.changes import Change, ChangeKind, ChangesSeen
from ai_sysadmin.sources.changes.host_changes import HostChanges
from ai_sysadmin.sources.changes.ranking import began_after, merged
from ai_sysadmin.sources.changes.reboots import look_at_reboots
from ai_sysadmin.sources.changes.window import Look, Window
from tests.builders import NOW

UNIT = "web.service"


def put(root: Path, path: str, text: str = "") -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


# --- a boot


def test_a_boot_within_the_time_is_a_change(tmp_path: Path) -> None:
    put(tmp_path, "/stat", f"cpu 1 2 3\nbtime {int(NOW.timestamp()) - 100}\nprocesses 9\n")
    ticks = 30 * os.sysconf("SC_CLK_TCK")
    put(tmp_path, "/1/stat", f"1 (a (strange) name) S {' '.join(['0'] * 18)} {ticks} 0 0\n")
    window = Window.before(NOW, timedelta(hours=1), NOW)
    [change] = look_at_reboots(tmp_path, window).changes
    assert (change.kind, change.at) == ("reboot", NOW - timedelta(seconds=70))
    assert look_at_reboots(tmp_path, Window.before(NOW - timedelta(hours=2), timedelta(hours=1), NOW)).changes == ()
    put(tmp_path, "/stat", "cpu\n")
    assert "not known" in look_at_reboots(tmp_path, window).gaps[0]


# --- in order


def change(kind: ChangeKind, ago: float, related: bool = False, **changes: object) -> Change:
    about = str(changes.pop("about", f"{kind}{ago}"))
    at = NOW - timedelta(seconds=ago)
    return Change(at=at, kind=kind, what=about, about=about, unit_related=related).model_copy(update=changes)


def test_the_newest_come_first_and_what_is_left_out_is_counted() -> None:
    others = [change("configuration", ago) for ago in range(100, 150)]
    own = [change("configuration", 900, related=True), change("generation", 800)]
    seen = merged([Look(tuple(others)), Look(tuple(own), gaps=("a gap", "a gap"))], most=10)
    assert seen.left_out == 42
    assert seen.gaps == ("a gap",)
    assert seen.changes[-2:] == (own[1], own[0])
    assert list(seen.changes) == sorted(seen.changes, key=lambda each: each.at, reverse=True)


def test_a_unit_file_that_the_walk_meets_again_is_told_once() -> None:
    own = change("unit_file", 5, related=True, about="/etc/systemd/system/web.service")
    met = change("configuration", 5, related=True, about="/etc/systemd/system/web.service")
    assert merged([Look((met,)), Look((own,))]).changes == (own,)


def test_files_touched_while_packages_were_installed_go_with_them() -> None:
    upgrade, own = change("package", 100), change("configuration", 102, related=True)
    files = [change("configuration", ago, what=f"/etc/{ago} was changed") for ago in (95, 110, 30)]
    seen = merged([Look((upgrade, own, *files))])
    assert [each.what for each in seen.changes] == ["/etc/30 was changed", upgrade.what, own.what]
    assert seen.changes[1].details == ("meanwhile: /etc/110 was changed; /etc/95 was changed",)


def test_what_is_the_units_comes_before_what_reaches_far() -> None:
    far, own = change("generation", 10), change("unit_file", 900, related=True)
    assert merged([Look((far, own))], most=1).changes == (own,)


KINDS: Sequence[ChangeKind] = ("generation", "package", "unit_file", "configuration", "reboot", "command")
SOME = st.lists(st.builds(change, st.sampled_from(KINDS), st.integers(-60, 9000), st.booleans()), max_size=60)


@given(SOME, st.integers(1, 40))
def test_what_is_the_units_is_never_dropped_for_others(changes: list[Change], most: int) -> None:
    seen = merged([Look(tuple(changes))], most)
    assert len(seen.changes) <= most
    if any(not each.unit_related for each in seen.changes):
        own = {each.about for each in changes if each.unit_related and each.kind != "configuration"}
        assert own <= {each.about for each in seen.changes if each.unit_related}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], None),
        ([change("configuration", 5)], None),
        ([change("command", 5)], None),
        ([change("configuration", 5, related=True)], 5),
        ([change("generation", 40), change("configuration", 5)], 40),
        ([change("package", 400), change("unit_file", 30, related=True)], 30),
        ([change("generation", 40), change("generation", 20, took_effect=False)], 40),
        ([change("command", 5, related=True)], 5),
        ([change("unit_file", 30, related=True), change("command", 5, related=True)], 30),
        ([change("reboot", -3)], 0),
        ([change("reboot", -30)], None),
    ],
)
def test_the_newest_likely_cause(changes: list[Change], expected: float | None) -> None:
    found = began_after(changes, NOW)
    assert (found[1] if found else None) == expected


# --- the whole


async def test_a_host_is_asked_and_what_cannot_be_looked_at_is_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "/etc/systemd/system/web.service", "[Service]\nExecStart=/usr/bin/webd\n")
    put(tmp_path, "/etc/web/site.conf")
    put(tmp_path, "/etc/hosts")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")
    changes = HostChanges([Path("/etc")], SystemClock(), limit_seconds=5, root=tmp_path, bus=SystemBus())
    seen: ChangesSeen = await changes.before(UNIT, datetime.now(UTC), timedelta(hours=1))
    assert {(each.about, each.unit_related) for each in seen.changes} == {
        ("/etc/systemd/system/web.service", True),
        ("/etc/web/site.conf", True),
        ("/etc/hosts", False),
    }
    assert any(gap.startswith("what was done by hand: there is no journal") for gap in seen.gaps)
    assert any(gap.startswith("reboots: ") for gap in seen.gaps)
    assert any("no system bus" in gap for gap in seen.gaps)


async def test_without_a_unit_the_host_is_asked_all_the_same(tmp_path: Path) -> None:
    put(tmp_path, "/etc/hosts")
    changes = HostChanges([Path("/etc")], SystemClock(), limit_seconds=5, root=tmp_path)
    seen = await changes.before("", datetime.now(UTC), timedelta(hours=1))
    assert [(each.about, each.unit_related) for each in seen.changes] == [("/etc/hosts", False)]


async def test_this_very_host_answers_in_two_seconds() -> None:
    began = time.monotonic()
    changes = HostChanges([Path("/etc")], SystemClock(), limit_seconds=5)
    await changes.before("dbus.service", datetime.now(UTC), timedelta(days=3))
    assert time.monotonic() - began < 2
