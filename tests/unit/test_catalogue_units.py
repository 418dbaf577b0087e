"""Actions on units: what is in the way, what it may cost, what is seen to need it, what runs, what must hold."""

import pytest

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.unit_files import DisableUnitNow, EnableUnitNow, UnitFileSeen
from ai_sysadmin.actions.catalogue.unit_looks import MOST_ALONG, UnitSeen
from ai_sysadmin.actions.catalogue.units import (
    ReloadUnit,
    ResetFailedUnit,
    RestartUnit,
    StartUnit,
    StopUnit,
    candidates,
)
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.testing.fake_systemd import FakeSystemd

WEB = {"unit": "web.service"}


def status(active: str, **changes: object) -> UnitStatus:
    return UnitStatus(name="web.service", load_state="loaded", active_state=active, invocation="aa").model_copy(
        update=changes
    )


def unit(active: str, failing: tuple[str, ...] = (), **changes: object) -> UnitSeen:
    return UnitSeen(status=status(active, **changes), failing=failing)


def unit_file(active: str, state: str, *, declares: bool = False) -> UnitFileSeen:
    return UnitFileSeen(status=status(active, unit_file_state=state), declares=declares)


class Nobody:
    async def live(self):
        return ()


def host_of(units, root, settings=None) -> Host:
    return Host(settings or Settings(), units, Nobody(), SystemClock(), root)


@pytest.mark.parametrize(
    ("entry", "seen", "risk"),
    [
        (RestartUnit, unit("failed"), Risk.REVERSIBLE),
        (RestartUnit, unit("active"), Risk.DISRUPTIVE),
        (RestartUnit, UnitSeen(status=status("active"), along=("b.service",)), Risk.DISRUPTIVE),
        (RestartUnit, UnitSeen(status=status("failed"), along=("s",), protected_along=("s",)), Risk.DESTRUCTIVE),
        (RestartUnit, UnitSeen(status=status("failed"), along=("s",) * (MOST_ALONG + 1)), Risk.DESTRUCTIVE),
        (StartUnit, unit("failed"), Risk.REVERSIBLE),
        (StartUnit, unit("inactive"), Risk.DISRUPTIVE),
        (ReloadUnit, unit("active", can_reload=True), Risk.DISRUPTIVE),
        (StopUnit, unit("active"), Risk.DISRUPTIVE),
        (StopUnit, UnitSeen(status=status("active"), protected_along=("s",)), Risk.DESTRUCTIVE),
        (ResetFailedUnit, unit("failed"), Risk.REVERSIBLE),
        (EnableUnitNow, unit_file("inactive", "disabled"), Risk.DISRUPTIVE),
        (EnableUnitNow, unit_file("failed", "disabled"), Risk.DISRUPTIVE),
        (DisableUnitNow, unit_file("active", "enabled"), Risk.DISRUPTIVE),
        (DisableUnitNow, unit_file("failed", "enabled"), Risk.DISRUPTIVE),
    ],
)
def test_risk_comes_from_the_entry_and_the_units_condition(entry, seen, risk):
    action = entry(**WEB)
    assert action.obstacle(seen) is None
    assert action.risk(seen) is risk
    assert risk in entry.risks


@pytest.mark.parametrize(
    ("entry", "seen", "said"),
    [
        (RestartUnit, unit("activating", sub_state="auto-restart"), "neither failed nor active"),  # systemd is at work
        (RestartUnit, unit("inactive"), "neither failed nor active"),
        (RestartUnit, unit("failed", load_state="not-found"), "no such unit"),
        (StartUnit, unit("active"), "already"),
        (StartUnit, unit("inactive", load_state="masked"), "is masked"),
        (ReloadUnit, unit("failed", can_reload=True), "only what is active"),
        (ReloadUnit, unit("active"), "cannot be reloaded"),
        (StopUnit, unit("inactive"), "nothing to stop"),
        (StopUnit, unit("failed"), "nothing to stop"),
        (ResetFailedUnit, unit("active"), "not failed"),
        (EnableUnitNow, unit_file("inactive", "enabled"), "is enabled, not disabled"),
        (EnableUnitNow, unit_file("inactive", "static"), "is static, not disabled"),
        (EnableUnitNow, unit_file("inactive", "generated"), "is generated, not disabled"),
        (EnableUnitNow, unit_file("inactive", ""), "of no kind that can be enabled"),
        (EnableUnitNow, unit_file("inactive", "disabled", declares=True), "runs NixOS"),
        (DisableUnitNow, unit_file("active", "static"), "is static, not enabled"),
        (DisableUnitNow, unit_file("active", "enabled", declares=True), "runs NixOS"),
    ],
)
def test_a_precondition_that_does_not_hold_is_said(entry, seen, said):
    obstacle = entry(**WEB).obstacle(seen) or ""
    assert said in obstacle
    assert "web.service" in obstacle


