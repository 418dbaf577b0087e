"""How much one caller may ask, by a clock that a test turns."""

from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.openai_api_server.gate.limits import Limits


class Turned:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_burst_then_one_at_a_time():
    clock = Turned()
    limits = Limits(60, 1, clock)
    assert [limits.wait("a") for _ in range(60)] == [0] * 60
    assert 0.9 < limits.wait("a") <= 1
    assert limits.wait("b") == 0
    clock.now += 1.001
    assert (limits.wait("a"), limits.wait("a") > 0) == (0, True)


@given(st.lists(st.floats(0, 30), max_size=300), st.integers(1, 20))
def test_no_minute_sees_more_than_the_burst_and_what_came_back(pauses, per_minute):
    clock, let_through = Turned(), []
    limits = Limits(per_minute, 1, clock)
    for pause in pauses:
        clock.now += pause
        seconds = limits.wait("a")
        if seconds == 0:
            let_through.append(clock.now)
        else:
            clock.now += seconds + 0.001  # who waits as long as was said goes on
            assert limits.wait("a") == 0
            let_through.append(clock.now)
    for start in let_through:
        assert sum(start <= at < start + 60 for at in let_through) <= 2 * per_minute + 1


def test_answers_have_places_and_give_them_back():
    limits = Limits(60, 2)
    assert [limits.begin("a"), limits.begin("a"), limits.begin("a"), limits.begin("b")] == [True, True, False, True]
    limits.end("a")
    assert (limits.begin("a"), limits.begin("a")) == (True, False)


def test_who_has_been_quiet_takes_no_memory():
    clock = Turned()
    limits = Limits(60, 2, clock)
    for number in range(5000):
        clock.now += 1
        limits.wait(f"key {number}")
        limits.begin(f"key {number}")
        limits.end(f"key {number}")
    assert len(limits._buckets) <= 1000
    assert len(limits._under_way) == 0
