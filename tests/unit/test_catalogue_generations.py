"""NixOS generations: which one is meant, may it be activated, what must hold, and what undoes it."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.activation import LAST_GOOD, disturbed, facts, look, obstacle, risk, shortfall
from ai_sysadmin.actions.catalogue.generations import RollBackGeneration, SwitchToGeneration
from ai_sysadmin.actions.ladder import PENDING, PROGRAMS
from ai_sysadmin.actions.system_seen import SystemSeen, WatchedUnit
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.errors import Refused
from tests.acting import NOW, host_at
from tests.nixos_standin import WEB, make_system, store_path

ONE, TWO, THREE = (store_path(name) for name in ("1", "2", "3"))
SSHD = "[Service]\nExecStart=/nix/store/x/bin/sshd\n"


def link(root: Path, path: str, target: str, age: timedelta = timedelta(minutes=10)) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(target)
    moment = (NOW - age).timestamp()
    os.utime(place, (moment, moment), follow_symlinks=False)


def told(current: str, default: int, good: str = "", **generations: str) -> tuple[str, ...]:
    """What the preparation prints."""
    lines = [f"system-{number[1:]}-link {system}" for number, system in generations.items()]
    lines += [f"system system-{default}-link", f"/run/current-system {current}"]
    return ("\n".join([*lines, *([f"{LAST_GOOD} {good}"] if good else [f"find: '{LAST_GOOD}': not there"])]),)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Two generations; the second runs since ten minutes, is the boot default, and was not booted."""
    for program in PROGRAMS:
        place = tmp_path / ("opt/nixos-standin/bin" if program == "nix-env" else "usr/bin") / program
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    make_system(tmp_path, "1", {"web.service": WEB.format(seconds="1"), "sshd.service": SSHD})
    make_system(tmp_path, "2", {"web.service": WEB.format(seconds="2"), "sshd.service": SSHD})
    for number, system in ((1, ONE), (2, TWO)):
        link(tmp_path, f"/nix/var/nix/profiles/system-{number}-link", system)
    link(tmp_path, "/nix/var/nix/profiles/system", "system-2-link")
    link(tmp_path, "/run/current-system", TWO)
    link(tmp_path, "/run/booted-system", ONE, timedelta(days=3))
    (tmp_path / "proc/1/net").mkdir(parents=True)
    (tmp_path / "proc/1/net/route").write_text(
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 0102A8C0 0003 0 0 100 00000000 0 0 0\n"
    )
    found = host_at(tmp_path)
    found.units.put("web.service", "active")
    found.units.put("sshd.service", "active")
    return found


async def test_what_there_is_is_seen(host):
    seen = await look(host, ONE)
    assert (seen.current, seen.default, seen.target, seen.previous, seen.number) == (TWO, TWO, ONE, TWO, 1)
    assert (seen.touched, seen.protected, seen.routes) == (("web.service",), (), ("IPv4",))
    assert [unit.name for unit in seen.watched] == ["web.service", "sshd.service"]
    assert seen.activated_at == NOW - timedelta(minutes=10)
    assert obstacle(seen) is None
    assert risk(seen) is Risk.DISRUPTIVE


def test_the_preparation_names_what_the_executor_may_see_and_runs_once():
    entry = RollBackGeneration()
    stage = entry.preparation(())
    assert stage is not None
    assert not stage.sandbox.capabilities
    assert not stage.sandbox.writable
    assert entry.preparation(told(TWO, 2, _1=ONE, _2=TWO)) is None


@pytest.mark.parametrize(
    ("links", "chosen"),
    [
        (told(TWO, 2, _1=ONE, _2=TWO), ONE),
        (told(THREE, 3, _1=ONE, _2=TWO, _3=THREE), TWO),
        (told(THREE, 3, ONE, _1=ONE, _2=TWO, _3=THREE), ONE),
        (told(THREE, 3, THREE, _1=ONE, _2=TWO, _3=THREE), TWO),
        (told(TWO, 2, THREE, _1=ONE, _2=TWO, _3=THREE), ONE),
        (told(TWO, 3, _1=ONE, _2=TWO, _3=TWO), ONE),
        (told(ONE, 3, _1=ONE, _2=TWO, _3=ONE), TWO),
    ],
)
async def test_a_rollback_goes_to_the_last_good_one_before_what_runs(links, chosen):
    bound = RollBackGeneration().bind(links)
    assert bound._system == chosen


