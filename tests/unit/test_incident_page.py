"""The page at 3 a.m.: its head says what matters in 24 lines of 80 columns, whatever was written into it."""

import time
from datetime import UTC, datetime, timedelta
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.actions.catalogue import CATALOGUE
from ai_sysadmin.cli.columns import columns
from ai_sysadmin.cli.incident_head import MOST_LINES, Now, head
from ai_sysadmin.cli.incident_page import evidence_page, incident_page, taken_out
from ai_sysadmin.cli.incidents import decision_page
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.incident import Incident, State
from ai_sysadmin.core.records import Evidence, EvidencePack, Review, Symptom, Verdict
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.openai_api_server.system.views import ActionView, DecisionView, IncidentView
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.testing.front_desk import plan_of
from tests.builders import request

NOW = datetime(2026, 11, 20, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def an_incident(**changes):
    given = {
        "id": "k3f9ab",
        "host": "box",
        "unit": "nginx.service",
        "kind": SymptomKind.UNIT_FAILED,
        "title": "nginx.service failed (exit-code)",
        "state": State.AWAITING_APPROVAL,
        "severity": 70,
        "cause": "nginx.service failed: exit status 1; 30 s before: /etc/nginx/sites.conf was changed",
        "judged_by": "rules",
        "note": "autonomy suggest asks a person",
        "count": 12,
        "opened_at": NOW - timedelta(minutes=7),
        "changed_at": NOW,
        "evidence_at": NOW,
    }
    return Incident(**(given | changes))


def an_action(state="pending", **changes):
    given = {
        "id": "abcdef-012345",
        "incident_id": "k3f9ab",
        "host": "box",
        "name": "restart_unit",
        "arguments": {"unit": "nginx.service"},
        "risk": "reversible",
        "origin": "rules",
        "why": "nginx.service is measured failed",
        "state": state,
        "pending": state == "pending",
        "text": "",
        "by": "",
        "at": NOW,
        "updated_at": NOW,
    }
    given |= changes
    is_known = given["name"] in CATALOGUE and list(given["arguments"]) == ["unit"]
    return ActionView(plan=plan_of(request(name=given["name"], **given["arguments"])) if is_known else None, **given)


def a_piece(number, kind, text="", /, **facts):
    return Evidence(id=f"e{number}", kind=kind, title=f"the {kind}", text=text, at=NOW, facts=facts)


CHANGED = a_piece(3, "changes", "…", what="/etc/nginx/sites.conf was changed", seconds="30", kind="configuration")
PIECES = (a_piece(1, "unit_status", "state: failed"), a_piece(2, "unit_log", "unknown directive"), CHANGED)


def a_review(**changes):
    given = {
        "incident_id": "k3f9ab",
        "evidence_hash": "h",
        "verdict": Verdict.ACT,
        "severity": 70,
        "confidence": 70,
        "cause": "c",
        "why": "w",
        "judged_by": "rules",
        "at": NOW,
    }
    return Review(**(given | changes))


def a_view(incident=None, actions=(), pieces=PIECES, reviews=None, symptoms=()):
    return IncidentView(
        incident=incident or an_incident(),
        symptoms=tuple(symptoms),
        timeline=(),
        reviews=(a_review(),) if reviews is None else tuple(reviews),
        investigations=(),
        evidence=EvidencePack(incident_id="k3f9ab", pieces=tuple(pieces), hash="h") if pieces is not None else None,
        actions=tuple(actions),
    )


def a_unit(state="failed", sub="failed"):
    return UnitStatus(name="nginx.service", active_state=state, sub_state=sub, result="exit-code")


def shown(view, unit=None):
    return "\n".join(head(view, Now(NOW, unit)))


# --- typical pages


def test_the_page_of_a_failed_unit_with_a_remedy_that_waits():
    page = dedent("""\
        nginx.service failed (exit-code)
          incident  k3f9ab on box, severity 70, seen 12 times
          state     open: a remedy waits for your decision (autonomy suggest asks a
                    person)
          right now nginx.service is failed (failed)
          since     2026-11-20 02:57:05 +0000 (7 min ago)
          before it 30 s before: /etc/nginx/sites.conf was changed
          cause     nginx.service failed: exit status 1; 30 s before:
                    /etc/nginx/sites.conf was changed
          says who  fixed rules, without a model, confidence 70 of 100
          done      nothing

          do        restart_unit unit=nginx.service, risk: reversible
          undo      sudo systemctl stop -- nginx.service
          by hand   sudo systemctl reset-failed -- nginx.service &&
                    sudo systemctl restart -- nginx.service
          approve   ai-sysadmin actions approve abcdef-012345
          or not    ai-sysadmin actions reject abcdef-012345 --why "…"
          mute      ai-sysadmin incidents mute k3f9ab --for 2h""")
    assert shown(a_view(actions=[an_action()]), a_unit()) == page


def test_the_page_of_an_incident_that_was_left_to_a_person():
    incident = an_incident(state=State.NEEDS_PERSON, judged_by="qwen3-4b", cause="a bad directive", note="read line 18")
    runbook = a_piece(4, "runbooks", "…", names="nginx-does-not-start")
    reviews = [a_review(judged_by="qwen3-4b", confidence=85)]
    view = a_view(incident, [an_action("failed", text="it failed again")], (*PIECES, runbook), reviews)
    page = dedent("""\
        nginx.service failed (exit-code)
          incident  k3f9ab on box, severity 70, seen 12 times
          state     open: it needs a person (read line 18)
          right now systemd was not asked or does not answer; last noticed 0 s ago
          since     2026-11-20 02:57:05 +0000 (7 min ago)
          before it 30 s before: /etc/nginx/sites.conf was changed
          cause     a bad directive
          says who  the model qwen3-4b, confidence 85 of 100; unverified: check it
          done      restart_unit unit=nginx.service: failed 03:04

          do        nothing is proposed; look at:
                    journalctl -u nginx.service -n 100
                    ai-sysadmin incidents show k3f9ab --evidence
          runbook   nginx-does-not-start
          over?     ai-sysadmin incidents resolve k3f9ab
          mute      ai-sysadmin incidents mute k3f9ab --for 2h""")
    assert shown(view) == page


def test_the_page_of_what_is_over_asks_for_nothing():
    ended = an_incident(state=State.RESOLVED, resolved_at=NOW, note="active again", reopened=2)
    text = shown(a_view(ended, [an_action()]), a_unit("active", "running"))
    assert "right now nginx.service is active (running)" in text
    assert "came back twice" in text
    assert "ended 2026-11-20 03:04:05 +0000" in " ".join(text.split())
    assert "incidents reopen k3f9ab" in text
    assert "approve" not in text


def test_the_page_of_a_part_names_the_whole():
    text = shown(a_view(an_incident(state=State.DISMISSED, merged_into="roota1")))
    assert text.splitlines()[-1] == "  part of   ai-sysadmin incidents show roota1"


def test_what_was_only_recorded_is_left_to_a_persons_hands():
    text = shown(a_view(actions=[an_action("recorded")]))
    assert "do        restart_unit" in text
    assert "sudo systemctl restart -- nginx.service" in text
    assert "approve" not in text


def test_one_action_is_recommended_and_the_others_are_counted():
    newer = an_action(id="newer1-012345", updated_at=NOW + timedelta(seconds=9))
    text = shown(a_view(actions=[an_action(), newer, an_action(id="done11-012345", state="rejected", pending=False)]))
    assert "approve newer1-012345" in text
    assert "approve abcdef-012345" not in text
    assert "1 more wait: ai-sysadmin actions --state pending" in text


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (None, "not known yet"),
        ((a_piece(1, "unit_status"),), "not known"),
        ((a_piece(1, "unavailable", "not known: it took longer than 10 s"),), "not everything could be looked at"),
        ((a_piece(1, "changes", "(nothing that is looked at changed)"),), "(nothing that is looked at changed)"),
        ((a_piece(1, "changes", "…", what="generation 142", seconds="7300"),), "2 h before: generation 142"),
    ],
)
def test_what_changed_before_it_is_said_or_said_to_be_unknown(pieces, said):
    assert said in next(line for line in shown(a_view(pieces=pieces)).splitlines() if "before it" in line)


