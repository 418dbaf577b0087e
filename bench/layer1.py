"""Layer 1 on one synthetic stretch of journal: entries per CPU-second, beside what the same stretch costs as JSON.

Peer: `journalctl -o json` read line by line with the standard library's json, in the same run, on the same entries.
Both sides are given the bytes that journalctl would write; journalctl's own cost is on neither.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ai_sysadmin.sources.export import ExportParser
from ai_sysadmin.trigger_monitor.bursts import Burst
from ai_sysadmin.trigger_monitor.decide import Window, decide

ENTRIES = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
UNITS = ("nginx", "postgresql", "sshd", "grafana", "backup", "nix-daemon", "docker")
CHUNK = 64 << 10
BOOT = "99994dad5c8c448f92002e4d8dac3af6"


def entry(number: int, rng: random.Random) -> dict[str, str]:
    """Return one entry's fields: mostly routine, some warnings, a few errors."""
    unit, chance = rng.choice(UNITS), rng.random()
    if chance < 0.7:
        text = (
            f"10.0.{rng.randrange(256)}.{rng.randrange(256)} GET /items/{rng.randrange(10**6)} 200 {rng.random():.3f}"
        )
    elif chance < 0.98:
        text = f"worker {rng.randrange(64)}: job {rng.getrandbits(48):x} took {rng.random() * 900:.1f} ms"
    else:
        text = f"upstream {rng.randrange(8)} refused the connection"
    return {
        "__CURSOR": f"s=ab;i={number + 1:x};b={BOOT};m={number:x};t={number:x};x=1",
        "__REALTIME_TIMESTAMP": str(1_795_000_000_000_000 + number * 20_000),
        "_BOOT_ID": BOOT,
        "PRIORITY": "3" if chance >= 0.98 else "6",
        "SYSLOG_IDENTIFIER": unit,
        "_HOSTNAME": "host1",
        "_TRANSPORT": "stdout",
        "_SYSTEMD_UNIT": f"{unit}.service",
        "_SYSTEMD_SLICE": "system.slice",
        "MESSAGE": text,
    }


def per_cpu_second(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return ENTRIES / (time.process_time() - began)


def main() -> None:
    rng = random.Random(1)
    entries = [entry(number, rng) for number in range(ENTRIES)]
    export = "".join("".join(f"{key}={value}\n" for key, value in each.items()) + "\n" for each in entries).encode()
    lines = [json.dumps(each).encode() for each in entries]

    def parse() -> None:
        parser = ExportParser()
        for at in range(0, len(export), CHUNK):
            parser.feed(export[at : at + CHUNK])

    def parse_and_decide() -> None:
        parser, window, burst = ExportParser(), Window(), Burst(100, 10)
        for at in range(0, len(export), CHUNK):
            window = decide(parser.feed(export[at : at + CHUNK]), window, "host1", burst, datetime.now(UTC)).window

    def as_json() -> None:
        for line in lines:
            json.loads(line)

    peer = per_cpu_second(as_json)
    print(f"{ENTRIES} entries, per CPU-second:")
    for name, rate in (
        ("json.loads per line (peer)", peer),
        ("parse", per_cpu_second(parse)),
        ("parse and decide", per_cpu_second(parse_and_decide)),
    ):
        print(f"  {name:28} {rate:>10,.0f}   {rate / peer:5.2f} of the peer")


if __name__ == "__main__":
    main()
