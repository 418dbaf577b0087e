"""A machine with a real systemd and some of the suite on it, for the benches that need one."""

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

__all__ = ["SERVICE", "Machine", "Suite", "booted", "why_not"]


@contextmanager
def booted(suite: Suite = Suite(start=(SERVICE,))) -> Iterator[Machine]:  # noqa: B008 — frozen
    """Boot a machine with the suite as described, by default the trigger monitor; it is down afterwards."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        machine = Machine("bench", directory / "machines")
        machine.directory.mkdir()
        staged = stage(directory)
        try:
            machine.up(staged.binds)
            install(machine, suite)
            yield machine
        finally:
            machine.down()
