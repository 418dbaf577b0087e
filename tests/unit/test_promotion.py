"""What is proposed to run alone: never what people did not want, and what is proposed does run."""

import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.actions.policy import Question, rule
from ai_sysadmin.actions.promotion import Case, Promotion, blemish, decision_at, level_promotion, promotion, why_not
from ai_sysadmin.core.acting import ActionState, Decision, Origin, Risk, Ruling
from ai_sysadmin.core.policy_settings import Override, Policy
from ai_sysadmin.core.settings import Autonomy
from tests.builders import HOST, NOW, UNIT
from tests.trusting import case

SUGGEST, SAFE, FULL, OBSERVE = Autonomy.SUGGEST, Autonomy.AUTO_SAFE, Autonomy.AUTO_FULL, Autonomy.OBSERVE
RUN, ASK, REFUSE, RECORD = Decision.RUN, Decision.ASK, Decision.REFUSE, Decision.RECORD
UNAIDED = Policy()
LINE = (
    'services.ai-sysadmin.settings.policy.overrides = [ {{ decision = "run"; actions = [ "{}" ]; units = [ {} ]; }} ];'
)


def promoted(cases, action="restart_unit", autonomy=SUGGEST, policy=UNAIDED):
    return promotion(action, cases, autonomy, policy)


def nine(**changes):
    return [case(**changes) for _ in range(9)]


def test_what_was_approved_every_time_and_helped_gets_an_override():
    cases = nine(unit="nginx.service")
    found = promoted(cases)
    assert found.line == LINE.format("restart_unit", '"nginx.service"')
    assert found.override == Override(decision="run", actions=("restart_unit",), units=("nginx.service",))
    assert found.cases == tuple(each.id for each in cases)
    assert found.why_not == ""


REASONS = [
    ([case(), case()], "3 cases are needed, and 2 of 2 count"),
    ([case()], "3 cases are needed, and 1 of 1 counts"),
    ([*nine(), case(ActionState.REJECTED)], "it was rejected once, of 10"),
    ([*nine(), case(ActionState.FAILED)], "it failed once, of 10"),
    ([*nine(), case(ActionState.REVERTED), case(ActionState.REVERTED)], "it was taken back twice, of 11"),
    ([*nine(), case(ActionState.UNKNOWN)], "it ended nobody knows how once, of 10"),
    ([*nine(), case(ActionState.REFUSED, by="ada")], "it could not be done any more once when it was approved"),
    (nine(risk=Risk.DESTRUCTIVE), "it is destructive: that always asks"),
    ([*nine(), case(risk=Risk.DESTRUCTIVE)], "it is destructive: that always asks"),
    (nine(unit="sshd.service"), "it changes a protected unit: that always asks"),
    ([*nine(), case(units=(UNIT, "sshd.service"))], "it changes a protected unit: that always asks"),
    (nine(warranted=False), "3 cases are needed, and none of 9 count: 9 times the executor itself saw no need"),
    (
        nine(origin=Origin.CHAT),
        "3 cases are needed, and none of 9 count: 9 times a person had asked for it, or was to look",
    ),
    (nine(reminds=True), "3 cases are needed, and none of 9 count: 9 times a person had asked for it, or was to look"),
    ([case(ActionState.EXPIRED) for _ in range(4)], "4 times nobody decided in time"),
    ([*nine(), *(case(ActionState.EXPIRED) for _ in range(10))], "10 times nobody decided in time"),
    (
        [*nine(), *(case(ActionState.WITHDRAWN, healed=True) for _ in range(10))],
        "it healed by itself 10 times while a proposal waited, so that it was not needed",
    ),
    ([case(ActionState.PENDING) for _ in range(4)], "nobody approved it"),
    (nine(risk=Risk.READ_ONLY, by="", autonomy=OBSERVE), "it runs alone already"),
]


@pytest.mark.parametrize(("cases", "reason"), REASONS, ids=[reason for _, reason in REASONS])
def test_what_speaks_against_it_is_said_in_a_line(cases, reason):
    assert promoted(cases) == Promotion(why_not=reason)
    assert why_not(cases, SUGGEST, UNAIDED) == reason


