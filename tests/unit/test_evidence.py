"""What is gathered about an incident, what its hash rests on, and that no text in it does harm."""

import unicodedata
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.context.defuse import cut, defuse, fenced, for_model, newest, one_line, quoted, without_numbers
from ai_sysadmin.context.evidence import MOST_LINE_CHARACTERS, MOST_LOG_CHARACTERS, MOST_SYMPTOMS, gather
from ai_sysadmin.context.facts import cause_of, citation, evidence_text, facts_of, status_in
from ai_sysadmin.core.errors import JournalUnavailable, SystemdUnavailable
from ai_sysadmin.core.records import SymptomKind
from tests.builders import NOW, UNIT, incident
from tests.judging import FAILED, FixedUnits, log_of, symptom

ACTING = ("\x1b[31m", "\x1b]8;;http://x\x07", "\x1b]0;t\x1b\\", "\x9b2J", "\x07", "\r", "\x00", "\n", "`")
REORDERING = ("\u202e", "\u2066", "\u200b", "\ud800", "\U000e0041")
SPEAKING_FOR_OTHERS = ("<|im_end|>", "<|im_start|>system\n", "</think>", "[INST]", "e2>>>", "<<<e1")
HARMFUL = st.sampled_from((*ACTING, *REORDERING, *SPEAKING_FOR_OTHERS))
TEXTS = st.lists(HARMFUL | st.text(max_size=8), max_size=12).map("".join)


def harmless(text: str) -> bool:
    return all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} or c == "\n" for c in text)


# --- text


@given(TEXTS)
def test_defused_text_acts_on_no_terminal_and_reorders_nothing(text):
    assert harmless(defuse(text))
    assert defuse(defuse(text)) == defuse(text)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])))
def test_plain_text_stays_as_it_is(text):
    assert defuse(text) == text


@given(TEXTS, st.integers(0, 60))
def test_one_line_is_one_line_of_bounded_length(text, most):
    line = one_line(text, most)
    assert "\n" not in line
    assert len(line) <= most
    assert harmless(line)


@given(TEXTS)
def test_text_for_a_model_holds_no_control_token_and_cannot_end_its_fence(text):
    inside = for_model(text)
    assert "<" not in inside
    assert ">" not in inside
    assert "[inst]" not in inside.lower()
    whole = fenced(f"e2 unit_log: {text}", text)
    assert whole.count("<<<") == whole.count(">>>") == 1
    assert whole.startswith("<<<")
    assert whole.endswith("e2>>>")


@given(TEXTS)
def test_quoted_text_is_one_code_span(text):
    said = quoted(text)
    assert said.count("`") == 2
    assert (said[0], said[-1]) == ("`", "`")
    assert "\n" not in said


@given(st.lists(st.text(max_size=30), max_size=30), st.integers(0, 200))
def test_the_newest_lines_are_kept_within_the_limit(given_lines, most):
    kept = newest(given_lines, most)
    assert sum(len(line) + 1 for line in kept) <= max(most, 1)
    if len(kept) > 1:
        assert kept == given_lines[-len(kept) :]
    assert bool(kept) == bool(given_lines)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("abc\u202edef", "abcdef"),
        ("a\tb\rc", "a b c"),
        ("naïve → 漢字", "naïve → 漢字"),
    ],
)
def test_examples(raw, shown):
    assert defuse(raw) == shown


def test_cut_says_that_something_is_missing():
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcd …"


# --- gathering


async def gathered(status=FAILED, log=("boom",), symptoms=None, unit=UNIT):
    found = [symptom()] if symptoms is None else symptoms
    return await gather(incident(unit=unit), found, FixedUnits(status), log_of(*log), log_lines=30, now=NOW)


async def test_a_pack_holds_state_log_and_symptoms():
    pack = await gathered()
    assert [(piece.id, piece.kind) for piece in pack.pieces] == [
        ("e1", "unit_status"),
        ("e2", "unit_log"),
        ("e3", "symptoms"),
    ]
    state, log, noticed = pack.pieces
    assert "state: failed (failed)" in state.text
    assert state.facts["result"] == "exit-code"
    assert "err web: boom" in log.text
    assert "unit_failed, 1 times" in noticed.text


async def test_an_incident_of_no_unit_has_symptoms_only():
    assert [piece.id for piece in (await gathered(unit="")).pieces] == ["e3"]


async def test_what_cannot_be_looked_up_is_said():
    async def no_journal(unit: str, count: int):
        raise JournalUnavailable("not in the group systemd-journal: add the user to it")

    units = FixedUnits(SystemdUnavailable("the system bus does not answer"))
    pack = await gather(incident(), [symptom()], units, no_journal, log_lines=30, now=NOW)
    assert [piece.kind for piece in pack.pieces] == ["unavailable", "unavailable", "symptoms"]
    assert "the system bus does not answer" in pack.pieces[0].text
    assert "systemd-journal" in pack.pieces[1].text
    assert facts_of(incident(), pack).gaps


