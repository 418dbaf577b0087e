"""What activating a system would do, as the system itself says."""

from pathlib import Path

import pytest

from ai_sysadmin.actions.nixos.building import Job
from ai_sysadmin.actions.nixos.rehearsal import rehearse
from ai_sysadmin.actions.nixos.results import as_line
from ai_sysadmin.core.errors import Refused

SYSTEM_PATH = "/nix/store/" + "1" * 32 + "-nixos-system-h"
DRY_ACTIVATE = """\
#!/bin/sh
test "$1" = dry-activate || exit 9
echo "would stop the following units: old.service, web.service" >&2
echo "would NOT stop the following changed units: display-manager.service" >&2
echo "would activate the configuration..." >&2
echo "would restart systemd" >&2
echo "would restart the following units: sshd.service" >&2
echo "would start the following units: web.service" >&2
"""


def system(root: Path, script: str) -> None:
    program = root / SYSTEM_PATH.lstrip("/") / "bin/switch-to-configuration"
    program.parent.mkdir(parents=True)
    program.write_text(script)
    program.chmod(0o755)


async def test_what_activating_would_do_is_read(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STANDIN_VALID", SYSTEM_PATH)
    system(tmp_path, DRY_ACTIVATE)
    found = await rehearse(SYSTEM_PATH, job.current_system, tmp_path)
    assert found.units == ("old.service", "web.service", "sshd.service")
    assert found.left_alone == ("display-manager.service",)
    assert found.closure == ("nginx: 1.26.1 → 1.26.2, +12.3 KiB",)


@pytest.mark.parametrize(
    ("link", "targets", "restarts"),
    [
        ("systemd", ("/nix/store/a-systemd-257", "/nix/store/b-systemd-258"), True),
        ("etc/systemd/system.conf", ("/nix/store/a-system.conf", "/nix/store/b-system.conf"), True),
        ("systemd", ("/nix/store/a-systemd-257", "/nix/store/a-systemd-257"), False),
    ],
)
async def test_that_systemd_would_be_restarted_is_seen(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link, targets, restarts
):
    monkeypatch.setenv("STANDIN_VALID", SYSTEM_PATH)
    system(tmp_path, DRY_ACTIVATE)
    for store_path, target in zip((str(job.current_system.readlink()), SYSTEM_PATH), targets, strict=True):
        place = tmp_path / store_path.lstrip("/") / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    found = await rehearse(SYSTEM_PATH, job.current_system, tmp_path)
    assert ("init.scope" in found.units) is restarts


@pytest.mark.parametrize(
    ("valid", "script", "said"),
    [
        ("", DRY_ACTIVATE, "not valid"),
        (SYSTEM_PATH, "#!/bin/sh\nexit 1\n", "dry-activate"),
        (SYSTEM_PATH, "#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x >&2\n", "dry-activate"),
    ],
)
async def test_a_system_that_cannot_be_rehearsed_is_refused(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valid, script, said
):
    monkeypatch.setenv("STANDIN_VALID", valid)
    system(tmp_path, script)
    with pytest.raises(Refused, match=said):
        await rehearse(SYSTEM_PATH, job.current_system, tmp_path)


async def test_more_units_than_can_be_told_are_refused(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STANDIN_VALID", SYSTEM_PATH)
    units = ", ".join(f"a-unit-with-a-long-name-{number}.service" for number in range(500))
    system(tmp_path, f"#!/bin/sh\necho 'would restart the following units: {units}' >&2\n")
    found = await rehearse(SYSTEM_PATH, job.current_system, tmp_path)
    with pytest.raises(Refused, match="more than can be told"):
        as_line(found)
