"""When a figure of the host is a fault: a table that a person can read. Pure data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ai_sysadmin.core.noticing_settings import Threshold
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.host.threshold_rows import Also, Row, with_declared

MIB: Final = float(1 << 20)
GIB: Final = float(1 << 30)

_BOOT: Final = ("/boot", "/boot/*", "/efi", "/efi/*")
_REMOVABLE: Final = ("/media/*", "/run/media/*")


def _free_below(size: float) -> Also:
    return Also("file_system_free_bytes", below=size, clear=1.2 * size)


def _on(name: str, metric: str, words: str, **changes: object) -> Row:
    """Return a row for a figure that is 0 or 1, where 1 is the fault and one sample proves it."""
    row = Row(name, metric, words, above=0.5, votes=(1, 1))
    return replace(row, **changes)  # type: ignore[arg-type]


def _memory(name: str, metric: str, words: str, **changes: object) -> Row:
    return replace(Row(name, metric, words, SymptomKind.MEMORY_SHORT, subject="memory"), **changes)  # type: ignore[arg-type]


_STORAGE: Final = (
    Row(
        "disk_nearly_full",
        "file_system_used_percent",
        "{about} is {value} full, {also} are left",
        SymptomKind.DISK_FULL,
        except_about=_BOOT,
        above=90,
        clear=87,
        also=(_free_below(10 * GIB),),
    ),
    Row(
        "disk_full",
        "file_system_used_percent",
        "{about} is full ({value}), {also} are left",
        SymptomKind.DISK_FULL,
        above=98.9,
        clear=97,
        also=(_free_below(2 * GIB),),
        votes=(1, 1),
        severity=85,
    ),
    Row(
        "boot_nearly_full",
        "file_system_used_percent",
        "{about} is {value} full, {also} are left: the next kernel may not fit",
        SymptomKind.DISK_FULL,
        about=_BOOT,
        above=80,
        clear=75,
        also=(_free_below(80 * MIB),),
        severity=50,
    ),
    Row(
        "inodes_nearly_full",
        "file_system_inodes_used_percent",
        "{about} has used {value} of its inodes: soon it takes no further files",
        SymptomKind.INODES_FULL,
        above=95,
        clear=92,
    ),
    Row(
        "inodes_full",
        "file_system_inodes_used_percent",
        "{about} has used {value} of its inodes and takes no further files",
        SymptomKind.INODES_FULL,
        above=99,
        clear=97,
        votes=(1, 1),
        severity=80,
    ),
    _on(
        "read_only",
        "file_system_read_only",
        "{about} has become read-only",
        kind=SymptomKind.READ_ONLY,
        except_about=_REMOVABLE,
        only_after_good=True,
        severity=85,
    ),
    _on(
        "file_system_unresponsive",
        "file_system_unresponsive",
        "{about} does not answer: whoever looks there hangs",
        votes=(2, 2),
        severity=70,
    ),
    _on("raid_degraded", "raid_degraded", "{about} lacks a disk", subject="raid {about}", severity=80),
    _on(
        "zfs_pool_unhealthy", "zfs_pool_unhealthy", "the pool {about} is not well", subject="pool {about}", severity=80
    ),
    Row(
        "zfs_pool_nearly_full",
        "zfs_pool_used_percent",
        "the pool {about} is {value} full",
        SymptomKind.DISK_FULL,
        subject="pool {about}",
        above=95,
        clear=92,
        votes=(2, 2),
        severity=65,
    ),
    _on(
        "btrfs_device_errors",
        "btrfs_device_errors",
        "btrfs counted {value} further errors of {about}",
        subject="btrfs {about}",
        above=0,
        counts_up=True,
        clear_samples=144,  # half a day
        severity=75,
    ),
    _on("smart_failing", "smart_failing", "{about} says of itself that it fails", subject="disk {about}", severity=85),
)

_RESOURCES: Final = (
    _memory(
        "memory_low",
        "memory_available_percent",
        "only {value} of the memory is available ({also})",
        below=5,
        clear=8,
        also=(Also("memory_available_bytes", below=GIB, clear=1.2 * GIB),),
        severity=65,
    ),
    _memory(
        "memory_out",
        "memory_available_percent",
        "the memory is used up: {value} are available ({also})",
        below=2,
        clear=5,
        also=(Also("memory_available_bytes", below=GIB / 2, clear=0.6 * GIB),),
        votes=(2, 2),
        severity=80,
    ),
    _memory(
        "swap_nearly_full",
        "swap_used_percent",
        "the swap space is {value} used while tasks wait for memory ({also} of the time)",
        above=85,
        clear=75,
        also=(Also("pressure_some_percent", above=10, clear=5, about="memory"),),
    ),
    _memory(
        "memory_pressure",
        "pressure_full_percent",
        "all tasks stand still {value} of the time for want of memory",
        about=("memory",),
        above=15,
        clear=5,
        votes=(4, 5),
        severity=70,
    ),
    Row(
        "io_pressure",
        "pressure_full_percent",
        "all tasks stand still {value} of the time for want of their disks",
        subject="disks",
        about=("io",),
        above=70,
        clear=40,
        votes=(18, 20),
        severity=50,
    ),
    Row(
        "load_high",
        "load_per_processor",
        "the load is {value} per processor and tasks wait for one ({also} of the time)",
        subject="processors",
        above=8,
        clear=4,
        also=(Also("pressure_some_percent", above=80, clear=50, about="cpu"),),
        votes=(36, 40),
        severity=45,
    ),
    Row(
        "load_very_high",
        "load_per_processor",
        "the load is {value} per processor",
        subject="processors",
        above=25,
        clear=10,
        votes=(18, 20),
    ),
    Row(
        "open_files_high",
        "open_files_used_percent",
        "{value} of all files that may be open at once are open",
        subject="open files",
        above=90,
        clear=80,
        votes=(2, 2),
        severity=70,
    ),
    Row(
        "processes_high",
        "processes_used_percent",
        "{value} of all processes that there may be are there",
        subject="processes",
        above=90,
        clear=80,
        votes=(2, 2),
        severity=70,
    ),
    Row(
        "conntrack_high",
        "conntrack_used_percent",
        "{value} of all connections that can be tracked are tracked",
        subject="connection tracking",
        above=90,
        clear=80,
        votes=(2, 2),
        severity=70,
    ),
    _memory(
        "oom_kills",
        "oom_kills",
        "the kernel killed {value} processes for want of memory",
        above=0,
        votes=(1, 1),
        clear_samples=1,
        opens=False,
    ),
)

_HARDWARE: Final = (
    Row(
        "too_hot",
        "temperature_of_critical_percent",
        "{about} is at {value} of its critical temperature",
        subject="sensor {about}",
        above=98,
        clear=92,
        votes=(4, 4),
        severity=70,
    ),
    Row(
        "clock_unsynchronised",
        "clock_synchronised",
        "the clock is no longer synchronised",
        subject="clock",
        below=0.5,
        votes=(10, 10),
        severity=40,
        only_after_good=True,
    ),
    Row(
        "clock_never_synchronised",
        "clock_synchronised",
        "the clock has not been synchronised for an hour",
        subject="clock",
        below=0.5,
        votes=(60, 60),
        severity=35,
    ),
    Row(
        "network_errors",
        "network_errors_per_second",
        "{about} has {value} errors",
        above=10,
        clear=1,
        votes=(4, 6),
        clear_samples=8,
        severity=50,
    ),
    Row(
        "network_drops",
        "network_drops_per_second",
        "{about} drops {value} packets",
        above=200,
        clear=50,
        votes=(8, 10),
        clear_samples=8,
        severity=40,
    ),
    Row(
        "link_down",
        "network_link_up",
        "{about} has lost its link",
        below=0.5,
        votes=(4, 4),
        only_after_good=True,
    ),
)

_DATES: Final = (
    Row(
        "certificate_expired",
        "certificate_days_left",
        "the certificate {about} has expired",
        SymptomKind.CERTIFICATE_EXPIRED,
        subject="certificate {about}",
        below=0,
        votes=(1, 1),
        clear_samples=1,
        severity=75,
    ),
    _on(
        "certificate_invalid",
        "certificate_valid",
        "the certificate of {about} does not verify any more",
        subject="certificate {about}",
        above=None,
        below=0.5,
        votes=(2, 2),
        only_after_good=True,
    ),
    _on(
        "backup_overdue",
        "backup_overdue",
        "the backup {about} is overdue",
        kind=SymptomKind.BACKUP_OVERDUE,
        subject="backup {about}",
        clear_samples=1,
        severity=65,
    ),
)


def _certificate_expiring(days: float) -> Row:
    return Row(
        "certificate_expiring",
        "certificate_days_left",
        "the certificate {about} expires in {value}",
        SymptomKind.CERTIFICATE_EXPIRING,
        subject="certificate {about}",
        below=days,
        also=(Also("certificate_days_left", above=0),),
        votes=(1, 1),
        clear_samples=1,
        severity=55,
    )


def table(thresholds: Sequence[Threshold], certificate_days: float) -> tuple[Row, ...]:
    """Return all rows: the built-in ones, with the operator's in their place or added."""
    built_in = (*_STORAGE, *_RESOURCES, *_HARDWARE, *_DATES, _certificate_expiring(certificate_days))
    return with_declared(built_in, thresholds)
