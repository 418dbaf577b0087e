"""How soon a line that `systemd-cat` writes is a committed trigger, in a machine with a real systemd.

From before systemd-cat is started to when the store shows the trigger to another process. Limits: p50 50 ms, p99 250
ms. Needs root and what the system tests need.
"""

import statistics

from _machine import booted, why_not

from tests.system.test_flood import LATENCY

LIMITS = {"p50": 50, "p99": 250}


def main() -> None:
    if reason := why_not():
        print(f"nothing measured: {reason}")
        return
    with booted() as machine:
        machine.put(LATENCY, "/opt/latency.py")
        lines = machine.run(["python3", "/opt/latency.py"], timeout=120).ok().stdout.splitlines()
    whole = sorted(float(line.split()[0]) for line in lines)
    figures = {"p50": statistics.median(whole), "p99": whole[int(len(whole) * 0.99) - 1]}
    print(f"{len(whole)} lines, milliseconds from before systemd-cat to the committed trigger:")
    for name, figure in figures.items():
        print(f"  {name}  {figure:6.1f}   {figure / LIMITS[name]:5.2f} of the limit of {LIMITS[name]} ms")


if __name__ == "__main__":
    main()
