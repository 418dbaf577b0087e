"""Log lines whose meaning is known: what a Unix administrator would name at sight. Data; ``rule_book`` matches it.

A rule about the kernel or the host's devices is believed of the kernel alone (or of the daemon that watches such a
device): whatever else a program writes says something of that program's own unit, and of nothing else.
"""

from typing import Final

from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.lines.kernel_rules import KERNEL_RULES
from ai_sysadmin.trigger_monitor.lines.log_rule import log_rule, watcher_rule

WATCHER_RULES: Final = (
    watcher_rule(
        "disk_failing", SymptomKind.HARDWARE_ERROR, 85,
        r"\bdevice:\ /dev/(?P<disk>[\w-]+).*(?:failed\ smart|smart\ failure|unreadable\ \(pending\)"
        r"|offline\ uncorrectable|prefailure\ attribute.*failed|self-test\ (?:log\ )?error|critical\ warning)",
        "a disk's own diagnosis says that it is failing", hints="device: /dev/", about="disk {disk}",
        by="smartd*|smartmontools*",
    ),
    watcher_rule(
        "raid_degraded", SymptomKind.STORAGE_ERROR, 85,
        r"\b(?:degradedarray|fail|failspare|devicedisappeared)\ event\b.*?\bmd\ device\ /dev/(?P<array>[\w/-]+)",
        "a RAID array is degraded", hints=" event", about="raid {array}", by="mdadm*|mdmonitor*",
    ),
    watcher_rule(
        "pool_degraded", SymptomKind.STORAGE_ERROR, 85,
        r"(?:pool\ (?:'|=)?(?P<pool>[\w.-]+)|vdev).*\b(?:degraded|faulted|unavail|removed)\b",
        "a storage pool is degraded",
        hints="degraded|faulted|unavail|removed", about="pool {pool}", by="zed*|zfs-zed*",
    ),
    watcher_rule(
        "power_failure", SymptomKind.LOG_RULE, 80,
        r"\bpower\ fail\w*|\bon\ battery\b|\bbattery\ (?:is\ )?(?:low|exhausted|critical)|\bline\ power\ lost",
        "mains power is lost", hints="power|battery", about="power supply", by="nut-*|upsd*|upsmon*|ups*|apcupsd*",
    ),
)  # fmt: skip