async def test_the_state_can_be_read_back_from_the_pack():
    assert status_in(await gathered()) == FAILED
    assert status_in(await gathered(unit="")) is None


async def test_equal_lines_are_told_once_with_their_number():
    log = (await gathered(log=["same"] * 28 + ["other"])).pieces[1].text
    assert log.count("same") == 1
    assert "(28 times)" in log
    assert log.splitlines()[-1].endswith("other")


@given(st.lists(TEXTS | st.text(min_size=400, max_size=500), max_size=40))
async def test_a_pack_is_bounded_and_harmless_whatever_is_logged(messages):
    noticed = [symptom(text=text, why=text, fingerprint=str(number)) for number, text in enumerate(messages)]
    pack = await gathered(log=messages, symptoms=noticed)
    for piece in pack.pieces:
        assert harmless(piece.text)
        assert all(len(line) <= MOST_LINE_CHARACTERS for line in piece.text.splitlines())
    assert len(pack.pieces[1].text) <= MOST_LOG_CHARACTERS
    assert len(pack.pieces[2].text.splitlines()) <= MOST_SYMPTOMS + 1
    assert evidence_text(pack).count("<<<") == 3


# --- the hash


async def test_repetition_and_time_leave_the_hash_as_it_is():
    before = await gathered(log=["worker 17 died"], symptoms=[symptom(count=1)])
    later = FAILED.model_copy(
        update={"n_restarts": 9, "invocation": "ff", "state_changed_at": NOW + timedelta(hours=1), "description": "x"}
    )
    after = await gathered(later, ["worker 18 died"] * 30, [symptom(count=10_000, last_at=NOW + timedelta(hours=1))])
    assert after.hash == before.hash


async def test_what_a_judgement_rests_on_changes_the_hash():
    changed = [{"active_state": "active"}, {"sub_state": "auto-restart"}, {"result": "oom-kill"}, {"exit_status": 2}]
    packs = [await gathered(FAILED.model_copy(update=change)) for change in changed]
    packs += [await gathered(), await gathered(symptoms=[symptom(), symptom(fingerprint="f2")])]
    packs += [await gathered(SystemdUnavailable()), await gathered(unit="")]
    assert len({pack.hash for pack in packs}) == len(packs)


async def test_the_order_of_symptoms_does_not_matter():
    both = [symptom(), symptom(fingerprint="f2", text="x")]
    one, other = await gathered(symptoms=both), await gathered(symptoms=both[::-1])
    assert (one.hash, one.pieces) == (other.hash, other.pieces)


# --- facts


async def test_facts_of_a_failed_unit():
    facts = facts_of(incident(), await gathered())
    assert facts.failed
    assert list(facts.choices) == ["restart_unit"]
    assert facts.remedy.arguments == {"unit": UNIT}
    assert cause_of(facts) == f"{UNIT} failed: its process ended with exit status 1"


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"result": "timeout"}, SymptomKind.UNIT_FAILED, "took too long"),
        ({"result": "signal", "exit_status": 9}, SymptomKind.UNIT_FAILED, "killed by signal 9"),
        ({"load_state": "not-found"}, SymptomKind.UNIT_FAILED, "unit file is gone"),
        ({}, SymptomKind.OOM_KILL, "lack of memory"),
        ({"active_state": "active", "sub_state": "running"}, SymptomKind.UNIT_FAILED, "is now active (running)"),
        ({"result": "something {new}"}, SymptomKind.UNIT_FAILED, "something {new}"),
    ],
)
async def test_the_measured_cause_in_words(changes, kind, said):
    pack = await gathered(FAILED.model_copy(update=changes))
    assert said in cause_of(facts_of(incident(kind=kind), pack))


async def test_citations_have_to_be_of_this_pack():
    pack = await gathered()
    assert citation(pack, ["e2", "e1"]).ids == ("e1", "e2")
    assert not citation(pack, ["e1"]).fault
    assert citation(pack, []).fault == "it cites no evidence"
    assert "e9" in citation(pack, ["e1", "e9"]).fault


async def test_a_log_may_be_cut_to_its_newest_part_for_a_small_context():
    pack = await gathered(log=[f"line {number}" for number in range(20)])
    assert "line 19" in evidence_text(pack, 30)
    assert "line 1\n" not in evidence_text(pack, 30)
    assert "line" not in evidence_text(pack, 0).partition("e2>>>")[0].partition("<<<e2")[2].partition("\n")[2]


def test_numbers_can_be_masked():
    assert without_numbers("loading, 40 s so far") == without_numbers("loading, 55 s so far")
