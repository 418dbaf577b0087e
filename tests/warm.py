"""The model client's library, loaded before a test with a short deadline asks for an answer (import ``warm`` by name).

The first call of a process loads it, which takes a second and more where others keep the machine busy.
"""

import asyncio
import threading

import pytest

from ai_sysadmin.core.settings import Backend
from ai_sysadmin.llm_backend import Message
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.testing.misbehaving_server import Fault, MisbehavingServer


@pytest.fixture(scope="session", autouse=True)
def warm():
    thread = threading.Thread(target=lambda: asyncio.run(_one_answer()))
    thread.start()
    thread.join()


async def _one_answer() -> None:
    async with MisbehavingServer(Fault.NONE).serving() as url:
        client = LlamaCpp("review", Backend(url=url))
        await client.complete([Message(role="user", content="hello")], max_tokens=8)
        await client.close()
