"""A host with a failed unit, all that acts on it for real, and a front desk to talk to."""

import asyncio
import hashlib
import json
from contextlib import aclosing, asynccontextmanager, suppress

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.courier import follow_forever, submit_forever
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.settings import Executor, Settings
from ai_sysadmin.meta_model.proposals import Proposals
from ai_sysadmin.meta_model.small_tasks import SmallTasks
from ai_sysadmin.meta_model.talk import ClientCall, Words
from ai_sysadmin.openai_api_server.answers.approvals import Approvals
from ai_sysadmin.openai_api_server.answers.cards import Cards
from ai_sysadmin.openai_api_server.answers.front import Front
from ai_sysadmin.openai_api_server.callers import Caller
from ai_sysadmin.openai_api_server.wire import ChatRequest
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores.key_store import Scope
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from ai_sysadmin.testing.front_desk import ScriptedTalk
from ai_sysadmin.testing.scripted_model import ScriptedModel
from tests.builders import HOST, UNIT
from tests.executing import serving

SECRET = "sk-phone"
PHONE = Caller(name="key phone", scopes=frozenset({Scope.CHAT, Scope.APPROVE}), key_id="k22222", key=SECRET)
UNREGISTERED = Caller(name="key odd", scopes=frozenset({Scope.CHAT, Scope.APPROVE}), key_id="k33333", key="sk-odd")
TALKER = Caller(name="key talk", scopes=frozenset({Scope.CHAT}), key_id="k44444", key=SECRET)
KEYLESS = Caller(name="keyless", scopes=frozenset({Scope.CHAT}))
PEER = Caller(name="root", scopes=frozenset(Scope), uid=0, may_change=True)
ASK_USER = {"type": "function", "function": {"name": "ask_user", "parameters": {"type": "object"}}}


class Host:
    """A host with a failed unit, everything that acts on it, and a front desk."""

    def __init__(self, settings, stores, systemd):
        self.settings, self.stores, self.systemd = settings, stores, systemd
        self.propose = ExecutorClient(settings.propose_socket, timeout_seconds=5)
        self.operate = ExecutorClient(settings.operate_socket, timeout_seconds=5)
        self.talk = ScriptedTalk()
        self.proposals = Proposals(settings, stores.proposals, stores.reader, systemd, SystemClock())
        self.boot_seconds = 0.0
        self.cards = Cards(lambda: self.boot_seconds)
        self.front = self.desk()

    def desk(self, executor=None):
        executor = executor or self.propose
        approvals = Approvals(self.stores.reader, executor, outcome_seconds=5, ruling_seconds=3)
        small, reader = SmallTasks(ScriptedModel()), self.stores.reader
        return Front(
            self.settings, self.talk, small, reader, executor, SystemClock(), cards=self.cards, approvals=approvals
        )

    async def proposed(self, unit=UNIT, name="restart_unit", **arguments):
        return await self.proposals.propose(name, arguments or {"unit": unit}, "it is down")

    async def pending(self, unit=UNIT):
        made = await self.proposed(unit)
        return await self.becomes(made.action_id, "pending")

    async def becomes(self, action_id, state):
        async with asyncio.timeout(5):
            while (action := await self.stores.reader.action(action_id)).state != state:
                await asyncio.sleep(0.02)
        return action.request

    async def says(self, *messages, caller=PHONE, front=None, **more):
        said = [{"role": "user", "content": each} if isinstance(each, str) else each for each in messages]
        asked = ChatRequest.model_validate({"messages": said, "stream": True, "tools": [ASK_USER], **more})
        async with aclosing((front or self.front).answer(asked, caller, {})) as events:
            return [each async for each in events]

    async def card(self, request):
        events = await self.says(f"what about {request.id}?")
        return next(each.call for each in events if isinstance(each, ClientCall))

    @property
    def ran(self):
        return [start for start in self.systemd.starts if start.startswith("restart")]


@asynccontextmanager
async def a_host(tmp_path, **changes):
    systemd = FakeSystemd()
    systemd.add(UNIT, active="failed", result="exit-code")
    systemd.add("calm.service")
    systemd.add("sshd.service", active="failed", result="exit-code")
    settings = Settings(
        host_name=HOST,
        runtime_dir=tmp_path / "run",
        executor=Executor(post_check_seconds=0.05, state_dir=tmp_path),
        **changes,
    )
    async with serving(settings, systemd), open_stores(tmp_path / "state.db", HOST) as stores:
        host = Host(settings, stores, systemd)
        await host.operate.register_key("k22222", "phone", hashlib.sha256(SECRET.encode()).hexdigest())
        working = [
            asyncio.create_task(submit_forever(stores.outbox, host.propose, SystemClock(), Heartbeat())),
            asyncio.create_task(follow_forever(stores.outbox, host.propose, Heartbeat())),
        ]
        try:
            yield host
        finally:
            for task in working:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


def text(events):
    return "".join(each.text for each in events if isinstance(each, Words))


def returned(call, label="Approve", index=1, status="answered", **changes):
    answer = {"type": "option", "option_index": index, "label": label}
    content = {"status": status, "answers": {"decision": answer}} | changes
    return {"role": "tool", "tool_call_id": call.id, "content": json.dumps(content)}
