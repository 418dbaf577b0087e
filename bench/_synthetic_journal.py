"""A synthetic journal for the benches: files as journald writes them, with the shapes of an ordinary host's messages.

`python bench/_synthetic_journal.py DIRECTORY ENTRIES` writes one.
"""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REMOTE = Path("/lib/systemd/systemd-journal-remote")
UNITS = ("nginx", "postgresql", "sshd", "grafana", "prometheus", "backup", "nix-daemon", "docker")
BOOT = "0b" * 16
MACHINE = "3d" * 16
FIRST_USEC = 1_795_000_000_000_000


def export(entries: int, seed: int = 1) -> Iterator[bytes]:
    """Yield so many entries in the export format: mostly requests and jobs, some of systemd's and the kernel's own."""
    rng = random.Random(seed)
    invocations = {unit: f"{rng.getrandbits(128):032x}" for unit in UNITS}
    pids = {unit: str(rng.randrange(300, 40_000)) for unit in UNITS}
    usec = FIRST_USEC
    for number in range(entries):
        usec += rng.randrange(1, 40_000)
        unit, chance = rng.choice(UNITS), rng.random()
        fields = {
            "__REALTIME_TIMESTAMP": str(usec),
            "__MONOTONIC_TIMESTAMP": str(usec - FIRST_USEC + 10_000_000),
            "_BOOT_ID": BOOT,
            "_MACHINE_ID": MACHINE,
            "_HOSTNAME": "host1",
        }
        if chance < 0.04:
            fields |= of_kernel(rng, number)
        elif chance < 0.12:
            fields |= of_manager(unit, invocations[unit])
        else:
            fields |= of_service(rng, unit, invocations[unit], pids[unit])
        yield "".join(f"{name}={value}\n" for name, value in fields.items()).encode() + b"\n"


def of_kernel(rng: random.Random, number: int) -> dict[str, str]:
    return {
        "PRIORITY": rng.choice("456"),
        "SYSLOG_FACILITY": "0",
        "SYSLOG_IDENTIFIER": "kernel",
        "_TRANSPORT": "kernel",
        "MESSAGE": f"eth0: link status {rng.randrange(100_000)}, event {number}",
    }


def of_manager(unit: str, invocation: str) -> dict[str, str]:
    return {
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "systemd",
        "_TRANSPORT": "journal",
        "_PID": "1",
        "_UID": "0",
        "_COMM": "systemd",
        "_SYSTEMD_CGROUP": "/init.scope",
        "_SYSTEMD_UNIT": "init.scope",
        "_SYSTEMD_SLICE": "-.slice",
        "CODE_FILE": "src/core/job.c",
        "MESSAGE_ID": "39f53479d3a045ac8e11786248231fbf",
        "JOB_TYPE": "start",
        "JOB_RESULT": "done",
        "UNIT": f"{unit}.service",
        "INVOCATION_ID": invocation,
        "MESSAGE": f"Started {unit}.service - The {unit} service.",
    }


def of_service(rng: random.Random, unit: str, invocation: str, pid: str) -> dict[str, str]:
    chance = rng.random()
    address = ".".join(str(rng.randrange(256)) for _ in range(4))
    if chance < 0.6:
        text = f'{address} - - "GET /items/{rng.randrange(10**6)}" 200 {rng.randrange(20_000)} rt={rng.random():.3f}'
    elif chance < 0.97:
        text = f"worker {rng.randrange(64)}: job {rng.getrandbits(48):x} took {rng.random() * 900:.1f} ms"
    else:
        text = f"upstream {rng.randrange(8)} refused the connection"
    program = f"/nix/store/{'k' * 32}-{unit}-1.2.3/bin/{unit}"
    return {
        "PRIORITY": "6" if chance < 0.97 else "3",
        "SYSLOG_FACILITY": "3",
        "SYSLOG_IDENTIFIER": unit,
        "_TRANSPORT": "stdout",
        "_PID": pid,
        "_UID": "0",
        "_GID": "0",
        "_COMM": unit,
        "_EXE": program,
        "_CMDLINE": f"{program} --config /etc/{unit}.conf",
        "_SYSTEMD_CGROUP": f"/system.slice/{unit}.service",
        "_SYSTEMD_UNIT": f"{unit}.service",
        "_SYSTEMD_SLICE": "system.slice",
        "_SYSTEMD_INVOCATION_ID": invocation,
        "MESSAGE": text,
    }


def write(directory: Path, entries: int, seed: int = 1) -> None:
    """Write a journal of so many entries; files are rotated as they fill.

    Raises:
        FileNotFoundError: systemd-journal-remote is not installed.
        CalledProcessError: it could not write.
    """
    argv = [str(REMOTE), "-o", str(directory / "system.journal"), "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as remote:
        assert remote.stdin
        for each in export(entries, seed):
            remote.stdin.write(each)
        remote.stdin.close()
    if remote.returncode:
        raise subprocess.CalledProcessError(remote.returncode, argv)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        write(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        print("usage: synthetic_journal.py DIRECTORY ENTRIES")
