"""What people read of templates and mutes, and how a duration is written."""

from datetime import timedelta

import pytest
import typer

from ai_sysadmin.cli.incident_page import incident_page
from ai_sysadmin.cli.mute import muted_page, mutes_page, seconds_of
from ai_sysadmin.cli.templates import said, template_page, templates_page
from ai_sysadmin.core.records import Judgement, Label, Template
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.openai_api_server.system.opinions import Muting
from ai_sysadmin.openai_api_server.system.views import IncidentView, Mutes, MuteView, Templates
from ai_sysadmin.stores.opinion_store import Mute
from ai_sysadmin.stores.relational.placing import merged
from tests.builders import NOW, incident, trigger

NASTY = "\x1b[31mred\x1b[0m \u202edesrever\u202c \x07bell"


def a_label(**changes):
    given = {"category": "storage", "severity": 70, "matters": True, "summary": f"full {NASTY}", "model": NASTY}
    return Label(**(given | {"prompt_version": "v1", "at": NOW} | changes))


def a_template(**changes):
    given = {"id": "aa11bb22cc33", "source": "web.service", "text": f"<n> {NASTY}", "example": NASTY, "priority": 3}
    return Template(**(given | {"count": 12, "first_at": NOW, "last_at": NOW} | changes))


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("30s", 30), ("10m", 600), ("2h", 7200), ("3d", 259200), ("1w", 604800), ("30d", 2592000), (" 1H ", 3600)],
)
def test_a_duration_is_a_number_and_a_unit(duration, seconds):
    assert seconds_of(duration) == seconds


@pytest.mark.parametrize("duration", ["", "0s", "5", "h", "-1h", "1.5h", "31d", "5w", "9999999w", "2 h", "1h30m", "1y"])
def test_any_other_duration_is_refused(duration):
    with pytest.raises(typer.BadParameter, match="30s, 10m, 2h"):
        seconds_of(duration)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "-"),
        ({"known": True}, "known"),
        ({"label": a_label()}, "storage 70"),
        ({"label": a_label(), "judgement": Judgement.BENIGN}, "benign"),
    ],
)
def test_a_judgement_is_said_before_a_label(changes, word):
    assert said(a_template(**changes)) == word


def test_template_pages_show_everything_and_nothing_acts_on_the_terminal():
    whole = a_template(label=a_label(), judgement=Judgement.MATTERS, judged_by="anna", rule="disk-full", known=True)
    page = template_page(whole)
    for expected in (
        "aa11bb22cc33",
        "matters, by anna",
        "storage, matters, severity 70",
        "disk-full",
        "error",
        "history",
    ):
        assert expected in page
    listed = templates_page(Templates(templates=(whole,), found=9))
    assert "1 of 9" in listed
    for text in (page, listed, template_page(a_template())):
        assert not set(text) & {"\x1b", "\u202e", "\x07"}
    assert templates_page(Templates(templates=(), found=0)) == "No such templates."


def a_mute(reason=""):
    return Mute(fingerprint="f" * 16, until=NOW + timedelta(hours=2), by="anna", reason=reason, at=NOW)


def test_a_mute_says_who_why_and_until_when():
    view = MuteView.of(a_mute(f"why: {NASTY}"), None)
    assert (view.by, view.reason) == ("anna", f"why: {NASTY}")
    page = mutes_page(Mutes(mutes=(view,)))
    assert "anna" in page
    assert "f" * 16 in page
    assert not set(page) & {"\x1b", "\u202e", "\x07"}
    assert "stays open" in muted_page(Mutes(mutes=(view,)))
    assert MuteView.of(a_mute(), None).reason == ""


def symptom_of(made):
    return merged(None, made)


def test_an_incident_shows_the_fingerprints_that_open_and_what_it_became_part_of():
    faults = (symptom_of(trigger()), symptom_of(trigger(SymptomKind.SEVERE_LOG, template="x")))
    part = incident(merged_into="root12")
    view = IncidentView(
        incident=part, symptoms=faults, timeline=(), reviews=(), investigations=(), evidence=None, actions=()
    )
    page = incident_page(view, None, NOW)
    assert faults[0].fingerprint in page
    assert faults[1].fingerprint not in page
    assert "part of   ai-sysadmin incidents show root12" in page
    assert all(len(line) <= 80 for line in page.splitlines())


def test_a_wish_for_silence_is_bounded():
    assert Muting(name="x", seconds=30 * 86400)
    for wrong in ({"seconds": 30 * 86400 + 1}, {"seconds": 0}, {"name": ""}, {"reason": "x" * 201}):
        with pytest.raises(ValueError, match="validation error"):
            Muting(**({"name": "x", "seconds": 5} | wrong))
