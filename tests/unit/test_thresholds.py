"""The threshold table on made-up samples: what is told, when, once, and when it is over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.records import Sample
from ai_sysadmin.trigger_monitor.host.figures import mount_unit, shown
from tests.sampled import GB, Host, disk, flag


@pytest.mark.parametrize(
    ("good", "bad", "times", "words"),
    [
        (flag("file_system_read_only", 0, "/var"), flag("file_system_read_only", 1, "/var"), 1, "become read-only"),
        (flag("network_link_up", 1, "eth0"), flag("network_link_up", 0, "eth0"), 4, "lost its link"),
        (flag("certificate_valid", 1, "a:443"), flag("certificate_valid", 0, "a:443"), 2, "does not verify"),
        (flag("clock_synchronised", 1), flag("clock_synchronised", 0), 10, "no longer synchronised"),
    ],
)
def test_a_change_for_the_worse_is_told_also_over_a_restart(good, bad, times, words):
    host = Host()
    host.tick(good)
    host.restart()
    assert host.tick(bad, times=times - 1) == []
    (trigger,) = host.tick(bad)
    assert words in trigger.why
    host.restart()
    assert host.tick(bad, times=20) == []
    host.tick(good, times=2)
    assert "is well again since " in host.over(trigger)


def test_a_full_disk_says_what_is_known_of_it():
    (trigger,) = Host().tick(*disk(99.5))
    assert trigger.why == "/var is full (99.5 %), 500 MB are left"
    assert trigger.unit == "var.mount"
    assert trigger.priority == 2
    assert trigger.details == {
        "threshold": "disk_full",
        "metric": "file_system_used_percent",
        "on": "/var",
        "value": "99.5 %",
        "limit": "98.9 %",
        "severity": "85",
    }


def test_a_fault_that_grows_worse_is_a_further_symptom_of_the_same_subject():
    host = Host()
    (first,) = host.tick(*disk(92), times=3)
    (second,) = host.tick(*disk(99.5))
    assert first.subject == second.subject
    assert first.fingerprint != second.fingerprint


def test_full_is_over_only_when_it_is_not_nearly_full_either():
    host = Host()
    (full,) = host.tick(*disk(99.5), times=5)
    assert host.tick(*disk(95), times=9) == []
    assert host.over(full) is None
    host.tick(*disk(80), times=2)
    assert host.over(full) is not None


def test_between_the_limit_and_its_clear_nothing_changes():
    host = Host()
    (trigger,) = host.tick(*disk(92), times=3)
    assert host.tick(*disk(88.5), *disk(92, about="/home"), times=20)
    assert host.over(trigger) is None
    host.tick(*disk(86))
    assert host.over(trigger) is None
    host.tick(*disk(86))
    assert host.over(trigger).startswith("/var is back at 86.0 % since ")
    assert host.tick(*disk(92), times=2) == []
    assert host.over(trigger) is None  # it came near again, and was not told yet
    assert len(host.tick(*disk(92))) == 1


def test_one_good_sample_ends_nothing():
    host = Host()
    host.tick(*disk(92), times=3)
    host.tick(*disk(50))
    assert host.tick(*disk(92), times=9) == []


def test_a_fault_is_over_too_when_its_second_figure_is_good_again():
    host = Host()
    (trigger,) = host.tick(*disk(95, 110 * GB), times=3)
    host.tick(*disk(91, 200 * GB), times=2)
    assert host.over(trigger) is not None


def test_a_counter_is_a_fault_when_it_grows():
    host = Host()

    def device(errors):
        return Sample("btrfs_device_errors", errors, "x/1", "count")

    assert host.tick(device(7), times=3) == []
    (trigger,) = host.tick(device(9))
    assert trigger.why == "btrfs counted 2 further errors of x/1"
    assert host.tick(device(9), times=10) == []
    assert host.over(trigger) is None
    host.tick(device(9), times=200)
    assert host.over(trigger) is not None
    host.restart()
    assert len(host.tick(device(10))) == 1


def test_kills_for_want_of_memory_only_support():
    host = Host()
    (trigger,) = host.tick(Sample("oom_kills", 2, "", "count"))
    assert (trigger.opens, trigger.subject) == (False, "memory")
    host.tick(Sample("oom_kills", 0, "", "count"))
    assert len(host.tick(Sample("oom_kills", 1, "", "count"))) == 1


def test_a_gap_counts_for_nothing():
    host = Host()
    assert host.tick(*disk(92), times=2) == []
    host.seconds += 3600  # asleep
    assert host.tick(*disk(92), times=2) == []
    assert len(host.tick(*disk(92))) == 1
    host = Host()
    host.tick(*disk(92), times=2)
    host.seconds -= 900  # another boot
    assert host.tick(*disk(92), times=2) == []


def test_a_restart_neither_repeats_nor_forgets():
    host = Host()
    (trigger,) = host.tick(*disk(92), times=3)
    host.restart()
    assert host.over(trigger) is None
    assert host.tick(*disk(92), times=10) == []
    host.restart()
    host.tick(*disk(50), times=2)
    assert host.over(trigger) is not None


def test_a_count_goes_on_over_a_short_restart():
    host = Host()
    host.tick(*disk(92), times=2)
    host.restart()
    assert len(host.tick(*disk(92))) == 1


def test_what_is_not_there_any_more_is_over_and_what_is_not_known_is_not():
    host = Host()
    (trigger,) = host.tick(*disk(92), times=3)
    host.seconds += 7200
    assert host.over(trigger) is None
    host.tick(*disk(10, about="/"), times=50)
    assert host.over(trigger) == "/var is not there any more"


def test_in_maintenance_a_fault_waits_and_silenced_it_is_never_told():
    held = [True]
    host = Host(is_held_back=lambda unit, subject, text, rule: held[0])
    assert host.tick(*disk(92), *disk(92, about="/home"), times=10) == []
    assert host.tick(*disk(50, about="/home"), times=3) == []
    held[0] = False
    (trigger,) = host.tick(*disk(92))
    assert trigger.subject == "/var"
    silent = Host(
        is_silenced=lambda unit, subject, text, rule: (unit, subject, rule) == ("var.mount", "/var", "disk_full")
    )
    assert {trigger.subject for trigger in silent.tick(*disk(100), *disk(100, about="/home"))} == {"/home"}


# --- always


VALUES = st.lists(st.sampled_from((10.0, 88.0, 92.0, 99.5)), max_size=60)


@given(VALUES, VALUES)
def test_a_restart_at_any_moment_changes_nothing(before, after):
    through, restarted = Host(), Host()
    for value in before:
        assert through.tick(*disk(value)) == restarted.tick(*disk(value))
    restarted.restart()
    for value in after:
        assert through.tick(*disk(value)) == restarted.tick(*disk(value))


@given(VALUES)
def test_nothing_is_told_twice_without_having_been_good_between(values):
    host, told = Host(), set()
    for value in values:
        if value <= 92.0:
            told.discard("disk_full")
        if value == 10.0:
            told.discard("disk_nearly_full")
        for trigger in host.tick(*disk(value)):
            assert trigger.details["threshold"] not in told
            told.add(trigger.details["threshold"])


@pytest.mark.parametrize("text", ["", "no JSON", "{}", '[{"row": "disk_full"}]'])
def test_a_memory_that_cannot_be_read_is_an_error(text):
    with pytest.raises(ValueError, match="cannot be read"):
        Host().thresholds.recall(text)


def test_the_memory_stays_small_however_much_there_is():
    host = Host()
    for number in range(20_000):
        host.tick(*disk(92, about=f"/mnt/{number}"), every=0.01)
    assert len(host.thresholds.remember()) < 2_000_000


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "-.mount"),
        ("/var", "var.mount"),
        ("/var/lib/x y", "var-lib-x\\x20y.mount"),
        ("/a-b", "a\\x2db.mount"),
        ("/.snapshots", "\\x2esnapshots.mount"),
        ("/ö", "\\xc3\\xb6.mount"),
    ],
)
def test_a_mount_is_called_as_systemd_calls_it(path, name):
    assert mount_unit(path) == name


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(91.25, "percent", "91.2 %"), (1.5e9, "bytes", "1.5 GB"), (12, "bytes", "12 bytes"), (3, "days", "3.0 days")],
)
def test_figures_are_shown_for_people(value, unit, text):
    assert shown(value, unit) == text
