"""What the steps of a change say, and what dry-activate says: read whole or not at all."""

import pytest

from ai_sysadmin.actions.nixos.dry_run import left_alone, touched
from ai_sysadmin.actions.nixos.results import MOST_BYTES, Rehearsed, as_line, last_line, plain
from ai_sysadmin.core.errors import Refused

RUNNING, BUILT = (f"/nix/store/{digit * 32}-nixos-system-h-26.05" for digit in "01")


def test_the_units_are_read_from_what_dry_activate_says():
    said = (
        "would stop swap device: /dev/disk/by-label/swap-a\n"
        "would stop the following units: a.service, b@1.service\n"
        "would NOT stop the following changed units: systemd-journal-flush.service\n"
        "would activate the configuration...\n"
        "would restart systemd\n"
        "would reload the following units: dbus-broker.service\n"
        "would restart the following units: sshd.service\n"
        "would start the following units: a.service\n"
    )
    assert touched(said) == {
        "stop": ("dev-disk-by\\x2dlabel-swap\\x2da.swap", "a.service", "b@1.service"),
        "restart": ("sshd.service",),
        "reload": ("dbus-broker.service",),
        "start": ("a.service",),
    }
    assert left_alone(said) == ("systemd-journal-flush.service",)
    assert touched("would activate the configuration...\n") == {}


def test_a_result_that_is_too_long_is_never_cut():
    with pytest.raises(Refused):
        as_line(Rehearsed(store_path=BUILT, running=RUNNING, restart=("u" * 100,) * (MOST_BYTES // 100)))


def test_a_result_is_one_line_whatever_is_in_it():
    line = as_line(Rehearsed(store_path=BUILT, running=RUNNING, closure=("a\u2028b\nc\x85d",)))
    assert len(line.splitlines()) == 1
    assert last_line(Rehearsed, line).closure == ("a\u2028b\nc\x85d",)


@pytest.mark.parametrize(
    ("text", "shown"), [("a\tb\r\nc", "a b c"), ("\x1b[1;31ma\x07", "a"), ("a" * 300, "a" * 199 + "…")]
)
def test_texts_of_others_are_made_plain(text, shown):
    assert plain(text) == shown
