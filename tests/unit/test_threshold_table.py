"""The threshold table: what is a fault, what is none, and the operator's own rows."""

import pytest

from ai_sysadmin.core.noticing_settings import Threshold
from ai_sysadmin.core.records import Sample
from ai_sysadmin.core.symptom_kinds import SymptomKind
from tests.sampled import GB, Host, disk, flag, percent, pressure

MEMORY_LEFT = Sample("memory_available_bytes", 2e8, "", "bytes")

FAULTS = [
    # samples, how often they may be given before it is told, kind, subject
    (disk(92), 3, SymptomKind.DISK_FULL, "/var"),
    (disk(100), 1, SymptomKind.DISK_FULL, "/var"),
    (disk(99.5, 64e6, "/mnt/small"), 1, SymptomKind.DISK_FULL, "/mnt/small"),
    (disk(88, 256e6, "/boot"), 3, SymptomKind.DISK_FULL, "/boot"),
    ((percent("file_system_inodes_used_percent", 96, "/var"),), 3, SymptomKind.INODES_FULL, "/var"),
    ((percent("file_system_inodes_used_percent", 100, "/var"),), 1, SymptomKind.INODES_FULL, "/var"),
    ((percent("memory_available_percent", 4), MEMORY_LEFT), 3, SymptomKind.MEMORY_SHORT, "memory"),
    ((percent("memory_available_percent", 1), MEMORY_LEFT), 2, SymptomKind.MEMORY_SHORT, "memory"),
    ((percent("swap_used_percent", 95), pressure("some", "memory", 20)), 3, SymptomKind.MEMORY_SHORT, "memory"),
    ((pressure("full", "memory", 30),), 4, SymptomKind.MEMORY_SHORT, "memory"),
    ((pressure("full", "io", 90),), 18, SymptomKind.THRESHOLD, "disks"),
    ((Sample("load_per_processor", 12), pressure("some", "cpu", 95)), 36, SymptomKind.THRESHOLD, "processors"),
    ((Sample("load_per_processor", 40),), 18, SymptomKind.THRESHOLD, "processors"),
    ((percent("open_files_used_percent", 95),), 2, SymptomKind.THRESHOLD, "open files"),
    ((percent("processes_used_percent", 95),), 2, SymptomKind.THRESHOLD, "processes"),
    ((percent("conntrack_used_percent", 95),), 2, SymptomKind.THRESHOLD, "connection tracking"),
    ((percent("temperature_of_critical_percent", 99, "cpu"),), 4, SymptomKind.THRESHOLD, "sensor cpu"),
    ((flag("clock_synchronised", 0),), 60, SymptomKind.THRESHOLD, "clock"),
    ((Sample("network_errors_per_second", 50, "eth0", "per_second"),), 4, SymptomKind.THRESHOLD, "eth0"),
    ((Sample("network_drops_per_second", 900, "eth0", "per_second"),), 8, SymptomKind.THRESHOLD, "eth0"),
    ((flag("raid_degraded", about="md0"),), 1, SymptomKind.THRESHOLD, "raid md0"),
    ((flag("zfs_pool_unhealthy", about="tank"),), 1, SymptomKind.THRESHOLD, "pool tank"),
    ((percent("zfs_pool_used_percent", 97, "tank"),), 2, SymptomKind.DISK_FULL, "pool tank"),
    ((flag("smart_failing", about="sda"),), 1, SymptomKind.THRESHOLD, "disk sda"),
    ((flag("file_system_unresponsive", about="/net"),), 2, SymptomKind.THRESHOLD, "/net"),
    (
        (Sample("certificate_days_left", -1, "/c.pem", "days"),),
        1,
        SymptomKind.CERTIFICATE_EXPIRED,
        "certificate /c.pem",
    ),
    (
        (Sample("certificate_days_left", 5, "/c.pem", "days"),),
        1,
        SymptomKind.CERTIFICATE_EXPIRING,
        "certificate /c.pem",
    ),
    ((flag("backup_overdue", about="db"),), 1, SymptomKind.BACKUP_OVERDUE, "backup db"),
]


