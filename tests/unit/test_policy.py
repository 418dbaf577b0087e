"""Autonomy × risk: the whole table, and what must hold for any input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.actions.catalogue import CATALOGUE, validate
from ai_sysadmin.actions.policy import rule
from ai_sysadmin.core.acting import Decision, Origin, Risk, Ruling
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.settings import Autonomy, Policy, Settings
from ai_sysadmin.executor.decide import check_by_key, decide
from ai_sysadmin.sources.units import UnitStatus
from tests.builders import request

PROTECTED = Policy().protected_units
TABLE = {
    #                     read_only  reversible  disruptive  destructive
    Autonomy.OBSERVE: ("run", "record", "record", "record"),
    Autonomy.SUGGEST: ("run", "ask", "ask", "ask"),
    Autonomy.AUTO_SAFE: ("run", "run", "ask", "ask"),
    Autonomy.AUTO_FULL: ("run", "run", "run", "ask"),
}


@pytest.mark.parametrize("autonomy", Autonomy)
@pytest.mark.parametrize("risk", Risk)
def test_the_table(autonomy, risk):
    assert rule(risk, "web.service", autonomy, PROTECTED).decision == TABLE[autonomy][risk.level]


@pytest.mark.parametrize("unit", ["sshd.service", "dbus.service", "systemd-logind.service", "ai-sysadmin-api.service"])
@pytest.mark.parametrize("risk", [risk for risk in Risk if risk is not Risk.READ_ONLY])
def test_any_change_to_a_protected_unit_asks_at_every_level(unit, risk):
    ruling = rule(risk, unit, Autonomy.AUTO_FULL, PROTECTED)
    assert ruling.decision is Decision.ASK
    assert ruling.risk is Risk.DESTRUCTIVE


@given(st.sampled_from(Risk), st.text(max_size=40), st.sampled_from(list(Autonomy)[1:]))
def test_raising_autonomy_never_takes_a_right_away(risk, unit, autonomy):
    order = [Decision.RECORD, Decision.ASK, Decision.RUN]
    lower = list(Autonomy)[list(Autonomy).index(autonomy) - 1]
    before, after = rule(risk, unit, lower, PROTECTED).decision, rule(risk, unit, autonomy, PROTECTED).decision
    assert order.index(after) >= order.index(before)


@given(st.sampled_from(Risk), st.text(max_size=40), st.sampled_from(Autonomy))
def test_destruction_never_runs_alone(risk, unit, autonomy):
    ruling = rule(risk, unit, autonomy, PROTECTED)
    assert not (ruling.risk is Risk.DESTRUCTIVE and ruling.decision is Decision.RUN)


@given(
    st.sampled_from(sorted(CATALOGUE)),
    st.sampled_from(["web.service", "sshd.service"]),
    st.sampled_from(["active", "failed", "inactive"]),
    st.sampled_from(Autonomy),
)
def test_chat_runs_nothing_alone_and_changes_nothing_else(name, unit, active, autonomy):
    action, settings = validate(name, {"unit": unit}), Settings(autonomy_level=autonomy)
    seen = UnitStatus(name=unit, load_state="loaded", active_state=active)
    by_rules = decide(action, seen, settings, Origin.RULES)
    by_chat = decide(action, seen, settings, Origin.CHAT)
    assert by_chat.decision is not Decision.RUN
    assert by_chat.risk is by_rules.risk
    assert by_rules.decision in {Decision.RUN, by_chat.decision}


@pytest.mark.parametrize(("risk", "may"), [(risk, risk is not Risk.DESTRUCTIVE) for risk in Risk])
def test_a_key_approves_what_can_be_mended_and_rejects_anything(risk, may):
    asked, ruling = request(), Ruling(decision=Decision.ASK, risk=risk, reason="it is so")
    check_by_key(asked, ruling, asked.digest, approves=False)
    if may:
        check_by_key(asked, ruling, asked.digest, approves=True)
    else:
        with pytest.raises(Refused, match="needs an operator on the host"):
            check_by_key(asked, ruling, asked.digest, approves=True)
    with pytest.raises(Refused, match="not what was shown"):
        check_by_key(asked, ruling, "0" * 64, approves=False)
