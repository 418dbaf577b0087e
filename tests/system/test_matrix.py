"""The autonomy matrix on a real systemd, pairwise: real units, the executor's own unit, its real sockets.

Who speaks is whom the kernel says: the suite's users bring proposals in, in the name of every layer; nobody of them
decides. What ran is read from systemd: the unit's state and the transient units that were started.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.records import ProposedAction
from tests.matrix.cells import ALONE, ASKED, CLASSES, RECORDED, expected
from tests.matrix.cells import Cell as Square
from tests.matrix.pairwise import pairwise
from tests.system.machine import Machine
from tests.system.suite import Suite

PROGRAM = Path(__file__).with_name("executor_program.py")
PROPOSE, OPERATE = "/run/ai-sysadmin/propose.sock", "/run/ai-sysadmin/operate.sock"
EXECUTOR = "ai-sysadmin-executor.service"
SETTINGS = "/etc/ai-sysadmin/settings.json"
LEVELS = ("observe", "suggest", "auto-safe", "auto-full")
DOORS = {
    "rules": "ai-sysadmin",
    "review": "ai-sysadmin",
    "investigation": "ai-sysadmin",
    "chat": "ai-sysadmin-api",
    "operator": "ai-sysadmin-api",
}
"""Who proposes, by the user as whom it comes in."""
SETTLED = {"pending", "recorded", "refused", "succeeded", "failed", "reverted", "unknown"}
AS_INSTALLED = "-c 'import sys; sys.argv[0] = \"/opt/bin/ai-sysadmin\"; from ai_sysadmin.cli.main import main; main()'"
"""As Nix wraps it: the program knows itself by its own path, by which the executor starts its probes."""
MANY = 25
ALONG = "[Unit]\nPartOf={units}\n[Service]\nExecStart=/bin/sleep infinity\n"
FAILS = "[Service]\nExecStart=/bin/sh -c 'test -e /run/mended && exec sleep infinity; exit 1'\n"
RUNS = "[Service]\nExecStart=/bin/sleep infinity\n"
DEAF = (
    "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'test -e /run/mended || "
    'exec sh -c "systemd-notify --ready; exec sleep infinity"; exec python3 /opt/listens.py {port}\'\n'
)
LISTENS = (
    "import os, socket, sys, time\n"
    "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
    "os.system('systemd-notify --ready')\n"
    "time.sleep(3600)\n"
)


@dataclass(frozen=True)
class Case:
    """One case: a square of the matrix, by a door, at a level."""

    number: int
    level: str
    door: str
    square: Square

    @property
    def unit(self) -> str:
        return f"{'sshd-' if self.square.protected else ''}t-{self.number}.service"

    @property
    def port(self) -> int:
        return 4000 + self.number

    @property
    def is_declared(self) -> bool:
        return self.square.name in {"look_at_unit", "touch_unit"}

    @property
    def text(self) -> str:
        """The unit's file."""
        if self.square.warranted and self.square.risk in {"reversible", "destructive"}:
            return FAILS
        return DEAF.format(port=self.port) if self.has_probe else RUNS

    @property
    def has_probe(self) -> bool:
        return self.square.warranted and self.square.risk == "disruptive"

    def request(self, host: str) -> ActionRequest:
        unit = self.unit.removesuffix(".service") if self.is_declared else self.unit
        return asked_for(host, self.square.name, unit, Origin(self.door))

    @property
    def wanted(self) -> str:
        return expected(self.level, self.square, by_person=self.door in {"chat", "operator"})


def asked_for(host: str, name: str, unit: str, origin: Origin) -> ActionRequest:
    action = ProposedAction(name=name, arguments={"unit": unit})
    return ActionRequest.propose(host, "abcdef", action, origin, "it is said to have failed", SystemClock().now())


FACTORS = {
    "level": LEVELS,
    "door": tuple(DOORS),
    "risk": CLASSES,
    "warranted": (True, False),
    "protected": (False, True),
}
ALSO = (
    # what no pair of values holds: all that has to be so before something runs alone, and one of it missing
    ("auto-safe", "review", "reversible", True, False),
    ("auto-safe", "investigation", "reversible", True, True),
    ("auto-full", "rules", "reversible", True, False),
    ("auto-full", "investigation", "disruptive", True, False),
    ("auto-full", "review", "disruptive", False, False),
    ("auto-full", "chat", "disruptive", True, False),
)