@pytest.mark.parametrize(
    ("entry", "links", "why"),
    [
        (RollBackGeneration(), told(ONE, 1, _1=ONE), "no generation before"),
        (RollBackGeneration(), told(TWO, 2, _1="/etc/evil", _2=TWO), "no path of a NixOS system"),
        (RollBackGeneration(), ("",), "no generation before"),
        (SwitchToGeneration(generation="7"), told(TWO, 2, _1=ONE, _2=TWO), "there is no generation 7; there are 1, 2"),
        (SwitchToGeneration(generation="1"), told(TWO, 2, _1=f"{ONE}/../x", _2=TWO), "no path of a NixOS system"),
    ],
)
def test_what_is_no_generation_is_refused(entry, links, why):
    with pytest.raises(Refused, match=why):
        entry.bind(links)


@pytest.mark.parametrize("arguments", [{"generation": "1", "system": "/nix/store/x"}, {"generation": "0"}, {}])
def test_nothing_but_a_number_is_taken(arguments):
    with pytest.raises(ValueError, match="SwitchToGeneration"):
        SwitchToGeneration.model_validate(arguments)


async def test_the_plan_binds_the_paths_and_can_take_itself_back(host):
    action = SwitchToGeneration(generation="1").bind(told(TWO, 2, _1=ONE, _2=TWO))
    seen = await action.observe(host)
    assert action.obstacle(seen) is None
    assert action.warrant(seen) is None
    plan = action.plan(seen)
    assert plan.does == "activates generation 1 in place of generation 2"
    assert plan.hold_seconds == 60
    assert plan.revert is not None
    assert plan.confirm is not None
    every = [*plan.run.commands, *plan.confirm.commands, *plan.revert.commands]
    assert all(argv[0].startswith(f"{TWO}/sw/bin/") for argv in every)
    assert dict(plan.facts)["units that differ"] == "web.service"
    assert action.read(json.loads(seen.model_dump_json())) == seen


async def test_what_is_approved_is_not_done_to_another_system(host):
    action = RollBackGeneration().bind(told(TWO, 2, _1=ONE, _2=TWO))
    make_system(host.root, "3", {})
    link(host.root, "/run/current-system", THREE)
    assert "not what was to be replaced" in (action.obstacle(await action.observe(host)) or "")


async def test_what_keeps_a_system_from_being_activated(host):
    async def why() -> str:
        return obstacle(await look(host, ONE)) or ""

    assert await why() == ""
    link(host.root, "/nix/var/nix/profiles/system", "system-1-link")
    assert "somebody is trying a configuration out" in await why()
    link(host.root, "/nix/var/nix/profiles/system", "system-2-link")
    link(host.root, f"{PENDING}/activated", THREE)
    assert "neither confirmed nor taken back" in await why()
    (host.root / PENDING.lstrip("/") / "activated").unlink()
    (host.root / ONE.lstrip("/") / "init-interface-version").write_text("another")
    assert "takes a reboot" in await why()
    link(host.root, f"{ONE}/etc-metadata-image", "/nix/store/x")
    assert "overlay" in await why()
    (host.root / TWO.lstrip("/") / "sw/bin/systemd-run").unlink()
    assert "no systemd-run in its sw/bin" in await why()
    (host.root / ONE.lstrip("/") / "bin/switch-to-configuration").unlink()
    assert "has no bin/switch-to-configuration" in await why()


async def test_a_host_without_generations_is_no_nixos(tmp_path):
    assert "no NixOS" in (obstacle(await look(host_at(tmp_path), "")) or "")


async def test_a_protected_unit_that_differs_and_another_database_are_destructive(host):
    unit = "[Service]\nExecStart=/nix/store/{}-postgresql-and-plugins-{}/bin/postgres\n"
    system = make_system(host.root, "4", {"sshd.service": SSHD + "#", "web.service": WEB.format(seconds="2")})
    seen = await look(host, system)
    assert (seen.protected, risk(seen)) == (("sshd.service",), Risk.DESTRUCTIVE)
    for name, version in (("5", "15.4"), ("6", "15.9"), ("7", "16.1")):
        make_system(host.root, name, {"db.service": unit.format("a" * 32, version), "sshd.service": SSHD})
    link(host.root, "/run/current-system", store_path("5"))
    assert (await look(host, store_path("6"))).database == ""
    seen = await look(host, store_path("7"))
    assert seen.database == "postgresql 15 in place of postgresql 16"
    assert risk(seen) is Risk.DESTRUCTIVE
    assert "databases" in dict(facts(seen))


async def test_a_unit_that_a_switch_leaves_alone_is_not_touched(host):
    system = make_system(host.root, "8", {"sshd.service": f"{SSHD}X-RestartIfChanged=false\n"})
    assert (await look(host, system)).touched == ("web.service",)


