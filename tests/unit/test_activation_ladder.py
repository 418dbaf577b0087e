"""The command lines by which a NixOS system is activated and taken back: their order, their bounds, their rights."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.actions.ladder import ACTIVATION, BOOTING, PENDING, stages
from tests.nixos_standin import recovery, rendered, store_path

ONE, TWO = store_path("1"), store_path("2")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", f"{ONE}/../..", f"{ONE} x", f'{ONE}"', f"{ONE}\n", "", f"{ONE}/bin", f"{ONE}$X"]
)
def test_only_systems_of_the_store_get_into_command_lines(path):
    for pair in ((path, ONE), (ONE, path)):
        with pytest.raises(ValueError, match="no path of a NixOS system"):
            stages(*pair, check_seconds=60, rollback_seconds=300)


@given(check=st.floats(1, 3600), more=st.floats(60, 3600))
def test_the_timer_leaves_time_for_activating_and_checking(check, more):
    found = stages(ONE, TWO, check_seconds=check, rollback_seconds=check + more)
    limit = next(each for each in found.run.commands[-2] if each.startswith("--property=TimeoutStartSec="))
    assert 30 <= float(limit.rpartition("=")[2]) <= check + more - check - 30 + 1e-3 * (check + more)


def test_the_marker_is_durable_before_the_timer_and_the_timer_armed_before_the_activation():
    run = stages(ONE, TWO, check_seconds=60, rollback_seconds=300).run.commands
    order = [
        next(i for i, argv in enumerate(run) if wanted(argv))
        for wanted in (
            lambda argv: argv[-1] == f"{PENDING}/previous",
            lambda argv: argv[-1] == f"{PENDING}/activated",
            lambda argv: argv[0].endswith("/sync"),
            lambda argv: "--on-active=300" in argv,
            lambda argv: "--unit=ai-sysadmin-activate" in argv,
        )
    ]
    assert order == sorted(order)
    armed, activated = run[order[3]], run[order[4]]
    assert armed[-2:] == (f"{TWO}/bin/switch-to-configuration", "test")
    assert activated[-2:] == (f"{ONE}/bin/switch-to-configuration", "test")


def test_an_existing_generation_keeps_its_number_and_another_gets_the_next():
    def confirmed(generation: int | None) -> tuple[str, ...]:
        found = stages(ONE, TWO, check_seconds=60, rollback_seconds=300, generation=generation)
        return next(argv for argv in found.confirm.commands if argv[0].endswith("/nix-env"))

    assert confirmed(141)[-2:] == ("--switch-generation", "141")
    assert confirmed(None)[-2:] == ("--set", ONE)


def test_the_boot_time_unit_has_the_same_rights_as_the_timers():
    found = recovery()
    assert (tuple(found["activation"]), tuple(found["booting"])) == (ACTIVATION, BOOTING)


@pytest.mark.parametrize(
    ("name", "most", "text"),
    [
        ("activation", 40, "\n".join(("[Service]", "ExecStart=/bin/true", *ACTIVATION))),
        ("booting", 40, "\n".join(("[Service]", "ExecStart=/bin/true", *BOOTING))),
        ("recovery", 20, rendered(recovery()["services"]["ai-sysadmin-recover"])),
    ],
)
def test_what_each_unit_could_do_is_bounded(tmp_path, name, most, text):
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / f"{name}.service").write_text(text)
    argv = (
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={most}",
        f"--root={tmp_path}",
        f"{name}.service",
    )
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
