"""What does not help is not done for ever, and the kill switch stops a queue, on a real systemd.

Nothing is stood in but the models: there are none, so the rules judge. The policy lets the executor act alone.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import ActionFacts
from ai_sysadmin.core.acting import ActionRequest, ActionState, ExecutorEvent, ExecutorEventKind, Origin
from ai_sysadmin.core.records import ProposedAction
from tests.system.machine import Machine
from tests.system.story import Story
from tests.system.suite import Suite

PER_UNIT = 3
QUEUE = 20
COUNTS = "/srv/counts"
HALT = "/var/lib/ai-sysadmin-executor/halt"
SLOW = {
    "name": "take_a_while",
    "description": "Does nothing for a while, and says that it did.",
    "risk": "disruptive",
    "command": ["/bin/sleep", "0.{tenths}"],
    "post_check": ["/bin/true"],
    "parameters": {"tenths": {"pattern": "[1-9][0-9]*"}},
}
SUITE = Suite(
    options={
        "autonomyLevel": "auto-safe",
        "settings": {
            "executor": {"post_check_seconds": 5},
            "trigger_monitor": {"storm_incidents": 0},
            "policy": {"breakers": {"per_unit": PER_UNIT, "all_units": 1000, "back_off_seconds": 0.2}},
        },
    }
)
QUEUED = Suite(
    start=(),
    options={"settings": {"executor": {"post_check_seconds": 0.2}, "actions": {"declared": [SLOW]}}},
)
NEVER = f"""[Service]
ExecStart=/bin/sh -c 'echo start >>{COUNTS}/%i; exit 1'
"""
LATE = f"""[Unit]
Description=Fails at its first start, and three seconds after every other
[Service]
ExecStart=/bin/sh -c 'echo start >>{COUNTS}/%i; test $(wc -l <{COUNTS}/%i) = 1 || sleep 3; exit 1'
"""


@pytest.fixture(scope="module")
def story(suite_machine: Machine) -> Story:
    suite_machine.run(["mkdir", "-p", COUNTS]).ok()
    for name, text in {"never@.service": NEVER, "late@.service": LATE}.items():
        suite_machine.put(text, f"/etc/systemd/system/{name}")
        # what was changed long ago nobody is at work on
        suite_machine.run(["touch", "-d", "2 days ago", f"/etc/systemd/system/{name}"]).ok()
    suite_machine.systemctl("daemon-reload").ok()
    return Story(suite_machine)


def client(story: Story, door: str = "propose") -> ExecutorClient:
    return ExecutorClient(story.machine.path(f"/run/ai-sysadmin/{door}.sock"))


def request(story: Story, action: ProposedAction, origin: Origin = Origin.RULES) -> ActionRequest:
    return ActionRequest.propose(story.machine.name, "", action, origin, "it is tried", datetime.now(UTC))


def starts(story: Story, name: str) -> int:
    """Return how often a unit was started."""
    return len(story.machine.path(f"{COUNTS}/{name}").read_text().splitlines())


READ_NOTICES = """import json, sqlite3, sys
database = sqlite3.connect("/var/lib/ai-sysadmin/ai-sysadmin.db")
query = "SELECT occasion, state FROM notifications WHERE incident_id = ? AND NOT superseded"
print(json.dumps(database.execute(query, sys.argv[1:]).fetchall()))
"""


def notices(story: Story, incident_id: str) -> list[list[str]]:
    """Return what a person is to be told of an incident: the occasion, and the state that it is told for."""
    return list(story.machine.run(["/usr/bin/python3", "-c", READ_NOTICES, incident_id]).ok().json)


async def ended(executor: ExecutorClient, action_id: str, within: float = 60) -> ActionFacts:
    """Return an action once it has ended, or waits for a person."""
    async with asyncio.timeout(within):
        while True:
            facts = await executor.show(action_id)
            if facts.state.ended or facts.state is ActionState.PENDING:
                return facts
            await asyncio.sleep(0.05)


def test_a_restart_that_dies_three_seconds_later_is_a_failure(story: Story) -> None:
    unit = "late@dies.service"
    story.machine.systemctl("start", unit)
    incident = story.ends(unit, "needs_person", within=60)
    tried = story.cli("incidents", "show", incident["id"]).ok().json["actions"]
    assert [action["name"] for action in tried] == ["restart_unit"] * len(tried)
    assert tried[0]["state"] == "failed"
    assert "late@dies.service is failed (exit-code)" in tried[0]["text"]
    assert ["needs_person", "needs_person"] in notices(story, incident["id"])
    said = story.events(incident["id"])
    assert "action_asked" not in said, "it ran alone"
    assert starts(story, "dies") == 1 + sum(action["state"] == "failed" for action in tried)
    assert starts(story, "dies") <= 1 + PER_UNIT


def test_a_unit_that_never_comes_up_is_left_to_a_person(story: Story) -> None:
    unit = "never@suite.service"
    story.machine.systemctl("start", unit)

    def left() -> dict[str, Any] | None:
        found = story.incidents(unit)
        return found[0] if found and found[0]["state"] in {"needs_person", "awaiting_approval"} else None

    incident = story.machine.eventually(left, "a person is asked", within=60)
    tried = starts(story, "suite")
    assert 2 <= tried <= 1 + PER_UNIT
    assert notices(story, incident["id"])
    time.sleep(5)
    assert (starts(story, "suite"), left() is not None) == (tried, True)


def test_an_obstinate_proposer_gets_no_further_than_the_breaker(story: Story) -> None:
    """Whoever speaks for the suite proposes the same again and again, straight to the executor."""
    unit = "never@obstinate.service"
    story.machine.systemctl("stop", "ai-sysadmin-trigger-monitor.service").ok()
    story.machine.systemctl("start", unit)
    restart = ProposedAction(name="restart_unit", arguments={"unit": unit})

    async def insist() -> list[ActionFacts]:
        executor, found = client(story), []
        for _ in range(PER_UNIT + 3):
            asked = await executor.propose(request(story, restart))
            found.append(await ended(executor, asked.id))
        return found

    found = asyncio.run(insist())
    story.machine.systemctl("start", "ai-sysadmin-trigger-monitor.service").ok()
    assert [facts.state for facts in found[:PER_UNIT]] == [ActionState.FAILED] * PER_UNIT
    assert {facts.state for facts in found[PER_UNIT:]} == {ActionState.PENDING}
    assert {facts.ruling.line for facts in found[PER_UNIT:]} == {"policy.breakers"}
    assert starts(story, "obstinate") == 1 + PER_UNIT


# --- the kill switch


@pytest.fixture(scope="module")
def queued(boot_suite: Callable[[Suite], Machine]) -> Story:
    return Story(boot_suite(QUEUED))


async def queue(story: Story) -> list[str]:
    """Have twenty actions approved that are done one after the other; return their ids."""
    ids = []
    for number in range(QUEUE):
        action = ProposedAction(name="take_a_while", arguments={"tenths": f"3{number + 10}"})
        asked = await client(story).propose(request(story, action, Origin.OPERATOR))
        await client(story, "operate").approve(asked.id, asked.digest)
        ids.append(asked.id)
    return ids


async def begun(story: Story, ids: list[str]) -> list[ExecutorEvent]:
    found: list[ExecutorEvent] = []
    epoch, since = "", 0
    while page := await client(story).events(epoch, since):
        epoch, since = page[0].epoch, page[-1].sequence
        found += [each for each in page if each.kind is ExecutorEventKind.STARTED and each.action_id in ids]
    return found


async def stopped_by(story: Story, stop: Callable[[], Awaitable[Any]]) -> float:
    """Stop a queue of which the first have been done; return after how many seconds the last one was begun."""
    ids = await queue(story)
    async with asyncio.timeout(30):
        while len(await begun(story, ids)) < 3:
            await asyncio.sleep(0.05)
    asked = datetime.now(UTC)
    await stop()
    await asyncio.sleep(4)
    first = await begun(story, ids)
    assert 3 <= len(first) < QUEUE
    last = max(each.at for each in first)
    states = [(await client(story).show(action_id)).state for action_id in ids]
    assert states.count(ActionState.APPROVED) == QUEUE - len(first), states
    return (last - asked).total_seconds()


async def goes_on(story: Story) -> None:
    """Let actions begin again as an operator, and have the rest of the queue done."""
    assert story.machine.run(["/opt/bin/ai-sysadmin", "resume"], user="bob").exit_status == 3
    story.machine.run(["/opt/bin/ai-sysadmin", "resume", "--json"], user="alice").ok()
    async with asyncio.timeout(90):
        while any(not facts.state.ended for facts in await client(story).list() if facts.name == "take_a_while"):
            await asyncio.sleep(0.2)


def test_an_operators_halt_stops_a_queue_within_a_second(queued: Story) -> None:
    async def halt() -> None:
        argv = ["/opt/bin/ai-sysadmin", "halt", "--why", "enough", "--json"]
        await asyncio.to_thread(lambda: queued.machine.run(argv, user="alice").ok())

    async def run() -> float:
        at = await stopped_by(queued, lambda: client(queued, "operate").halt("enough"))
        await halt()  # twice is as good as once
        await goes_on(queued)
        return at

    seconds = asyncio.run(run())
    print(f"halted: the last action was begun {seconds:.2f} s after it was asked")
    assert seconds < 1


def test_the_command_line_halts(queued: Story) -> None:
    queued.machine.run(["/opt/bin/ai-sysadmin", "halt", "--why", "enough"], user="alice").ok()
    assert queued.machine.path(HALT).exists()
    queued.machine.run(["/opt/bin/ai-sysadmin", "resume"], user="alice").ok()
    assert not queued.machine.path(HALT).exists()


def test_a_file_stops_a_queue_within_a_second(queued: Story) -> None:
    async def touch() -> None:
        queued.machine.path(HALT).touch()

    async def run() -> float:
        return await stopped_by(queued, touch)

    seconds = asyncio.run(run())
    queued.machine.path(HALT).unlink()
    print(f"a file: the last action was begun {seconds:.2f} s after it was made")
    assert seconds < 1


def test_what_is_halted_stays_so_where_the_executor_comes_back_without_its_database(story: Story) -> None:
    machine = story.machine
    machine.run(["/opt/bin/ai-sysadmin", "halt", "--why", "enough"], user="alice").ok()
    machine.systemctl("stop", "ai-sysadmin-executor.service").ok()
    machine.run(["sh", "-c", "rm -f /var/lib/ai-sysadmin-executor/executor.db*"]).ok()
    machine.systemctl("start", "ai-sysadmin-executor.service")
    unit = "never@halted.service"
    machine.systemctl("start", unit)
    time.sleep(3)
    assert starts(story, "halted") == 1
    machine.run(["/opt/bin/ai-sysadmin", "resume"], user="alice").ok()


# --- how exposed the services are


def test_the_services_are_as_closed_as_they_say(story: Story) -> None:
    listed = story.machine.systemctl("list-units", "--plain", "--no-legend", "ai-sysadmin-*.service").stdout
    found = {unit: exposure(story.machine, unit) for unit in (line.split()[0] for line in listed.splitlines())}
    print(found)
    assert found.pop("ai-sysadmin-executor.service") <= 4.0
    assert {unit: level for unit, level in found.items() if level > 2.0} == {}
    assert len(found) >= 4


def exposure(machine: Machine, unit: str) -> float:
    shown = machine.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
    return float(shown.split("Overall exposure level")[1].split(":")[1].split()[0])