async def test_a_rollback_is_warranted_by_what_failed_since_the_activation(host):
    action = RollBackGeneration().bind(told(TWO, 2, _1=ONE, _2=TWO))
    assert action.warrant(await action.observe(host)) is None
    host.units.put("web.service", "failed", state_changed_at=NOW - timedelta(hours=3))
    assert action.warrant(await action.observe(host)) is None
    host.units.put("web.service", "failed", state_changed_at=NOW - timedelta(minutes=5))
    assert action.warrant(await action.observe(host)) == "since generation 2 was activated: web.service has failed"
    host.units.put("web.service", "active")
    host.units.put("backup.service", "failed", state_changed_at=NOW - timedelta(minutes=5))
    host.units.put("ai-sysadmin-action-x.service", "failed", state_changed_at=NOW - timedelta(minutes=5))
    assert action.warrant(await action.observe(host)) is None  # they are the same in both
    host.units.put("web.service", "failed", state_changed_at=NOW - timedelta(minutes=5))
    link(host.root, "/run/current-system", TWO, timedelta(hours=2))
    assert action.warrant(await action.observe(host)) is None


async def test_a_boot_is_no_activation(host):
    for path in ("/run/current-system", "/run/booted-system"):
        link(host.root, path, TWO, timedelta(minutes=2))
    link(host.root, "/nix/var/nix/profiles/system", "system-2-link", timedelta(days=9))
    host.units.put("web.service", "failed", state_changed_at=NOW)
    assert RollBackGeneration().warrant(await look(host, ONE)) is None


def seen_as(**changes: object) -> SystemSeen:
    web = WatchedUnit(name="web.service", active_state="active")
    base = SystemSeen(
        at=NOW,
        current=ONE,
        target=ONE,
        previous=TWO,
        watched=(web,),
        routes=("IPv4",),
        check_seconds=60,
        rollback_seconds=300,
    )
    return base.model_copy(update=changes)


def unit(state: str, **changes: object) -> tuple[WatchedUnit, ...]:
    return (WatchedUnit(name="web.service", active_state=state, **changes),)


@pytest.mark.parametrize(
    ("before", "now", "mends", "said"),
    [
        ({}, {}, False, None),
        ({}, {"current": TWO}, False, "runs, and not"),
        ({}, {"failed": ("db.service",)}, False, "failed: db.service"),
        ({"failed": ("db.service",)}, {"failed": ("db.service",)}, False, None),
        ({"failed": ("db.service",)}, {"failed": ("db.service",)}, True, None),
        (
            {"failed": ("db.service",), "failed_since": ("db.service",)},
            {"failed": ("db.service",)},
            True,
            None,
        ),
        (
            {"failed": ("db.service",), "failed_since": ("db.service",), "touched": ("db.service",)},
            {"failed": ("db.service",)},
            True,
            "failed: db.service",
        ),
        (
            {},
            {"watched": unit("activating", sub_state="auto-restart")},
            False,
            "web.service is activating (auto-restart)",
        ),
        ({}, {"watched": unit("inactive", sub_state="dead", type="oneshot", result="success")}, False, None),
        ({"watched": unit("inactive")}, {"watched": unit("inactive")}, False, None),
        ({}, {"watched": ()}, False, None),
        ({}, {"routes": ()}, False, "the default route is gone (IPv4)"),
        ({"routes": ()}, {"routes": ("IPv6",)}, False, None),
        ({}, {"failing": (("site", "500"),)}, False, "probe site fails: 500"),
        ({"failing": (("site", "500"),)}, {"failing": (("site", "500"),)}, False, None),
        ({"failing": (("site", "500"),)}, {"failing": (("site", "500"),)}, True, "probe site fails: 500"),
    ],
)
def test_what_must_hold_after_an_activation(before, now, mends, said):
    found = shortfall(seen_as(**before), seen_as(**now), mends)
    assert (found is None) if said is None else said in (found or "")


def test_a_unit_that_dies_and_comes_back_spoils_the_check():
    assert disturbed(seen_as(), seen_as()) is None
    again = seen_as(watched=unit("active", restarts=1))
    assert disturbed(seen_as(), again) == "died and restarted within the check: web.service"


async def test_while_it_waits_it_is_compared_with_what_ran_before(host):
    link(host.root, f"{PENDING}/activated", ONE)
    link(host.root, f"{PENDING}/previous", TWO)
    before = await look(host, ONE)
    link(host.root, "/run/current-system", ONE)
    now = await look(host, ONE)
    assert (now.previous, now.touched) == (TWO, ("web.service",))
    assert shortfall(before, now) is None
    (host.root / "proc/1/net/route").write_text("Iface\n")
    host.units.put("web.service", "failed")
    assert "failed: web.service" in (shortfall(before, await look(host, ONE)) or "")
