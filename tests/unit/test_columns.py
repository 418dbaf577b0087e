"""Text by the columns that it takes: never wider than it may be, and every word of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.cli.columns import columns, cut, folded, within_width
from ai_sysadmin.context.defuse import defuse

WORDS = st.one_of(
    st.text(max_size=300), st.text(alphabet="漢字かなáe\u0301🦀👩\u200d👧\ufe0f\u202e\x1b[31m \n\t", max_size=300)
)


@given(WORDS, st.integers(4, 90))
def test_folded_text_keeps_every_word_and_its_width(text, width):
    lines = list(folded(text, width))
    assert all(columns(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(defuse(text).split())
    assert all(columns(line) <= 10 for line in within_width([*lines, text.replace("\n", " ")], 10))
    assert columns(cut(" ".join(lines), width)) <= width


@pytest.mark.parametrize(("text", "wide"), [("abc", 3), ("漢字", 4), ("e\u0301", 1), ("🦀", 2), ("", 0)])
def test_columns_are_counted_as_a_terminal_does(text, wide):
    assert columns(text) == wide
