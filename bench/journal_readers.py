"""What reading the journal costs: entries per CPU-second of all processes together, on one synthetic journal.

The limit: a C loop over sd_journal that touches all data. Then our two readers as `follow` uses them, entries decoded,
and the prototype's way: `journalctl -o json`, each line through the standard library's json.
Argument: how many entries (500,000).
"""

import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import _synthetic_journal as synthetic_journal

from ai_sysadmin.sources.journal import follow
from ai_sysadmin.sources.journal_children import Journalctl, Library, Reader, has_binding

ENTRIES = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
LOOP = r"""
#include <stdio.h>
#include <systemd/sd-journal.h>
int main(int argc, char **argv) {
    sd_journal *j; const void *data; size_t size; unsigned long entries = 0, bytes = 0;
    if (argc < 2 || sd_journal_open_directory(&j, argv[1], 0) < 0) return 1;
    SD_JOURNAL_FOREACH(j) {
        entries++;
        SD_JOURNAL_FOREACH_DATA(j, data, size) bytes += size + *(const unsigned char *) data;
    }
    printf("%lu %lu\n", entries, bytes);
    return 0;
}
"""


def cpu_seconds() -> float:
    both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(each.ru_utime + each.ru_stime for each in both)


def per_cpu_second(work: Callable[[], int]) -> float:
    began = cpu_seconds()
    read = work()
    if read != ENTRIES:
        print(f"  read {read} of {ENTRIES} entries", file=sys.stderr)
    return read / (cpu_seconds() - began)


def c_loop(directory: Path, workshop: Path) -> Callable[[], int] | None:
    """Return the limit; none, with the reason printed: it cannot be built here."""
    source, program = workshop / "loop.c", workshop / "loop"
    source.write_text(LOOP)
    if shutil.which("gcc") is None:
        print("no C loop: there is no gcc here")
        return None
    built = subprocess.run(
        ["gcc", "-O2", "-o", program, source, "-lsystemd"], capture_output=True, text=True, check=False
    )
    if built.returncode:
        print("no C loop: it cannot be built; is libsystemd-dev installed?", built.stderr.strip()[:200])
        return None
    return lambda: int(subprocess.run([program, directory], capture_output=True, check=True).stdout.split()[0])


def followed(reader: Reader, directory: Path) -> Callable[[], int]:
    async def read() -> int:
        found = 0
        everything = timedelta(days=36_500)
        async with aclosing(follow(None, history=everything, directory=directory, reader=reader)) as batches:
            async for batch in batches:
                found += len(batch)
                if found >= ENTRIES or not batch:
                    break
        return found

    return lambda: asyncio.run(read())


def prototype(directory: Path) -> int:
    argv = ["journalctl", "-o", "json", "--no-pager", "-D", str(directory)]
    read = 0
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        assert child.stdout
        for line in child.stdout:
            json.loads(line)
            read += 1
    return read


def main() -> None:
    if not (synthetic_journal.REMOTE.exists() and shutil.which("journalctl")):
        print("nothing measured: systemd-journal-remote and journalctl are needed")
        return
    with tempfile.TemporaryDirectory() as name:
        workshop, directory = Path(name), Path(name) / "journal"
        directory.mkdir()
        synthetic_journal.write(directory, ENTRIES)
        for file in directory.iterdir():  # so that nobody pays for the disk
            file.read_bytes()
        works: dict[str, Callable[[], int] | None] = {"C loop over all data (the limit)": c_loop(directory, workshop)}
        if has_binding():
            works["follow, journal_reader child"] = followed(Library(), directory)
        else:
            print("no journal_reader: systemd-python is not installed here")
        works["follow, journal_reader by ctypes"] = followed(Library(by_ctypes=True), directory)
        works["follow, journalctl -o export"] = followed(Journalctl(), directory)
        works["journalctl -o json | json.loads"] = lambda: prototype(directory)
        rates = {title: per_cpu_second(work) for title, work in works.items() if work}
    print(f"{ENTRIES} entries, per CPU-second of all processes:")
    slowest = rates["journalctl -o json | json.loads"]
    for title, rate in rates.items():
        print(f"  {title:34} {rate:>10,.0f}   {1e6 / rate:6.2f} µs each   {rate / slowest:6.1f} × the prototype's way")


if __name__ == "__main__":
    main()
