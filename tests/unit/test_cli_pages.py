"""What people read: incidents, actions, status, doctor. Eighty columns, nothing that acts on a terminal."""

from datetime import UTC, datetime, timedelta

from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.cli.actions_page import action_page, actions_page, decided_page
from ai_sysadmin.cli.checkup import Check, Checkup, Health
from ai_sysadmin.cli.doctor import doctor_page, verdict
from ai_sysadmin.cli.incident_page import incident_page
from ai_sysadmin.cli.incidents import incidents_page
from ai_sysadmin.cli.layout import table, verbatim, wrapped
from ai_sysadmin.cli.status import status_page
from ai_sysadmin.core.acting import ActionRequest, Decision, Origin, Risk, Ruling
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.records import Evidence, EvidencePack, ProposedAction, Symptom
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.openai_api_server.system.views import (
    Actions,
    ActionView,
    BackendStatus,
    Incidents,
    IncidentView,
    Reached,
    SystemStatus,
)
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.stores import Action, JournalPosition, ServiceNote, TimelineEntry
from ai_sysadmin.testing.front_desk import plan_of

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RESTART = ProposedAction(name="restart_unit", arguments={"unit": "nginx.service"})
PLAN = plan_of(ActionRequest.propose("box", "k3f9ab", RESTART, Origin.REVIEW, "", NOW))
NASTY = "\x1b[31mred\x1b[0m \u202edesrever\u202c \x07bell\r"


def an_action(state="pending", origin=Origin.REVIEW, why="it may help"):
    request = ActionRequest.propose("box", "k3f9ab", RESTART, origin, why, NOW)
    return ActionView.of(Action(request=request, state=state, risk="reversible", text="asked", updated_at=NOW))


def an_incident(**changes):
    values = {
        "id": "k3f9ab",
        "host": "box",
        "unit": "nginx.service",
        "kind": SymptomKind.UNIT_FAILED,
        "title": "nginx.service failed (exit-code)",
        "state": State.AWAITING_APPROVAL,
        "severity": 60,
        "cause": "the configuration names a certificate that is not there",
        "judged_by": "qwen3-4b",
        "count": 12,
        "opened_at": NOW - timedelta(hours=3),
        "changed_at": NOW,
        "evidence_at": NOW,
    }
    return Incident(**(values | changes))


def a_view(incident=None, actions=(), log="cannot load certificate"):
    symptom = Symptom(
        fingerprint="f" * 16,
        host="box",
        unit="nginx.service",
        kind=SymptomKind.UNIT_FAILED,
        opens=True,
        count=12,
        first_at=NOW,
        last_at=NOW,
        priority=3,
        text=log,
        why="the unit failed",
    )
    piece = Evidence(id="e1", kind="unit_log", title="last lines of nginx.service", text=log, at=NOW)
    return IncidentView(
        incident=incident or an_incident(),
        symptoms=(symptom,),
        timeline=(
            TimelineEntry(at=NOW, event="opened", by="trigger-monitor", text="nginx.service failed", state=State.OPEN),
        ),
        reviews=(),
        investigations=(),
        evidence=EvidencePack(incident_id="k3f9ab", pieces=(piece,), hash="h"),
        actions=tuple(actions),
    )


def facts(state="pending", **changes):
    values = {
        "id": "abcdef-012345",
        "digest": "d",
        "name": "restart_unit",
        "arguments": {"unit": "nginx.service"},
        "incident_id": "k3f9ab",
        "state": state,
        "text": "asks a person",
        "ruling": Ruling(decision=Decision.ASK, risk=Risk.REVERSIBLE, reason="autonomy suggest asks a person"),
        "plan": PLAN,
        "expires_in_seconds": 1800,
    }
    return ActionFacts(**(values | changes))


def width(text):
    return max(map(len, text.splitlines()))


# --- incidents -----------------------------------------------------------------------------------------------


def test_an_incident_says_what_is_broken_and_whether_it_still_is():
    unit = UnitStatus(name="nginx.service", active_state="failed", sub_state="failed")
    action = an_action()
    text = incident_page(a_view(actions=[action]), unit, NOW)
    assert text.startswith("nginx.service failed (exit-code)\n")
    assert "right now nginx.service is failed (failed)" in text
    assert "(3 h ago)" in text
    assert "12 times" in text
    assert "the model qwen3-4b; unverified" in text
    assert f"ai-sysadmin actions approve {action.id}" in text
    assert "reversible" in text
    assert "the review model's words, unverified" in text
    assert "TIMELINE" in text
    assert "cannot load certificate" in text
    assert width(text) <= 80


def test_a_resolved_incident_offers_nothing_to_approve():
    ended = an_incident(state=State.RESOLVED, resolved_at=NOW, judged_by="rules", note="it holds")
    text = incident_page(a_view(ended, [an_action("succeeded", Origin.RULES)]), None, NOW)
    assert "resolved (it holds)" in text
    assert "fixed rules, without a model" in text
    assert "WHAT WAS DONE" in text
    assert "approve" not in text
    assert "right now it is over" in text