def _cases() -> list[Case]:
    found = [*pairwise(FACTORS), *(dict(zip(FACTORS, each, strict=True)) for each in ALSO)]
    return [
        Case(
            number,
            str(each["level"]),
            str(each["door"]),
            Square(str(each["risk"]), bool(each["warranted"]), bool(each["protected"])),
        )
        for number, each in enumerate(found)
    ]


CASES = _cases()
DECLARED = {
    "description": "For a test: does nothing.",
    "command": ["/usr/bin/test", "-n", "{unit}.service"],
    "parameters": {"unit": {"pattern": "[a-z0-9-]{1,64}"}},
    "unit": "{unit}.service",
}
SUITE = Suite(
    start=(),
    options={
        "settings": {
            "executor": {"post_check_seconds": 0.6},
            "policy": {
                "hands_off_seconds": 0.001,  # or these units' files, just written, were somebody's work
                "breakers": {"per_unit": 1000, "all_units": 1000, "back_off_seconds": 0.001},
            },
            "actions": {
                "declared": [
                    {"name": "look_at_unit", "risk": "read_only", **DECLARED},
                    {"name": "touch_unit", "risk": "reversible", **DECLARED},
                ]
            },
            "trigger_monitor": {
                "probes": [
                    {"type": "tcp", "name": f"p{each.number}", "host": "127.0.0.1", "port": each.port}
                    | {"units": [each.unit]}
                    for each in CASES
                    if each.has_probe
                ]
            },
        }
    },
)


