"""Labels by a real llama-server whose model says nonsense: the schema holds, and every template gets one or none."""

import pytest

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.llm_backend.structured import schema_of
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.trigger_monitor.labels import PROMPT_VERSION, Labeller, prompt, reply_model
from tests.judging import FixedClock, Notes
from tests.unit.test_labels import Templates, several

pytestmark = pytest.mark.llama


@pytest.fixture
async def server(llama):
    client = LlamaCpp("trigger", Backend(url=llama))
    yield client
    await client.close()


async def test_every_template_is_labelled_in_the_shape_that_was_asked_for(server):
    clock, notes, store = FixedClock(), Notes(), Templates(several(24))
    labeller = Labeller.build(store, server, notes, clock, Heartbeat())
    while await labeller.label_next():
        pass
    assert set(store.labelled) == {template.id for template in store.waiting}
    assert store.passed == []
    for label in store.labelled.values():
        assert (label.model, label.prompt_version) == ("tiny", PROMPT_VERSION)
        assert 0 <= label.severity <= 100
        assert len(label.summary.split()) <= 6
    assert notes.said[-1].state == "ok"


async def test_the_reply_has_an_entry_for_each_template(server):
    templates = several(8)
    completion = await server.complete(
        prompt(templates), max_tokens=800, schema=schema_of(reply_model(8)), temperature=1.0
    )
    reply = reply_model(8).model_validate_json(completion.text)
    assert len(reply.labels) == 8


async def test_the_head_of_the_prompt_comes_from_the_servers_cache(server):
    sizes = []
    for name in ("one", "two"):
        template = several(1)[0].model_copy(update={"text": f"{name} and something else"})
        completion = await server.complete(prompt([template]), max_tokens=200, schema=schema_of(reply_model(1)))
        sizes.append((completion.cached_tokens, completion.prompt_tokens))
    assert sizes[1][0] > sizes[1][1] * 0.8
