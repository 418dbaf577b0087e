"""Exit codes, error documents, and what the wire's errors become."""

import json

import pytest

from ai_sysadmin.cli.api import error_of
from ai_sysadmin.cli.outcome import exit_code, report
from ai_sysadmin.core.errors import (
    AiSysadminError,
    ApiUnavailable,
    ApprovalRequired,
    ExecutorUnavailable,
    NotFound,
    Refused,
    ReplyUnusable,
    SettingsError,
    Unavailable,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (SettingsError, 78),
        (Refused, 3),
        (ApprovalRequired, 3),
        (ApiUnavailable, 4),
        (ExecutorUnavailable, 4),
        (Unavailable, 4),
        (NotFound, 1),
        (ReplyUnusable, 1),
        (AiSysadminError, 1),
    ],
)
def test_every_error_has_its_exit_code(kind, code):
    assert exit_code(kind()) == code


def test_an_error_is_a_sentence_on_stderr_and_with_json_a_document_on_stdout(capsys):
    assert report(Refused("no"), as_json=False) == 3
    assert capsys.readouterr() == ("", "ai-sysadmin: no\n")
    assert report(Refused("no"), as_json=True, beside={"units": []}) == 3
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "error": {"kind": "Refused", "message": "no", "exit_code": 3},
        "units": [],
    }
    assert said.err == "ai-sysadmin: no\n"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "not_an_operator", Refused),
        (404, "not_found", NotFound),
        (503, "unavailable", Unavailable),
        (500, "unavailable", Unavailable),
        (500, "refused", Refused),
        (500, "approval_required", Refused),
        (500, "not_found", NotFound),
        (400, "unknown_state", AiSysadminError),
    ],
)
def test_an_error_on_the_wire_is_our_own_again(status, code, kind):
    assert type(error_of(status, "text", code)) is kind