def test_the_least_number_of_cases_is_enough():
    assert promoted([case(), case(), case()]).line
    assert not promoted([case(), case(), case(ActionState.STARTED)]).line


def test_some_that_expired_or_healed_do_not_speak_against_it():
    others = [case(ActionState.EXPIRED), case(ActionState.WITHDRAWN, healed=True), case(ActionState.WITHDRAWN)]
    assert len(promoted([*nine(), *others]).cases) == 9


def test_only_those_units_are_named_that_nothing_speaks_against():
    cases = [*nine(unit="a.service"), *nine(unit="b.service"), case(unit="c.service")]
    bad = [*nine(unit="d.service"), case(ActionState.REJECTED, "d.service")]
    assert promoted([*cases, *bad]).line == LINE.format("restart_unit", '"a.service" "b.service"')
    assert promoted(bad).why_not == "it was rejected once, of 10"
    assert promoted([*bad, case()]).why_not == "d.service: it was rejected once, of 10"


def test_units_that_go_with_it_are_named_too_or_it_would_not_run():
    cases = nine(units=(UNIT, "web.socket"))
    found = promoted(cases)
    assert found.line == LINE.format("restart_unit", '"web.service" "web.socket"')
    assert len(found.cases) == 9


def test_no_line_that_would_let_run_what_was_rejected_under_another_name():
    cases = [*nine(units=(UNIT, "web.socket")), no := case(ActionState.REJECTED, "web.socket")]
    found = promoted(cases)
    assert found.line == ""
    assert found.why_not == f"the same line would also let run {no.id} on web.socket: it was rejected once, of 1"


def test_another_line_of_the_policy_that_asks_is_told():
    asks = Policy(overrides=(Override(decision="ask", units=("web*",)),))
    assert promoted(nine(), policy=asks).why_not == f"another line of the policy keeps it from running alone on {UNIT}"


def test_observe_gets_no_override_for_it_would_have_no_effect():
    assert promoted(nine(), autonomy=OBSERVE).why_not == "autonomy observe runs nothing alone"


@pytest.mark.parametrize("subject", ["/srv/a*", "/srv/a b", "/srv/[ab]", "/srv/?", "/srv/\u202eb", "/srv/\x1b[2J"])
def test_a_name_that_could_mean_something_else_gets_no_line(subject):
    cases = nine(unit=subject, action="clean_temporary_path", units=(subject,))
    found = promoted(cases, "clean_temporary_path")
    assert found == Promotion(why_not="what it is done to cannot be written as an override")


@pytest.mark.skipif(shutil.which("nix-instantiate") is None, reason="there is no Nix")
def test_nix_reads_the_line_as_the_override_that_was_tried():
    units = (r"a\x2db.service", "shop@1.service", "${x}.service")
    found = promoted([case(unit=unit, units=units) for unit in units for _ in range(3)])
    command = [
        "nix-instantiate",
        "--store",
        "dummy://",
        "--eval",
        "--strict",
        "--json",
        "--expr",
        f"{{ {found.line} }}",
    ]
    read = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    (entry,) = read["services"]["ai-sysadmin"]["settings"]["policy"]["overrides"]
    assert Override.model_validate(entry) == found.override
    assert found.override.units == units


# --- by level

AT_LEVELS = [
    ({}, (RECORD, ASK, RUN, RUN)),
    ({"risk": Risk.READ_ONLY}, (RUN, RUN, RUN, RUN)),
    ({"risk": Risk.DISRUPTIVE}, (RECORD, ASK, ASK, RUN)),
    ({"risk": Risk.DESTRUCTIVE}, (RECORD, ASK, ASK, ASK)),
    ({"unit": "sshd.service"}, (RECORD, ASK, ASK, ASK)),
    ({"warranted": False}, (RECORD, ASK, ASK, ASK)),
    ({"origin": Origin.CHAT}, (RECORD, ASK, ASK, ASK)),
    ({"origin": Origin.OPERATOR}, (RECORD, ASK, ASK, ASK)),
    ({"reminds": True}, (RECORD, ASK, ASK, ASK)),
    ({"ruling": None}, (None,) * 4),
]


