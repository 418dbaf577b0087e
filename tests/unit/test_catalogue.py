"""The catalogue takes a name and arguments that validate, and nothing else."""

import pytest

from ai_sysadmin.actions.catalogue import CATALOGUE, validate
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.sources.units import UnitStatus


def unit(active: str, **changes: object) -> UnitStatus:
    return UnitStatus(name="web.service", load_state="loaded", active_state=active, invocation="aa").model_copy(
        update=changes
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"unit": "-web.service"},
        {"unit": "--force"},
        {"unit": "web.service; reboot"},
        {"unit": "web.service\n"},
        {"unit": "*.service"},
        {"unit": "../web.service"},
        {"unit": "web"},
        {"unit": ""},
        {"unit": "a" * 300 + ".service"},
        {},
        {"unit": "web.service", "mode": "force"},
        {"service": "web.service"},
    ],
)
@pytest.mark.parametrize("name", CATALOGUE)
def test_arguments_that_do_not_fit_are_refused(name, arguments):
    with pytest.raises(Refused, match=name):
        validate(name, arguments)


@pytest.mark.parametrize(
    "unit_name", ["web.service", "getty@tty1.service", "dev-disk-by\\x2duuid.swap", "a_b:c-d.timer"]
)
def test_the_names_of_real_units_are_taken(unit_name):
    assert validate("restart_unit", {"unit": unit_name}).commands()[-1] == ("systemctl", "restart", "--", unit_name)


def test_an_action_that_is_not_in_the_catalogue_is_refused_with_what_is():
    with pytest.raises(Refused, match="reset_failed_unit, restart_unit, start_unit"):
        validate("run_shell", {"command": "true"})


@pytest.mark.parametrize(
    ("name", "active", "risk"),
    [
        ("restart_unit", "failed", Risk.REVERSIBLE),
        ("restart_unit", "active", Risk.DISRUPTIVE),
        ("start_unit", "failed", Risk.REVERSIBLE),
        ("start_unit", "inactive", Risk.DISRUPTIVE),
        ("reset_failed_unit", "failed", Risk.REVERSIBLE),
    ],
)
def test_risk_comes_from_the_entry_and_the_units_state(name, active, risk):
    action = validate(name, {"unit": "web.service"})
    assert action.obstacle(unit(active)) is None
    assert action.risk(unit(active)) is risk


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("restart_unit", unit("activating", sub_state="auto-restart")),  # systemd's own Restart= is at work
        ("restart_unit", unit("inactive")),
        ("restart_unit", unit("failed", load_state="not-found")),
        ("start_unit", unit("active")),
        ("start_unit", unit("inactive", load_state="masked")),
        ("reset_failed_unit", unit("active")),
    ],
)
def test_a_precondition_that_does_not_hold_is_said(name, seen):
    assert "web.service" in (validate(name, {"unit": "web.service"}).obstacle(seen) or "")


@pytest.mark.parametrize(
    ("after", "holds"),
    [
        (unit("active", invocation="bb"), True),
        (unit("active"), False),  # the same invocation: nothing was restarted
        (unit("failed", invocation="bb"), False),
        (unit("activating", invocation="bb"), False),
        (unit("inactive", invocation="bb", type="oneshot", result="success"), True),
        (unit("inactive", invocation="bb", type="simple", result="success"), False),
    ],
)
def test_a_restart_holds_only_when_the_unit_runs_anew(after, holds):
    action = validate("restart_unit", {"unit": "web.service"})
    assert (action.shortfall(unit("failed"), after) is None) is holds
