"""Actions on units, processes and looks, run as the executor runs them, on a real systemd: what becomes of the host."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.suite import Suite

SUITE = Suite(start=())
LISTENS = "import socket, time; s = socket.create_server(('127.0.0.1', 4242)); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
FORGETFUL = "test -e /run/t-dies.broken && exit 1; exec sleep infinity"
WANTED = "[Install]\nWantedBy=multi-user.target\n"
UNITS = {
    "t-web.service": f"[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n{WANTED}",
    "t-fails.service": "[Service]\nExecStart=/bin/sh -c 'test -e /run/t-mended && exec sleep infinity; exit 3'\n",
    "t-late.service": "[Service]\nExecStart=/bin/sh -c 'sleep 0.5; exit 1'\n",
    "t-dies.service": f"[Service]\nExecStart=/bin/sh -c '{FORGETFUL}'\nExecReload=/bin/kill -KILL $MAINPID\n",
    "t-deaf.service": "[Service]\nUser=nobody\nExecStart=/usr/bin/python3 /opt/t-deaf.py\nRestart=no\n",
    "t-listens.service": "[Service]\nUser=nobody\nExecStart=/usr/bin/python3 /opt/t-listens.py\n",
    "t-base.service": "[Service]\nExecStart=/bin/sleep infinity\n",
    "t-upper.service": "[Unit]\nRequires=t-base.service\nAfter=t-base.service\n"
    "[Service]\nExecStart=/bin/sleep infinity\n",
    "t-rival.service": "[Unit]\nConflicts=t-base.service\n[Service]\nExecStart=/bin/sleep infinity\n",
    "acme-t.service": "[Service]\nType=oneshot\n"
    "ExecStart=/usr/bin/install -o nobody -m 600 /opt/new.pem /etc/t/t/cert.pem\n",
}
PROGRAM = Path(__file__).with_name("unit_acting_program.py")
Act = Callable[..., Mapping[str, Any]]


@pytest.fixture(scope="module")
def act(suite_machine: Machine) -> Act:
    """Return a function that runs one action and returns what it came to."""
    for name, text in UNITS.items():
        suite_machine.put(text, f"/etc/systemd/system/{name}")
    suite_machine.put(LISTENS, "/opt/t-listens.py")
    suite_machine.put(DEAF, "/opt/t-deaf.py")
    wrapper = suite_machine.path("/opt/bin/ai-sysadmin").read_text()
    suite_machine.put(wrapper.replace("-P -m ai_sysadmin", "-P /opt/acting.py"), "/opt/bin/act", mode=0o755)
    suite_machine.put(PROGRAM, "/opt/acting.py")
    suite_machine.systemctl("daemon-reload").ok()

    def run(name: str, hold: float = 0, **arguments: str) -> Mapping[str, Any]:
        request = {"name": name, "arguments": arguments, "hold": hold}
        return suite_machine.run(["/opt/bin/act", json.dumps(request)]).ok().json

    return run


def state(machine: Machine, unit: str) -> tuple[str, str]:
    shown = machine.show(unit, "ActiveState", "UnitFileState")
    return shown["ActiveState"], shown["UnitFileState"]


def begun(machine: Machine, unit: str) -> str:
    machine.systemctl("start", unit).ok()
    machine.eventually(lambda: state(machine, unit)[0] == "active", f"{unit} runs")
    return machine.show(unit, "MainPID")["MainPID"]


def start_of(machine: Machine, pid: str) -> int:
    return int(machine.run(["cat", f"/proc/{pid}/stat"]).ok().stdout.rpartition(")")[2].split()[19])


def test_a_unit_that_failed_is_restarted_and_forgotten(suite_machine: Machine, act: Act) -> None:
    suite_machine.systemctl("start", "t-fails.service")
    suite_machine.eventually(lambda: state(suite_machine, "t-fails.service")[0] == "failed", "it failed")
    again = act("restart_unit", unit="t-fails.service", hold=0.5)
    assert (again["obstacle"], again["risk"]) == (None, "reversible")
    assert "has failed" in again["warrant"]
    assert "t-fails.service is failed" in again["shortfall"]
    forgotten = act("reset_failed_unit", unit="t-fails.service")
    assert (forgotten["run"]["exit_status"], forgotten["shortfall"]) == (0, None)
    suite_machine.systemctl("start", "t-fails.service")
    suite_machine.eventually(lambda: state(suite_machine, "t-fails.service")[0] == "failed", "it failed")
    suite_machine.put("", "/run/t-mended")
    mended = act("restart_unit", unit="t-fails.service", hold=0.5)
    assert (mended["shortfall"], mended["disturbed"]) == (None, None)


def test_a_restart_that_succeeds_and_dies_is_seen(act: Act) -> None:
    done = act("start_unit", unit="t-late.service", hold=1.5)
    assert done["run"]["exit_status"] == 0
    assert "t-late.service is failed" in done["shortfall"]


def test_a_reload_leaves_the_run_as_it_was_or_is_a_failure(suite_machine: Machine, act: Act) -> None:
    begun(suite_machine, "t-web.service")
    done = act("reload_unit", unit="t-web.service", hold=0.3)
    assert (done["obstacle"], done["run"]["exit_status"], done["shortfall"]) == (None, 0, None)
    begun(suite_machine, "t-dies.service")
    died = act("reload_unit", unit="t-dies.service", hold=0.3)
    assert died["shortfall"] is not None
    begun(suite_machine, "t-base.service")
    assert "cannot be reloaded" in act("reload_unit", unit="t-base.service")["obstacle"]


def test_a_unit_is_stopped_with_what_needs_it_and_all_of_it_taken_back(suite_machine: Machine, act: Act) -> None:
    begun(suite_machine, "t-upper.service")
    done = act("stop_unit", unit="t-base.service", hold=0.3)
    assert (done["shortfall"], done["risk"], done["warrant"]) == (None, "disruptive", None)
    assert "t-upper.service" in done["does"]
    assert done["reverted"]["exit_status"] == 0
    assert state(suite_machine, "t-upper.service")[0] == "active"
    assert state(suite_machine, "t-base.service")[0] == "active"
    rival = act("start_unit", unit="t-rival.service")
    assert rival["does"].endswith("which stops t-base.service, t-upper.service")
    assert (rival["shortfall"], state(suite_machine, "t-base.service")[0]) == (None, "inactive")
    suite_machine.systemctl("stop", "t-rival.service").ok()


def test_a_unit_is_enabled_and_disabled_and_both_are_taken_back(suite_machine: Machine, act: Act) -> None:
    suite_machine.systemctl("stop", "t-web.service").ok()
    assert state(suite_machine, "t-web.service") == ("inactive", "disabled")
    enabled = act("enable_unit_now", unit="t-web.service", hold=0.3)
    assert (enabled["obstacle"], enabled["shortfall"]) == (None, None)
    assert enabled["after"] == ["active", "enabled"]
    assert state(suite_machine, "t-web.service") == ("inactive", "disabled")
    suite_machine.systemctl("enable", "--now", "t-web.service").ok()
    disabled = act("disable_unit_now", unit="t-web.service", hold=0.3)
    assert (disabled["obstacle"], disabled["shortfall"]) == (None, None)
    assert disabled["after"] == ["inactive", "disabled"]
    assert state(suite_machine, "t-web.service") == ("active", "enabled")
    assert "is static" in act("enable_unit_now", unit="t-base.service")["obstacle"]


@pytest.mark.parametrize(
    ("name", "unit", "said"),
    [
        ("start_unit", "poweroff.target", "is a target"),
        ("start_unit", "ctrl-alt-del.target", "is a target"),
        ("stop_unit", "system.slice", "is a slice"),
        ("restart_unit", "dbus-org.freedesktop.login1.service", "is another name of systemd-logind.service"),
        ("restart_unit", "user@0.service", "observed only"),
        ("restart_unit", "t-none.service", "no such unit"),
        ("start_unit", "t-@.service", "no such unit"),
    ],
)
def test_what_is_never_touched(act: Act, name: str, unit: str, said: str) -> None:
    assert said in act(name, unit=unit)["obstacle"]


def test_only_that_very_process_is_killed(suite_machine: Machine, act: Act) -> None:
    pid = begun(suite_machine, "t-deaf.service")
    start = start_of(suite_machine, pid)
    suite_machine.eventually(
        lambda: "t-deaf" in suite_machine.run(["cat", f"/proc/{pid}/cmdline"]).stdout, "it is deaf"
    )
    time.sleep(0.3)
    other = act("kill_process", pid=pid, start_time=f"{start + 1}", unit="t-deaf.service")
    assert "does not run any more" in other["obstacle"]
    assert (
        "runs in t-deaf.service, not"
        in act("kill_process", pid=pid, start_time=f"{start}", unit="t-web.service")["obstacle"]
    )
    forced = act("kill_process", pid=pid, start_time=f"{start}", unit="t-deaf.service", hold=0.3)
    assert (forced["obstacle"], forced["warrant"], forced["risk"]) == (None, None, "disruptive")
    assert (forced["run"]["exit_status"], forced["shortfall"]) == (0, None)
    assert "was killed" in forced["run"]["output"]
    assert suite_machine.show("t-deaf.service", "ExecMainStatus")["ExecMainStatus"] == "9"


def test_a_number_that_another_process_was_given_meanwhile_is_left_alone(suite_machine: Machine, act: Act) -> None:
    """The executor looked, and before its unit ran the process ended and its number went to another."""
    pid = begun(suite_machine, "t-listens.service")
    start = start_of(suite_machine, pid)
    done = act("kill_process", pid=pid, start_time=f"{start}", unit="t-listens.service", meanwhile=f"{start + 7}")
    assert done["run"]["exit_status"] == 1
    assert "nothing was done" in done["run"]["output"]
    assert state(suite_machine, "t-listens.service")[0] == "active"
    one = (
        suite_machine.run(["systemctl", "show", "--value", "--property=MainPID", "systemd-journald"])
        .ok()
        .stdout.strip()
    )
    guarded = act(
        "kill_process", pid=one, start_time=f"{start_of(suite_machine, one)}", unit="systemd-journald.service"
    )
    assert guarded["risk"] == "destructive"


def test_who_holds_a_socket_is_shown_whoever_it_is(suite_machine: Machine, act: Act) -> None:
    pid = begun(suite_machine, "t-listens.service")
    for arguments in ({}, {"port": "4242"}):
        shown = suite_machine.eventually(
            lambda arguments=arguments: "4242" in (done := act("socket_owners", **arguments))["run"]["output"] and done,
            "it listens",
        )
        assert (shown["run"]["exit_status"], shown["risk"]) == (0, "read_only")
        assert f"pid={pid}" in shown["run"]["output"]
    assert act("socket_owners", port="4243")["run"]["output"].count("\n") <= 1


def test_the_kernels_log_says_that_a_container_has_none(act: Act) -> None:
    done = act("kernel_log", lines="5")
    assert done["run"]["exit_status"] == 1
    assert "/dev/kmsg" in done["run"]["output"]


def test_a_disk_that_is_not_there_is_not_asked(act: Act) -> None:
    assert act("smart_report", device="/dev/nvme99n1")["obstacle"]


def test_a_certificate_that_only_another_user_may_read_is_renewed_and_checked(suite_machine: Machine, act: Act) -> None:
    for days, file in ((3, "/etc/t/t/cert.pem"), (90, "/opt/new.pem")):
        suite_machine.path(file).parent.mkdir(parents=True, exist_ok=True)
        openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subject = ["-keyout", "/dev/null", "-subj", "/CN=t", "-days", str(days), "-out", file]
        suite_machine.run([*openssl, *subject]).ok()
    done = act("renew_certificate", unit="acme-t.service", certificate="/etc/t/t/cert.pem", hold=0.3)
    assert (done["obstacle"], done["risk"]) == (None, "reversible")
    assert "expires at" in done["warrant"]
    assert (done["run"]["exit_status"], done["shortfall"]) == (0, None)
    assert [check["exit_status"] for check in done["checks"]] == [0]
    suite_machine.run(["openssl", "x509", "-in", "/etc/t/t/cert.pem", "-checkend", str(80 * 86400)]).ok()
    suite_machine.run(["cp", "/etc/t/t/cert.pem", "/opt/good.pem"]).ok()
    suite_machine.put("nothing", "/opt/new.pem")
    spoilt = act("renew_certificate", unit="acme-t.service", certificate="/etc/t/t/cert.pem")
    assert [check["exit_status"] for check in spoilt["checks"]] == [1]
