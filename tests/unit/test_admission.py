"""Who may hold how many connections to the executor."""

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.executor.admission import PER_STRANGER, PER_UID, STRANGERS, TELL_SECONDS, Admission
from ai_sysadmin.runtime.peers import Peer


def enter(stack, admission, uid, *, door="operate", stranger=False):
    return stack.enter_context(admission.entered(door, Peer(uid, f"uid {uid}"), stranger=stranger))


def test_everybody_has_a_bound_of_their_own_at_each_socket():
    admission = Admission()
    with ExitStack() as held:
        assert all(enter(held, admission, 1000) for _ in range(PER_UID))
        assert not enter(held, admission, 1000)
        assert enter(held, admission, 1000, door="propose")
        assert enter(held, admission, 0)
    with ExitStack() as held:
        assert enter(held, admission, 1000)  # what is over is not counted


@given(st.lists(st.integers(1000, 1100), max_size=300))
def test_strangers_share_a_few_and_take_nobody_elses(uids):
    admission = Admission()
    with ExitStack() as held:
        served = [uid for uid in uids if enter(held, admission, uid, stranger=True)]
        assert len(served) <= STRANGERS
        assert all(served.count(uid) <= PER_STRANGER for uid in served)
        assert all(enter(held, admission, 0) for _ in range(PER_UID))


def test_what_a_stranger_is_refused_is_logged_once_a_minute():
    now = 0.0
    admission = Admission(lambda: now)
    eve, bob = Peer(1001, "eve"), Peer(1002, "bob")
    assert [admission.is_worth_a_line(eve) for _ in range(3)] == [True, False, False]
    assert admission.is_worth_a_line(bob)
    now = TELL_SECONDS
    assert admission.is_worth_a_line(eve)


def test_very_many_strangers_do_not_fill_the_log_either():
    admission = Admission(lambda: 0.0)
    assert sum(admission.is_worth_a_line(Peer(uid, "")) for uid in range(100_000)) < 2000
