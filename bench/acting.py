"""What it costs that the executor acts: a failed unit restarted, in a machine with a real systemd.

Peers in the same run, in turn with it: `systemctl restart`, `systemd-run --wait systemctl restart`, and the executor's
own sandboxed transient unit with nobody around it. The post-check holds for no time here, which is as long as the
operator says. Then what the executor's process costs, how soon `policy explain` answers, twenty actions at once, and
what still begins after a halt. Limits: 150 ms over systemd-run at the median, 80 MB resident, 1 s from halt to quiet.
The machine's disk is in memory: what syncing costs is measured outside and said beside it.

Argument: how many rounds (30). Needs root and what the system tests need.
"""

import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _machine import Machine, booted, why_not

from tests.system.suite import PROGRAMS, Suite

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
OVERHEAD_MS, MEGABYTES, QUIET_SECONDS, IDLE_SECONDS = 150, 80, 1.0, 20
SYNCS_PER_EVENT, SYNCED_BYTES = 2, 700
INSIDE = Path(__file__).with_name("_acting_inside.py")
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
"""systemd's MESSAGE_ID of a unit that begins to start."""
UNIT = """[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sleep infinity
"""
SUITE = Suite(
    start=("ai-sysadmin-executor.service",),
    options={
        "settings": {
            "autonomy_level": "auto-safe",
            "executor": {"post_check_seconds": 0.001},
            "policy": {
                "hands_off_seconds": 0.001,
                "breakers": {"per_unit": 100_000, "all_units": 100_000, "back_off_seconds": 0.001},
            },
        }
    },
)
WAYS = {
    "systemctl": "systemctl restart (peer)",
    "systemd-run": "systemd-run --wait systemctl restart (peer)",
    "sandbox": "the executor's transient unit alone",
    "alone": "executor, by itself",
    "approved": "executor, from a person's yes",
}


def prepare(machine: Machine) -> None:
    machine.put(UNIT, "/etc/systemd/system/bench-acting@.service")
    machine.put(INSIDE, "/opt/acting_inside.py")
    wrapper = machine.path(str(PROGRAMS / "ai-sysadmin")).read_text()
    inside = wrapper.replace("-P -m ai_sysadmin", "-P /opt/acting_inside.py")
    machine.put(inside, "/opt/bin/acting-inside", mode=0o755)
    machine.systemctl("daemon-reload").ok()


def ask(machine: Machine, what: str, rounds: int) -> Any:
    return machine.run(["/opt/bin/acting-inside", what, str(rounds)], timeout=300).ok().json


def p50_p95(seconds: list[float]) -> tuple[float, float]:
    """Return both in milliseconds."""
    return 1000 * statistics.median(seconds), 1000 * statistics.quantiles(seconds, n=20)[-1]


def sync_ms() -> float:
    """Return what one append with fsync takes on this host's own disk, at the median."""
    taken = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(100):
            began = time.perf_counter()
            file.write(bytes(SYNCED_BYTES))
            file.flush()
            os.fsync(file.fileno())
            taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def tell_single(found: dict[str, Any], idle: dict[str, Any]) -> None:
    ways = found["ways"]
    print(f"a failed unit restarted, {ROUNDS} times in each way, milliseconds (p50, p95):")
    print(f"  {'':46} {'until it is up':>17} {'until that is told':>21}")
    for name, title in WAYS.items():
        up, whole = (p50_p95([each[which] for each in ways[name]]) for which in ("up", "whole"))
        print(f"  {title:46} {up[0]:8.1f} {up[1]:8.1f} {whole[0]:12.1f} {whole[1]:8.1f}")
    for name in ("alone", "approved"):
        over = _median(ways, name, "whole") - _median(ways, "systemd-run", "whole")
        print(
            f"  {WAYS[name]}: {over:.0f} ms over systemd-run, {over / OVERHEAD_MS:.2f} of the limit of {OVERHEAD_MS} ms"
        )
    sandbox = _median(ways, "sandbox", "whole") - _median(ways, "systemd-run", "whole")
    print(f"  {sandbox:.0f} ms of it is systemd making the sandbox, anew for each of the unit's two commands")
    gaps = {
        gap: 1000 * statistics.median(each["gaps"][gap] for each in ways["alone"]) for gap in ways["alone"][0]["gaps"]
    }
    print(f"  by the executor's events: {', '.join(f'{gap} {ms:.0f}' for gap, ms in gaps.items())}")
    events, sync = ways["alone"][0]["events"], sync_ms()
    print(
        f"  {events} events, each synced {SYNCS_PER_EVENT} times: {events * SYNCS_PER_EVENT * sync:.1f} ms more"
        f" on this host's disk ({sync:.2f} ms a sync)"
    )
    print(f"  to propose: {p50_p95([each['propose'] for each in ways['alone']])[0]:.1f} ms at the median")
    print("what the executor costs:")
    print(
        f"  idle {100 * idle['cpu']:.2f} % of a core, {idle['resident']:.1f} MB; an action {1000 * found['cpu']:.0f} ms"
    )
    print(
        f"  of CPU and {1000 * found['children']:.0f} ms of its journalctl; {found['resident']:.1f} MB after them,",
        end=" ",
    )
    print(f"{found['resident'] / MEGABYTES:.2f} of the limit of {MEGABYTES} MB")


