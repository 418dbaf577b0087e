"""trigger_monitor/lines/log_rules.py, rule_book.py: which lines a rule means, and whose word counts."""

import re
import time

import pytest

from ai_sysadmin.core.noticing_settings import LogRule
from ai_sysadmin.sources import levels
from ai_sysadmin.trigger_monitor.lines import log_rules, scores
from ai_sysadmin.trigger_monitor.lines.log_rule import Believed
from ai_sysadmin.trigger_monitor.lines.rule_book import RuleBook, about, disk_of, named

BOOK = RuleBook()

KERNEL_LINES = [
    ("Out of memory: Killed process 77 (mysqld) total-vm:1kB", "oom_kill", "process mysqld"),
    ("EXT4-fs (sda1): Remounting filesystem read-only", "read_only_remount", "disk sda"),
    ("Aborting journal on device dm-0-8.", "read_only_remount", "disk dm-0"),
    ("EXT4-fs error (device sda2): ext4_lookup:1785: inode #2: comm ls: deleted", "file_system_error", "disk sda"),
    ("BTRFS error (device nvme0n1p2): bad tree block start", "file_system_error", "disk nvme0n1"),
    ("XFS (dm-3): metadata I/O error in xfs_trans_read_buf_map", "file_system_error", "disk dm-3"),
    ("blk_update_request: critical medium error, dev sdc, sector 9", "io_error", "disk sdc"),
    ("Buffer I/O error on dev sdd1, logical block 0, async page read", "io_error", "disk sdd"),
    ("nvme nvme0: controller is down; will reset: CSTS=0xffffffff", "nvme_fault", "disk nvme0"),
    ("ata3.00: exception Emask 0x10 SAct 0x0 SErr 0x400000", "disk_link", "disk link ata3"),
    ("md/raid1:md0: Disk failure on sdb1, disabling device.", "raid_disk_failed", "raid md0"),
    ("mce: [Hardware Error]: CPU 2: Machine Check: 0 Bank 5", "hardware_error", "kernel"),
    ("EDAC MC0: 1 UE memory read error on CPU_SrcID#0", "hardware_error", "kernel"),
    ("EDAC MC0: 1 CE memory read error on CPU_SrcID#0", "corrected_hardware_error", "kernel"),
    ("pcieport 0000:00:1c.0: PCIe Bus Error: severity=Corrected, type=Physical", "corrected_hardware_error", "kernel"),
    ("traps: php[812] general protection fault ip:0 sp:0", "process_crash", "process php"),
    ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s!", "lockup", "kernel"),
    ("INFO: task sync:99 blocked for more than 120 seconds.", "hung_task", "kernel"),
    ("BUG: unable to handle page fault for address: 0", "kernel_fault", "kernel"),
    ("CPU0: Core temperature above threshold, cpu clock throttled", "throttled", "kernel"),
    ("nvme nvme0: I/O 12 QID 3 timeout, aborting", "nvme_fault", "disk nvme0"),
    ("FAT-fs (sdb1): error, fat_get_cluster: invalid cluster chain", "file_system_error", "disk sdb"),
    ("XFS (vdb): Corruption detected. Unmount and run xfs_repair", "file_system_error", "disk vdb"),
    ("mce: Uncorrected hardware memory error in user-access", "hardware_error", "kernel"),
    ("thermal thermal_zone0: critical temperature reached, shutting down", "overheating", "kernel"),
    ("nf_conntrack: nf_conntrack: table full, dropping packet", "conntrack_full", "connection tracking"),
    ("NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out", "network_device_hung", "eth0"),
    ("e1000e: eth1 NIC Link is Down", "link_down", "eth1"),
]

UNIT_LINES = [
    ("listen tcp :80: bind: address already in use", "port_taken"),
    ("database disk image is malformed", "database_corrupt"),
    ("index shop_pkey is corrupted", "database_corrupt"),
    ("table ./shop/orders is marked as crashed and should be repaired", "database_corrupt"),
    ("accept: too many open files", "too_many_files"),
    ("write /var/x: no space left on device", "no_space"),
    ("open: Read-only file system", "read_only"),
    ("read: Input/output error", "input_output_error"),
    ("fork: Cannot allocate memory", "no_memory"),
    ("Process 7 (cat) of user 0 dumped core.", "core_dump"),
    ("Traceback (most recent call last):", "program_fault"),
    ("tls: certificate of mail.example has expired", "certificate_expired"),
    ("lookup db.example: Temporary failure in name resolution", "name_resolution"),
    ("Failed password for anna from 192.0.2.7 port 22 ssh2", "login_failed"),
    ("FATAL: sorry, too many clients already", "too_many_connections"),
    ("web.service: Failed at step EXEC spawning /bin/no", "cannot_start"),
    ("mount: /srv: wrong fs type, bad option, bad superblock", "mount_failed"),
    ("System clock wrong by 12.3 seconds", "clock_stepped"),
]

