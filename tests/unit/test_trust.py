"""The trust report: its counts, its order, and the page that people read."""

from datetime import timedelta

import pytest

from ai_sysadmin.actions.promotion import Promotion
from ai_sysadmin.actions.trust import Fate, TrustReport, fate, tally, trust_report
from ai_sysadmin.cli.report import report_page
from ai_sysadmin.core.acting import ActionState, Decision, Origin, Risk
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.policy_settings import Override, Policy
from ai_sysadmin.core.settings import Autonomy
from tests.builders import HOST, NOW
from tests.trusting import case

WEEK = timedelta(days=7)


def report_on(cases, autonomy=Autonomy.SUGGEST, policy=Policy(), healed=0):  # noqa: B008
    return trust_report(cases, host=HOST, since=NOW - WEEK, at=NOW, healed=healed, autonomy=autonomy, policy=policy)


FATES = [
    (case(), Fate.APPROVED),
    (case(ActionState.STARTED), Fate.APPROVED),
    (case(ActionState.REFUSED, by="ada"), Fate.APPROVED),
    (case(by=""), Fate.ALONE),
    (case(ActionState.APPROVED, by=""), Fate.ALONE),
    (case(ActionState.REVERTING, by=""), Fate.ALONE),
    (case(ActionState.REJECTED), Fate.REJECTED),
    (case(ActionState.EXPIRED), Fate.EXPIRED),
    (case(ActionState.WITHDRAWN), Fate.WITHDRAWN),
    (case(ActionState.WITHDRAWN, healed=True), Fate.HEALED),
    (case(ActionState.RECORDED), Fate.RECORDED),
    (case(ActionState.REFUSED), Fate.REFUSED),
    (case(ActionState.PROPOSED), Fate.WAITING),
    (case(ActionState.SUBMITTED), Fate.WAITING),
    (case(ActionState.PREPARING), Fate.WAITING),
    (case(ActionState.PENDING), Fate.WAITING),
]


@pytest.mark.parametrize(("one", "expected"), FATES)
def test_how_it_was_decided(one, expected):
    assert fate(one) is expected


def test_every_state_has_a_fate_and_no_state_counts_twice():
    every = [case(state, by=by) for state in ActionState for by in ("", "ada")]
    counted = tally(every, Policy())
    assert sum(counted.fates.values()) == counted.proposed == len(every)


def test_outcomes_are_those_of_what_was_begun():
    states = [ActionState.SUCCEEDED, ActionState.SUCCEEDED, ActionState.FAILED, ActionState.REVERTED]
    states += [ActionState.UNKNOWN, ActionState.RAN, ActionState.REJECTED, ActionState.PENDING]
    counted = tally([*map(case, states), case(ActionState.REFUSED, by="ada")], Policy())
    assert counted.outcomes == {"succeeded": 2, "failed": 1, "reverted": 1, "unknown": 1, "under_way": 1}
    begun = tally([case(ActionState.RAN, by="ada"), case(ActionState.APPROVED, by="ada")], Policy())
    assert begun.outcomes == {"under_way": 2}


def test_who_proposed_and_what_each_level_would_have_done():
    cases = [case(), case(origin=Origin.RULES), case(origin=Origin.CHAT), case(risk=Risk.DISRUPTIVE)]
    counted = tally([*cases, case(ruling=None, state=ActionState.PREPARING)], Policy())
    assert counted.proposed == 5
    assert counted.origins == {"review": 3, "rules": 1, "chat": 1}
    assert counted.levels == {
        "observe": {"record": 4},
        "suggest": {"ask": 4},
        "auto-safe": {"run": 2, "ask": 2},
        "auto-full": {"run": 3, "ask": 1},
    }
    denied = Policy(overrides=(Override(decision="deny"),))
    assert tally(cases, denied).levels["auto-full"] == {"refuse": 4}


def test_how_long_people_took_is_counted_for_their_own_decisions_only():
    def after(minutes, **changes):
        return case(decided_at=NOW + timedelta(minutes=minutes), **changes)

    cases = [after(1), after(2), after(30, state=ActionState.REJECTED), after(60, state=ActionState.EXPIRED)]
    cases += [after(0, by=""), case(decided_at=None)]
    counted = tally(cases, Policy())
    assert (counted.median_seconds, counted.longest_seconds) == (120, 1800)
    assert tally([after(60, state=ActionState.EXPIRED)], Policy()).median_seconds is None


