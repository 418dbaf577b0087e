"""Machines with a real systemd and the suite installed.

A person's laptop may lack what it takes, and then these tests are skipped with the reason; with CI=true they fail.

`suite_machine` is one machine for all the tests of a module, with the suite that the module's `SUITE` describes.
`boot_suite` boots further ones. Whatever happens in a test, every machine is taken down.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.machine import Machine
from tests.system.suite import Staged, Suite, install, stage

HERE = Path(__file__).parent
PROGRAMS = ("systemd-nspawn", "nsenter", "unshare", "setsid", "setpriv", "pgrep", "nix-instantiate", "useradd")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.system)


def why_not() -> str | None:
    """Say what this machine lacks to boot another inside; nothing if it lacks nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux: run `sudo make test`"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"{', '.join(missing)} not found: on Debian, apt-get install systemd-container nix-bin util-linux procps"
    if not any(Path(place, "systemd/systemd").exists() for place in ("/usr/lib", "/lib")):
        return "systemd is not installed here, and a machine boots what is: apt-get install systemd-sysv dbus"
    return None


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    if reason := why_not():
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return stage(tmp_path_factory.mktemp("staged"))


@pytest.fixture(scope="module")
def boot_suite(
    staged: Staged, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Suite], Machine]]:
    """Return a function that boots a machine with a suite; all go down after the module's last test."""
    directory = tmp_path_factory.mktemp("machines")
    with ExitStack() as machines:

        def boot(suite: Suite) -> Machine:
            machine = Machine(f"sysadmin-{os.getpid()}-{len(list(directory.iterdir()))}", directory)
            machines.callback(machine.down)
            machine.up(staged.binds)
            machines.callback(_keep_journal, machine, request, directory.parent)
            install(machine, suite)
            return machine

        yield boot


@pytest.fixture(scope="module")
def suite_machine(boot_suite: Callable[[Suite], Machine], request: pytest.FixtureRequest) -> Machine:
    """Return the module's machine, with the suite that its `SUITE` describes (by default all of it)."""
    return boot_suite(getattr(request.module, "SUITE", Suite()))


def _keep_journal(machine: Machine, request: pytest.FixtureRequest, directory: Path) -> None:
    """Where a test failed, print what the suite logged last and keep the whole journal."""
    if not request.session.testsfailed:
        return
    kept = directory / f"{machine.name}.journal.txt"
    kept.write_text(machine.run(["journalctl", "-q", "--no-pager", "-o", "short-precise"]).stdout)
    ours = machine.run(["journalctl", "-q", "--no-pager", "-n", "80", "_SYSTEMD_SLICE=ai-sysadmin.slice"]).stdout
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    reporter.write(f"\nthe journal of {machine.name} is in {kept}; the suite logged last:\n{ours}")
