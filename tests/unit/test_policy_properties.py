"""The policy: what must hold for any action, any level of autonomy and any settings."""

from dataclasses import replace
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.actions.policy import Question, levels, remarks, rule
from ai_sysadmin.core.acting import Decision, Risk
from ai_sysadmin.core.policy_settings import Override, Policy
from ai_sysadmin.core.settings import Autonomy

SSH = "sshd.service"
DENY = Override(decision="deny")
_UNITS = ["web.service", "web@1.service", "sshd.service", "user@1000.service", "journal", "/var/tmp", r"a\x2db.mount"]
_GLOBS = ["*", "**", "web*", "web", "sshd*", "*.service", "user@*", "/var/*", "[a-w]*", "[!w]*", "nothing.socket"]
moments = st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=st.timezones())  # noqa: DTZ001
risks, autonomies = st.sampled_from(Risk), st.sampled_from(Autonomy)
questions = st.builds(
    Question,
    action=st.sampled_from(["restart_unit", "vacuum_journal", "", "x"]),
    units=st.lists(st.sampled_from(_UNITS) | st.text(max_size=12), max_size=3).map(tuple),
    host=st.sampled_from(["box", "other", ""]),
    risk=risks,
    warranted=st.booleans(),
    at=moments,
    aliases=st.lists(st.sampled_from(_UNITS), max_size=1).map(tuple),
)


def some(values):
    return st.lists(values, min_size=1, max_size=2).map(tuple)


readable = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=8)


def overrides(decisions=("run", "ask", "deny")):
    return st.builds(
        Override,
        decision=st.sampled_from(decisions),
        actions=some(st.sampled_from(["*", "restart_*", "vacuum_journal", "[rv]*"])),
        units=some(st.sampled_from(_GLOBS) | readable),
        hosts=some(st.sampled_from(["*", "box", "b?x"]) | readable),
        days=st.lists(st.sampled_from(["mon", "fri", "sun"]), max_size=2).map(tuple),
        hours=st.sampled_from(["", "22:00-06:00", "00:00-12:00", "12:00-00:00"]),
    )


def policies(decisions=("run", "ask", "deny")):
    return st.builds(
        Policy,
        overrides=st.lists(overrides(decisions), max_size=4).map(tuple),
        further_protected_units=st.lists(st.sampled_from(["web*", "web", "*.mount"]), max_size=1).map(tuple),
    )


RANK = {Decision.REFUSE: 0, Decision.RECORD: 1, Decision.ASK: 2, Decision.RUN: 3}


@given(questions, policies())
def test_raising_autonomy_takes_nothing_away(question, policy):
    ranks = [RANK[ruling.decision] for ruling in levels(question, policy).values()]
    assert ranks == sorted(ranks)


@given(questions, policies())
def test_observe_runs_nothing_but_read_only(question, policy):
    decision = rule(question, Autonomy.OBSERVE, policy).decision
    assert decision is not Decision.ASK
    assert decision is not Decision.RUN or question.risk is Risk.READ_ONLY


@given(questions, policies(), st.integers(0, 4), autonomies)
def test_deny_wins_over_all_else(question, policy, place, autonomy):
    before, after = policy.overrides[:place], policy.overrides[place:]
    denying = policy.model_copy(update={"overrides": (*before, DENY, *after)})
    assert rule(question, autonomy, denying).decision is Decision.REFUSE


@given(questions, policies(), overrides(("ask", "deny")), autonomies)
def test_a_stricter_line_lets_nothing_run(question, policy, added, autonomy):
    stricter = policy.model_copy(update={"overrides": (*policy.overrides, added)})
    assert RANK[rule(question, autonomy, stricter).decision] <= RANK[rule(question, autonomy, policy).decision]


@given(questions, policies(), overrides(("run",)), autonomies)
def test_a_line_that_lets_run_refuses_nothing(question, policy, added, autonomy):
    laxer = policy.model_copy(update={"overrides": (*policy.overrides, added)})
    assert RANK[rule(question, autonomy, laxer).decision] >= RANK[rule(question, autonomy, policy).decision]


@given(questions, policies(), autonomies)
def test_what_is_protected_or_not_needed_never_runs_alone(question, policy, autonomy):
    ruling = rule(question, autonomy, policy)
    if question.risk is not Risk.READ_ONLY and ruling.decision is Decision.RUN:
        assert not ruling.protected
        assert question.warranted
    protected = replace(question, units=(*question.units, SSH))
    if question.risk is not Risk.READ_ONLY:
        assert rule(protected, autonomy, policy).decision is not Decision.RUN


@given(questions, policies(), autonomies, st.sampled_from(_UNITS))
def test_one_more_unit_never_lets_it_run(question, policy, autonomy, unit):
    """But for what changes no unit: that is met by ``*`` alone, and a ``run`` line may be about the unit."""
    if question.units:
        more = replace(question, units=(*question.units, unit))
        ruling, wider = rule(question, autonomy, policy), rule(more, autonomy, policy)
        assert RANK[wider.decision] <= RANK[ruling.decision]
        assert wider.risk.level >= ruling.risk.level


@given(questions, policies(), autonomies, st.sampled_from(_UNITS))
def test_another_name_of_a_unit_never_lets_it_run(question, policy, autonomy, name):
    known = replace(question, aliases=(*question.aliases, name))
    assert RANK[rule(known, autonomy, policy).decision] <= RANK[rule(question, autonomy, policy).decision]


@given(questions, policies(), autonomies, risks)
def test_a_higher_risk_never_lets_it_run(question, policy, autonomy, risk):
    low, high = sorted((question.risk, risk), key=lambda each: each.level)
    lower, higher = (rule(replace(question, risk=each), autonomy, policy) for each in (low, high))
    assert RANK[higher.decision] <= RANK[lower.decision]


@given(questions, policies(), autonomies, st.randoms())
def test_the_order_of_the_lines_does_not_matter(question, policy, autonomy, random):
    mixed = list(policy.overrides)
    random.shuffle(mixed)
    one = rule(question, autonomy, policy)
    other = rule(question, autonomy, policy.model_copy(update={"overrides": tuple(mixed)}))
    assert (one.decision, one.risk, one.protected) == (other.decision, other.risk, other.protected)


@given(questions, policies())
def test_every_ruling_says_why_and_by_which_line(question, policy):
    for ruling in levels(question, policy).values():
        assert ruling.reason
        assert ruling.line.startswith(("policy.", "autonomy_level = "))


@given(overrides(("run",)), questions, autonomies)
def test_what_is_remarked_as_protected_never_runs(override, question, autonomy):
    """The remark is about what a unit's line lets run: read-only actions and the table's own are not its doing."""
    lets = Policy(overrides=(override,))
    if any("says run" in each for each in remarks(lets, ("restart_unit", "vacuum_journal"))):
        assert not rule(question, autonomy, lets).line.startswith("policy.overrides") or question.risk is Risk.READ_ONLY