@dataclass(frozen=True)
class Executor:
    """The executor of a machine, and who speaks to it."""

    machine: Machine

    def ask(self, path: str, user: str, frames: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        self.machine.put(json.dumps(frames), "/opt/frames.json")
        argv = ["/usr/bin/python3", "/opt/executor_program.py", path, "/opt/frames.json"]
        return list(self.machine.run(argv, user=None if user == "root" else user).ok().json)

    def at(self, level: str) -> None:
        """Restart it at a level of autonomy."""
        file = self.machine.path(SETTINGS)
        self.machine.put(json.dumps(json.loads(file.read_text()) | {"autonomy_level": level}), SETTINGS)
        self.machine.systemctl("restart", EXECUTOR).ok()

    def propose(self, user: str, request: ActionRequest) -> Mapping[str, Any]:
        """Bring a request in as one of the suite's users; return what the executor says of it."""
        (answer,) = self.ask(PROPOSE, user, [{"do": "propose", "request": request.model_dump(mode="json")}])
        assert answer["error"] == "", (request, answer)
        return dict(answer["actions"][0])

    def settled(self, action_id: str) -> Mapping[str, Any]:
        """Wait until an action has ended, or waits for a person; return what the executor says of it."""

        def look() -> Mapping[str, Any] | None:
            (answer,) = self.ask(OPERATE, "alice", [{"do": "show", "id": action_id}])
            (facts,) = answer["actions"]
            return dict(facts) if facts["state"] in SETTLED else None

        return dict(self.machine.eventually(look, f"{action_id} is settled", within=30))

    def run_of(self, unit: str) -> str:
        """Return what tells one run of a unit from another."""
        return self.machine.show(unit, "InvocationID")["InvocationID"]

    def healthy(self, unit: str) -> None:
        """Start a unit that nothing is wrong with."""
        self.machine.put(RUNS, f"/run/systemd/system/{unit}")
        self.machine.systemctl("daemon-reload").ok()
        self.machine.systemctl("start", unit).ok()


@pytest.fixture(scope="module")
def executor(suite_machine: Machine) -> Iterator[Executor]:
    """The executor, with every case's unit in its condition."""
    machine = suite_machine
    machine.put(PROGRAM, "/opt/executor_program.py")
    machine.put(LISTENS, "/opt/listens.py")
    wrapper = machine.path("/opt/bin/ai-sysadmin").read_text()
    machine.put(wrapper.replace("-m ai_sysadmin", AS_INSTALLED), "/opt/bin/ai-sysadmin", mode=0o755)
    for case in CASES:
        machine.put(case.text, f"/run/systemd/system/{case.unit}")
    heavy = " ".join(each.unit for each in CASES if each.square.risk == "destructive")
    machine.put(ALONG.format(units=heavy), "/run/systemd/system/t-along@.service")
    machine.systemctl("daemon-reload").ok()
    machine.systemctl("start", *(case.unit for case in CASES))
    machine.systemctl("start", *(f"t-along@{number}.service" for number in range(MANY))).ok()
    for case in CASES:
        failed = case.text == FAILS
        state = "failed" if failed else "active"
        machine.eventually(partial(_is, machine, case.unit, state), f"{case.unit} is {state}")
    machine.put("", "/run/mended")
    yield Executor(machine)


def _is(machine: Machine, unit: str, state: str) -> bool:
    return machine.show(unit, "ActiveState")["ActiveState"] == state


def test_the_cases_are_few_and_hold_every_pair():
    assert len(CASES) <= 30
    assert {(case.level, case.door) for case in CASES} == {(level, door) for level in LEVELS for door in DOORS}
    assert {case.wanted for case in CASES} == {ALONE, ASKED, RECORDED}


@pytest.mark.parametrize("level", LEVELS)
def test_what_becomes_of_each_case(executor: Executor, level: str):
    """What runs without a person, what waits and what is only recorded is what the table says, on the real thing."""
    executor.at(level)
    cases = [case for case in CASES if case.level == level]
    runs = {case: executor.run_of(case.unit) for case in cases}
    asked = {case: case.request(executor.machine.name) for case in cases}
    for case, request in asked.items():
        executor.propose(DOORS[case.door], request)
    for case, request in asked.items():
        facts = executor.settled(request.id)
        state = {ALONE: "succeeded", ASKED: "pending", RECORDED: "recorded"}[case.wanted]
        assert facts["state"] == state, (case, facts["text"])
        assert facts["ruling"]["protected"] is (case.square.protected and case.square.risk != "read_only"), case
        restarted = case.wanted == ALONE and case.square.name == "restart_unit"
        assert (executor.run_of(case.unit) != runs[case]) is restarted, case


@pytest.mark.parametrize("level", LEVELS)
def test_a_forged_proposal_for_a_healthy_unit_waits_for_a_person(executor: Executor, level: str):
    """Well formed, from the services' own user, in the name of the rules: a healthy unit is left alone."""
    executor.at(level)
    unit = f"t-healthy-{level}.service"
    executor.healthy(unit)
    before = executor.run_of(unit)
    for name in ("restart_unit", "stop_unit"):
        facts = executor.propose("ai-sysadmin", asked_for(executor.machine.name, name, unit, Origin.RULES))
        assert facts["state"] == ("recorded" if level == "observe" else "pending"), facts["text"]
        assert facts["ruling"]["warranted"] is False
    assert executor.run_of(unit) == before


def test_who_may_approve_on_the_real_sockets(executor: Executor):
    """The suite's users never, a stranger never, the operator yes; and then it runs."""
    executor.at("suggest")
    executor.healthy("t-approved.service")
    before = executor.run_of("t-approved.service")
    wanted = asked_for(executor.machine.name, "restart_unit", "t-approved.service", Origin.REVIEW)
    assert executor.propose("ai-sysadmin", wanted)["state"] == "pending"
    yes = {"do": "approve", "id": wanted.id}
    for user in ("ai-sysadmin", "ai-sysadmin-api", "bob", "nobody"):
        (answer,) = executor.ask(OPERATE, user, [yes])
        assert answer["error"] == "refused", (user, answer)
    assert executor.ask(PROPOSE, "ai-sysadmin", [yes])[0]["error"] == "refused"
    assert executor.run_of("t-approved.service") == before
    assert executor.ask(OPERATE, "alice", [yes])[0]["error"] == ""
    executor.machine.eventually(lambda: executor.run_of("t-approved.service") != before, "it was started anew")
