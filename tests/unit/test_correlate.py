"""trigger_monitor/units/correlate.py: which failure is the root of which."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.sources.units import Dependencies
from ai_sysadmin.trigger_monitor.units.correlate import Together
from tests.builders import NOW

MINUTE = timedelta(seconds=60)
WEB, APP, DB, DISK = "web.service", "app.service", "db.service", "var.mount"


def together(seconds: dict[str, float], **needs: Dependencies) -> Together:
    """Return units that failed so many seconds after now, with the dependencies of ``web`` and the like."""
    known = {f"{name}.service": each for name, each in needs.items()}
    return Together({unit: NOW + timedelta(seconds=late) for unit, late in seconds.items()}, known, MINUTE)


@pytest.mark.parametrize(
    ("needs", "db_at", "explains"),
    [
        (Dependencies(requires=(DB,)), -3600, True),
        (Dependencies(binds_to=(DB,)), 5, True),
        (Dependencies(requisite=(DB,)), 0, True),
        (Dependencies(part_of=(DB,)), -59, True),
        (Dependencies(part_of=(DB,)), -61, False),
        (Dependencies(requires=(DB,)), 61, False),
        (Dependencies(wants=(DB,), after=(DB,)), -59, True),
        (Dependencies(wants=(DB,), after=(DB,)), 59, True),
        (Dependencies(wants=(DB,), after=(DB,)), -61, False),
        (Dependencies(wants=(DB,)), -1, False),
        (Dependencies(after=(DB,)), -59, True),
        (Dependencies(after=(DB,)), -61, False),
        (Dependencies(after=(DB,)), 0.5, True),
        (Dependencies(after=(DB,)), 2, False),
        (Dependencies(), 0, False),
    ],
)
def test_the_weaker_the_tie_the_closer_in_time(needs: Dependencies, db_at: float, explains: bool) -> None:
    found = together({WEB: 0, DB: db_at}, web=needs)
    assert found.roots(WEB) == ((DB,) if explains else ())
    assert found.explained(DB) == ((WEB,) if explains else ())
    assert found.roots(DB) == ()


def test_what_is_well_explains_nothing() -> None:
    assert together({WEB: 0}, web=Dependencies(requires=(DB,))).roots(WEB) == ()


def test_roots_are_found_through_what_they_took_down_the_nearest_first() -> None:
    found = together({WEB: 2, APP: 1, DB: 0}, web=Dependencies(requires=(APP,)), app=Dependencies(binds_to=(DB,)))
    assert found.roots(WEB) == (APP, DB)
    assert set(found.explained(DB)) == {WEB, APP}
    assert found.causes_first([WEB, APP, DB]) == [DB, APP, WEB]
    assert found.firsts([WEB, APP, DB]) == [DB]


def test_a_needed_socket_stands_for_the_service_that_it_starts() -> None:
    found = Together(
        {WEB: NOW, DB: NOW},
        {WEB: Dependencies(requires=("db.socket",)), "db.socket": Dependencies(triggers=(DB,))},
        MINUTE,
    )
    assert found.roots(WEB) == (DB,)


def test_targets_and_slices_tie_nothing_by_order_alone() -> None:
    needs = Dependencies(after=("net.target", "system.slice"), wants=("net.target",))
    assert together({WEB: 0, "net.target": 0, "system.slice": 0}, web=needs).roots(WEB) == ()


def test_two_that_need_each_other_come_in_the_order_in_which_they_failed() -> None:
    found = together({WEB: 1, DB: 0}, web=Dependencies(requires=(DB,)), db=Dependencies(requires=(WEB,)))
    assert (found.roots(WEB), found.roots(DB)) == ((DB,), (WEB,))
    assert found.causes_first([WEB, DB]) == [DB, WEB]
    assert found.firsts([WEB, DB]) == [DB]


def test_a_fault_that_is_nobody_s_stands_beside() -> None:
    found = together({WEB: 0, DB: 0, DISK: 0}, web=Dependencies(requires=(DB,)))
    assert set(found.firsts([WEB, DB, DISK])) == {DB, DISK}


units = st.sampled_from([f"u{number}.service" for number in range(6)])
failed = st.dictionaries(units, st.floats(-100, 100), min_size=1)
ties = st.dictionaries(units, st.lists(units, max_size=3))


@given(failed, ties, ties)
def test_however_units_hang_together_every_root_is_known_and_each_comes_once(
    moments: dict[str, float], required: dict[str, list[str]], followed: dict[str, list[str]]
) -> None:
    needs = {
        unit: Dependencies(requires=tuple(required.get(unit, ())), after=tuple(followed.get(unit, ())))
        for unit in {*required, *followed}
    }
    found = Together({unit: NOW + timedelta(seconds=late) for unit, late in moments.items()}, needs, MINUTE)
    ordered = found.causes_first(list(moments))
    assert sorted(ordered) == sorted(moments)
    assert found.firsts(list(moments)), "something failed first"
    for unit in moments:
        roots = found.roots(unit)
        assert unit not in roots
        assert set(roots) <= set(moments)
        assert len(set(roots)) == len(roots)
        for root in roots:
            assert unit in found.explained(root)
