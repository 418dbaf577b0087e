"""A client's conversation, fitted into a prompt."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.tokens import estimate_prompt
from ai_sysadmin.meta_model.conversation import fit, spoken

_NOTES = 120


def talk(*texts):
    roles = ("user", "assistant")
    return tuple(Message(role=roles[at % 2], content=text) for at, text in enumerate(texts))


def test_what_fits_stays_as_it_is():
    turns = talk("one", "1", "two")
    assert fit(turns, 1000) == (turns, 0, 0)


def test_of_five_hundred_messages_the_newest_stay_and_the_gap_is_said():
    turns = talk(*(f"message number {number} " + "of words " * 20 for number in range(501)))
    kept, left_out, _ = fit(turns, 4000)
    assert kept[-1] == turns[-1]
    assert left_out == 501 - len(kept)
    assert kept[0].content.startswith(f"[{left_out} earlier messages")
    assert kept[0].role == "user"


def test_the_beginning_moves_in_blocks_so_that_it_stays_cached():
    def first_of(count):
        turns = talk(*(f"number {number} " + "words " * 30 for number in range(count)))
        return fit(turns, 3000).left_out

    moves = {first_of(count) for count in range(101, 131, 2)}
    assert len(moves) <= 6


def test_a_question_too_long_by_itself_is_cut_in_its_middle():
    (only,), _, cut = fit(talk("start " + "x" * 50_000 + " end"), 1000)
    assert only.content.startswith("start ")
    assert only.content.endswith(" end")
    assert f"{cut} characters are left out here" in only.content


@given(st.lists(st.text(max_size=300), min_size=1, max_size=60), st.integers(300, 3000))
def test_it_never_comes_to_more_than_the_budget_and_always_has_the_question(texts, budget):
    turns = talk(*texts)
    kept, _, cut = fit(turns, budget)
    assert estimate_prompt(kept) <= budget + _NOTES
    newest = next(turn for turn in reversed(turns) if turn.role == "user")
    assert cut or any(newest.content in turn.content for turn in kept)


@given(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), max_size=20))
def test_no_side_speaks_twice_in_a_row(roles):
    turns = spoken([Message(role=role, content=f"{at}") for at, role in enumerate(roles)])
    assert all(one.role != other.role for one, other in pairwise(turns))
    assert {turn.role for turn in turns} <= {"user", "assistant"}
