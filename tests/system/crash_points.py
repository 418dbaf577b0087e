"""Where the executor is killed, and three kinds of action that are killed there: each counts how often it was done."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.core.acting import ActionRequest, ActionState, ExecutorEvent, Origin
from ai_sysadmin.core.errors import ExecutorUnavailable, Refused
from ai_sysadmin.core.records import ProposedAction
from tests.nixos_standin import Nixos
from tests.system.machine import Machine
from tests.system.suite import PROGRAMS, Suite

STATE = "/var/lib/ai-sysadmin-executor"
EXECUTOR = "ai-sysadmin-executor.service"
COUNTS = "/srv/crash"
TURN = {
    "name": "turn",
    "description": "Turn something that can be turned back.",
    "risk": "disruptive",
    "command": ["/opt/bin/turn", "on", "{what}"],
    "post_check": ["/opt/bin/turn", "look", "{what}"],
    "revert": ["/opt/bin/turn", "back", "{what}"],
    "parameters": {"what": {"pattern": "[a-z0-9-]+"}},
    "writable_paths": [COUNTS],
}
TURN_SCRIPT = f"""#!/bin/sh
echo "$1" >>"{COUNTS}/$2"
case "$1 $2" in "look bad"*) exit 1;; esac
"""
COUNTED = f"""[Service]
ExecStart=/bin/sh -c 'test -e {COUNTS}/%i.failed && echo restarted >>{COUNTS}/%i && exec sleep infinity; \\
touch {COUNTS}/%i.failed; exit 1'
"""
DROP_IN = """[Service]
RestartSec=0
ExecStart=
ExecStart={program}
"""
SUITE = Suite(
    start=(),
    options={
        "settings": {
            "executor": {"post_check_seconds": 0.4},
            "actions": {"declared": [TURN], "nixos": {"check_seconds": 0.4, "rollback_seconds": 300}},
        }
    },
)


@dataclass(frozen=True)
class Kind:
    """A kind of action: what the executor says of it, which stages it has, how it ends, what is done by that."""

    name: str
    said: tuple[str, ...]
    stages: tuple[str, ...]
    ends: str
    does: tuple[str, ...]
    prepares: bool = False

    @property
    def points(self) -> list[str]:
        """Every write of the journal, before, within and after it, in their order; then every start of a unit."""
        writes = [f"{what} {when}" for what, when in product(self.said, ("uncommitted", "committed", "torn", "told"))]
        if self.prepares:
            writes[4:4] = ["kept uncommitted", "kept committed"]
        return [*writes, *(f"{stage} begun" for stage in self.stages)]


RESTART = Kind("restart", ("asked", "approved", "started", "ran", "finished"), ("run",), "succeeded", ("restarted",))
REVERTED = Kind(
    "turn-bad",
    ("asked", "approved", "started", "ran", "reverting", "finished"),
    ("run", "check-first", "revert"),
    "reverted",
    ("on", "back"),
)
HELD = Kind("turn-good", (), ("check-first", "check-last"), "succeeded", ("on",))
SWITCHED = Kind(
    "switch",
    ("preparing", "asked", "approved", "started", "ran", "confirming", "finished"),
    ("find", "run", "confirm"),
    "succeeded",
    ("activated",),
    prepares=True,
)
KINDS = (RESTART, REVERTED, HELD, SWITCHED)
SAID = {kind: kind.said or ("asked", "approved", "started", "ran", "finished") for kind in KINDS}
UNPROVED = ("started committed", "started torn", "started told")
"""Between the intent and the start: nobody could prove that it did not run, so it is never run again."""
EVERYWHERE = {kind: [each for each in kind.points if each not in UNPROVED and "begun" not in each] for kind in KINDS}


class Crashing:
    """A machine whose executor can be told where to die."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        # whoever switches starts what multi-user.target wants: here that is not the rest of the suite
        wants = machine.path("/etc/systemd/system/multi-user.target.wants")
        for link in wants.glob("ai-sysadmin*"):
            link.unlink()
        self.nixos = Nixos(machine)
        self._prepare_programs()
        self.systems = [
            self.nixos.make(name, {}, {"activate": f"#!/bin/sh\necho activated >>{COUNTS}/{name}\n"})
            for name in ("one", "two")
        ]
        for system in self.systems:
            self.nixos.install(system)

    def _prepare_programs(self) -> None:
        machine = self.machine
        machine.run(["mkdir", "-p", COUNTS]).ok()
        machine.put(TURN_SCRIPT, "/opt/bin/turn", mode=0o755)
        machine.put(COUNTED, "/etc/systemd/system/crash-counted@.service")
        machine.put(Path(__file__).with_name("crash_executor.py"), "/opt/crash_executor.py")
        wrapper = machine.path(str(PROGRAMS / "ai-sysadmin")).read_text()
        mortal = wrapper.replace("-P -m ai_sysadmin", "-P /opt/crash_executor.py")
        machine.put(mortal, "/opt/bin/ai-sysadmin-mortal", mode=0o755)
        unit = machine.path(f"/etc/systemd/system/{EXECUTOR}").read_text()
        (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
        program = start.removeprefix("ExecStart=").replace('/ai-sysadmin"', '/ai-sysadmin-mortal"')
        machine.put(DROP_IN.format(program=program), f"/run/systemd/system/{EXECUTOR}.d/crash.conf")
        machine.systemctl("daemon-reload").ok()

    def client(self, door: str) -> ExecutorClient:
        return ExecutorClient(self.machine.path(f"/run/ai-sysadmin/{door}.sock"))

    def arm(self, points: list[str]) -> None:
        self.machine.put("".join(f"{each}\n" for each in points), f"{STATE}/crash-at", mode=0o600)

    @property
    def unspent(self) -> list[str]:
        """The points at which nobody has died yet."""
        return self.machine.path(f"{STATE}/crash-at").read_text().splitlines()

    def wanted(self, kind: Kind, name: str) -> tuple[ProposedAction, str]:
        """Return an action of a kind that can be done now, and the name by which it counts."""
        if kind is RESTART:
            unit = f"crash-counted@{name}.service"
            self.machine.systemctl("start", unit)
            failed = {"ActiveState": "failed"}
            self.machine.eventually(lambda: self.machine.show(unit, "ActiveState") == failed, f"{unit} has failed")
            return ProposedAction(name="restart_unit", arguments={"unit": unit}), name
        if kind is SWITCHED:
            number = 2 if self.nixos.running == self.systems[0] else 1
            action = ProposedAction(name="switch_to_generation", arguments={"generation": str(number)})
            return action, ("one", "two")[number - 1]
        what = f"{'bad' if kind is REVERTED else 'good'}-{name}"
        return ProposedAction(name="turn", arguments={"what": what}), what

    def done(self, counted: str) -> list[str]:
        """Return what was done, as often as it was done. Looks are not deeds."""
        file = self.machine.path(f"{COUNTS}/{counted}")
        return [each for each in file.read_text().splitlines() if each != "look"] if file.exists() else []

    async def live(self, action: ProposedAction) -> tuple[ActionRequest, str]:
        """Propose and approve an action, again where nobody answered, until it has ended; return how."""
        host = self.machine.name
        request = ActionRequest.propose(host, "crashy", action, Origin.RULES, "it is killed", datetime.now(UTC))
        async with asyncio.timeout(60):
            while True:
                try:
                    facts = await self.client("propose").propose(request)
                    if facts.state.ended:
                        return request, facts.state
                    if facts.state is ActionState.PENDING:
                        await self.client("operate").approve(request.id, facts.digest)
                except (ExecutorUnavailable, Refused):
                    pass
                await asyncio.sleep(0.05)

    async def events(self) -> list[ExecutorEvent]:
        """Return everything that the executor has said so far."""
        found: list[ExecutorEvent] = []
        epoch = ""
        while page := await self.client("propose").events(epoch, len(found)):
            epoch = page[0].epoch
            found += page
        return found

    def check_audit(self, events: list[ExecutorEvent]) -> None:
        """Check that the audit is whole as far as anybody knows it, and has one line for each event, in order."""
        verified = self.machine.run(["/opt/bin/ai-sysadmin", "audit", "verify", "--json"]).ok().json
        assert (verified["fault"], verified["known_by"]) == ("", ["the system journal"])
        lines = [json.loads(line) for line in self.machine.path(f"{STATE}/audit.jsonl").read_text().splitlines()]
        assert verified["lines"] == len(lines)
        told = [(line["epoch"], line["sequence"], line["kind"]) for line in lines if "sequence" in line]
        assert told == [(event.epoch, event.sequence, event.kind.value) for event in events]