@pytest.mark.parametrize("entry", [RestartUnit, StartUnit, StopUnit, ReloadUnit, ResetFailedUnit])
@pytest.mark.parametrize("active", ["failed", "active", "inactive"])
def test_another_name_of_a_unit_is_not_taken_lest_it_hide_what_is_protected(entry, active):
    seen = unit(active, name="sshd.service", can_reload=True)
    assert entry(**WEB).obstacle(seen) == "web.service is another name of sshd.service: name that"


@pytest.mark.parametrize("entry", [RestartUnit, StartUnit, StopUnit, ReloadUnit])
@pytest.mark.parametrize(
    "name", ["poweroff.target", "sysinit.target", "system.slice", "init.scope", "dev-sda.device", "run-x.scope"]
)
@pytest.mark.parametrize("active", ["failed", "active", "inactive"])
def test_what_stands_for_many_units_is_neither_started_nor_stopped(entry, name, active):
    """Starting ``poweroff.target`` is no start of a unit."""
    assert entry(unit=name).obstacle(unit(active, name=name)) is not None


@pytest.mark.parametrize("entry", [RestartUnit, StartUnit, StopUnit, ReloadUnit, ResetFailedUnit])
@pytest.mark.parametrize(
    ("name", "of_a_user"), [("user@1000.service", False), ("session-3.scope", False), ("app.service", True)]
)
def test_what_users_run_is_observed_only(entry, name, of_a_user):
    seen = UnitSeen(status=status("failed", name=name), of_a_user=of_a_user)
    obstacle = entry(unit=name).obstacle(seen) or ""
    assert "observed only" in obstacle or "is a scope" in obstacle


@pytest.mark.parametrize("entry", [RestartUnit, StartUnit, StopUnit, ReloadUnit, ResetFailedUnit, DisableUnitNow])
@pytest.mark.parametrize(
    "name", ["ai-sysadmin-action-abcdef-123456.service", "ai-sysadmin-rollback.timer", "ai-sysadmin-activate-a.service"]
)
@pytest.mark.parametrize("active", ["failed", "active", "inactive"])
def test_no_action_is_done_to_another_actions_unit(entry, name, active):
    """Started again it would act twice; the rollback timer stopped, a change would never be taken back."""
    seen = UnitFileSeen(status=status(active, name=name, can_reload=True, unit_file_state="enabled"))
    assert entry(unit=name).obstacle(seen) is not None


def test_a_mount_in_use_is_not_restarted_and_one_that_failed_is():
    action = RestartUnit(unit="srv.mount")
    assert "from those who use it" in (action.obstacle(unit("active", name="srv.mount")) or "")
    assert action.obstacle(unit("failed", name="srv.mount")) is None
    start = StartUnit(unit="srv.mount")
    assert "mount_file_system is for the rest" in (start.obstacle(unit("inactive", name="srv.mount")) or "")
    assert start.obstacle(unit("failed", name="srv.mount")) is None


@pytest.mark.parametrize(
    ("entry", "seen", "warranted"),
    [
        (RestartUnit, unit("failed", result="exit-code"), "web.service has failed (exit-code)"),
        (RestartUnit, unit("active"), None),
        (RestartUnit, unit("active", ("probe web fails: 500",)), "probe web fails: 500"),
        (ReloadUnit, unit("active"), None),
        (ReloadUnit, unit("active", ("probe web fails: 500",)), "probe web fails: 500"),
        (StartUnit, unit("inactive"), None),
        (StopUnit, unit("active", ("probe web fails: 500",)), None),
        (StopUnit, unit("failed"), None),
        (EnableUnitNow, unit_file("failed", "disabled"), None),
        (DisableUnitNow, unit_file("failed", "enabled"), None),
    ],
)
def test_only_what_the_executor_sees_to_be_wrong_warrants_it(entry, seen, warranted):
    assert entry(**WEB).warrant(seen) == warranted