def test_half_a_command_is_none():
    unit = "x" * 200 + ".service"
    text = shown(a_view(an_incident(unit=unit), [an_action(arguments={"unit": unit})]))
    assert "its commands are long: ai-sysadmin actions show abcdef-012345" in text
    assert "its command is long: ai-sysadmin actions show abcdef-012345" in " ".join(text.split())
    assert "sudo" not in text


# --- below the head


def test_evidence_is_shown_by_its_titles_unless_all_of_it_is_asked_for():
    view = a_view()
    short, whole = (incident_page(view, None, NOW, whole=each) for each in (False, True))
    assert "e2  the unit_log" in short
    assert "unknown directive" not in short
    assert "incidents show k3f9ab --evidence" in short
    assert "unknown directive" in whole


def test_what_was_taken_out_is_counted():
    pieces = (
        PIECES[0].model_copy(update={"redacted": {"password": 2}}),
        PIECES[1].model_copy(update={"redacted": {"email": 1}, "left_out": "400 older lines"}),
    )
    page = incident_page(a_view(pieces=pieces), None, NOW)
    assert "3 things were taken out: 2 password, 1 email" in page
    one = evidence_page(pieces[1])
    assert "1 thing was taken out: 1 email" in one
    assert "left out: 400 older lines" in one
    assert taken_out({}) == ""