def test_the_most_frequent_comes_first():
    cases = [case(action="start_unit"), case(), case(unit="b.service"), case(unit="b.service")]
    cases += [case(action="vacuum_journal", unit="journal")]
    found = report_on(cases)
    assert [each.name for each in found.actions] == ["restart_unit", "start_unit", "vacuum_journal"]
    assert [each.subject for each in found.actions[0].subjects] == ["b.service", "web.service"]
    assert found.tally.proposed == 5


def test_a_report_survives_the_wire():
    found = report_on([case(), case(), case()])
    assert TrustReport.model_validate_json(found.model_dump_json()) == found


def test_the_page():
    cases = [case(unit="nginx.service") for _ in range(9)]
    cases += [case(ActionState.REJECTED, "db.service"), case(ActionState.WITHDRAWN, "db.service", healed=True)]
    page = report_page(report_on([*cases, case(action="start_unit")], healed=4))
    assert page.splitlines()[:2] == [
        f"12 proposals on {HOST}, autonomy suggest",
        f"  from      {local(NOW - WEEK)} to {local(NOW)}",
    ]
    assert "\n  healed    4 incidents without anything being done; not needed after all: 1\n" in page
    assert "\nrestart_unit: 11 proposed (review 11)\n" in page
    assert "\n  became    approved 9, rejected 1, healed by itself while it waited 1\n" in page
    assert "\n  decided   after 60 s (median), at most 60 s\n" in page
    assert "\n  outcome   succeeded 9\n" in page
    assert "\n  alone at  observe 0, suggest 0, auto-safe 11, auto-full 11, of 11\n" in page
    assert "\n  on        nginx.service, 9: approved 9, succeeded 9\n" in page
    assert "\n  promote   9 approved cases would have run by themselves with this:\n" in page
    assert (
        "\n    services.ai-sysadmin.settings.policy.overrides = [ {\n"
        '      decision = "run";\n'
        '      actions = [ "restart_unit" ];\n'
        '      units = [ "nginx.service" ];\n'
        "    } ];\n"
    ) in page
    assert "\n  not alone 3 cases are needed, and 1 of 1 counts\n" in page
    assert "\n  no level  none would have run exactly what was approved" in page


def test_the_page_names_the_level_that_would_do():
    page = report_page(report_on([case(), case(), case()]))
    assert page.endswith('\n    services.ai-sysadmin.autonomyLevel = "auto-safe";')
    assert "exactly what was approved, 3 cases, would have run" in page


def test_the_page_tells_that_there_are_overrides_already():
    there = Policy(overrides=(Override(decision="deny", units=("x",)),))
    page = report_page(report_on([case(), case(), case()], policy=there))
    assert "add it to the overrides that are set already" in " ".join(page.split())


def test_nothing_was_proposed():
    page = report_page(report_on([], healed=1))
    assert page.startswith(f"no proposals on {HOST}, autonomy suggest\n")
    assert page.endswith("\n  healed    1 incident without anything being done")


def test_no_line_is_wider_than_a_terminal_and_none_escapes_it():
    units = [f"unit-with-rather-a-long-name-{number}.service" for number in range(12)]
    cases = [case(unit=unit) for unit in units for _ in range(3)]
    cases += [case(unit="/srv/\x1b[2J" + "x" * 300, action="clean_temporary_path") for _ in range(3)]
    page = report_page(report_on(cases))
    assert max(map(len, page.splitlines())) <= 80
    assert "\x1b" not in page
    assert "and 4 more; --json has them all" in page
    assert page.count('"unit-with-rather-a-long-name-') == 12


def test_a_line_of_nix_that_came_over_the_wire_escapes_nothing():
    forged = Override(decision="run", actions=("restart_unit",), units=("a\x1b[2Jb", "\u202eb"))
    found = report_on([case()])
    action = found.actions[0].model_copy(update={"promotion": Promotion(line="x", override=forged, cases=("a",))})
    level = Promotion(line="\x1b[2J", cases=("a",))
    page = report_page(found.model_copy(update={"actions": (action,), "level": level}))
    assert not {"\x1b", "\u202e"} & set(page)


def test_decisions_are_named_as_in_the_policy():
    assert {decision for level in report_on([case()]).tally.levels.values() for decision in level} <= set(Decision)