HARMLESS = [
    "EXT4-fs (sda1): mounted filesystem with ordered data mode",
    "blk_update_request: I/O error, dev sr0, sector 0",
    "Started the daily file system check",
    "Accepted publickey for anna from 192.0.2.7",
    "certificate renewed, valid for 89 days",
    "thermal zone 0 registered",
    "port 80 is open",
    "checkpoint complete: wrote 12 buffers",
    "e1000e: eth1 NIC Link is Up 1000 Mbps",
    "mce: CPU0: Thermal monitoring enabled (TM1)",
    "mce: CPU supports 32 MCE banks",
    "MCE: In-kernel MCE decoding enabled.",
    "RAS: Correctable Errors collector initialized.",
    "HEST: Enabling Firmware First mode for corrected errors.",
    "EDAC MC: Ver: 3.0.0",
    "pcieport 0000:00:1c.0: AER: enabled with IRQ 121",
    "nvme nvme0: Shutdown timeout set to 10 seconds",
    "nvme nvme0: 8/0/0 default/read/poll queues",
    "FAT-fs (sda1): Volume was not properly unmounted. Some data may be corrupt. Please run fsck.",
    "EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: errors=remount-ro",
    "XFS (sda1): Unmounting Filesystem",
    "ata2: SATA link down (SStatus 0 SControl 300)",
    "ata5.00: disabling queued TRIM support",
    "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
    "[Firmware Bug]: TSC_DEADLINE disabled due to Errata",
    "ACPI BIOS Error (bug): Could not resolve symbol, AE_NOT_FOUND",
    "module verification failed: signature and/or required key missing - tainting kernel",
    "rcu: Hierarchical RCU implementation.",
    "clocksource: Switched to clocksource tsc",
    "thermal_sys: Registered thermal governor 'step_wise'",
    "perf: interrupt took too long (2513 > 2500), lowering kernel.perf_event_max_sample_rate to 79500",
    "checking table orders for corruption: no corrupt pages, 0 corrupted pages",
    "File /var/log/journal/system.journal corrupted or uncleanly shut down, renaming and replacing.",
]


def hit(message: str, *names: str, kernel: bool = False) -> str:
    rule = BOOK.match(message, names or ("web.service", "web"), is_kernel=kernel)
    return rule.name if rule else ""


@pytest.mark.parametrize(("message", "rule", "subject"), KERNEL_LINES)
def test_what_the_kernel_says(message: str, rule: str, subject: str) -> None:
    assert hit(message, "kernel", kernel=True) == rule
    assert about(BOOK[rule], named(BOOK[rule], message)) == subject
    claimed = hit(message)
    assert not claimed or BOOK[claimed].believed is Believed.WRITER


@pytest.mark.parametrize(("message", "rule"), UNIT_LINES)
def test_what_a_unit_says_of_itself(message: str, rule: str) -> None:
    assert hit(message) == rule
    assert BOOK[rule].about == ""


@pytest.mark.parametrize(
    ("message", "by", "rule", "subject"),
    [
        ("Device: /dev/sda [SAT], FAILED SMART self-check. BACK UP DATA NOW!", "smartd", "disk_failing", "disk sda"),
        ("Fail event detected on md device /dev/md127", "mdmonitor.service", "raid_degraded", "raid md127"),
        ("UPS myups@localhost on battery", "upsmon", "power_failure", "power supply"),
    ],
)
def test_what_a_watching_daemon_says_is_believed_of_it_alone(message: str, by: str, rule: str, subject: str) -> None:
    assert hit(message, by) == rule
    assert about(BOOK[rule], named(BOOK[rule], message)) == subject
    assert hit(message, "web.service") != rule


