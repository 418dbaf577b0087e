"""What can be wrong: every kind of symptom."""

from enum import StrEnum


class SymptomKind(StrEnum):
    """What a fingerprint names; ``naming.RANK`` says which of several gives an incident its name."""

    # a unit's own state, measured by systemd
    UNIT_FAILED = "unit_failed"
    CRASHED = "crashed"
    OOM_KILL = "oom_kill"
    WATCHDOG = "watchdog"
    TIMED_OUT = "timed_out"
    START_LIMIT_HIT = "start_limit_hit"
    DEPENDENCY_FAILED = "dependency_failed"
    FLAPPING = "flapping"
    STUCK = "stuck"
    UNITS_FAILED = "units_failed"
    # the host, by thresholds
    DISK_FULL = "disk_full"
    INODES_FULL = "inodes_full"
    DISK_FILLING = "disk_filling"
    READ_ONLY = "read_only"
    MEMORY_SHORT = "memory_short"
    THRESHOLD = "threshold"
    UNUSUAL = "unusual"
    # what the operator has watched
    PROBE_FAILED = "probe_failed"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_EXPIRING = "certificate_expiring"
    BACKUP_OVERDUE = "backup_overdue"
    ALERT = "alert"
    # log lines
    HARDWARE_ERROR = "hardware_error"
    STORAGE_ERROR = "storage_error"
    KERNEL_FAULT = "kernel_fault"
    PORT_TAKEN = "port_taken"
    LOG_RULE = "log_rule"
    BURST = "burst"
    SEVERE_LOG = "severe_log"
    NOVEL_LOG = "novel_log"
    SUPPRESSED = "suppressed"
    # many at once
    STORM = "storm"


UNIT_STATE_KINDS = frozenset(
    {
        SymptomKind.UNIT_FAILED,
        SymptomKind.CRASHED,
        SymptomKind.OOM_KILL,
        SymptomKind.WATCHDOG,
        SymptomKind.TIMED_OUT,
        SymptomKind.START_LIMIT_HIT,
        SymptomKind.DEPENDENCY_FAILED,
        SymptomKind.FLAPPING,
        SymptomKind.STUCK,
        SymptomKind.UNITS_FAILED,
    }
)
"""Faults that systemd itself measures, as against what a log only says."""

HOST_STATE_KINDS = frozenset(
    {
        SymptomKind.DISK_FULL,
        SymptomKind.INODES_FULL,
        SymptomKind.DISK_FILLING,
        SymptomKind.READ_ONLY,
        SymptomKind.MEMORY_SHORT,
        SymptomKind.THRESHOLD,
        SymptomKind.PROBE_FAILED,
        SymptomKind.CERTIFICATE_EXPIRED,
        SymptomKind.CERTIFICATE_EXPIRING,
        SymptomKind.BACKUP_OVERDUE,
    }
)
"""Faults that the trigger monitor measures itself."""
