"""A flood of unique hostile lines beside a unit that fails, and how soon a line is on record."""

import statistics
import time
from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.story import Story
from tests.system.suite import Suite

SUITE = Suite(
    start=("ai-sysadmin-trigger-monitor.service", "ai-sysadmin-api.service"),
    options={"settings": {"trigger_monitor": {"storm_incidents": 1000}}},
)
SERVICE = "ai-sysadmin-trigger-monitor.service"
LINES = 200_000
SECONDS = 10
FLOOD = f"""import os, random, time
rng = random.Random(7)
alphabet = [chr(c) for c in range(33, 0x2FF) if chr(c).isprintable()] + ["\\x1b[31m", "\\u202e", "\\x00", " ", " ", " "]
began = time.monotonic()
out = os.fdopen(1, "w", errors="surrogateescape")
for tenth in range(100):
    lines = []
    for _ in range({LINES} // 100):
        words = ["".join(rng.choices(alphabet, k=rng.randrange(3, 12))) for _ in range(rng.randrange(4, 24))]
        lines.append("<%d>%s" % (rng.randrange(2, 8), " ".join(words)))
    out.write("\\n".join(lines) + "\\n")
    out.flush()
    time.sleep(max(0.0, began + {SECONDS} * (tenth + 1) / 100 - time.monotonic()))
"""
PROBES = 100
JOURNALD_TELLS_EVERY_MS = 250
LATENCY = f"""import random, sqlite3, subprocess, sys, time
database = sqlite3.connect("file:/var/lib/ai-sysadmin/ai-sysadmin.db?mode=ro", uri=True)
words = "amber birch cedar delta ember fjord grove heron inlet jetty".split()
for number in range({PROBES}):
    name = words[number // 10] + " " + words[number % 10] + " has failed"
    began = time.monotonic()
    subprocess.run(["systemd-cat", "-p", "err", "echo", name], check=True)
    sent = time.monotonic()
    while not database.execute("SELECT 1 FROM symptoms WHERE body LIKE ?", ("%" + name + "%",)).fetchone():
        if time.monotonic() - sent > 5:
            sys.exit("never: " + name)
        time.sleep(0.001)
    print((time.monotonic() - began) * 1000, (time.monotonic() - sent) * 1000)
    time.sleep(random.uniform(0.02, 0.15))
"""


@pytest.fixture(scope="module")
def story(suite_machine: Machine) -> Story:
    suite_machine.put(FLOOD, "/opt/flood.py")
    suite_machine.put(LATENCY, "/opt/latency.py")
    time.sleep(3)
    return Story(suite_machine)


def peak_megabytes(machine: Machine) -> dict[str, float]:
    """Return the highest resident size so far of each of the monitor's processes."""
    group = machine.show(SERVICE, "ControlGroup")["ControlGroup"]
    found = {}
    for pid in machine.run(["cat", f"/sys/fs/cgroup{group}/cgroup.procs"]).ok().stdout.split():
        status = machine.run(["cat", f"/proc/{pid}/status"]).stdout
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if "VmHWM" in fields:
            found[f"{fields['Name']} {pid}"] = int(fields["VmHWM"].split()[0]) / 1024
    return found


def account(story: Story) -> dict[str, Any]:
    return dict(story.cli("status").ok().json["journal"])


def test_a_line_is_a_committed_trigger_at_once(suite_machine: Machine, story: Story) -> None:
    lines = suite_machine.run(["python3", "/opt/latency.py"], timeout=120).ok().stdout.splitlines()
    sent = sorted(float(line.split()[1]) for line in lines)
    whole = sorted(float(line.split()[0]) for line in lines)
    assert len(sent) == PROBES
    middle, worst = statistics.median(whole), whole[int(PROBES * 0.99) - 1]
    print(
        f"\nfrom the start of systemd-cat: p50 {middle:.0f} ms, p99 {worst:.0f} ms; from its end p50 {sent[50]:.0f} ms"
    )
    assert middle < JOURNALD_TELLS_EVERY_MS / 2, "no sooner than by waiting for journald's word"


def test_a_failure_beside_a_flood_is_noticed_and_the_flood_is_accounted_for(
    suite_machine: Machine, story: Story
) -> None:
    before = account(story)
    suite_machine.run(["systemd-run", "--unit=flood", "python3", "/opt/flood.py"]).ok()
    time.sleep(SECONDS / 2)
    unit = story.fail("drowned")
    (incident,) = suite_machine.eventually(lambda: story.incidents(unit), "the failure is an incident", 10)
    seconds = story.seconds_to_notice(unit, incident["id"])
    suite_machine.eventually(
        lambda: suite_machine.show("flood.service", "ActiveState")["ActiveState"] == "inactive", "it ended", 60
    )

    def caught_up() -> dict[str, Any] | None:
        now = account(story)
        return now if now["entries_read"] + now["entries_lost"] - done(before) >= LINES and settled(now) else None

    def done(account: dict[str, Any]) -> int:
        return int(account["entries_read"]) + int(account["entries_lost"])

    def settled(now: dict[str, Any]) -> bool:
        return done(now) - done(before) == now["sequence"] - before["sequence"]

    after = suite_machine.eventually(caught_up, "the flood is read or counted as lost", 60)
    peaks = peak_megabytes(suite_machine)
    print(f"\nnoticed after {seconds:.2f} s; peak {peaks} MB; lost {after['entries_lost'] - before['entries_lost']}")
    assert seconds < 5
    assert sum(peaks.values()) < 150
    assert len(story.incidents(unit)) == 1
