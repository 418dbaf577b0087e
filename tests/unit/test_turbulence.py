"""trigger_monitor/units/turbulence.py: what fails because of a boot, a resume or a switch, and what does not."""

from datetime import datetime, timedelta

import pytest

from ai_sysadmin.core.records import Trigger
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.units import ManagerState, UnitStatus
from ai_sysadmin.trigger_monitor.units.turbulence import (
    BOOT_AT_MOST,
    Kind,
    Turbulence,
    Unrest,
    asleep_seconds,
    boot_of,
    gathered,
    is_of,
)
from tests.builders import HOST, NOW, trigger

SETTLE = timedelta(seconds=300)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def failed(run_began: float | None, restarts: int = 0) -> UnitStatus:
    began = None if run_began is None else at(run_began)
    return UnitStatus(name="web.service", active_state="failed", inactive_exit_at=began, n_restarts=restarts)


BOOT = Turbulence(Kind.BOOT, at(0), at(30))
BOOTING = Turbulence(Kind.BOOT, at(0))
RESUME = Turbulence(Kind.RESUME, at(0), at(0))
SWITCH = Turbulence(Kind.SWITCH, at(0), at(20))
SWITCHING = Turbulence(Kind.SWITCH, at(0))


@pytest.mark.parametrize(
    ("turbulence", "status", "failed_at", "belongs"),
    [
        (BOOT, failed(10), 12, True),
        (BOOT, failed(10), 69, True),  # it began in the boot and held for less than a minute
        (BOOT, failed(10), 71, False),  # it had come through
        (BOOT, failed(30.1), 31, False),  # started when the boot was done
        (BOOT, failed(31), 31.5, False),
        (BOOT, failed(None), 29, True),  # never ran: its start job was the boot's
        (BOOT, failed(None), 31, False),
        (BOOT, failed(-100), -90, False),  # before this boot
        (BOOTING, failed(10), 12, True),
        (BOOTING, failed(None), 500, True),
        (BOOTING, failed(BOOT_AT_MOST.total_seconds() + 1), BOOT_AT_MOST.total_seconds() + 2, False),
        (RESUME, failed(-3600), 5, True),
        (RESUME, failed(-3600), 301, False),
        (RESUME, failed(-3600), -1, False),  # before it slept
        (RESUME, failed(2), 3, False),  # started by hand
        (RESUME, failed(2, restarts=1), 3, True),
        (RESUME, failed(None), 3, False),
        (SWITCH, failed(5), 6, True),
        (SWITCH, failed(5), 200, True),
        (SWITCH, failed(5), 321, False),
        (SWITCH, failed(-10), 5, False),  # it was not touched
        (SWITCH, failed(25), 26, False),  # after the switch
        (SWITCH, failed(None), 10, True),
        (SWITCHING, failed(5), 6, True),
        (SWITCHING, failed(-1), 6, False),
    ],
)
def test_only_what_began_in_it_is_of_it(
    turbulence: Turbulence, status: UnitStatus, failed_at: float, belongs: bool
) -> None:
    assert is_of(turbulence, status, at(failed_at), SETTLE) is belongs


def of(*units: str) -> list[Trigger]:
    return [trigger(unit=unit) for unit in units]


def test_one_root_is_told_as_it_is() -> None:
    faults = of("db.service", "web.service")
    assert gathered(BOOT, faults, 1, NOW) == tuple(faults)


@pytest.mark.parametrize(
    ("turbulence", "subject", "title"),
    [
        (BOOT, "boot", "2 units failed at boot and still are"),
        (RESUME, "resume", "2 units failed after the resume and still are"),
        (
            Turbulence(Kind.SWITCH, NOW, NOW, "switch to generation 42"),
            "switch to generation 42",
            "2 units failed in the switch to generation 42 and still are",
        ),
    ],
)
def test_several_are_one_incident_that_all_join(turbulence: Turbulence, subject: str, title: str) -> None:
    whole, *each = gathered(turbulence, of("db.service", "web.service"), 2, NOW)
    assert (whole.kind, whole.subject, whole.why) == (SymptomKind.UNITS_FAILED, subject, title)
    assert (whole.host, whole.opens, whole.count, whole.details["units"]) == (HOST, True, 0, "db.service web.service")
    assert [(one.unit, one.joins[0]) for one in each] == [("db.service", subject), ("web.service", subject)]


def test_a_boot_is_named_by_when_it_began() -> None:
    manager = ManagerState(system_state="running", userspace_at=NOW, finished_at=at(9))
    assert boot_of(manager) == Turbulence(Kind.BOOT, NOW, at(9))
    assert boot_of(ManagerState()) is None


# --- the watcher


class Machine:
    """A machine that sleeps and switches when it is told to."""

    def __init__(self) -> None:
        self.asleep = 0.0
        self.switching = False
        self.unrest = Unrest(SETTLE, lambda: self.switching, lambda: "42", lambda: self.asleep)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_sleep_is_seen_and_when_it_ended_at_the_earliest(machine: Machine) -> None:
    unrest = machine.unrest
    assert not unrest.look(at(0))
    assert not unrest.look(at(60))
    assert unrest.awake_since() is None
    machine.asleep = 3600
    assert unrest.look(at(3690))
    assert unrest.awake_since() == at(3660)
    assert not unrest.look(at(3700))
    assert unrest.of(failed(0), at(3670)) == unrest.others[-1]
    assert unrest.of(failed(3665), at(3670)) is None


def test_a_clock_that_is_set_is_no_sleep(machine: Machine) -> None:
    machine.unrest.look(at(0))
    assert not machine.unrest.look(at(86400))
    assert not machine.unrest.look(at(-86400))


def test_a_switch_is_seen_from_its_first_look_to_its_last(machine: Machine) -> None:
    unrest = machine.unrest
    unrest.look(at(0))
    machine.switching = True
    assert unrest.look(at(10))
    assert not unrest.look(at(15))
    assert unrest.is_switching
    assert unrest.all[0].settles_at(SETTLE) is None
    machine.switching = False
    assert unrest.look(at(20))
    (switch,) = unrest.others
    assert (switch.subject, switch.settles_at(SETTLE)) == ("switch to generation 42", at(320))
    assert unrest.of(failed(12), at(13)) == switch


def test_what_a_journal_tells_of_a_switch_counts_once(machine: Machine) -> None:
    machine.unrest.switched(at(0), running=True)
    machine.switching = True
    machine.unrest.look(at(1))
    assert [each.began for each in machine.unrest.others] == [at(0)]
    machine.unrest.switched(at(5), running=False)
    assert [each.ended for each in machine.unrest.others] == [at(5)]


def test_it_survives_a_restart_and_a_switch_that_ended_meanwhile_is_ended(machine: Machine) -> None:
    machine.unrest.look(at(0))
    machine.asleep = 100
    machine.switching = True
    machine.unrest.look(at(200))
    anew = Machine()
    anew.asleep = 100
    anew.unrest.load(machine.unrest.dump())
    assert anew.unrest.others == machine.unrest.others
    anew.unrest.look(at(300))
    assert [each.ended for each in anew.unrest.others] == [at(100), at(300)]


def test_only_the_latest_are_kept(machine: Machine) -> None:
    for number in range(100):
        machine.asleep += 10
        machine.unrest.look(at(number * 20))
    assert len(machine.unrest.others) < 10


def test_this_machine_tells_for_how_long_it_slept() -> None:
    assert asleep_seconds() > -0.1