PLANS = [
    (
        RestartUnit,
        unit("failed"),
        "systemctl reset-failed -- web.service; systemctl restart -- web.service",
        (("ResetFailedUnit", "web.service"), ("RestartUnit", "web.service")),
        None,
    ),
    (StartUnit, unit("failed"), "systemctl start -- web.service", (("StartUnit", "web.service"),), None),
    (ReloadUnit, unit("active"), "systemctl reload -- web.service", (("ReloadUnit", "web.service"),), None),
    (StopUnit, unit("active"), "systemctl stop -- web.service", (), "systemctl start -- web.service"),
    (
        StopUnit,
        UnitSeen(status=status("active"), along=("b.service",)),
        "systemctl stop -- web.service",
        (),
        "systemctl start -- web.service b.service",
    ),
    (
        ResetFailedUnit,
        unit("failed"),
        "systemctl reset-failed -- web.service",
        (("ResetFailedUnit", "web.service"),),
        None,
    ),
    (
        EnableUnitNow,
        unit_file("inactive", "disabled"),
        "systemctl enable --now -- web.service",
        (),
        "systemctl disable --now -- web.service",
    ),
    (
        EnableUnitNow,
        unit_file("active", "disabled"),
        "systemctl enable --now -- web.service",
        (),
        "systemctl disable -- web.service",  # it ran before, so it goes on
    ),
    (
        DisableUnitNow,
        unit_file("active", "enabled"),
        "systemctl disable --now -- web.service",
        (),
        "systemctl enable -- web.service; systemctl start -- web.service",
    ),
    (
        DisableUnitNow,
        unit_file("failed", "enabled"),
        "systemctl disable --now -- web.service",
        (),
        "systemctl enable -- web.service",
    ),
]


@pytest.mark.parametrize(("entry", "seen", "runs", "calls", "reverts"), PLANS)
def test_what_runs_and_what_takes_it_back(entry, seen, runs, calls, reverts):
    plan = entry(**WEB).plan(seen)
    assert "; ".join(" ".join(argv) for argv in plan.run.commands) == runs
    assert plan.calls == calls
    back = None if plan.revert is None else "; ".join(" ".join(argv) for argv in plan.revert.commands)
    assert back == reverts
    assert plan.run.sandbox.capabilities == ()
    assert not plan.run.sandbox.network


def test_a_person_is_told_what_goes_along():
    seen = UnitSeen(status=status("active"), along=("b.service", "sshd.service"), protected_along=("sshd.service",))
    plan = StopUnit(**WEB).plan(seen)
    assert "b.service, sshd.service" in plan.does
    assert plan.facts == (("goes with it", "b.service, sshd.service; protected: sshd.service"),)


@pytest.mark.parametrize(
    ("entry", "before", "after", "holds"),
    [
        (RestartUnit, unit("failed"), unit("active", invocation="bb"), True),
        (RestartUnit, unit("failed"), unit("active"), False),  # the same invocation: nothing was restarted
        (RestartUnit, unit("failed"), unit("failed", invocation="bb"), False),
        (RestartUnit, unit("failed"), unit("activating", invocation="bb"), False),
        (RestartUnit, unit("failed"), unit("inactive", invocation="bb", type="oneshot", result="success"), True),
        (RestartUnit, unit("failed"), unit("inactive", invocation="bb", type="simple", result="success"), False),
        (RestartUnit, unit("failed"), unit("active", ("probe web fails: 500",), invocation="bb"), False),
        (StartUnit, unit("inactive"), unit("active"), True),
        (StartUnit, unit("inactive"), unit("inactive"), False),
        (ReloadUnit, unit("active"), unit("active"), True),
        (ReloadUnit, unit("active"), unit("reloading"), True),
        (ReloadUnit, unit("active"), unit("active", invocation="bb"), False),
        (ReloadUnit, unit("active"), unit("failed"), False),
        (ReloadUnit, unit("active"), unit("active", ("probe web fails: 500",)), False),
        (StopUnit, unit("active"), unit("inactive"), True),
        (StopUnit, unit("active"), unit("failed"), True),  # it had to be killed, but it stopped
        (StopUnit, unit("active"), unit("active", invocation="bb"), False),  # a socket started it again
        (StopUnit, unit("active"), unit("activating", sub_state="auto-restart"), False),
        (ResetFailedUnit, unit("failed"), unit("inactive"), True),
        (ResetFailedUnit, unit("failed"), unit("failed"), False),
        (EnableUnitNow, unit_file("inactive", "disabled"), unit_file("active", "enabled"), True),
        (EnableUnitNow, unit_file("inactive", "disabled"), unit_file("active", "disabled"), False),
        (EnableUnitNow, unit_file("inactive", "disabled"), unit_file("failed", "enabled"), False),
        (DisableUnitNow, unit_file("active", "enabled"), unit_file("inactive", "disabled"), True),
        (DisableUnitNow, unit_file("active", "enabled"), unit_file("active", "disabled"), False),
        (DisableUnitNow, unit_file("active", "enabled"), unit_file("inactive", "enabled"), False),
    ],
)
def test_what_has_to_hold_afterwards(entry, before, after, holds):
    assert (entry(**WEB).shortfall(before, after) is None) is holds


@pytest.mark.parametrize("entry", [RestartUnit, StartUnit, ReloadUnit, EnableUnitNow])
def test_a_unit_that_dies_within_the_check_spoils_it(entry):
    assert entry(**WEB).disturbed(unit("active"), unit("active", invocation="bb")) is not None
    assert entry(**WEB).disturbed(unit("active"), unit("active")) is None


