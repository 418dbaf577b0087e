"""What the trigger monitor costs on a quiet host: 20 entries a second, in a machine with a real systemd.

Every process of the service counts. Limits: 0.5 % of one core, 80 MB resident. Argument: how many seconds (60).
Needs root and what the system tests need.
"""

import os
import sys
import time

from _machine import SERVICE, Machine, booted, why_not

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
CPU_PERCENT, MEGABYTES = 0.5, 80
TALK = """import random, sys, time
rng = random.Random(3)
while True:
    print(f"10.0.0.{rng.randrange(256)} GET /items/{rng.randrange(10**6)} 200 {rng.random():.3f}", flush=True)
    time.sleep(rng.expovariate(20))
"""
TICKS = os.sysconf("SC_CLK_TCK")


def processes(machine: Machine) -> dict[str, tuple[float, float]]:
    """Return CPU seconds so far and resident megabytes of each process of the service."""
    group = machine.show(SERVICE, "ControlGroup")["ControlGroup"]
    found = {}
    for pid in machine.run(["cat", f"/sys/fs/cgroup{group}/cgroup.procs"]).ok().stdout.split():
        _, _, rest = machine.run(["cat", f"/proc/{pid}/stat"]).ok().stdout.partition(") ")
        fields = rest.split()
        pages = int(machine.run(["cat", f"/proc/{pid}/statm"]).ok().stdout.split()[1])
        arguments = machine.run(["cat", f"/proc/{pid}/cmdline"]).ok().stdout.split("\0")
        title = "its journal reader" if "ai_sysadmin.sources.journal_reader" in arguments else "trigger monitor"
        found[title] = (int(fields[11]) + int(fields[12])) / TICKS, pages * os.sysconf("SC_PAGESIZE") / (1 << 20)
    return found


def main() -> None:
    if reason := why_not():
        print(f"nothing measured: {reason}")
        return
    with booted() as machine:
        machine.put(TALK, "/opt/talk.py")
        machine.run(["systemd-run", "--unit=talk", "python3", "/opt/talk.py"]).ok()
        time.sleep(15)
        before, began = processes(machine), time.monotonic()
        time.sleep(SECONDS)
        after, took = processes(machine), time.monotonic() - began
    print(f"20 entries a second for {took:.0f} s:")
    cpu = {title: 100 * (after[title][0] - before[title][0]) / took for title in after}
    for title, (_, resident) in after.items():
        print(f"  {title:20} {cpu[title]:5.2f} % of a core   {resident:5.1f} MB")
    total, resident = sum(cpu.values()), sum(each for _, each in after.values())
    print(f"  {'both':20} {total:5.2f} % of a core   {resident:5.1f} MB")
    print(
        f"  of the limits: {total / CPU_PERCENT:.2f} of {CPU_PERCENT} %, {resident / MEGABYTES:.2f} of {MEGABYTES} MB"
    )


if __name__ == "__main__":
    main()
