"""systemd's own judgement of the rendered units."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.nixos.conftest import furnished
from tests.nixos.evaluate import evaluate

SERVICES = ("trigger-monitor", "review-model", "meta-model", "api")
# What they reach on systemd 252: services 1.4, executor 0.9 (by polkit 0.5), model servers 1.2; the rest is room for
# other versions.
MOST_EXPOSED = {
    **{f"ai-sysadmin-{name}": 2.0 for name in SERVICES},
    "ai-sysadmin-executor": 2.0,
    "ai-sysadmin-notifier": 2.0,
    "ai-sysadmin-recover": 2.0,
    **{f"llama-{layer}": 2.0 for layer in ("trigger", "review", "meta", "embedding")},
}


def analyze(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *argv], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_understands_every_line(root: Path, suite):
    done = analyze("verify", "--man=no", "--recursive-errors=one", f"--root={root}", *sorted(suite.units))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_line_systemd_does_not_know_would_be_noticed(root: Path):
    wrong = root / "etc/systemd/system/wrong.service"
    wrong.write_text("[Service]\nExecStart=/bin/true\nProtectEverything=yes\n")
    done = analyze("verify", "--man=no", "--recursive-errors=one", f"--root={root}", wrong.name)
    wrong.unlink()
    assert done.returncode
    assert "ProtectEverything" in done.stderr


def check_exposure(root: Path, unit: str, most: float) -> None:
    threshold = str(round(most * 10))
    done = analyze(
        "security", "--offline=true", "--no-pager", f"--threshold={threshold}", f"--root={root}", f"{unit}.service"
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level, done.stderr
    print(f"{unit}: exposure {level.group(1)}, at most {most}")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", MOST_EXPOSED)
def test_exposure(root: Path, unit: str):
    check_exposure(root, unit, MOST_EXPOSED[unit])


def test_exposure_of_the_executor_without_root(tmp_path: Path):
    rights = {"executor": {"rights": "polkit", "polkit_units": ["nginx.service"]}}
    root = furnished(tmp_path, evaluate(enable=True, settings=rights))
    check_exposure(root, "ai-sysadmin-executor", 1.5)