def _median(ways: dict[str, Any], name: str, which: str) -> float:
    return p50_p95([each[which] for each in ways[name]])[0]


def tell_explain(found: dict[str, list[float]]) -> None:
    explain, show, cli, python = (
        1000 * statistics.median(found[name]) for name in ("explain", "show", "cli", "python")
    )
    print("policy explain, milliseconds at the median:")
    print(f"  over the socket {explain:.1f}, {explain / show:.2f} of `systemctl show` ({show:.1f})")
    print(f"  typed {cli:.0f}, of which the program's start is {python:.0f} (`ai-sysadmin --version`)")


def tell_queue(found: dict[str, list[float]]) -> None:
    ours, peer, sandbox, up = (statistics.median(found[name]) for name in ("executor", "systemd-run", "sandbox", "up"))
    print("twenty failed units at once, seconds:")
    print(
        f"  all up after {up:.2f}, all outcomes after {ours:.2f}: {ours / sandbox:.2f} times the same transient units"
    )
    print(f"  alone ({sandbox:.2f}), {ours / peer:.2f} times twenty systemd-run (peer, {peer:.2f})")


def tell_halt(machine: Machine, found: dict[str, Any]) -> None:
    begun = [
        int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        for entry in machine.journal(MESSAGE_ID=STARTING)
        if entry.get("UNIT", "").startswith("ai-sysadmin-action-")
    ]
    ends = Counter(found["outcomes"])
    said = ", ".join(f"{count} {kind}" for kind, count in ends.items())
    print(
        f"halt in a queue of {ends.total()} actions ({found['queued']:.2f} s to propose and approve them all; {said}):"
    )
    latest = 0.0
    for number, each in enumerate(found["halts"], 1):
        after = [at - each["answered"] for at in begun if each["answered"] < at < each["resumed"]]
        latest = max([latest, *after])
        typed = "typed, " if number == len(found["halts"]) else ""
        print(
            f"  {typed}answered after {1000 * (each['answered'] - each['began']):.0f} ms; begun within"
            f" {each['resumed'] - each['answered']:.1f} s after it: {len(after)}; {each['waiting']} wait"
        )
    print(f"  the last unit began {latest:.3f} s after the answer: {latest / QUIET_SECONDS:.2f} of the limit of 1 s")


def main() -> None:
    if reason := why_not():
        print(f"nothing measured: {reason}")
        return
    with booted(SUITE) as machine:
        prepare(machine)
        idle = ask(machine, "idle", IDLE_SECONDS)
        tell_single(ask(machine, "single", ROUNDS), idle)
        tell_explain(ask(machine, "explain", ROUNDS))
        tell_queue(ask(machine, "queue", 5))
        tell_halt(machine, ask(machine, "halt", 1))


if __name__ == "__main__":
    main()
