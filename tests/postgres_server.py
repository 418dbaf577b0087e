"""A PostgreSQL of its own for a test run: Debian's programs, a directory of ours, no network.

A person's machine may lack the programs, and then the tests are skipped with the reason; with CI=true they fail.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_USER = "postgres"
_FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"


def programs() -> Path | None:
    """Return the directory of the newest PostgreSQL's programs; none: there is none here."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).resolve().parent if there else None


@dataclass
class PostgresServer:
    """A cluster: ``start``, ``stop``, ``kill``; ``url`` of one of its databases."""

    directory: Path
    bin: Path
    options: str = _FAST

    def start(self) -> None:
        told = f"-c listen_addresses= -c unix_socket_directories={self.directory} {self.options}"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.directory / "log"), "-o", told, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it; ``immediate`` is as a crash is."""
        self._run("pg_ctl", "-D", str(self.data), "-m", how, "-w", "stop")

    def url(self, database: str = _USER) -> str:
        return f"postgresql://{_USER}@/{database}?host={self.directory}"

    def sql(self, statement: str, database: str = _USER) -> str:
        """Run a statement as psql does; return what it printed, a line for each row."""
        where = ("-h", str(self.directory), "-d", database)
        return self._run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", *where, "-c", statement)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def _run(self, program: str, *arguments: str) -> str:
        argv = [str(self.bin / program), *arguments]
        if os.geteuid() == 0:
            argv = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *argv]
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PGUSER": _USER}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd="/", env=environment, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()


def why_not() -> str | None:
    """Say what this machine lacks to run one; nothing if it lacks nothing."""
    if programs() is None:
        return "PostgreSQL is not installed here: on Debian, apt-get install postgresql"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_USER)
        except KeyError:
            return "PostgreSQL refuses to run as root, and there is no user postgres here"
    return None


@contextmanager
def postgres_server(options: str = _FAST) -> Iterator[PostgresServer]:
    """Run a cluster of its own in a directory of its own; both are gone afterwards."""
    if reason := why_not():
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    found = programs()
    assert found is not None
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if os.geteuid() == 0:
        account = pwd.getpwnam(_USER)
        os.chown(directory, account.pw_uid, account.pw_gid)
    server = PostgresServer(directory, found, options)
    try:
        server._run("initdb", "-D", str(server.data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            with suppress(AssertionError):  # a test may have stopped it
                server.stop("immediate")
    finally:
        for _ in range(50):
            shutil.rmtree(directory, ignore_errors=True)
            if not directory.exists():
                break
            time.sleep(0.1)
