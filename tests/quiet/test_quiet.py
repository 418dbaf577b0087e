"""Healthy logs are quiet: layer 1 opens next to nothing in ordinary weeks, and still finds what is put into them."""

from collections import Counter
from pathlib import Path

import pytest

from ai_sysadmin.core.incident import Incident
from tests.quiet.__main__ import FAULTS
from tests.quiet.days import Fault
from tests.quiet.harness import Week, week
from tests.quiet.plan import Profile

SCALE = {"server": 0.03, "desktop": 0.2}
PROFILES: tuple[Profile, ...] = ("server", "desktop")


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Week]:
    path = tmp_path_factory.mktemp("weeks")
    return {each: week(path / f"{each}.db", each, seed=1, scale=SCALE[each]) for each in PROFILES}


@pytest.mark.parametrize("profile", PROFILES)
def test_an_ordinary_week_opens_at_most_one_incident_a_day(weeks: dict[str, Week], profile: Profile) -> None:
    found = weeks[profile]
    assert len(found.entries) == 8
    assert {day: count for day, count in found.opened().items() if count > 1} == {}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_boot_resume_or_switch_opens_an_incident(weeks: dict[str, Week], profile: Profile) -> None:
    found = weeks[profile]
    kinds = {kind for kind, _, _ in found.unrests}
    assert kinds == ({"boot", "switch"} if profile == "server" else {"boot", "resume", "switch"})
    assert found.of_unrest() == []


@pytest.mark.parametrize("profile", PROFILES)
def test_real_faults_are_found_among_the_noise(profile: Profile, tmp_path: Path) -> None:
    found = week(tmp_path / "state.db", profile, seed=2, scale=SCALE[profile], faults=FAULTS[profile], number=2)
    missed = [fault for fault in FAULTS[profile] if not any(_is_of(each, fault) for each in found.incidents)]
    assert missed == []
    others = [each for each in found.incidents if not any(_is_of(each, fault) for fault in FAULTS[profile])]
    assert [day for day, count in Counter(each.opened_at.date() for each in others).items() if count > 1] == []


def _is_of(incident: Incident, fault: Fault) -> bool:
    if incident.opened_at < fault.at:
        return False
    return incident.unit == fault.unit if fault.unit else incident.about == "disk sdb"