def test_a_review_says_what_it_rests_on_and_what_it_cost():
    costly = a_review(
        judged_by="m", model_calls=2, prompt_tokens=900, cached_tokens=700, evidence=("e1",), notes=("n",)
    )
    page = incident_page(a_view(reviews=[costly]), None, NOW)
    assert "rests on e1" in page
    assert "2 model calls, 900 tokens read (700 of them from the cache), 0 written" in page
    assert "note: n" in page


def test_a_decision_says_whether_it_changed_anything_and_whether_the_fault_is_there():
    resolved = an_incident(state=State.RESOLVED)
    changed = decision_page(DecisionView(incident=resolved, changed=True), a_unit())
    assert "is resolved" in changed
    assert "nginx.service is still failed (exit-code)" in " ".join(changed.split())
    same = decision_page(DecisionView(incident=resolved, changed=False), None)
    assert "is resolved already; nothing was changed" in " ".join(same.split())


# --- whatever is written into it

WORDS = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="漢字かなáe\u0301🦀👩\u200d👩\u200d👧\ufe0f\u202e\x1b[31m \n\t", max_size=300),
    st.lists(st.text(alphabet="abc/.-", min_size=1, max_size=120), max_size=30).map(" ".join),
)
MOMENTS = st.integers(0, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))
NUMBERS = st.integers(0, 10**12)


@st.composite
def incidents(draw):
    unit = draw(
        st.sampled_from(["", "nginx.service", "x" * 247 + ".service", "a-rather-long-name-of-a-unit@1.service"])
    )
    words = {name: draw(WORDS) for name in ("host", "about", "title", "cause", "judged_by", "note", "merged_into")}
    words["merged_into"] = draw(st.sampled_from(["", words["merged_into"]]))
    state = draw(st.sampled_from(State))
    numbers = {"count": draw(NUMBERS), "reopened": draw(NUMBERS), "severity": draw(st.integers(0, 100))}
    at = {"opened_at": draw(MOMENTS), "resolved_at": draw(st.none() | MOMENTS)}
    return an_incident(unit=unit, state=state, **words, **numbers, **at)


@st.composite
def actions(draw):
    state = draw(st.sampled_from(ActionState))
    name = draw(st.sampled_from(["restart_unit", "start_unit", "reset_failed_unit", "unknown_action"]))
    unit = draw(st.sampled_from(["nginx.service", "x" * 247 + ".service", "y" * 34 + ".service"]))
    arguments = draw(st.just({"unit": unit}) | st.dictionaries(WORDS, WORDS, max_size=5))
    words = {each: draw(WORDS) for each in ("risk", "origin", "why", "text", "by")}
    return an_action(state.value, name=name, arguments=arguments, updated_at=draw(MOMENTS), **words)


@st.composite
def pieces(draw):
    kind = draw(st.sampled_from(["unit_status", "unit_log", "changes", "runbooks", "unavailable", "host"]))
    names = st.sampled_from(["what", "seconds", "after", "names"])
    facts = draw(st.dictionaries(names, WORDS | st.sampled_from(["inf", "nan", "1e400", "-5"]), max_size=4))
    redacted = draw(st.dictionaries(WORDS, NUMBERS, max_size=3))
    return a_piece(1, kind, draw(WORDS), **facts).model_copy(update={"redacted": redacted, "title": draw(WORDS)})


@st.composite
def views(draw):
    symptom = Symptom(
        fingerprint="f" * 16,
        host="box",
        unit="",
        about=draw(WORDS),
        kind=SymptomKind.DISK_FULL,
        opens=True,
        count=draw(NUMBERS),
        first_at=NOW,
        last_at=draw(MOMENTS),
        priority=3,
        text=draw(WORDS),
        why=draw(WORDS),
    )
    reviews = [a_review(judged_by=draw(WORDS), cause=draw(WORDS), why=draw(WORDS), notes=(draw(WORDS),), model_calls=1)]
    held = draw(st.none() | st.lists(pieces(), max_size=4))
    return a_view(draw(incidents()), draw(st.lists(actions(), max_size=8)), held, reviews, [symptom])


UNITS = st.none() | st.builds(a_unit, WORDS, WORDS)


@settings(max_examples=150, deadline=None)
@given(views(), UNITS, st.booleans())
def test_no_page_is_wider_than_a_terminal_and_no_head_longer(view, unit, whole):
    top = head(view, Now(NOW, unit))
    assert len(top) <= MOST_LINES
    page = incident_page(view, unit, NOW, whole=whole)
    lines = page.split("\n")
    assert lines[: len(top)] == top
    assert all(columns(line) <= 80 for line in lines)
    assert not set(page) & set(map(chr, [*range(10), *range(11, 32), 127, 0x202E, 0x9B]))
    if not view.incident.ended and not view.incident.merged_into:
        assert f"incidents mute {view.incident.id} --for" in "\n".join(top)
    if waiting := [each for each in view.actions if each.pending]:
        is_live = not view.incident.ended and not view.incident.merged_into
        assert any(f"actions approve {each.id}" in "\n".join(top) for each in waiting) is is_live