UNIT_RULES: Final = (
    log_rule(
        "port_taken", SymptomKind.PORT_TAKEN, 65,
        r"\baddress\ (?:is\ )?already\ in\ use\b|\beaddrinuse\b"
        r"|\bport\ \d+\ is\ (?:already\ )?(?:in\ use|allocated|taken)",
        "another process holds the port that it wants", hints="in use|eaddrinuse|is already|taken", opens=True,
    ),
    log_rule(
        "database_corrupt", SymptomKind.STORAGE_ERROR, 90,
        r"\bdatabase\ disk\ image\ is\ malformed|\binvalid\ page\ in\ block|\bcould\ not\ locate\ a\ valid\ checkpoint"
        r"|\bmarked\ as\ crashed|\bcorruption\ (?:was\ )?(?:detected|found)\b|\bis\ corrupt(?:ed)?:"
        r"|\b(?:index|page|wal|database|table|tablespace)\b[^:]{0,40}\b(?:is|are|appears|seems)\ (?:to\ be\ )?corrupt"
        r"|(?<!\bno\ )(?<!\b0\ )\bcorrupt(?:ed)?\ (?:index|page|wal|database|table|tablespace|btree)\b"
        r"|\bpage\ verification\ failed|\bunexpected\ zero\ page",
        "stored data is damaged",
        hints="malformed|invalid page|valid checkpoint|crashed|corrupt|verification|zero page",
        opens=True,
    ),
    log_rule(
        "too_many_files", SymptomKind.LOG_RULE, 65, r"\btoo\ many\ open\ files\b|\b(?:emfile|enfile)\b",
        "it ran out of file descriptors", hints="open files|emfile|enfile", opens=True,
    ),
    log_rule(
        "no_space", SymptomKind.DISK_FULL, 70,
        r"\bno\ space\ left\ on\ device|\benospc\b|\bdisk\ quota\ exceeded|\bdatabase\ or\ disk\ is\ full"
        r"|\b(?:disk|filesystem|file\ system|device)\ (?:is\ )?full\b|\bno\ free\ inodes"
        r"|\bnot\ enough\ (?:disk\ )?space",
        "it found no room to write", hints="space|quota|full|inodes",
    ),
    log_rule(
        "read_only", SymptomKind.READ_ONLY, 65, r"\bread-only\ file\ ?system\b|\berofs\b",
        "it found its file system read-only", hints="read-only|erofs",
    ),
    log_rule(
        "input_output_error", SymptomKind.STORAGE_ERROR, 65, r"\binput/output\ error|\bi/o\ error\b",
        "it could not read or write", hints="input/output|i/o error",
    ),
    log_rule(
        "no_memory", SymptomKind.LOG_RULE, 65,
        r"\bcannot\ allocate\ memory|\bout\ ?of\ ?memory(?:error)?\b|\bstd::bad_alloc|\bnot\ enough\ memory|\benomem\b",
        "it could not get memory", hints="memory|bad_alloc|enomem",
    ),
    log_rule(
        "core_dump", SymptomKind.CRASHED, 65,
        r"\bdumped\ core\b|\bcore\ dumped\b|\bsegmentation\ (?:fault|violation)\b|\bstack\ smashing\ detected"
        r"|\bdouble\ free\b|\bcorrupted\ (?:size|double-linked|top)\b|\bfree\(\):\ invalid|\bsigsegv\b|\bsigabrt\b",
        "a process of it crashed",
        hints="dumped|segmentation|smashing|double free|corrupted|free()|sigsegv|sigabrt",
    ),
    log_rule(
        "program_fault", SymptomKind.LOG_RULE, 55,
        r"^traceback\ \(most\ recent|\bunhandled\ exception|\buncaught\ exception|^panic:|\bgoroutine\ \d+\ \[running"
        r"|\bassertion\b.*\bfailed|\bthread\ '[^']*'\ panicked|\bexception\ in\ thread\b",
        "the program met a fault of its own", hints="traceback|exception|panic|goroutine|assertion",
    ),
    log_rule(
        "certificate_expired", SymptomKind.CERTIFICATE_EXPIRED, 60,
        r"\bcertificate\b[^;]{0,60}\bexpired|\bexpired\b[^;]{0,30}\bcertificate",
        "a certificate has expired", hints="certificate",
    ),
    log_rule(
        "name_resolution", SymptomKind.LOG_RULE, 50,
        r"\b(?:temporary\ failure\ in\ name\ resolution|could\ not\ resolve(?!\ symbol)|cannot\ resolve"
        r"|failed\ to\ resolve"
        r"|unable\ to\ resolve|name\ or\ service\ not\ known|servfail|no\ such\ host|name\ resolution\ failed)\b",
        "a host name could not be looked up", hints="resol|not known|servfail|such host",
    ),
    log_rule(
        "login_failed", SymptomKind.LOG_RULE, 50,
        r"\bauthentication\ fail(?:ure|ed)|\bfailed\ (?:password|publickey|login)|\binvalid\ user\b|\blogin\ incorrect"
        r"|\bmaximum\ authentication\ attempts|\bincorrect\ password|\bnot\ in\ (?:the\ )?sudoers|\bbad\ password",
        "somebody failed to log in; many of them are an attack",
        hints="authentication|failed|invalid user|login|password|sudoers",
    ),
    log_rule(
        "too_many_connections", SymptomKind.LOG_RULE, 60,
        r"\btoo\ many\ (?:connections|clients)|\bconnection\ slots\ are\ reserved"
        r"|\bworker_connections\ are\ not\ enough|\bconnection\ pool\ (?:is\ )?exhausted"
        r"|\bmaximum\ number\ of\ (?:clients|connections)\ reached",
        "it has more clients than it takes", hints="too many|slots|worker_connections|pool|maximum number",
    ),
    log_rule(
        "cannot_start", SymptomKind.LOG_RULE, 55,
        r"\bfailed\ at\ step\ \w+|\bbad\ unit\ file\ setting|\bfailed\ to\ set\ up\ (?:mount\ )?namespac"
        r"|\bexec\ format\ error|\berror\ while\ loading\ shared\ libraries",
        "its program could not be started", hints="at step|unit file setting|namespac|exec format|shared librar",
    ),
    log_rule(
        "mount_failed", SymptomKind.STORAGE_ERROR, 65,
        r"\bmount(?::|\.\w+:|\ )[^;]*\b(?:wrong\ fs\ type|can't\ read\ superblock|failed|unknown\ filesystem"
        r"|connection\ timed\ out|special\ device\ \S+\ does\ not\ exist)\b",
        "a file system could not be mounted", hints="mount",
    ),
    log_rule(
        "clock_stepped", SymptomKind.LOG_RULE, 50,
        r"\bsystem\ clock\ wrong\ by|\b(?:clock|time)\ (?:was\ )?stepped|\btime\ (?:has\ )?jumped|\bstepping\ clock"
        r"|\bstep\ time\ server|\btime\ reset\ [+-]?\d+\.\d{2,}",
        "the clock was set by a jump", hints="clock|stepped|jumped|step time|time reset",
    ),
)  # fmt: skip

RULES: Final = (*KERNEL_RULES, *WATCHER_RULES, *UNIT_RULES)
