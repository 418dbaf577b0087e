"""What changed before a failure, asked from inside a service's own sandbox on a machine with a real systemd."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ai_sysadmin.sources.changes import Change, ChangesSeen
from ai_sysadmin.sources.changes.ranking import began_after
from tests.system.machine import Machine
from tests.system.suite import PROGRAMS, Suite

SUITE = Suite(start=())
ASKING = "ai-sysadmin-review-model"
UNIT = "t-web.service"
FILE = f"/etc/systemd/system/{UNIT}"
CONFIGURATION = "/etc/t-web/site.conf"
DROP_IN = f"[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart={PROGRAMS}/ask-changes\n"
SCRIPT = """
import asyncio, json, time
from datetime import datetime, timedelta
from pathlib import Path
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.changes.host_changes import HostChanges

async def main():
    bus = SystemBus()
    changes = HostChanges([Path("/etc")], SystemClock(), limit_seconds=10, bus=bus)
    began = time.monotonic()
    seen = await changes.before({unit!r}, datetime.fromisoformat({moment!r}), timedelta(hours=1))
    seconds = time.monotonic() - began
    bus.close()
    print("changes", json.dumps({{"seen": seen.model_dump(mode="json"), "seconds": seconds}}))

asyncio.run(main())
"""


def prepare(machine: Machine, unit: str, moment: datetime) -> None:
    """Have the review model's service ask what changed in place of its program: as its user, in its sandbox."""
    wrapper = machine.path(str(PROGRAMS / "ai-sysadmin")).read_text()
    machine.put(wrapper.replace("-P -m ai_sysadmin", "-P /opt/ask-changes.py"), f"{PROGRAMS}/ask-changes", mode=0o755)
    machine.put(SCRIPT.format(unit=unit, moment=moment.isoformat()), "/opt/ask-changes.py")
    machine.put(DROP_IN, f"/run/systemd/system/{ASKING}.service.d/ask.conf")
    machine.systemctl("daemon-reload").ok()


def asked(machine: Machine) -> tuple[ChangesSeen, float]:
    """Let it ask; return what it sees and how long that took."""
    done = machine.systemctl("start", ASKING)
    said = machine.run(["journalctl", "-q", "--no-pager", "-o", "cat", "-u", ASKING]).ok().stdout
    assert done.exit_status == 0, said
    lines = [line for line in said.splitlines() if line.startswith("changes ")]
    answer: dict[str, Any] = json.loads(lines[-1].removeprefix("changes "))
    return ChangesSeen.model_validate(answer["seen"]), answer["seconds"]


@pytest.fixture(scope="module")
def story(suite_machine: Machine) -> dict[str, datetime]:
    """Break a unit that ran well: its configuration, then its unit file, then a restart by a person's hand."""
    machine = suite_machine
    machine.put("good\n", CONFIGURATION)
    machine.put(f"[Service]\nExecStart=/bin/sh -c 'grep -q good {CONFIGURATION} && exec sleep infinity'\n", FILE)
    machine.systemctl("daemon-reload").ok()
    machine.systemctl("start", UNIT).ok()
    time.sleep(2.5)
    told = {"configuration": datetime.now(UTC)}
    machine.put("bad\n", CONFIGURATION)
    time.sleep(2.5)
    told["unit_file"] = datetime.now(UTC)
    machine.put(machine.path(FILE).read_text() + "LimitNOFILE=10\n", FILE)
    time.sleep(1)
    told["command"] = datetime.now(UTC)
    said = f"alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/systemctl restart {UNIT}"
    machine.run(["systemd-cat", "-t", "sudo", "echo", said]).ok()
    machine.systemctl("restart", UNIT)
    machine.eventually(lambda: machine.show(UNIT, "ActiveState")["ActiveState"] == "failed", "the unit fails")
    told["failure"] = datetime.now(UTC)
    time.sleep(6)  # longer than a moment is in doubt
    machine.put("good\n", "/etc/t-web/later.conf")
    return told


def of(seen: ChangesSeen, about: str) -> Change:
    return next(each for each in seen.changes if each.about == about)


def test_what_changed_before_a_failure_is_seen_with_its_time(
    suite_machine: Machine, story: dict[str, datetime]
) -> None:
    prepare(suite_machine, UNIT, story["failure"])
    seen, seconds = asked(suite_machine)
    found = {"configuration": of(seen, CONFIGURATION), "unit_file": of(seen, FILE), "command": of(seen, "alice")}
    for kind, change in found.items():
        assert (change.kind, change.unit_related) == (kind, True)
        assert abs((change.at - story[kind]).total_seconds()) < 1.5, change
    assert found["unit_file"].what == f"unit file {FILE} was changed"
    assert f"systemctl restart {UNIT}" in found["command"].what
    (doubt,) = found["command"].details  # journald may have looked too late to see the name of what wrote it
    assert re.fullmatch(r"the line was written by (echo|some program), not by sudo itself", doubt)
    assert not any(each.about == "/etc/t-web/later.conf" for each in seen.changes)
    assert of(seen, CONFIGURATION).at < of(seen, FILE).at < of(seen, "alice").at
    likely = began_after([each for each in seen.changes if each.kind != "command"], story["failure"])
    assert likely
    assert likely[0].about == FILE
    assert seen.gaps == ()
    print(f"asked from the sandbox in {seconds * 1e3:.0f} ms: {len(seen.changes)} changes, {seen.left_out} left out")
    assert seconds < 2


def test_a_boot_of_the_machine_is_seen(suite_machine: Machine, story: dict[str, datetime]) -> None:
    prepare(suite_machine, UNIT, story["failure"])
    seen, _ = asked(suite_machine)
    [boot] = [each for each in seen.changes if each.kind == "reboot"]
    assert timedelta() < story["failure"] - boot.at < timedelta(minutes=5)


def test_a_unit_file_that_systemd_has_not_read_is_noted(suite_machine: Machine, story: dict[str, datetime]) -> None:
    machine = suite_machine
    machine.put("[Service]\nExecStart=/bin/sleep infinity\n", "/etc/systemd/system/t-unread.service")
    machine.systemctl("daemon-reload").ok()
    machine.systemctl("start", "t-unread.service").ok()
    time.sleep(1.1)  # systemd compares whole times of modification
    prepare(machine, "t-unread.service", datetime.now(UTC))
    machine.put("[Service]\nExecStart=/bin/sleep 1000000\n", "/etc/systemd/system/t-unread.service")
    seen, _ = asked(machine)
    change = of(seen, "/etc/systemd/system/t-unread.service")
    assert change.details == ("systemd has not read it yet: a daemon-reload is outstanding",)
