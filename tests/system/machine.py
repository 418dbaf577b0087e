"""A machine with a real systemd, seen from a test: run commands, put files, read its journal."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SD_MACHINE = Path(__file__).with_name("sd-machine")


@dataclass(frozen=True)
class Completed:
    """How a command inside ended."""

    argv: tuple[str, ...]
    exit_status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    def ok(self) -> "Completed":
        """Return itself; fail the test if the command failed."""
        assert self.exit_status == 0, f"{' '.join(self.argv)}: status {self.exit_status}\n{self.stdout}{self.stderr}"
        return self


class Machine:
    """One booted machine. Its name is also its host name; `directory` holds its state while it is up."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory

    def up(self, binds: Sequence[tuple[Path, str]] = ()) -> None:
        """Boot, with each host path bound read-only at a path inside."""
        self._sd("up", *(f"{source}:{destination}" for source, destination in binds), timeout=90).ok()

    def down(self) -> None:
        """Power off and leave nothing behind; no error if it is down already."""
        if (self.directory / self.name).exists():
            self._sd("down", timeout=60).ok()

    def reboot(self) -> None:
        """Stop everything and boot again on the same files."""
        self._sd("reboot", timeout=120).ok()

    def run(self, argv: Sequence[str], user: str | None = None, timeout: float = 60) -> Completed:
        """Run a command inside, as root or as a user in a transient unit of its own; at most `timeout` seconds."""
        if user is None:
            return self._sd("in", *argv, timeout=timeout)
        return self._sd("as", user, *argv, timeout=timeout)

    def systemctl(self, *argv: str, timeout: float = 60) -> Completed:
        return self.run(["systemctl", "--no-pager", *argv], timeout=timeout)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit."""
        lines = self.systemctl("show", unit, f"--property={','.join(names)}").ok().stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def put(self, content: bytes | str | Path, destination: str, mode: int = 0o644) -> None:
        """Write a file inside: the text, the bytes, or what is in a host's file."""
        data = content.read_bytes() if isinstance(content, Path) else content
        path = self.path(destination)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)

    def path(self, inside: str) -> Path:
        """Return where the host sees a path of the machine (absolute links in it lead astray)."""
        leader = (self.directory / self.name / "leader").read_text().strip()
        return Path(f"/proc/{leader}/root") / inside.lstrip("/")

    def kmsg(self, level: int, *texts: str) -> None:
        """Put records into the kernel log."""
        self._sd("kmsg", str(level), *texts).ok()

    def journal(self, **fields: str) -> list[dict[str, Any]]:
        """Return the journal's entries that have all these fields, oldest first."""
        matches = [f"{name}={value}" for name, value in fields.items()]
        self.run(["journalctl", "--sync"]).ok()
        lines = self.run(["journalctl", "-q", "--no-pager", "-o", "json", *matches]).ok().stdout.splitlines()
        return [json.loads(line) for line in lines]

    def eventually(self, true: Callable[[], Any], what: str, within: float = 10) -> Any:
        """Return the first true answer; fail the test if there is none within so many seconds."""
        until = time.monotonic() + within
        while not (answer := true()):
            assert time.monotonic() < until, f"not within {within} s on {self.name}: {what}"
            time.sleep(0.05)
        return answer

    def _sd(self, command: str, *argv: str, timeout: float = 60) -> Completed:
        environment = {
            **os.environ,
            "SDM_DIR": str(self.directory),
            "SDM_OWNER": os.environ.get("SDM_OWNER", str(os.getpid())),
        }
        full = (str(SD_MACHINE), command, self.name, *argv)
        process = subprocess.Popen(
            full,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            # it ends what it started inside before it ends itself
            process.terminate()
            stdout, stderr = process.communicate(timeout=20)
            raise AssertionError(f"{' '.join(argv)}: not done after {timeout} s\n{stdout}{stderr}") from error
        return Completed(argv, process.returncode, stdout, stderr)
