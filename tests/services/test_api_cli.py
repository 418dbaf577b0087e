"""The command line as a process, against a running API and an executor's socket."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

from ai_sysadmin.actions.protocol import FRAME, ActionFacts, Answer, Approve, Reject
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.testing.api import ScriptedChat
from tests.services.api_harness import an_incident, running

PENDING = ActionFacts(
    id="abcdef-012345",
    digest="d",
    name="restart_unit",
    arguments={"unit": "nginx.service"},
    incident_id="k3f9ab",
    state="approved",
    text="approved by root",
    ruling=None,
    expires_in_seconds=None,
)


async def cli(*arguments, state_dir):
    """Run the command line; return its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ai_sysadmin", *arguments, "--state-dir", str(state_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"TZ": "UTC", "COLUMNS": "80"},
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def an_executor(state_dir):
    """Listen on the operators' socket: approves what is `good…`, refuses the rest, remembers rejections."""
    rejected = []

    def answer(frame):
        match frame:
            case Approve(id=action_id) if action_id.startswith("good"):
                return Answer(actions=(PENDING,))
            case Approve(id=action_id) if action_id.startswith("late"):
                changed = PENDING.model_copy(
                    update={"state": ActionState.REFUSED, "text": "nginx.service is active again"}
                )
                return Answer(actions=(changed,))
            case Reject(why=why):
                rejected.append(why)
                return Answer(actions=(PENDING.model_copy(update={"state": ActionState.REJECTED, "text": why}),))
            case Approve():
                return Answer(error="refused", message="mallory is no operator of this host")
            case _:
                return Answer()

    async def serve(reader, writer):
        line = await reader.readline()
        writer.write(answer(FRAME.validate_json(line)).model_dump_json().encode() + b"\n")
        writer.close()

    path = state_dir / "run" / "operate.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    async with await asyncio.start_unix_server(serve, path):
        yield rejected


async def test_status_and_incidents_over_the_socket(tmp_path):
    async with running(tmp_path) as api:
        incident = await an_incident(api)
        code, out, _ = await cli("status", state_dir=tmp_path)
        assert (code, out.splitlines()[0].split(":")[0]) == (0, "AI sysadmin on thishost")
        code, out, _ = await cli("status", "--json", state_dir=tmp_path)
        assert (code, json.loads(out)["incidents"]) == (0, {"open": 1})
        code, out, _ = await cli("incidents", state_dir=tmp_path)
        assert (code, incident.id in out) == (0, True)
        code, out, _ = await cli("--json", "incidents", "list", "--state", "open", state_dir=tmp_path)
        assert [i["id"] for i in json.loads(out)["incidents"]] == [incident.id]
        code, out, _ = await cli("incidents", "show", incident.id[:3], state_dir=tmp_path)
        assert (code, out.splitlines()[0]) == (0, "nginx.service failed")
        code, out, err = await cli("incidents", "show", "zzz", "--json", state_dir=tmp_path)
        assert (code, json.loads(out)["error"]["kind"]) == (1, "NotFound")
        assert "there is no incident 'zzz'" in err
        for odd in ("", "../status", "a/b?state=open#x"):
            assert (await cli("incidents", "show", odd, state_dir=tmp_path))[0] == 1, odd
        assert (await cli("actions", "--state", "pending", state_dir=tmp_path))[:2] == (0, "No actions.\n")
        code, _, err = await cli("actions", "--state", "odd", state_dir=tmp_path)
        assert (code, "known: proposed" in err) == (1, True)


async def test_ask_prints_the_answer_defused_and_as_json(tmp_path):
    chat = ScriptedChat(["All \x1b[31mis", "\x1b[0m well.\u202e"])
    async with running(tmp_path, chat=chat):
        code, out, _ = await cli("ask", "How are you?", state_dir=tmp_path)
        assert (code, out) == (0, "All is well.\n")
        code, out, _ = await cli("ask", "How are you?", "--json", state_dir=tmp_path)
        assert (code, json.loads(out)["question"]) == (0, "How are you?")
    assert chat.heard[0][0][-1].content == "How are you?"


async def test_a_decision_goes_to_the_executor_and_its_no_is_exit_3(tmp_path):
    async with an_executor(tmp_path) as rejected:
        code, out, _ = await cli("actions", "approve", "good", state_dir=tmp_path)
        assert (code, out.splitlines()[0]) == (0, "restart_unit nginx.service: approved, approved by root")
        code, out, _ = await cli("actions", "approve", "good", "--json", state_dir=tmp_path)
        assert (code, json.loads(out)["state"]) == (0, "approved")
        code, out, err = await cli("actions", "approve", "bad", state_dir=tmp_path)
        assert (code, out, err) == (3, "", "ai-sysadmin: mallory is no operator of this host\n")
        code, _, err = await cli("actions", "approve", "late", state_dir=tmp_path)
        assert (code, err) == (3, "ai-sysadmin: nginx.service is active again\n")
        code, out, _ = await cli("actions", "reject", "good", "--why", "I do it", "--json", state_dir=tmp_path)
        assert (code, json.loads(out)["state"], rejected) == (0, "rejected", ["I do it"])
        assert (await cli("actions", "reject", "good", state_dir=tmp_path))[0] == 2
