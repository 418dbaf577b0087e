"""The pieces of an evidence pack, one after the other: what they say of what was looked up."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ai_sysadmin.context.evidence import gather
from ai_sysadmin.context.pieces import dependencies
from ai_sysadmin.context.pieces.host import HostFacts
from ai_sysadmin.core.context_settings import Context
from ai_sysadmin.core.incident import Incident
from ai_sysadmin.core.records import Evidence
from ai_sysadmin.sources.changes import Change, ChangesSeen
from ai_sysadmin.sources.units import Dependencies, ManagerState, UnitState
from ai_sysadmin.testing.changes import FakeChanges
from tests.builders import NOW, UNIT, incident
from tests.judging import FixedUnits, sources, symptom


async def piece(kind: str, about: Incident | None = None, **given: Any) -> Evidence | None:
    """Return the piece of a kind of a pack that is gathered from these sources; none: there is none."""
    pack = await gather(about or incident(), [symptom()], sources(**given), NOW)
    return next((each for each in pack.pieces if each.kind == kind), None)


# --- changes


def change(seconds: float, what: str, **given: Any) -> Change:
    return Change(**({"at": NOW - timedelta(seconds=seconds), "kind": "configuration", "what": what} | given))


async def changes(*found: Change, **seen: Any) -> Evidence:
    told = await piece("changes", changes=FakeChanges(ChangesSeen(changes=found, **seen)))
    assert told is not None
    return told


async def test_changes_are_told_with_their_time_and_those_of_the_unit_first() -> None:
    told = await changes(
        change(10, "/etc/hosts changed"),
        change(30, "/etc/web/web.conf changed", about="/etc/web/web.conf", unit_related=True),
        change(7200, "apt upgraded 2 packages", kind="package", details=("nginx 1 → 2", "redis 3 → 4")),
        gaps=("/root cannot be read",),
        left_out=4,
    )
    lines = told.text.splitlines()
    assert lines[0] == "This began 30 s after: /etc/web/web.conf changed"
    assert lines[1] == "30 s before (2026-11-20T02:59:30Z): /etc/web/web.conf changed"
    assert lines[2].endswith(": /etc/hosts changed")
    assert lines[3:6] == [
        "2 h before (2026-11-20T01:00:00Z): apt upgraded 2 packages",
        "    nginx 1 → 2",
        "    redis 3 → 4",
    ]
    assert lines[6] == "not known: /root cannot be read"
    assert told.left_out.startswith("4 more")
    assert told.facts == {
        "count": "7",
        "kind": "configuration",
        "about": "/etc/web/web.conf",
        "what": "/etc/web/web.conf changed",
        "seconds": "30",
    }


async def test_a_fault_right_after_a_generation_says_so() -> None:
    told = await changes(
        change(40, "generation 142 was activated", kind="generation", about="142", details=("web: 1.2 → 1.3",)),
        change(90, "/etc/web/web.conf changed", unit_related=True),
    )
    assert told.text.startswith("This began 40 s after: generation 142\n")
    assert (told.facts["after"], told.facts["seconds"]) == ("generation 142", "40")


async def test_what_is_not_the_units_is_not_called_the_cause() -> None:
    told = await changes(change(10, "/etc/hosts changed"))
    assert "This began" not in told.text
    assert told.facts == {"count": "1"}


async def test_what_a_person_typed_or_what_waits_for_a_reboot_does_not_hide_the_cause() -> None:
    typed = change(2, "alice: systemctl restart web", kind="command", unit_related=True)
    waiting = change(20, "generation 143 was made", kind="generation", about="143", took_effect=False)
    edited = change(60, "/etc/web/web.conf changed", about="/etc/web/web.conf", unit_related=True)
    told = await changes(typed, waiting, edited)
    assert told.text.startswith("This began 60 s after: /etc/web/web.conf changed\n")
    assert told.facts["kind"] == "configuration"
    assert (await changes(typed)).facts["what"] == "alice: systemctl restart web"


async def test_it_is_asked_for_the_time_before_the_fault() -> None:
    fake = FakeChanges()
    await piece("changes", incident(opened_at=NOW - timedelta(hours=2)), changes=fake, limits=Context(changes_hours=6))
    assert fake.asked == [(UNIT, NOW - timedelta(hours=2), timedelta(hours=6))]


async def test_many_changes_are_bounded_and_counted() -> None:
    told = await changes(*(change(n, f"/etc/{n} {'x' * 200}", about=f"/etc/{n}") for n in range(200)))
    shown = len(told.text.splitlines())
    assert 20 < shown < 60
    assert told.left_out == f"{200 - shown} more changes or lines of them"
    assert told.facts["count"] == "200"


# --- dependencies


class Units(FixedUnits):
    """Units with a look-up of states that is counted."""

    calls = 0

    async def states(self, units: Sequence[str]) -> list[UnitState]:
        self.calls += 1
        return await super().states(units)


def state(name: str, active: str, load: str = "loaded", description: str = "") -> UnitState:
    return UnitState(name, description, load, active, "dead" if active == "inactive" else active)


async def test_what_is_down_is_named_the_needed_and_failed_first_and_the_rest_counted() -> None:
    units = Units(
        needs=Dependencies(
            requires=("db.service", "gone.service"),
            binds_to=("dev-sda1.device",),
            wants=("cache.service", "log.service", "idle.service"),
            after=("db.service", "network.target", "old.service", "odd.service", UNIT),
        )
    )
    down = [
        state("db.service", "failed", description="the data base"),
        state("gone.service", "inactive", "not-found"),
        state("cache.service", "failed"),
        state("idle.service", "inactive"),
        state("old.service", "inactive", "not-found"),
        state("odd.service", "failed"),
    ]
    units.others = {each.name: each for each in down}
    told = await piece("dependencies", units=units)
    assert told is not None
    assert told.text.splitlines() == [
        "requires db.service: failed (failed): exit-code, exit status 1, the data base",
        "wants cache.service: failed (failed): exit-code, exit status 1",
        "starts after odd.service: failed (failed): exit-code, exit status 1",
        "requires gone.service: inactive (dead), unit file not-found",
        "wants idle.service: inactive (dead)",
        "of all 9 units that it requires, wants or starts after: 3 active, 3 failed, 3 inactive",
    ]
    assert told.facts == {
        "failed": "db.service cache.service odd.service",
        "needed_failed": "db.service",
    }


async def test_three_thousand_dependencies_are_one_call_and_bounded() -> None:
    names = tuple(f"shard-{number}.service" for number in range(3000))
    units = Units(needs=Dependencies(wants=names))
    units.others = {name: state(name, "inactive" if number % 2 else "active") for number, name in enumerate(names)}
    told = await piece("dependencies", units=units)
    assert told is not None
    assert units.calls == 1
    assert len(told.text) < 6000
    assert "1500 active, 1500 inactive" in told.text
    shown = len(told.text.splitlines()) - 1
    assert told.left_out == f"{1500 - shown} more units that are not active"


async def test_a_unit_that_depends_on_nothing_has_no_such_piece() -> None:
    assert await piece("dependencies") is None


def test_the_strongest_tie_counts_and_a_unit_is_not_its_own() -> None:
    needs = Dependencies(requires=("a.service",), wants=("a.service", "b.service"), after=("b.service", "c.service"))
    assert dependencies.ties_of(needs, "c.service") == {"b.service": 1, "a.service": 0}


# --- the host


async def test_the_host_is_told_in_words_that_stay_the_same(tmp_path: Any) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="NixOS"\nPRETTY_NAME="NixOS 26.05 (Yarara)"\n')
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\nSwapTotal: 0 kB\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/current-system").symlink_to("/nix/store/x-nixos")
    profiles = tmp_path / "nix/var/nix/profiles"
    profiles.mkdir(parents=True)
    (profiles / "system").symlink_to("system-142-link")
    (profiles / "system-142-link").symlink_to("/nix/store/x-nixos")
    host = HostFacts(FixedUnits(), "host1", tmp_path)
    told = await piece("host", host=host)
    assert told is not None
    assert {"hostname: host1", "os: NixOS 26.05 (Yarara)", "memory: 16.4 GB, no swap"} <= set(told.text.splitlines())
    assert "generation: NixOS generation 142, switched to at" in told.text
    assert f"booted: {(NOW - timedelta(days=3)).strftime('%Y-%m-%dT%H:%M:%SZ')}" in told.text
    assert told == await piece("host", host=host)


async def test_what_the_host_does_not_say_is_missing(tmp_path: Any) -> None:
    class Silent:
        async def manager(self) -> ManagerState:
            return ManagerState()

    facts = dict(await HostFacts(Silent(), "host1", tmp_path).facts())
    assert set(facts) == {"hostname", "kernel", "processors"}