@pytest.mark.parametrize(("changes", "decisions"), AT_LEVELS)
def test_what_would_have_become_of_it_at_each_level(changes, decisions):
    assert tuple(decision_at(case(**changes), level, UNAIDED) for level in Autonomy) == decisions


@pytest.mark.parametrize(
    ("line", "decisions"),
    [
        ("precondition", (REFUSE,) * 4),
        ("executor.rights", (REFUSE,) * 4),
        ("policy.breakers", (RECORD, ASK, ASK, ASK)),
        ("policy.hands_off_seconds", (RECORD, ASK, ASK, ASK)),
    ],
)
def test_what_decided_beside_the_policy_decides_at_each_level(line, decisions):
    ruling = Ruling(decision=ASK, risk=Risk.REVERSIBLE, reason="because", line=line, units=(UNIT,))
    assert tuple(decision_at(case(ruling=ruling), level, UNAIDED) for level in Autonomy) == decisions


def test_what_was_protected_then_never_runs_whatever_the_policy_says_today():
    then = case(unit="sshd.service")
    today = Policy(protected_units=("x.service",), overrides=(Override(decision="run"),))
    assert decision_at(then, FULL, today) is ASK


def test_overrides_of_today_count():
    today = Policy(overrides=(Override(decision="deny", units=(UNIT,)),))
    assert [decision_at(case(), level, today) for level in Autonomy] == [REFUSE] * 4


def test_the_level_that_runs_exactly_what_was_approved_is_named():
    cases = nine()
    found = level_promotion(cases, SUGGEST, UNAIDED)
    assert found.line == 'services.ai-sysadmin.autonomyLevel = "auto-safe";'
    assert found.cases == tuple(each.id for each in cases)
    assert level_promotion([*cases, *nine(risk=Risk.DISRUPTIVE)], SUGGEST, UNAIDED).line.endswith('"auto-full";')
    assert level_promotion(nine(origin=Origin.CHAT) + cases, SUGGEST, UNAIDED).line.endswith('"auto-safe";')


INEXACT = [
    ([case(), case()], SUGGEST),
    ([*nine(), case(ActionState.EXPIRED)], SUGGEST),
    ([*nine(), case(ActionState.WITHDRAWN, healed=True)], SUGGEST),
    ([*nine(), case(ActionState.PENDING, "other.service")], SUGGEST),
    ([*nine(), case(ActionState.REJECTED, "other.service")], SUGGEST),
    ([*nine(), case(ActionState.FAILED, "other.service")], SUGGEST),
    ([*nine(), case(action="start_unit")], SUGGEST),
    ([*nine(), case(unit="sshd.service")], SUGGEST),
    ([*nine(), case(warranted=False)], SUGGEST),
    ([*nine(risk=Risk.DISRUPTIVE), case(ActionState.FAILED, by="", autonomy=SAFE)], SAFE),
    (nine(risk=Risk.DESTRUCTIVE), SUGGEST),
    (nine(), FULL),
]


@pytest.mark.parametrize(("cases", "autonomy"), INEXACT)
def test_a_level_that_runs_more_or_less_than_what_was_approved_is_not_named(cases, autonomy):
    found = level_promotion(cases, autonomy, UNAIDED)
    assert found == Promotion(why_not="none would have run exactly what was approved, and each action often enough")


def test_without_an_approval_no_level_is_named():
    assert level_promotion([], SUGGEST, UNAIDED).why_not == "nobody approved anything that could run alone"
    assert not level_promotion(nine(origin=Origin.CHAT), SUGGEST, UNAIDED).line


# --- for any story

UNITS = ["web.service", "web.socket", "sshd.service", r"a\x2db.service", "/srv/tmp", "/srv/a b", "x*"]
STATES = [ActionState.SUCCEEDED] * 6 + [ActionState.PENDING, ActionState.EXPIRED, ActionState.REJECTED]
STATES += [ActionState.FAILED, ActionState.REFUSED, ActionState.WITHDRAWN]