@pytest.mark.parametrize(
    ("seen", "proposed"),
    [
        (status("failed"), ["restart_unit"]),
        (status("failed", load_state="not-found"), ["reset_failed_unit"]),
        (status("active"), []),
    ],
)
def test_what_could_mend_a_unit(seen, proposed):
    assert [each.name for each in candidates(seen)] == proposed


async def test_what_goes_along_is_found_step_by_step_and_only_what_runs(tmp_path):
    systemd = FakeSystemd()
    for name, along, active in [
        ("db.service", ("app.service", "idle.service"), "active"),
        ("app.service", ("front.service", "db.service"), "active"),
        ("front.service", ("sshd.service",), "active"),
        ("sshd.service", (), "active"),
        ("idle.service", ("far.service",), "inactive"),
        ("far.service", (), "active"),
    ]:
        systemd.add(name, active=active)
        systemd.units[name] = systemd.units[name].model_copy(update={"takes_along": along})
    seen = await StopUnit(unit="db.service").observe(host_of(systemd, tmp_path))
    assert seen.along == ("app.service", "front.service", "sshd.service")
    assert seen.protected_along == ("sshd.service",)
    started = await StartUnit(unit="db.service").observe(host_of(systemd, tmp_path))
    assert started.along == ()


async def test_what_a_start_stops_counts_as_well(tmp_path):
    systemd = FakeSystemd()
    systemd.add("ntpd.service", active="failed")
    systemd.add("systemd-timesyncd.service")
    conflicts = ("shutdown.target", "systemd-timesyncd.service")
    systemd.units["ntpd.service"] = systemd.units["ntpd.service"].model_copy(update={"conflicts": conflicts})
    for entry in (StartUnit, RestartUnit, EnableUnitNow):
        action = entry(unit="ntpd.service")
        seen = await action.observe(host_of(systemd, tmp_path))
        assert seen.along == ("systemd-timesyncd.service",)
        assert action.risk(seen) is Risk.DESTRUCTIVE
        assert "systemd-timesyncd.service" in action.plan(seen).does
    assert (await StopUnit(unit="ntpd.service").observe(host_of(systemd, tmp_path))).along == ()


async def test_more_than_a_person_can_weigh_goes_along(tmp_path):
    systemd = FakeSystemd()
    names = [f"n{number}.service" for number in range(200)]
    for name, following in zip(names, [*names[1:], ""], strict=True):
        systemd.add(name)
        systemd.units[name] = systemd.units[name].model_copy(update={"takes_along": (following,) if following else ()})
    action = RestartUnit(unit=names[0])
    seen = await action.observe(host_of(systemd, tmp_path))
    assert len(seen.along) == MOST_ALONG + 1
    assert action.risk(seen) is Risk.DESTRUCTIVE


@pytest.mark.parametrize(
    "place",
    [
        "etc/systemd/user/app.service",
        "usr/lib/systemd/user/app.service",
        "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.service/cgroup.procs",
        "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/app.service/cgroup.procs",
    ],
)
async def test_a_unit_that_only_users_have_is_told_from_one_that_nobody_has(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.touch()
    of_users = RestartUnit(unit="app.service")
    assert "observed only" in (of_users.obstacle(await of_users.observe(host_of(FakeSystemd(), tmp_path))) or "")
    nobodys = RestartUnit(unit="other.service")
    assert "observed only" not in (nobodys.obstacle(await nobodys.observe(host_of(FakeSystemd(), tmp_path))) or "")


@pytest.mark.parametrize("how", ["marker", "store", "neither"])
async def test_nixos_is_known_by_its_marker_or_by_where_its_units_lie(tmp_path, how):
    (tmp_path / "etc/systemd").mkdir(parents=True)
    if how == "marker":
        (tmp_path / "etc/NIXOS").touch()
    if how == "store":
        (tmp_path / "etc/systemd/system").symlink_to("/etc/static/systemd/system")
        (tmp_path / "etc/static").symlink_to("/nix/store/abc-etc/etc")
    systemd = FakeSystemd()
    systemd.add("web.service", active="inactive")
    seen = await EnableUnitNow(**WEB).observe(host_of(systemd, tmp_path))
    assert seen.declares is (how != "neither")


async def test_a_name_that_systemd_does_not_take_is_a_unit_that_is_not_there(tmp_path):
    class Strict(FakeSystemd):
        async def status(self, unit: str) -> UnitStatus:
            raise NotFound(unit)

    action = StartUnit(unit="a@.service")
    assert "no such unit" in (action.obstacle(await action.observe(host_of(Strict(), tmp_path))) or "")
