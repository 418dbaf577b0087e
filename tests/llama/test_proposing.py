"""A real model server keeps to the schema of every proposal, so that what it proposes has that action's arguments."""

import json

import pytest

from ai_sysadmin.actions.catalogue import catalogue_of
from ai_sysadmin.core.settings import Backend, Settings
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.meta_model.proposable import proposables
from tests.unit.test_proposable import ALL, an_offer

pytestmark = pytest.mark.llama


async def test_a_nonsense_model_proposes_with_each_actions_own_arguments(llama):
    settings = Settings.model_validate(ALL)
    actions = {each.name: each for each in proposables(catalogue_of(settings), settings, is_nixos=True)}
    client = LlamaCpp("meta", Backend(url=llama))
    branches = an_offer(ALL, []).schema["anyOf"][1:]
    messages = [Message(role="user", content="propose something")]
    try:
        for seed, branch in enumerate(branches):
            completion = await client.complete(messages, max_tokens=3000, schema=branch, seed=seed)
            if completion.finish_reason == "length":
                continue
            said = json.loads(completion.text)
            action = actions[said["action"]]
            assert set(said) == {"plan", "do", "action", "why", *action.arguments}
            for name, schema in action.arguments.items():
                assert said[name] in schema.get("enum", [said[name]])
        whole = await client.complete(messages, max_tokens=400, schema=an_offer(ALL, []).schema, seed=1)
        assert whole.text.startswith("{")
    finally:
        await client.close()
