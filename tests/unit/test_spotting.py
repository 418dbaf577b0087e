"""A reply, while it streams: words, or a step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.meta_model.spotting import Spotter

STEP = '{"plan": "see", "do": "unit_log", "unit": "a}b"}'


def read(*pieces):
    spotter = Spotter()
    words = "".join(spotter.feed(piece) for piece in pieces)
    return words + spotter.end(), spotter


@pytest.mark.parametrize(
    ("reply", "words", "step"),
    [
        ("All is well.", "All is well.", ""),
        (STEP, "", STEP),
        ("  " + STEP, "", STEP),
        ("```json\n" + STEP + "\n```", "", STEP),
        ("Let me see.\n\n" + STEP + "\nIt is fine.", "Let me see.\n", STEP),
        ("{}", "", "{}"),
        ('{ "do": "x" }', "", '{ "do": "x" }'),
        ('{"name": "web"} is the JSON', '{"name": "web"} is the JSON', ""),
        ('say {"do": "x"} in the middle', 'say {"do": "x"} in the middle', ""),
        ("```nix\n{ pkgs, ... }:\n```", "```nix\n{ pkgs, ... }:\n```", ""),
        ("{", "{", ""),
        ("", "", ""),
    ],
)
def test_a_step_is_an_object_where_a_line_begins(reply, words, step):
    said, spotter = read(reply)
    assert (said, spotter.step_text if spotter.is_step else "") == (words, step)
    assert not step or spotter.is_whole


@given(st.data())
def test_however_it_is_split_it_is_read_the_same(data):
    parts = st.sampled_from(["All is well.\n", STEP, "\n", "```json\n", "{", "{}", '{"na', " ", "`", '"do"'])
    reply = "".join(data.draw(st.lists(parts, max_size=8)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(reply)), max_size=12)))
    pieces = [reply[a:b] for a, b in zip([0, *cuts], [*cuts, len(reply)], strict=True)]
    whole, split = read(reply), read(*pieces)
    assert whole[0] == split[0]
    assert (whole[1].is_step, whole[1].step_text) == (split[1].is_step, split[1].step_text)


def test_a_step_without_end_is_given_up():
    spotter = Spotter()
    spotter.feed('{"plan": "' + "x" * 9000)
    assert spotter.is_whole
