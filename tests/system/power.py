"""A disk that loses what was not synced when the power goes; everything below is real but the plug."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.nixos_standin import systemd_below
from tests.system.machine import Machine
from tests.system.undoing import EXECUTOR, STATE, WEB


class Disk:
    """A disk of the machine's own, for what must outlast a power failure. ``cut`` cuts the power.

    The executor's state and Nix's links lie on a real ext4, in a file. When the power goes, what the kernel had not
    written to that file yet is gone: the file as it is at that moment is what the next boot mounts. Every process ends
    at once by the kernel's own hand, and /run is empty.
    """

    HELD = (STATE, "/nix/var")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._state = machine.directory / machine.name
        self._number = 0
        subprocess.run(["mkfs.ext4", "-q", str(self._image), "64M"], check=True)
        machine.systemctl(
            "stop", EXECUTOR, "ai-sysadmin-executor-propose.socket", "ai-sysadmin-executor-operate.socket"
        )
        machine.run(["mkdir", "-p", "/mnt/disk", *self.HELD]).ok()
        self._do("mount", "-o", "loop", str(self._image), self._root("/mnt/disk"))
        for number, place in enumerate(self.HELD):
            self._do("cp", "-a", self._root(place), self._root(f"/mnt/disk/{number}"))
        self._bind()
        machine.reboot()

    @property
    def _image(self) -> Path:
        return self._machine.directory / f"{self._machine.name}-disk-{self._number}"

    def _root(self, inside: str) -> str:
        return f"{self._state}/root{inside}"

    def _do(self, *argv: str) -> None:
        """Run a command where the machine's files are mounted, outside of it."""
        supervisor = (self._state / "supervisor").read_text().strip()
        subprocess.run(["nsenter", "-t", supervisor, "-m", *argv], check=True, timeout=60, capture_output=True)

    def _bind(self) -> None:
        for number, place in enumerate(self.HELD):
            self._do("mount", "--bind", self._root(f"/mnt/disk/{number}"), self._root(place))

    def cut(self) -> None:
        leader = int((self._state / "leader").read_text())
        supervisor, nspawn = (int((self._state / name).read_text()) for name in ("supervisor", "nspawn"))
        os.kill(supervisor, signal.SIGSTOP)  # it would boot again at once
        power = "import ctypes; ctypes.CDLL(None).reboot(0x01234567)"
        subprocess.run(["nsenter", "-t", str(leader), "-p", sys.executable, "-c", power], check=False, timeout=20)
        before = self._image
        self._machine.eventually(lambda: _is_over(leader) and _is_over(nspawn), "it is off")
        self._number += 1
        subprocess.run(["cp", "--sparse=always", str(before), str(self._image)], check=True)
        for place in (*self.HELD, "/mnt/disk"):
            self._do("umount", self._root(place))
        before.unlink()
        self._do("mount", "-o", "loop", str(self._image), self._root("/mnt/disk"))
        self._bind()
        # stage 2 of a NixOS boot makes /etc anew before systemd reads it
        units = self._root("/etc/systemd/system")
        self._do("rm", "-f", f"{units}/{WEB}", f"{units}/multi-user.target.wants/{WEB}")
        os.kill(supervisor, signal.SIGCONT)
        found = self._machine.eventually(lambda: systemd_below(self._state, leader), "it is on again", within=30)
        (self._state / "leader").write_text(f"{found}\n")
        self._machine.run(["systemctl", "is-system-running", "--wait"], timeout=90)

    def drops(self) -> bool:
        """Tell whether it keeps what was synced, and only that, when the power goes."""
        self._machine.run(
            ["sh", "-c", "echo kept >/nix/var/kept; sync /nix/var/kept /nix/var; echo lost >/nix/var/lost"]
        ).ok()
        self.cut()
        there = [self._machine.path(f"/nix/var/{name}").exists() for name in ("kept", "lost")]
        return there == [True, False]


def _is_over(pid: int) -> bool:
    """Tell whether a process is gone, or only waits to be asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
