"""context/redact.py: secrets go, all else stays, twice is once, and no line takes long."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.context.redact import MOST_LINE_CHARACTERS, Redactor, redact_pack, shortened
from ai_sysadmin.core.context_settings import RedactionRule
from ai_sysadmin.core.records import Evidence, EvidencePack
from tests.builders import NOW
from tests.leaks import harmless, leaks

redactor = Redactor()
LEAKS = leaks()


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.marked[:60])
def test_a_secret_is_taken_out_and_counted(leak):
    found = redactor.redact(leak.text)
    assert leak.survivors(found.text) == []
    assert leak.kind in found.counts
    assert redactor.redact(found.text) == (found.text, {})


@pytest.mark.parametrize("leak", [each for each in LEAKS if "\n" not in each.text], ids=lambda leak: leak.marked[:60])
def test_what_names_a_secret_stays(leak):
    if "PRIVATE KEY" not in leak.text:
        assert leak.expected.fullmatch(redactor.redact(leak.text).text)


@pytest.mark.parametrize("line", harmless())
def test_a_harmless_line_stays_as_it_is(line):
    assert redactor.redact(line) == (line, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=[redacted: password]", "password=[redacted: password]"),
        ("token=abc[redacted: token]def1", "token=[redacted: token]"),
        ("password=one password=two", "password=[redacted: password] password=[redacted: password]"),
        ("a password=\nb", "a password=\nb"),
        ("[redacted: nothing known]", "[redacted: nothing known]"),
        ("", ""),
    ],
)
def test_marks_are_left_whole(text, expected):
    assert redactor.redact(text).text == expected


def test_each_secret_is_counted_once():
    found = redactor.redact("password=one password=two alice@example.com\npasswd: three3")
    assert found.counts == {"password": 3, "e-mail address": 1}


PARTS = st.one_of(
    st.sampled_from([each.text for each in LEAKS]),
    st.sampled_from([each.text[:40] for each in LEAKS]),
    st.sampled_from([each.text[-40:] for each in LEAKS]),
    st.sampled_from(["[redacted: password]", "[redacted: ", "]", "'", '"', "\\", "=", ": ", " ", "\n", "@", "&", ","]),
    st.text(max_size=20),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PARTS, max_size=8).map("".join))
def test_what_was_redacted_is_not_redacted_again(text):
    once = redactor.redact(text)
    assert redactor.redact(once.text) == (once.text, {})


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=0x24F), max_size=200))
def test_a_secret_is_found_among_any_text(text):
    assert "hunter2hunter2" not in redactor.redact(f"{text} password=hunter2hunter2 {text}").text


# --- the cost

SEEDS = (
    "a", "=", "password=", 'password="', "'\"", "\\", '\\"', "a@", "a.", "://a:", "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----", "eyJ-", "eyJa.", "--password ", "-p'", "mysql ", "mysql -p", "curl -u a:", "token ",
    "password is ", 'password,"', "password value", "4111 ", "4111", "DE89 3704 ", "A0", "[redacted: x]", "cookie=",
    "authorization: basic ", "secret,secret", "docker login ", "_KEY=", "A_", "a_b_", "sk-a1", "glpat-", "/nix/store/",
    '{"password":"', "<password>", "p=a,b,", "password=a&b=", "password=a'b'", "bearer ", "identified by ",
    "set password ", "echo a:", "ldap -w", "otp is ", "?key=", ":aa", "$1$a$", "0" * 32 + ":", "\t", " ", "é", "aA0",
)  # fmt: skip


def cpu_seconds(text: str) -> float:
    began = time.process_time()
    redactor.redact(text)
    return time.process_time() - began


def repeated(seed: str, length: int) -> str:
    return (seed * (length // len(seed) + 1))[:length]


def test_a_line_four_times_as_long_takes_about_four_times_as_long():
    rng = random.Random(1)
    seeds = [*SEEDS, *("".join(rng.choices(SEEDS, k=rng.randint(2, 5))) for _ in range(30))]
    for seed in seeds:
        short = min(cpu_seconds(repeated(seed, 4_000)) for _ in range(2))
        long = min(cpu_seconds(repeated(seed, 16_000)) for _ in range(2))
        assert long < 4 * 2.5 * max(short, 0.002), seed  # what grows with the square takes 16 times as long


@pytest.mark.parametrize("seed", ["x", "password=hunter2 token: abc ", "-----BEGIN PRIVATE KEY-----", "a@", "aA0+"])
def test_a_line_of_megabytes_is_quick(seed):
    assert cpu_seconds(repeated(seed, 3_000_000)) < 1


def test_a_line_that_is_too_long_keeps_its_ends():
    text = "begin " + "x y " * MOST_LINE_CHARACTERS + "password=hunter2 end"
    found = redactor.redact(text)
    assert len(found.text) < MOST_LINE_CHARACTERS
    assert found.text.startswith("begin x y x y")
    assert found.text.endswith("x y password=[redacted: password] end")
    assert "characters left out]" in found.text
    assert redactor.redact(found.text).text == found.text


# --- the operator's rules


def with_rule(pattern: str, name: str = "customer") -> Redactor:
    return Redactor([RedactionRule(name=name, pattern=pattern)])


def test_a_rule_takes_out_its_group_or_its_match():
    assert with_rule(r"customer (?P<secret>\d+)").redact("customer 4711 came") == (
        "customer [redacted: customer] came",
        {"customer": 1},
    )
    assert with_rule(r"\bC-\d+").redact("for C-1 and C-2").text == "for [redacted: customer] and [redacted: customer]"


def test_rules_come_after_the_built_in_shapes():
    found = with_rule(r"\S+").redact("password=hunter2")
    assert found.text == "[redacted: customer]"
    assert with_rule("hunter2").redact("password=hunter2").counts == {"password": 1}


def test_a_rule_cannot_break_a_mark():
    assert with_rule("redacted|password").redact("password=hunter2").text == (
        "[redacted: customer]=[redacted: password]"
    )


def test_what_a_rule_took_out_is_not_taken_out_again():
    rules = with_rule(r"user=\S*")
    once = rules.redact("user=bob user=carol")
    assert rules.redact(once.text) == (once.text, {})


@pytest.mark.parametrize("at", [0, 2040, 4090, 30_000])
def test_a_rule_is_applied_all_over_a_long_line(at):
    line = "x" * at + " C-4711 " + "y" * 100
    assert "C-4711" not in with_rule(r"\bC-\d+").redact(line).text


def test_a_rule_whose_cost_grows_with_the_square_is_bounded():
    rules, line = with_rule(r"a.*b"), "a" * 60_000
    began = time.process_time()
    rules.redact(line)
    assert time.process_time() - began < 4


# --- named values, packs


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("password", "hunter2", "[redacted: password]"),
        ("api_key", "abcdef0123456789", "[redacted: key]"),
        ("instance", "https://bob:hunter2@db:5432", "https://bob:[redacted: password]@db:5432"),
        ("invocation", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
        ("password", "[redacted: password]", "[redacted: password]"),
        ("token_count", "512", "512"),
    ],
)
def test_a_value_is_known_by_its_name(name, text, expected):
    assert redactor.value(name, text).text == expected
    assert redactor.mapping({name: text})[0] == {name: expected}


def test_a_pack_is_redacted_throughout_and_counted_once():
    piece = Evidence(
        id="e1",
        kind="unit_log",
        title="log of alice@example.com",
        text="password=hunter2\nok",
        at=NOW,
        facts={"secret": "hunter2hunter2", "state": "failed"},
        left_out="token=abcdef123456",
    )
    pack = redact_pack(EvidencePack(incident_id="abcdef", pieces=(piece,), hash="h"), redactor)
    assert "hunter2" not in pack.model_dump_json()
    assert pack.redacted == {"e-mail address": 1, "password": 1, "token": 1, "secret": 1}
    assert pack.pieces[0].facts["state"] == "failed"
    assert redact_pack(pack, redactor) == pack


@given(st.integers(0, 60))
def test_a_mark_is_not_cut_in_two(most):
    text = "password=[redacted: password] and more"
    cut = shortened(text, most)
    assert len(cut) <= most
    assert text.startswith(cut)
    assert cut.count("[") == cut.count("]")
