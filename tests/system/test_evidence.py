"""The evidence pack on a real systemd: much of everything, and it is gathered at once and fits."""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from ai_sysadmin.context.evidence import EvidenceSources, gather
from ai_sysadmin.context.facts import status_in
from ai_sysadmin.context.pieces.drafts import MOST_PIECE_CHARACTERS
from ai_sysadmin.context.pieces.host import HostFacts
from ai_sysadmin.context.window import fit
from ai_sysadmin.core.records import EvidencePack
from ai_sysadmin.llm_backend import TokenCount
from ai_sysadmin.llm_backend.tokens import estimate
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.journal import SystemJournal, own_directory
from ai_sysadmin.sources.units import SystemdUnits
from tests.builders import incident
from tests.judging import symptom
from tests.system.machine import Machine
from tests.system.suite import Suite

SUITE = Suite(start=())
UNIT = "t-much.service"
NEEDED = "t-broken.service"
LINES = 100_000
HUGE_BYTES = 3_000_000
DEPENDENCIES = 3000
SECONDS = 2.0
BUDGET = 3000
SCRIPT = f"""#!{sys.base_prefix}/bin/python3
import fcntl, os, socket, subprocess, sys
for number in range(1, {LINES} + 1):
    print("request", number, "was served in 12 ms")
sys.stdout.flush()
subprocess.run(["journalctl", "--sync"], check=True)
message = os.memfd_create("message", os.MFD_ALLOW_SEALING)
os.write(message, b"SYSLOG_IDENTIFIER=dump\\nPRIORITY=3\\nMESSAGE=" + b"x" * {HUGE_BYTES} + b"\\n")
seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
fcntl.fcntl(message, fcntl.F_ADD_SEALS, seals)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
    journal.connect("/run/systemd/journal/socket")
    socket.send_fds(journal, [b""], [message])
    subprocess.run(["journalctl", "--sync"], check=True)
print("cannot bind to port 8080", file=sys.stderr)
sys.exit(7)
"""
"""Its huge message goes to journald as libsystemd sends such: in a sealed memfd; it stays until journald has it."""


@pytest.fixture(scope="module")
def machine(suite_machine: Machine) -> Machine:
    wants = "\n".join(f"Wants=t-shard@{number}.target" for number in range(DEPENDENCIES))
    suite_machine.put("[Unit]\nDescription=Shard %i\n", "/etc/systemd/system/t-shard@.target")
    suite_machine.put("[Service]\nType=oneshot\nExecStart=/bin/false\n", f"/etc/systemd/system/{NEEDED}")
    suite_machine.put(SCRIPT, "/usr/local/bin/t-much", 0o755)
    suite_machine.put(
        f"[Unit]\nDescription=Much of everything\n{wants}\nWants={NEEDED}\n"
        "[Service]\nType=oneshot\nUser=nobody\nLogRateLimitIntervalSec=0\n"
        "ExecStart=+/usr/local/bin/t-much --port 8080\n",
        f"/etc/systemd/system/{UNIT}",
    )
    suite_machine.systemctl("daemon-reload").ok()
    suite_machine.systemctl("start", UNIT, timeout=120)
    suite_machine.run(["journalctl", "--sync"], timeout=60).ok()
    return suite_machine


@pytest.fixture
async def sources(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EvidenceSources]:
    socket = machine.path("/run/dbus/system_bus_socket")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={socket}")
    bus = SystemBus()
    units = SystemdUnits(bus)
    journal = SystemJournal(own_directory(machine.path("/")))
    yield EvidenceSources(units=units, journal=journal, host=HostFacts(units))
    bus.close()
    await asyncio.sleep(0)


async def estimated(text: str) -> TokenCount:
    return TokenCount(estimate(text), exact=False)


async def gathered(sources: EvidenceSources) -> tuple[EvidencePack, float]:
    status = await sources.units.status(UNIT)
    about = incident(unit=UNIT, opened_at=status.state_changed_at, id="abcdef")
    began = time.perf_counter()
    pack = await gather(about, [symptom(unit=UNIT)], sources, datetime.now(UTC))
    return pack, time.perf_counter() - began


async def test_much_of_everything_is_gathered_at_once_and_fits(sources: EvidenceSources) -> None:
    pack, _ = await gathered(sources)
    again, seconds = await gathered(sources)
    print(json.dumps({"seconds": round(seconds, 3), "characters": sum(len(piece.text) for piece in pack.pieces)}))
    assert seconds < SECONDS
    window = await fit(again, BUDGET, estimated)
    assert window.tokens <= BUDGET
    assert {"e1", "e2", "e3", "e4", "e5"} == set(window.kept), "there is something of every piece"
    assert again.hash == pack.hash
    assert [piece.kind for piece in pack.pieces] == ["unit_status", "symptoms", "unit_log", "dependencies", "host"]
    assert all(len(piece.text) <= MOST_PIECE_CHARACTERS for piece in pack.pieces)


async def test_what_matters_of_it_is_told(sources: EvidenceSources) -> None:
    pack, _ = await gathered(sources)
    state, _, log, depends, host = pack.pieces
    status = status_in(pack)
    assert status is not None
    assert (status.active_state, status.result, status.exit_status) == ("failed", "exit-code", 7)
    assert "starts: /usr/local/bin/t-much --port 8080" in state.text
    assert "runs as: nobody" in state.text
    assert "cannot bind to port 8080" in log.text
    assert " err dump: (a long word) …" in log.text
    assert "request 100000 was served" in log.text
    assert "journalctl -u t-much.service" in log.left_out
    assert f"wants {NEEDED}: failed (failed): exit-code, exit status 1" in depends.text
    counted = re.search(r"of all (\d+) units .*: (\d+) active, 1 failed", depends.text)
    assert counted
    assert int(counted[1]) > int(counted[2]) >= DEPENDENCIES
    assert "booted: " in host.text
