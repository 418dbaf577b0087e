"""Breakers: how often something is done without a person, and until when one is asked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.actions.breakers import Deed, open_breaker, resting
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.policy_settings import Breakers

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
WEB = "web.service"
LIMITS = Breakers(per_unit=3, all_units=5, within_seconds=3600, back_off_seconds=60)


def deed(minutes_ago, subject=WEB, *, alone=True, helped=True, name="restart_unit"):
    return Deed(name, subject, NOW - timedelta(minutes=minutes_ago), alone, helped)


def said(*deeds, subject=WEB, limits=LIMITS, now=NOW):
    return open_breaker(deeds, "restart_unit", subject, limits, now) or resting(deeds, subject, limits, now)


def test_nothing_done_is_no_breaker():
    assert said() is None


def test_a_unit_is_acted_on_so_often_and_then_a_person_is_asked():
    often = [deed(50), deed(30), deed(10)]
    assert said(*often[1:]) is None
    assert said(*often) == (
        "3 times something was done alone on web.service within 60 min (policy.breakers.per_unit = 3);"
        f" until {local(NOW + timedelta(minutes=10))} a person decides over restart_unit"
    )
    assert said(*often, now=NOW + timedelta(minutes=10)) is None
    assert said(deed(60), *often) == said(*often)
    assert said(*often, subject="db.service") is None


def test_the_rate_of_the_host_counts_every_unit():
    everywhere = [deed(50 - minute, subject=f"unit{minute}.service") for minute in range(5)]
    assert said(*everywhere[1:]) is None
    assert "5 times something was done alone on this host within 60 min (policy.breakers.all_units = 5)" in said(
        *everywhere
    )
    assert said(*everywhere, now=NOW + timedelta(minutes=10)) is None


def test_the_rates_count_only_what_ran_alone():
    approved = [deed(minute, alone=False) for minute in range(5, 50)]
    assert said(*approved) is None
    assert said(*approved, deed(51), deed(52)) is None
    assert said(*approved, deed(51), deed(52), deed(53)) is not None


def test_beyond_the_rate_it_stays_open_until_fewer_than_that_are_left():
    closes = local(NOW + timedelta(minutes=60 - 20))
    assert f"until {closes} a person" in said(deed(50), deed(40), deed(20), deed(15), deed(10))


@pytest.mark.parametrize(
    ("helped", "seconds"),
    [
        ((), 0),
        ((True,), 60),
        ((False,), 120),
        ((False, False), 240),
        ((True, False, False), 240),
        ((False, False, True), 60),
        ((False, False, True, False), 120),
        ((None,), 120),
        ((False, None, False), 480),
        ((False,) * 5, 1920),
        ((False,) * 6, 3600),
        ((False,) * 500, 3600),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_it_backs_off_longer_with_each_that_did_not_help(helped, seconds, alone):
    first = NOW - timedelta(seconds=len(helped))
    deeds = [Deed("x", WEB, first + timedelta(seconds=at + 1), alone, did) for at, did in enumerate(helped)]
    limits = LIMITS.model_copy(update={"per_unit": 1000, "all_units": 1000})
    for wait in (max(0, seconds - 1), seconds, seconds + 1):
        is_open = said(*deeds, limits=limits, now=NOW + timedelta(seconds=wait)) is not None
        assert is_open is (wait < seconds), wait


def test_what_was_in_vain_long_ago_still_counts_for_the_next_one():
    long_ago = [deed(minutes, helped=False) for minutes in (600, 500, 400, 300, 200)]
    assert said(*long_ago) is None
    assert said(*long_ago, deed(59, helped=False)) is not None
    assert said(*long_ago, deed(59, helped=True)) is None


def test_it_says_what_was_in_vain():
    assert said(deed(1, helped=False)) == (
        f"web.service was last acted on at {local(NOW - timedelta(minutes=1))} (restart_unit), and that did not help"
        f" (policy.breakers.back_off_seconds = 60); it waits until {local(NOW + timedelta(minutes=1))}"
    )
    assert "and the last 2 times did not help" in said(deed(2, helped=False), deed(1, helped=None))


def test_of_several_the_one_that_is_open_longest_is_told():
    assert "per_unit" in said(deed(30), deed(20), deed(0.1))
    assert "all_units" in said(*(deed(59 - at, subject=f"u{at}") for at in range(4)), deed(0.1))


def test_a_unit_that_never_comes_up_is_tried_so_often_within_the_time_and_no_more():
    done, now = [], NOW
    while now < NOW + timedelta(minutes=55):
        if said(*done, now=now) is None:
            done.append(Deed("restart_unit", WEB, now, alone=True, helped=False))
        now += timedelta(seconds=1)
    assert [(each.at - NOW).total_seconds() for each in done] == [0, 120, 360]


def test_a_clock_that_was_set_back_closes_nothing():
    assert said(deed(-30)) is not None


moments = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
deeds = st.builds(
    Deed,
    name=st.sampled_from(["restart_unit", "start_unit"]),
    subject=st.sampled_from([WEB, "db.service", ""]),
    at=moments | st.floats(-9000, 9000).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    alone=st.booleans(),
    helped=st.sampled_from([True, False, None]),
)
limits = st.builds(
    Breakers,
    per_unit=st.integers(1, 5),
    all_units=st.integers(1, 5),
    within_seconds=st.sampled_from([60, 3600, 30 * 86_400]),
    back_off_seconds=st.sampled_from([0.001, 30, 60]),
)


@given(st.lists(deeds, max_size=8), deeds, limits)
def test_doing_more_closes_no_breaker_but_what_helped(done, more, limits):
    if open_breaker(done, "x", WEB, limits, NOW) is not None and not more.helped:
        assert open_breaker([*done, more], "x", WEB, limits, NOW) is not None


@given(st.lists(deeds, max_size=8), limits, st.randoms())
def test_the_order_of_what_was_done_does_not_matter(done, limits, random):
    done = list({each.at: each for each in done}.values())
    mixed = list(done)
    random.shuffle(mixed)
    assert open_breaker(done, "x", WEB, limits, NOW) == open_breaker(mixed, "x", WEB, limits, NOW)


@given(st.lists(deeds, max_size=8), limits)
def test_every_breaker_closes_in_time(done, limits):
    past = [replace(each, at=min(each.at, NOW)) for each in done]
    assert open_breaker(past, "x", WEB, limits, NOW + timedelta(seconds=limits.within_seconds)) is None


@given(st.lists(deeds, min_size=1, max_size=8), limits)
def test_never_more_alone_on_a_unit_than_allowed(done, limits):
    """Whatever is asked for and whenever: of what no breaker held, no window of time holds more than the limit."""
    ran = []
    for each in sorted(done, key=lambda each: each.at):
        if open_breaker(ran, each.name, each.subject, limits, each.at) is None:
            ran.append(replace(each, alone=True))
    for last in ran:
        window = [each for each in ran if 0 <= (last.at - each.at).total_seconds() < limits.within_seconds]
        assert len(window) <= limits.all_units
        assert len([each for each in window if each.subject == last.subject]) <= limits.per_unit
