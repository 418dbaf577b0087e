"""Real faults, all at once, on a real systemd: each is exactly one incident of the right kind; what is well is none."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.serving import make
from tests.system.machine import Machine
from tests.system.story import Story
from tests.system.suite import Suite

CERTIFICATE = "/etc/ssl/web.pem"
PROBED_PORT = 7071
SUITE = Suite(
    start=("ai-sysadmin-trigger-monitor.service", "ai-sysadmin-api.service"),
    options={
        "settings": {
            "trigger_monitor": {
                "storm_incidents": 1000,
                "flap_seconds": 60,
                "stuck_seconds": 4,
                "sample_seconds": 1,
                "certificates": [CERTIFICATE],
                "probes": [
                    {
                        "name": "web",
                        "type": "tcp",
                        "host": "127.0.0.1",
                        "port": PROBED_PORT,
                        "every_seconds": 1,
                        "timeout_seconds": 1,
                    }
                ],
            }
        }
    },
)

STARTED = (
    "e2e-fail.service",
    "fault-signal.service",
    "e2e-segv.service",
    "fault-flap.service",
    "e2e-flap.service",
    "e2e-oomsim.service",
    "e2e-disk.service",
    "fault-nodes.service",
    "e2e-timeout.service",
    "fault-stuck.service",
    "e2e-watchdog.service",
    "fault-timer.timer",
    "mnt-broken.mount",
    "fault-port.service",
    "fault-socket.socket",
)
KINDS: Mapping[str, str] = {
    "e2e-fail.service": "unit_failed",
    "fault-signal.service": "crashed",
    "e2e-segv.service": "crashed",
    "fault-flap.service": "flapping",
    "e2e-flap.service": "start_limit_hit",
    "e2e-oomsim.service": "oom_kill",
    "/mnt/small": "disk_full",
    "/mnt/nodes": "inodes_full",
    "e2e-timeout.service": "timed_out",
    "fault-stuck.service": "stuck",
    "e2e-watchdog.service": "watchdog",
    "fault-timer.service": "unit_failed",
    "mnt-broken.mount": "unit_failed",
    "fault-port.service": "unit_failed",
    "fault-socket.socket": "unit_failed",
    "fault-db.service": "unit_failed",
    "/mnt/sealed": "read_only",
    f"certificate {CERTIFICATE}": "certificate_expired",
    "probe web": "probe_failed",
    "disk sdz": "storage_error",
    "alert DiskWearingOut": "alert",
}
"""What each fault is to be called, by its subject."""
WELL = ("good-stubborn.service", "good-second.service", "good-noisy.service", "e2e-good.service")
ROOTED = ("fault-app-bound.service", "fault-app-wanting.service", "fault-app-needing.service")
ALERT = """import json, urllib.request
alert = {"status": "firing", "labels": {"alertname": "DiskWearingOut", "severity": "critical"}, "annotations": {},
         "startsAt": "2026-11-20T03:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "c0ffee"}
body = {"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "ai-sysadmin", "groupLabels": {},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "truncatedAlerts": 0, "alerts": [alert]}
key = open("/var/lib/ai-sysadmin/ingest-key").read().strip()
request = urllib.request.Request("http://127.0.0.1:8083/alerts/alertmanager", json.dumps(body).encode(),
                                 {"Authorization": "Bearer " + key, "Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=5).status)
"""
LISTEN = "import socket,time; s = socket.create_server(('127.0.0.1', %d)); time.sleep(1e6)"


@pytest.fixture(scope="module")
def story(suite_machine: Machine) -> Story:
    """Return the machine as it is while all is well: what is to break later runs, and so does what stays whole."""
    suite_machine.put(make("web", days=60).pem, CERTIFICATE)
    listen = ["/usr/bin/python3", "-c", LISTEN % PROBED_PORT]
    suite_machine.run(["systemd-run", "--unit=probed", *listen]).ok()
    for mount in ("mnt-small", "mnt-nodes", "mnt-sealed"):
        suite_machine.systemctl("start", f"{mount}.mount").ok()
    suite_machine.systemctl("start", "good-listener.service", "fault-db.service", *ROOTED, *WELL).ok()
    time.sleep(4)  # a few samples and probes of a host on which all is well
    return Story(suite_machine)


def incidents(story: Story) -> list[dict[str, Any]]:
    """Return the incidents that stand for themselves."""
    return [each for each in story.cli("incidents").ok().json["incidents"] if not each["merged_into"]]


def by_subject(story: Story) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in incidents(story):
        found.setdefault(each["about"] or each["unit"], []).append(each["kind"])
    return found


def test_what_is_well_opens_nothing(suite_machine: Machine, story: Story) -> None:
    suite_machine.systemctl("restart", "e2e-good.service", "good-stubborn.service").ok()
    suite_machine.systemctl("stop", "good-stubborn.service").ok()
    assert suite_machine.show("good-stubborn.service", "ActiveState")["ActiveState"] == "failed"
    suite_machine.eventually(
        lambda: suite_machine.show("good-second.service", "NRestarts")["NRestarts"] == "1", "it was restarted"
    )
    time.sleep(5)
    assert by_subject(story) == {}


def test_every_fault_is_one_incident_of_its_kind(suite_machine: Machine, story: Story) -> None:
    suite_machine.systemctl("start", "--no-block", *STARTED).ok()
    suite_machine.run(["touch", "/run/fault-db"]).ok()
    suite_machine.run(["mount", "-o", "remount,ro", "/mnt/sealed"]).ok()
    suite_machine.systemctl("stop", "probed.service").ok()
    suite_machine.put(make("web", days=-1).pem, CERTIFICATE)
    assert suite_machine.run(["python3", "-c", ALERT]).ok().stdout.strip() == "200"
    suite_machine.kmsg(3, "blk_update_request: I/O error, dev sdz, sector 2048 op 0x0:(READ) flags 0x0")
    until = time.monotonic() + 30
    while time.monotonic() < until and not set(KINDS) <= set(by_subject(story)):
        time.sleep(0.5)
    time.sleep(6)  # room for what should not come
    assert by_subject(story) == {subject: [kind] for subject, kind in KINDS.items()}


def test_the_units_that_went_down_with_the_database_are_symptoms_of_its_incident(story: Story) -> None:
    (root,) = [each for each in incidents(story) if each["unit"] == "fault-db.service"]
    symptoms = story.cli("incidents", "show", root["id"]).ok().json["symptoms"]
    faults = {each["unit"] for each in symptoms if each["opens"]}
    assert {"fault-db.service", "fault-app-wanting.service"} <= faults <= {"fault-db.service", *ROOTED}


def test_what_stays_down_when_its_database_is_back_counts_for_itself(suite_machine: Machine, story: Story) -> None:
    suite_machine.run(["rm", "/run/fault-db"]).ok()
    suite_machine.systemctl("restart", "fault-db.service").ok()
    suite_machine.eventually(lambda: "fault-app-wanting.service" in by_subject(story), "it is an incident", 30)
    (root,) = [each for each in incidents(story) if each["unit"] == "fault-db.service"]
    assert root["state"] == "resolved"
    assert by_subject(story)["fault-app-wanting.service"] == ["unit_failed"]


def test_a_reboot_opens_nothing(suite_machine: Machine, story: Story) -> None:
    before = {each["id"] for each in incidents(story)}
    suite_machine.reboot()
    suite_machine.eventually(lambda: story.cli("incidents").exit_status == 0, "the suite is up again", 30)
    time.sleep(8)
    assert {each["id"] for each in incidents(story)} == before
