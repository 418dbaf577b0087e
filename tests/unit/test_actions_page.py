"""The pages of `ai-sysadmin actions` for an action that belongs to no incident."""

from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.cli.actions_page import action_page, actions_page, decided_page
from ai_sysadmin.core.acting import ActionRequest, ActionState, Origin
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.openai_api_server.system.views import Actions, ActionView
from ai_sysadmin.stores import Action
from ai_sysadmin.testing.front_desk import FakeDecider
from tests.builders import HOST, NOW, UNIT


def asked_for(incident_id: str = "") -> ActionRequest:
    action = ProposedAction(name="restart_unit", arguments={"unit": UNIT})
    return ActionRequest.propose(HOST, incident_id, action, Origin.CHAT, "it hangs", NOW)


def view(request: ActionRequest) -> ActionView:
    return ActionView.of(Action(request=request, state=ActionState.PENDING, risk="reversible", updated_at=NOW))


async def facts(request: ActionRequest) -> ActionFacts:
    executor = FakeDecider()
    executor.knows(request)
    return await executor.approve_by_key(request.id, request.digest, "")


def test_an_action_says_that_it_was_asked_for_in_chat():
    request = asked_for()
    page = action_page(view(request), None, 30)
    assert f"{request.id} asked for in chat on {HOST}" in page
    assert "it hangs (asked for in chat, in the model's words, unverified)" in page
    assert f"for incident abcdef on {HOST}" in action_page(view(asked_for("abcdef")), None, 30)
    assert request.id in actions_page(Actions(actions=(view(request),)))


async def test_a_decision_leads_to_an_incident_only_where_there_is_one():
    alone, tied = decided_page(await facts(asked_for())), decided_page(await facts(asked_for("abcdef")))
    assert "actions show" in alone
    assert "incidents show" not in alone
    assert "ai-sysadmin incidents show abcdef" in tied
