"""A model that thinks before it answers."""

import json

import pytest

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from tests.llama import make_tiny_gguf
from tests.llama.server import serve

pytestmark = pytest.mark.llama

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["act", "escalate"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}


async def test_a_thinking_model_does_not_spend_its_answer_on_thoughts(tmp_path):
    path = tmp_path / "thinking.gguf"
    make_tiny_gguf.main([str(path), "--think"])
    with serve(path) as url:
        server = LlamaCpp("review", Backend(url=url))
        question = [Message(role="user", content="judge")]
        done = await server.complete(question, max_tokens=30, schema=SCHEMA, seed=1)
        assert json.loads(done.text)["verdict"] in {"act", "escalate"}
        assert "<think>" not in (await server.complete(question, max_tokens=30, seed=1)).text
        await server.close()
