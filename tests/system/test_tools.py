"""The tools of a host, asked from inside a service's own sandbox on a machine with a real systemd."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.suite import PROGRAMS, Suite

SUITE = Suite(start=())
ASKING = "ai-sysadmin-meta-model"
LOUD_LINES = 50_000
UNITS = {
    "t-broken.service": "[Unit]\nDescription=Breaks\nWants=t-needed.service\nAfter=t-needed.service\n"
    "[Service]\nExecStart=/bin/sh -c 'echo \"cannot bind to port 8080\" >&2; exit 7'\n",
    "t-needed.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    "t-nightly.service": "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 3'\n",
    "t-nightly.timer": "[Timer]\nOnCalendar=yearly\nOnActiveSec=1h\n[Install]\nWantedBy=timers.target\n",
    "t-segv.service": "[Service]\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n",
    "t-loud.service": "[Service]\nType=oneshot\nLogRateLimitIntervalSec=0\nExecStart=/usr/local/bin/t-loud\n",
}
LOUD = f"""#!/bin/sh
seq -f 'request %08.0f of somebody took a while and was answered with much of everything, status 200' {LOUD_LINES}
journalctl --sync
echo 'the LAST one'
"""
DROP_IN = f"[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart={PROGRAMS}/ask-tools\n"
SCRIPT = """
import asyncio, json, os, tempfile, time
from pathlib import Path
from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.changes.host_changes import HostChanges
from ai_sysadmin.sources.coredumps import SystemCoreDumps
from ai_sysadmin.sources.journal import SystemJournal
from ai_sysadmin.sources.unit_lists import SystemdUnitLists
from ai_sysadmin.sources.units import SystemdUnits
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.tools.host_tools import HostSources, host_tools
from ai_sysadmin.tools.toolbox import Toolbox

async def main():
    bus, clock, settings = SystemBus(), SystemClock(), Settings()
    async with open_stores(Path(tempfile.mkdtemp()) / "state.db", "host1") as stores:
        sources = HostSources(
            units=SystemdUnits(bus),
            lists=SystemdUnitLists(bus),
            journal=SystemJournal(),
            dumps=SystemCoreDumps(),
            metrics=stores.metrics,
            reader=stores.reader,
            search=Retrieval(stores.knowledge, None, None, minimum_similarity=0.2),
            documents=stores.knowledge,
            changes=HostChanges([Path("/etc")], clock, limit_seconds=10, bus=bus),
            clock=clock,
        )
        looks = Toolbox(host_tools(sources, settings), Redactor(), settings.tools).open()
        print("asked as", os.getuid())
        for name, arguments in json.loads({calls!r}):
            began = time.monotonic()
            result = await looks.look(looks.call(name, arguments), 5000)
            seconds = time.monotonic() - began
            answer = result.model_dump(include={{"text", "left_out", "failed"}})
            print("result", json.dumps({{"seconds": seconds, **answer}}))
    bus.close()

asyncio.run(main())
"""
CALLS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "status": ("unit_status", {"unit": "t-broken"}),
    "crashed": ("unit_status", {"unit": "t-segv.service"}),
    "missing": ("unit_status", {"unit": "t-brokn"}),
    "failed": ("units", {}),
    "timers": ("units", {"which": "timers"}),
    "all": ("units", {"which": "all", "matching": "t-*"}),
    "log": ("unit_log", {"unit": "t-broken"}),
    "silent": ("unit_log", {"unit": "t-nightly.timer", "contains": "nothing of the kind"}),
    "search": ("journal_search", {"contains": "CANNOT bind to port"}),
    "nowhere": ("journal_search", {"contains": "nobody ever said this"}),
    "loud": ("unit_log", {"unit": "t-loud", "contains": "", "minutes": 60}),
    "needle": ("unit_log", {"unit": "t-loud", "contains": "request 00000017 "}),
    "earlier": ("more", {"handle": "t11", "contains": "request"}),
    "crashes": ("coredumps", {}),
    "processes": ("processes", {}),
    "memory": ("memory_and_pressure", {}),
    "disks": ("disk_usage", {}),
    "directory": ("disk_usage", {"path": "/etc"}),
    "listening": ("listening", {}),
    "hardware": ("hardware", {}),
    "certificates": ("certificates", {}),
    "file": ("read_file", {"path": "/etc/systemd/system/t-broken.service"}),
    "changes": ("what_changed", {}),
    "incidents": ("incidents", {}),
    "secret": ("read_file", {"path": "/etc/shadow"}),
    "environment": ("read_file", {"path": "/proc/1/environ"}),
    "metadata": ("reachable", {"target": "169.254.169.254:80", "how": "tcp"}),
    "stranger": ("reachable", {"target": "evil.example.net", "how": "dns"}),
}
REFUSED = ("missing", "secret", "environment", "metadata", "stranger")


@pytest.fixture(scope="module")
def machine(suite_machine: Machine) -> Machine:
    """Return a machine with units that failed, and one that logged 5 MB."""
    for name, text in UNITS.items():
        suite_machine.put(text, f"/etc/systemd/system/{name}")
    suite_machine.put(LOUD, "/usr/local/bin/t-loud", 0o755)
    suite_machine.systemctl("daemon-reload").ok()
    suite_machine.systemctl("start", "t-nightly.timer", "t-loud.service", timeout=120).ok()
    suite_machine.systemctl("start", "t-broken.service", "t-nightly.service", "t-segv.service")
    for name in ("t-broken", "t-nightly", "t-segv"):
        suite_machine.eventually(
            lambda name=name: suite_machine.show(name, "ActiveState")["ActiveState"] == "failed", name
        )
    suite_machine.run(["journalctl", "--sync"]).ok()
    return suite_machine


@pytest.fixture(scope="module")
def told(machine: Machine) -> dict[str, dict[str, Any]]:
    """Have the meta model's service ask, as its user, in its sandbox; return what each call came to."""
    wrapper = machine.path(str(PROGRAMS / "ai-sysadmin")).read_text()
    machine.put(wrapper.replace("-P -m ai_sysadmin", "-P /opt/ask-tools.py"), f"{PROGRAMS}/ask-tools", mode=0o755)
    machine.put(SCRIPT.format(calls=json.dumps(list(CALLS.values()))), "/opt/ask-tools.py")
    machine.put(DROP_IN, f"/run/systemd/system/{ASKING}.service.d/ask.conf")
    machine.systemctl("daemon-reload").ok()
    done = machine.systemctl("start", ASKING, timeout=120)
    said = machine.run(["journalctl", "-q", "--no-pager", "-o", "cat", "-u", ASKING]).ok().stdout.splitlines()
    assert done.exit_status == 0, "\n".join(said)
    assert "asked as 0" not in said
    answers = [json.loads(line.removeprefix("result ")) for line in said if line.startswith("result ")]
    return dict(zip(CALLS, answers, strict=True))