@st.composite
def cases_of(draw):
    unit = draw(st.sampled_from(UNITS))
    return case(
        draw(st.sampled_from(STATES)),
        unit,
        action=draw(st.sampled_from(["restart_unit", "start_unit"])),
        risk=draw(st.sampled_from([Risk.REVERSIBLE] * 3 + list(Risk))),
        warranted=draw(st.sampled_from([True, True, True, False])),
        units=(unit, *draw(st.lists(st.sampled_from(UNITS), max_size=1))),
        origin=draw(st.sampled_from([Origin.REVIEW] * 4 + [Origin.CHAT])),
    )


goods = st.builds(
    lambda unit, along, count: [case(unit=unit, units=(unit, *along)) for _ in range(count)],
    st.sampled_from(["web.service", "web.socket", r"a\x2db.service", "/srv/tmp"]),
    st.sampled_from([(), (), ("web.socket",), ("x.timer", "y.service")]),
    st.integers(2, 4),
)


@st.composite
def stories(draw):
    """Cases that come in bunches, as faults do: good ones, and a few of any kind among them."""
    bunches = [*draw(st.lists(goods, max_size=3)), draw(st.lists(cases_of(), max_size=4))]
    return [each for bunch in bunches for each in bunch]


lines = st.lists(
    st.builds(
        Override,
        decision=st.sampled_from(["run", "ask", "deny"]),
        actions=st.just(("restart_unit",)),
        units=st.sampled_from([("web*",), ("*.service",), ("web.socket",)]),
    ),
    max_size=2,
)
levels = st.sampled_from([SUGGEST] * 3 + list(Autonomy))
policies = st.builds(Policy, overrides=lines.map(tuple))
NEVER = {ActionState.REJECTED, ActionState.FAILED, ActionState.REVERTED, ActionState.UNKNOWN}


def asked_anew(one: Case, autonomy, policy):
    """Ask the policy about a case, as the executor would, from what was seen then."""
    seen = one.ruling
    return rule(Question(one.action, one.units, HOST, seen.risk, seen.warranted, NOW), autonomy, policy).decision


@given(stories(), policies, levels)
def test_an_override_that_is_proposed_lets_run_what_it_names_and_nothing_unwanted(cases, policy, autonomy):
    for action in ("restart_unit", "start_unit"):
        found = promotion(action, cases, autonomy, policy)
        assert bool(found.line) != bool(found.why_not)
        assert bool(found.line) == (found.override is not None)
        if found.override is None:
            continue
        wider = policy.model_copy(update={"overrides": (*policy.overrides, found.override)})
        named = [each for each in cases if each.id in found.cases]
        assert len(named) == len(found.cases) >= 3
        for each in named:
            assert asked_anew(each, autonomy, policy) is not RUN
            assert asked_anew(each, autonomy, wider) is RUN
            assert each.state is ActionState.SUCCEEDED
            assert each.by
        for each in cases:
            if asked_anew(each, autonomy, wider) is RUN and asked_anew(each, autonomy, policy) is not RUN:
                assert each.state not in NEVER
                assert not each.ruling.protected
                assert each.ruling.risk is not Risk.DESTRUCTIVE
        written = re.findall(r'"((?:[^"\\]|\\.)*)"', found.line)
        texts = [json.loads(f'"{each}"') for each in written]
        assert texts == ["run", *found.override.actions, *found.override.units]


@given(stories(), policies, levels)
def test_a_level_that_is_proposed_runs_exactly_what_was_approved(cases, policy, autonomy):
    found = level_promotion(cases, autonomy, policy)
    assert bool(found.line) != bool(found.why_not)
    if found.line:
        level = next(each for each in Autonomy if f'"{each.value}"' in found.line)
        assert list(Autonomy).index(level) > list(Autonomy).index(autonomy)
        approved = {each.id for each in cases if each.by and not each.origin.is_person}
        assert set(found.cases) == approved
        for each in cases:
            if each.id in approved:
                assert asked_anew(each, level, policy) is RUN
                assert not blemish([each])


@given(stories(), levels)
def test_some_line_is_proposed_at_all(cases, autonomy):
    """The stories above are not empty talk: with three more good cases of a unit of its own, there is a line."""
    more = [case(unit="own.service") for _ in range(3)]
    kept = [each for each in cases if each.action != "restart_unit"]
    assert bool(promotion("restart_unit", [*kept, *more], autonomy, UNAIDED).line) == (autonomy is SUGGEST)