def test_an_unjudged_incident_says_so():
    text = incident_page(a_view(an_incident(cause="", judged_by="", state=State.OPEN)), None, NOW)
    assert "not judged yet" in text
    assert "says who" not in text


def test_text_from_logs_and_models_cannot_act_on_the_terminal():
    nasty = an_incident(title=NASTY, cause=NASTY, note=NASTY, judged_by=NASTY)
    pages = [
        incident_page(a_view(nasty, [an_action(why=NASTY)], log=NASTY), None, NOW),
        incidents_page(Incidents(incidents=(nasty,))),
        action_page(an_action(why=NASTY), facts(text=NASTY), 30),
        decided_page(facts(text=NASTY)),
    ]
    for page in pages:
        assert not set(page) & {"\x1b", "\u202e", "\u202c", "\x07", "\r"}
        assert "red" in page


def test_lists_are_aligned_and_empty_lists_say_so():
    assert incidents_page(Incidents(incidents=())) == "No incidents."
    assert actions_page(Actions(actions=())) == "No actions."
    lines = incidents_page(Incidents(incidents=(an_incident(), an_incident(id="z", count=10000)))).splitlines()
    assert lines[0].split() == ["ID", "STATE", "SEV", "COUNT", "SINCE", "WHAT"]
    assert len({line.index("nginx") for line in lines[1:]}) == 1
    listed = actions_page(Actions(actions=(an_action(), an_action("failed"))))
    assert "waits for you" in listed
    assert "unit=nginx.service" in listed


# --- actions -------------------------------------------------------------------------------------------------


def test_an_action_shows_the_executors_facts_apart_from_a_models_words():
    text = action_page(an_action(), facts(), 30)
    executor, model = text.index("WHAT THE EXECUTOR SAYS"), text.index("IN THE PROPOSER'S WORDS")
    assert executor < text.index("systemctl restart -- nginx.service") < model < text.index("it may help")
    assert "unverified" in text
    assert "in 30 min" in text
    assert width(text) <= 80


def test_an_action_without_an_executor_is_still_shown():
    assert "does not answer" in action_page(an_action(), None, 30)


def test_a_decision_says_what_came_of_it():
    assert "restart_unit nginx.service: approved, asks a person" in decided_page(facts("approved"))
    assert "actions show" not in decided_page(facts("rejected"))


# --- status and doctor ---------------------------------------------------------------------------------------


def a_status(**changes):
    values = {
        "state": "degraded",
        "reasons": ("the review model at http://127.0.0.1:8081 is away: incidents are judged by rules",),
        "host": "box",
        "ai_name": "Hal",
        "version": "0.1.0",
        "autonomy_level": "suggest",
        "at": NOW,
        "services": (ServiceNote(service="review-model", state="ok", text="waits", at=NOW),),
        "journal": JournalPosition(cursor="c", entries_read=10, entries_lost=1, updated_at=NOW),
        "backends": (
            BackendStatus(
                layer="review",
                url="http://box.lan:8081",
                remote=True,
                state="away",
                model="",
                context_tokens=0,
                slots=0,
                text="nobody listens",
            ),
        ),
        "executor": Reached(reachable=True, text="answers"),
        "store": Reached(reachable=True, text="/state"),
        "incidents": {"open": 2, "resolved": 9},
        "actions": {"pending": 1},
    }
    return SystemStatus(**(values | changes))


def test_status_says_how_it_is_and_why():
    text = status_page(a_status())
    assert text.startswith("Hal on box: degraded")
    assert "judged by rules" in " ".join(text.split())
    assert "2 open" in text
    assert "resolved" not in text
    assert "1 waiting for you" in text
    assert "1 lost" in text
    assert "NOT on this host" in text
    assert width(text) <= 80


def test_doctor_says_what_to_do_and_ends_by_what_is_missing():
    def check(name, health):
        return Check(name=name, health=health, text="text", version="1", advice="do this")

    good, lacking = check("python", Health.GOOD), check("review model", Health.LACKING)
    text = doctor_page(Checkup(checks=(good, lacking), why_no_units="no units here"))
    assert "do: do this" in text
    assert "[1]" in text
    assert "no units here" in text
    assert verdict(Checkup(checks=(good, lacking))) == 0
    assert verdict(Checkup(checks=(good, check("executor", Health.BAD)))) == 1
    assert verdict(Checkup(checks=(check("api", Health.BAD), check("executor", Health.BAD)))) == 4


# --- layout --------------------------------------------------------------------------------------------------


def test_only_the_last_column_is_cut():
    lines = table(("A", "B"), [("x" * 30, "y" * 100), ("x", "y")])
    assert [len(line) for line in lines] == [33, 80, 33]
    assert lines[1].endswith(" …")


def test_long_words_and_long_lines_are_folded():
    assert max(map(len, wrapped("word " * 50 + "x" * 300, 10))) <= 80
    assert max(map(len, verbatim("x" * 500))) <= 80
    assert verbatim("a\n\n  b") == ["    a", "    ", "      b"]