def assert_all_in(parts: Sequence[str], text: str) -> None:
    for part in parts:
        assert part in text, text


def test_a_failed_unit_s_status(told: dict[str, dict[str, Any]]) -> None:
    assert_all_in(
        [
            "t-broken.service: Breaks",
            "state: failed (failed) since ",
            "result of its last run: exit-code, exit status 7",
            "/etc/systemd/system/t-broken.service",
            "starts: /bin/sh -c 'echo",
            "start limit: 5 starts in 10 s",
            "at boot: static",
            "wants t-needed.service: failed (failed): exit-code, exit status 1",
        ],
        told["status"]["text"],
    )
    assert "its main process was ended by SIGSEGV" in told["crashed"]["text"]
    assert "no unit t-brokn.service; there are: t-broken.service" in told["missing"]["text"]
    assert told["missing"]["failed"]


def test_the_lists(told: dict[str, dict[str, Any]]) -> None:
    assert_all_in(["systemd: ", "t-broken.service", "t-needed.service", "exit-code, status 7"], told["failed"]["text"])
    (timer,) = [line for line in told["timers"]["text"].splitlines() if line.startswith("t-nightly.timer")]
    assert_all_in(["t-nightly.service", "never", "(in ", "min)", "FAILED: exit-code"], timer)
    assert_all_in(["4 failed", "t-nightly.timer", "active (waiting)"], told["all"]["text"])


def test_logs(told: dict[str, dict[str, Any]]) -> None:
    assert_all_in(["info sh: cannot bind to port 8080", "Main process exited, code=exited"], told["log"]["text"])
    assert told["silent"]["text"].startswith("no such lines since ")
    assert "t-broken.service sh: cannot bind to port 8080" in told["search"]["text"]
    assert told["nowhere"]["text"].startswith("no line since ")


def test_five_megabytes_of_log(told: dict[str, dict[str, Any]]) -> None:
    print({name: round(answer["seconds"], 3) for name, answer in told.items()})
    loud = told["loud"]
    assert_all_in(["×", "info t-loud: the LAST one"], loud["text"])
    assert "were not read" in loud["left_out"]
    assert "request 00000017 of somebody" in told["needle"]["text"]
    assert "request" in told["earlier"]["text"]
    assert all(answer["seconds"] < 8 for answer in told.values())


def test_every_tool_answers_in_the_sandbox_and_what_is_not_allowed_is_refused(told: dict[str, dict[str, Any]]) -> None:
    assert {name: answer["text"] for name, answer in told.items() if answer["failed"] is not (name in REFUSED)} == {}
    assert "systemd" in told["processes"]["text"]
    assert "cannot bind to port 8080" in told["file"]["text"]


def test_crashes(told: dict[str, dict[str, Any]], machine: Machine) -> None:
    text = told["crashes"]["text"]
    if (
        machine.path("/usr/lib/systemd/systemd-coredump").exists()
        and "systemd-coredump" in Path("/proc/sys/kernel/core_pattern").read_text()
    ):
        assert_all_in(["SIGSEGV", "t-segv.service"], text)
    else:
        assert_all_in(["no crash was recorded since", "systemd-coredump does not record crashes here"], text)