@pytest.mark.parametrize("message", HARMLESS)
def test_what_no_rule_means(message: str) -> None:
    assert hit(message, "kernel", kernel=True) == ""


@pytest.mark.parametrize("message", [line for line in HARMLESS if "I/O error" not in line])
def test_what_no_unit_means_either(message: str) -> None:
    assert hit(message) == ""


def test_every_rule_is_met_by_a_hint_of_its_own_and_named_once() -> None:
    names = [rule.name for rule in log_rules.RULES]
    assert len(set(names)) == len(names)
    assert all(hint == hint.lower() for rule in log_rules.RULES for hint in rule.hints)
    assert all(0 < rule.severity <= 100 and rule.why for rule in log_rules.RULES)


def test_an_operators_rule_comes_first_and_replaces_its_namesake() -> None:
    book = RuleBook([LogRule(name="no_space", pattern="^nothing$"), LogRule(name="mine", pattern="PORT", unit="web*")])
    assert book.match("no space left on device", ("web",), is_kernel=False) is None
    found = book.match("the port: address already in use", ("web",), is_kernel=False)
    other = book.match("the port: address already in use", ("db",), is_kernel=False)
    assert (found and found.name, other and other.name) == ("mine", "port_taken")


@pytest.mark.parametrize(
    ("pattern", "by_line"),
    [("code 42", True), (r"code \d+", True), ("a{2,3}b", False), ("plain words", False), (r"^x\.y$", False)],
)
def test_a_rule_with_numbers_sees_every_line(pattern: str, by_line: bool) -> None:
    assert bool(RuleBook([LogRule(name="mine", pattern=pattern)]).by_line(("web",))) is by_line


@pytest.mark.parametrize(
    ("device", "disk"),
    [("sda1", "sda"), ("nvme0n1p3", "nvme0n1"), ("mmcblk0p1", "mmcblk0"), ("dm-4", "dm-4"), ("vdb", "vdb"), ("x", "x")],
)
def test_a_partition_is_of_a_disk(device: str, disk: str) -> None:
    assert disk_of(device) == disk


def test_no_text_takes_long() -> None:
    pieces = ("error ", "disk full ", "corrupt", "certificate expired", "mount: ", "(", "nvme0", "oom-kill:", "ata1: ")
    began = time.process_time()
    for piece in pieces:
        BOOK.match((piece * 600)[:16384], ("web",), is_kernel=True)
    assert time.process_time() - began < 1


IN_PUBLIC_SAMPLES_ONLY = (
    "ciod", "ciostream", "bglio", "bgl", "rts", "torus", "lustre", "midplane", "ido", "mmcs", "ionode", "tlb",
    "icache", "dcbf", "icbi", "double-hummer", "appread", "kerndtlb", "kernstor", "kernterm", "appsev", "vapi",
    "pbs_mom", "gmetad", "ganglia", "rrd_update", "ib_sm", "cciss", "lanai", "dfs", "datanode", "packetresponder",
    "blockmap", "namesystem", "quorumcnxmanager", "sendworker", "recvworker", "mapreduce", "rmcontainerallocator",
    "leaserenewer", "mod_jk", "workerenv", "jk2_init", "nova", "wsgi", "imagecache", "niff", "fdmn", "linkerror",
    "bcast", "switch_module", "temphigh", "hresult", "cbs_e", "trustedinstaller", "klogind", "thunderbird",
    "step_lsc", "hihealth", "calvisitor", "iothunderbolt", "corecaptured", "rddmanager",
)  # fmt: skip
"""Names that stand in well-known public log samples, and in hardly any other log."""


def test_no_rule_and_no_word_is_made_for_a_data_set() -> None:
    texts = [rule.pattern.pattern for rule in log_rules.RULES]
    texts += [text for rule in log_rules.RULES for text in (*rule.hints, *rule.speakers, rule.about, rule.name)]
    for module in (scores, levels):
        values = [each for each in vars(module).values() if isinstance(each, (str, tuple, re.Pattern))]
        texts += [each.pattern if isinstance(each, re.Pattern) else str(each) for each in values]
    everything = "\n".join(texts).lower()
    words = set(re.findall(r"[a-z0-9_-]+", everything))
    assert not [name for name in IN_PUBLIC_SAMPLES_ONLY if name in words or (len(name) > 4 and name in everything)]