@pytest.mark.parametrize(("samples", "times", "kind", "subject"), FAULTS)
def test_a_fault_is_told_once_when_it_has_lasted(samples, times, kind, subject):
    host = Host()
    assert host.tick(*samples, times=times - 1) == []
    (trigger,) = host.tick(*samples)
    assert (trigger.kind, trigger.subject, trigger.opens) == (kind, subject, True)
    assert "{" not in trigger.why
    assert host.tick(*samples, times=30) == []
    assert host.over(trigger) is None


NO_FAULTS = {
    "a large disk with much room": disk(96, 4000 * GB),
    "an ordinary disk": disk(85),
    "a boot partition of an ordinary size": disk(60, 512e6, "/boot"),
    "swap in use, nobody waits": (percent("swap_used_percent", 95), pressure("some", "memory", 0)),
    "swap in use, pressure unknown": (percent("swap_used_percent", 95),),
    "a large machine": (percent("memory_available_percent", 3), Sample("memory_available_bytes", 8e9, "", "bytes")),
    "busy processors, hardly anybody waits": (Sample("load_per_processor", 12), pressure("some", "cpu", 20)),
    "waiting for the processor": (pressure("full", "cpu", 100), pressure("some", "cpu", 100)),
    "read-only from the start": (flag("file_system_read_only", about="/var"),),
    "a link that never was": (flag("network_link_up", 0, "eth0"),),
    "a certificate that never verified": (flag("certificate_valid", 0, "db:5432"),),
    "old errors of a device": (Sample("btrfs_device_errors", 7, "x/1", "count"),),
    "a long certificate": (Sample("certificate_days_left", 60, "/c.pem", "days"),),
    "what is only recorded": (flag("reboot_pending"), Sample("nixos_generation", 142, "", "count")),
}


@pytest.mark.parametrize("name", NO_FAULTS)
def test_what_is_no_fault_is_not_told(name):
    assert Host().tick(*NO_FAULTS[name], times=100) == []


# --- the operator's


def test_the_operators_threshold_is_added_in_words():
    host = Host(Threshold(name="hot", metric="temperature_celsius", about="cpu*", above=70, clear=60, severity=85))
    warm = Sample("temperature_celsius", 75, "cpu 0", "celsius")
    (trigger,) = host.tick(warm, times=3)
    assert trigger.why == "temperature_celsius of cpu 0 is 75 °C (limit 70 °C)"
    assert (trigger.kind, trigger.subject, trigger.priority) == (SymptomKind.THRESHOLD, "cpu 0", 2)
    assert host.tick(warm._replace(about="disk"), times=9) == []


def test_the_operators_threshold_replaces_a_built_in_one_with_its_conditions():
    host = Host(
        Threshold(name="disk_nearly_full", metric="file_system_used_percent", above=50, samples=1, of_samples=1)
    )
    (trigger,) = host.tick(*disk(60, 4000 * GB))
    assert (trigger.kind, trigger.subject) == (SymptomKind.DISK_FULL, "/var")
    assert host.tick(*disk(99.5))[0].details["threshold"] == "disk_full"


def test_a_threshold_below_and_on_the_host_itself():
    host = Host(Threshold(name="few", metric="memory_available_bytes", below=3e8, samples=2, of_samples=2))
    assert host.tick(MEMORY_LEFT) == []
    (trigger,) = host.tick(MEMORY_LEFT)
    assert trigger.subject == "memory_available_bytes"
    assert trigger.why == "memory_available_bytes of the host is 200 MB (limit 300 MB)"


def test_a_disabled_threshold_is_never_crossed_and_its_fault_is_over():
    host = Host()
    (trigger,) = host.tick(*disk(92), times=3)
    off = Threshold(name="disk_nearly_full", metric="file_system_used_percent", above=90, enabled=False)
    without = Host(off)
    assert without.tick(*disk(92), times=9) == []
    assert "not watched any more" in without.over(trigger)
