"""These tests need Nix's evaluator and systemd's own checks; nothing is built and nothing is fetched."""

import os
import shutil
from pathlib import Path

import pytest

from tests.nixos.changing import job, log, repository
from tests.nixos.evaluate import System, evaluate

__all__ = ["job", "log", "repository"]


@pytest.fixture(autouse=True, scope="session")
def _has_the_programs() -> None:
    missing = [name for name in ("nix-instantiate", "systemd-analyze") if not shutil.which(name)]
    if missing:
        reason = f"{', '.join(missing)} not found: on Debian, apt-get install nix-bin systemd"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.fixture(scope="session")
def suite() -> System:
    """All that the module can start: model servers, the notifier, and who builds changes, beside the services."""
    models = {name: {"model": f"/srv/models/{name}.gguf"} for name in ("trigger", "review", "meta", "embedding")}
    settings = {
        "notifications": {"urls_file": "/run/keys/apprise"},
        "actions": {"nixos": {"repository": "/etc/nixos"}},
    }
    return evaluate(enable=True, operators=["alice"], settings=settings, **{"llama-cpp": {"models": models}})


@pytest.fixture(scope="session")
def root(suite: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnished(tmp_path_factory.mktemp("root"), suite)


def furnished(root: Path, suite: System) -> Path:
    """Put the rendered units, the host's targets, and programs to name into a root directory; return it."""
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    for name, text in suite.units.items():
        (units / name).write_text(text)
    for program in suite.programs:
        stub = root / program.removeprefix("/")
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)
    _copy_the_hosts_targets(root / "usr/lib/systemd/system")
    return root


def _copy_the_hosts_targets(into: Path) -> None:
    into.mkdir(parents=True)
    host = next(path for path in (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system")) if path.is_dir())
    for pattern in ("*.target", "*.slice", "dbus.socket"):
        for unit in host.glob(pattern):
            shutil.copy(unit, into / unit.name)
