"""What each unit may do, tried from inside its sandbox: the table of processes and privileges, as facts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.suite import PROGRAMS, Suite

SUITE = Suite(start=())
PROBE = Path(__file__).with_name("probe.py")
DROP_IN = """[Service]
Type=oneshot
Restart=no
ExecStart=
ExecStart={program}
"""
SERVICE = {
    "root": False,
    "capabilities": "0000000000000000",
    "state": "written",
    "database": "wal",
    "the services' state": "written",
    "etc": "OSError",  # read-only
    "home": "OSError",
    "journal": True,
    "sees init": True,
    "boot id": True,
    "families": ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"],
    "sees units": True,
    "starts units": "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
}
# root without a capability: not even the services' state is open to it
EXECUTOR = SERVICE | {
    "root": True,
    "the services' state": "PermissionError",
    "home": "PermissionError",
    "families": ["AF_UNIX"],
    "starts units": "started",
}
EXPECTED = {
    "ai-sysadmin-trigger-monitor": SERVICE,
    "ai-sysadmin-review-model": SERVICE,
    "ai-sysadmin-meta-model": SERVICE,
    "ai-sysadmin-api": SERVICE,
    "ai-sysadmin-executor": EXECUTOR,
}


def probe(machine: Machine, unit: str) -> dict[str, Any]:
    """Start a unit once with the probe in place of its program; return what it found."""
    wrapper = machine.path(str(PROGRAMS / "ai-sysadmin")).read_text()
    machine.put(wrapper.replace("-P -m ai_sysadmin", "-P /opt/probe.py"), "/opt/bin/probe", mode=0o755)
    machine.put(PROBE, "/opt/probe.py")
    drop_in = f"/run/systemd/system/{unit}.service.d/probe.conf"
    machine.put(DROP_IN.format(program=PROGRAMS / "probe"), drop_in)
    machine.systemctl("daemon-reload").ok()
    done = machine.systemctl("start", unit)
    machine.path(drop_in).unlink()
    machine.systemctl("daemon-reload").ok()
    said = machine.run(["journalctl", "-q", "--no-pager", "-o", "cat", "-u", unit]).ok().stdout
    assert done.exit_status == 0, said
    (line,) = [line for line in said.splitlines() if line.startswith("probe ")]
    return dict(json.loads(line.removeprefix("probe ")))


@pytest.mark.parametrize("unit", EXPECTED)
def test_each_unit_may_do_what_it_must_and_no_more(suite_machine: Machine, unit: str):
    assert probe(suite_machine, unit) == EXPECTED[unit]
