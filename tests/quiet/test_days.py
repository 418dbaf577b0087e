"""The simulated weeks themselves: like a real journal where layer 1 looks, and always the same."""

import itertools
from collections import Counter
from datetime import timedelta

import pytest

from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.testing.host import FakeClock
from tests.quiet import speak
from tests.quiet.days import days, faults, voices_for
from tests.quiet.plan import START, Profile
from tests.quiet.units import FROZEN, states

PROFILES: tuple[Profile, ...] = ("server", "desktop")


@pytest.fixture(scope="module", params=PROFILES)
def entries(request: pytest.FixtureRequest) -> list[JournalEntry]:
    return list(days(request.param, seed=1, scale=0.05))


def test_equal_arguments_give_equal_days_and_another_seed_others() -> None:
    first = list(itertools.islice(days("desktop", 1, 1, 0.1), 2000))
    assert first == list(itertools.islice(days("desktop", 1, 1, 0.1), 2000))
    assert first != list(itertools.islice(days("desktop", 3, 1, 0.1), 2000))


@pytest.mark.parametrize(("profile", "least", "most"), [("server", 40_000, 62_000), ("desktop", 11_000, 20_000)])
def test_a_day_has_as_many_entries_as_a_real_one(profile: Profile, least: int, most: int) -> None:
    assert least < sum(1 for _ in days(profile, 2, 1)) < most


def test_entries_are_in_order_and_numbered_without_a_gap(entries: list[JournalEntry]) -> None:
    assert all(one.at <= other.at for one, other in itertools.pairwise(entries))
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert len({entry.sequence_id for entry in entries}) == 1


def test_many_services_speak_over_every_transport_and_at_every_ordinary_level(entries: list[JournalEntry]) -> None:
    assert len({entry.identifier for entry in entries}) >= 45
    assert {entry.transport for entry in entries} == {"kernel", "syslog", "stdout", "journal", "driver"}
    assert {3, 4, 5, 6} <= {entry.priority for entry in entries} <= {2, 3, 4, 5, 6}


def test_no_slot_is_left_open(entries: list[JournalEntry]) -> None:
    names = ("{ip}", "{lan}", "{pid}", "{hex", "{user}", "{word}", "{stamp}", "{iso}", "{epoch}")
    assert [entry for entry in entries if any(name in entry.message + entry.unit for name in names)] == []


def test_nothing_is_said_while_the_machine_sleeps_or_is_off() -> None:
    week = list(days("desktop", 1, 3, 0.5))
    woken = [one.at - before.at for before, one in itertools.pairwise(week) if one.message == FROZEN]
    assert len(woken) >= 6
    nights = [one.at - before.at for before, one in itertools.pairwise(week) if one.boot_id != before.boot_id]
    assert len(nights) == 2
    assert min(nights) > timedelta(hours=6)


def test_a_fault_is_put_in_without_a_gap_in_the_numbers() -> None:
    (wrong,) = given = faults(("unit-fails", 0, 12, "gitea.service"))
    week = list(days("server", 1, 1, 0.05, given))
    failed = [each for each in week if each.message_id == speak.FAILED and each.unit == "gitea.service"]
    assert [each.fields["UNIT_RESULT"] for each in failed] == ["exit-code"]
    assert abs(failed[0].at - wrong.at) < timedelta(seconds=1)
    assert [each.sequence for each in week] == list(range(1, len(week) + 1))


async def test_systemd_answers_what_its_journal_says_at_every_moment() -> None:
    given = faults(("unit-fails", 0, 12, "gitea.service"))
    clock = FakeClock(START)
    units = states("server", 1, clock, 1, 0.05, given)
    assert (await units.status("gitea.service")).active_state == "active"
    assert await units.failed() == []
    clock.at = given[0].at + timedelta(seconds=1)
    (failed,) = await units.failed()
    assert (failed.name, failed.result, failed.exit_status) == ("gitea.service", "exit-code", 1)
    assert (await units.manager()).system_state == "degraded"
    assert (await units.status("nobody.service")).load_state == "not-found"
    clock.at = START
    assert await units.failed() == []


async def test_a_unit_that_is_restarted_by_itself_is_failed_only_for_a_moment() -> None:
    clock = FakeClock(START)
    units = states("server", 1, clock, 2, 0.05)
    failed = next(
        entry for entry in days("server", 1, 2, 0.05) if entry.message_id == speak.FAILED and "zigbee" in entry.unit
    )
    clock.at = failed.at + timedelta(seconds=0.01)
    assert (await units.status("zigbee2mqtt.service")).active_state == "failed"
    clock.advance(10)
    assert (await units.status("zigbee2mqtt.service")).active_state == "active"


@pytest.mark.parametrize("profile", PROFILES)
async def test_units_fail_in_ordinary_weeks_too_but_none_that_nobody_stopped_stays_so(profile: Profile) -> None:
    week = list(days(profile, 1, 7, 0.05))
    failed = {entry.unit for entry in week if entry.message_id == speak.FAILED and "UNIT" in entry.fields}
    stopped = {entry.unit for entry in week if entry.message_id == speak.STOPPING}
    assert len(failed) >= 4
    clock = FakeClock(START)
    units = states(profile, 1, clock, 7, 0.05)
    for entry in week:
        if entry.message_id == speak.FAILED and entry.unit in failed:
            clock.at = entry.at + timedelta(seconds=90)
            status = await units.status(entry.unit)
            assert status.active_state != "failed" or entry.unit in stopped


async def test_a_boot_is_told_from_its_begin_to_its_end() -> None:
    clock = FakeClock(START)
    units = states("desktop", 1, clock, 1, 0.05)
    ((began, finished),) = units.timeline.boots
    assert finished is not None
    clock.at = began + timedelta(seconds=5)
    assert (await units.manager()).system_state == "starting"
    clock.at = finished + timedelta(seconds=1)
    assert (await units.manager()).system_state == "running"
    clock.at = units.timeline.shutdowns[-1]
    assert (await units.manager()).system_state == "stopping"


def test_each_profile_has_what_ordinary_machines_have() -> None:
    server = voices_for("server", 1).services
    desktops = [voices_for("desktop", seed).services for seed in (1, 2)]
    assert {"nginx.service", "postgresql.service", "docker.service", "home-assistant.service"} <= server.keys()
    assert {"NetworkManager.service", "bluetooth.service", "cups.service"} <= desktops[0].keys()
    assert Counter("gdm.service" in each for each in desktops) == {True: 1, False: 1}
