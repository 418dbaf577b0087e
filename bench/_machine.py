"""A machine with a real systemd and the trigger monitor on it, for the benches that need one."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.system.conftest import why_not
from tests.system.machine import Machine
from tests.system.suite import Suite, install, stage

SERVICE = "ai-sysadmin-trigger-monitor.service"

__all__ = ["SERVICE", "Machine", "booted", "why_not"]


@contextmanager
def booted() -> Iterator[Machine]:
    """Boot a machine on which the trigger monitor runs; it is down afterwards."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        machine = Machine("bench", directory / "machines")
        machine.directory.mkdir()
        staged = stage(directory)
        try:
            machine.up(staged.binds)
            install(machine, Suite(start=(SERVICE,)))
            yield machine
        finally:
            machine.down()
