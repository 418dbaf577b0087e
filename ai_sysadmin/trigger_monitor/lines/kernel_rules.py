"""Lines of the kernel whose meaning is known. Data."""

from typing import Final

from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.lines.log_rule import kernel_rule

_DEVICE = r"(?P<disk>(?!sr\d|fd\d|loop\d|ram\d|zram\d)[a-z][\w!-]*)"

KERNEL_RULES: Final = (
    kernel_rule(
        "oom_kill", SymptomKind.OOM_KILL, 85,
        r"\boom-kill:constraint=.*\btask_memcg=(?P<cgroup>[^,\s]*),task=(?P<process>.*),pid=(?P<pid>\d+)"
        r"|\b(?:out\ of\ memory|memory\ cgroup\ out\ of\ memory):\ kill(?:ed)?\ process\ (?P<pid_>\d+)"
        r"\ \(?(?P<process_>[^),]+)",
        "the kernel killed a process because memory ran out",
        hints="oom-kill:|out of memory: kill", opens=True, about="process {process}",
    ),
    kernel_rule(
        "read_only_remount", SymptomKind.READ_ONLY, 90,
        rf"\({_DEVICE}\)?[^)]*\)?.*(?:remounting\ filesystem\ read-only|forced?\ (?:readonly|read-only)"
        r"|filesystem\ has\ been\ shut\ down|shutting\ down\ filesystem|aborted\ journal)"
        rf"|remounting\ filesystem\ read-only|aborting\ journal\ on\ device\ {_DEVICE.replace('disk', 'disk_')}",
        "a file system stopped accepting writes after an error",
        hints="read-only|readonly|shut down|shutting down filesystem|journal", opens=True, about="disk {disk}",
    ),
    kernel_rule(
        "file_system_error", SymptomKind.STORAGE_ERROR, 85,
        rf"\bext[234]-fs\ error\ \(device\ {_DEVICE}"
        r"|\bxfs\ \((?P<disk_>[\w!-]+)\):.*(?:corrupt|internal\ error|metadata\ i/o\ error|log\ i/o\ error)"
        r"|\bbtrfs(?::|\ )\s*(?:error|critical)\ \(device\ (?P<disk__>[\w!-]+)"
        r"|\b(?:fat|f2fs|jfs|udf|ntfs|ntfs3|erofs|reiserfs|bcachefs|exfat)(?:-fs)?:?\ (?:error\ )?\((?:device\ )?"
        r"(?P<disk___>[\w!-]+)\):?\ (?:.*\b)?(?:error|is\ corrupt(?:ed)?|inconsisten\w+)\b(?!s=)"
        r"|\bjbd2?:\ (?:.*\b)?(?:error|i/o\ error|detected)\b"
        r"|\bsquashfs\ error",
        "a file system found itself damaged",
        hints="ext2-fs|ext3-fs|ext4-fs|xfs|btrfs|fat|f2fs|jfs|udf|ntfs|erofs|reiserfs|bcachefs|jbd|squashfs",
        opens=True, about="disk {disk}",
    ),
    kernel_rule(
        "io_error", SymptomKind.STORAGE_ERROR, 85,
        rf"\b(?:(?:critical\ )?(?:medium|target|nexus|transport)|buffer\ i/o|i/o)"
        rf"\ error,?\ (?:on\ )?dev(?:ice)?\ {_DEVICE}"
        r"|\bsense\ key\ ?:\ (?:medium|hardware)\ error|\bunrecovered\ read\ error",
        "a disk could not read or write",
        hints="error", opens=True, about="disk {disk}",
    ),
    kernel_rule(
        "nvme_fault", SymptomKind.HARDWARE_ERROR, 85,
        r"\b(?P<disk>nvme\d+)(?:n\d+)?:.*(?:controller\ is\ down|\btimeout,\ (?:aborting|reset|completion|disable)"
        r"|device\ not\ ready|removing\ after\ probe|frozen\ state|controller\ reset\ failed)",
        "an NVMe disk does not answer", hints="nvme", opens=True, about="disk {disk}",
    ),
    kernel_rule(
        "disk_link", SymptomKind.HARDWARE_ERROR, 60,
        r"\b(?P<port>ata\d+)(?:\.\d+)?:.*(?:exception\ emask|failed\ command|hard\ resetting\ link|link\ is\ slow"
        r"|device\ not\ ready|comreset\ failed)|\b(?:scsi\ error|rejecting\ i/o\ to\ (?:offline|dead))",
        "the link to a disk has errors", hints="ata|scsi error|rejecting i/o", opens=False, about="disk link {port}",
    ),
    kernel_rule(
        "raid_disk_failed", SymptomKind.STORAGE_ERROR, 85,
        r"\bmd/?\w*:?(?P<array>md\w+)?:?.*(?:disk\ failure\ on|operation\ continuing\ on|kicking\ non-fresh)"
        r"|\braid.*\bdegraded",
        "a RAID array lost a disk", hints="disk failure on|continuing on|non-fresh|degraded", opens=True,
        about="raid {array}",
    ),
    kernel_rule(
        "corrected_hardware_error", SymptomKind.HARDWARE_ERROR, 50,
        r"(?:\bedac\b.*\b\d+\ ce\b|\bmachine\ check\ events\ logged|\bseverity[=:]\ ?corrected|\bcorrected\ error[,:]"
        r"|\bce\ memory\ read\ error|\bcorrectable\ (?:memory\ )?error(?:\ on|\ at|,|:))",
        "the hardware corrected an error; many of them announce a failing part",
        hints="edac|machine check events|corrected|correctable|ce memory", opens=False,
    ),
    kernel_rule(
        "hardware_error", SymptomKind.HARDWARE_ERROR, 90,
        r"\bedac\b.*\b\d+\ ue\b|\[hardware\ error\]|\bhardware\ error\b|\bmce:.*\b(?:fatal|uncorrected)\b"
        r"|\bmachine\ check(?:\ exception|:|\ interrupt|\ from)|\buncorrect(?:ed|able)\b[^.]{0,40}\berror\b"
        r"|\b(?:nmi:|nmi\ received).*(?:iock|serr|parity|unknown)|\bmemory\ failure:",
        "the hardware reports an error it could not correct",
        hints="edac|hardware error|mce|machine check|uncorrect|nmi|memory failure", opens=True,
    ),
    kernel_rule(
        "pcie_error", SymptomKind.HARDWARE_ERROR, 80,
        r"\bpcie\ bus\ error:\ severity=(?:uncorrected|fatal)|\baer:.*\b(?:uncorrected|fatal)\b",
        "a PCIe device has uncorrected errors", hints="pcie bus error|aer:", opens=True,
    ),
    kernel_rule(
        "process_crash", SymptomKind.CRASHED, 55,
        r"\b(?P<process>[\w.:/-]+)\[\d+\]:?\ (?:segfault\ at|general\ protection|trap\ \w+|bad\ frame)",
        "a process crashed", hints="segfault|general protection|trap|bad frame", opens=False,
        about="process {process}",
    ),
    kernel_rule(
        "lockup", SymptomKind.KERNEL_FAULT, 90,
        r"\b(?:soft|hard)\ lockup\b|\brcu:?.*\b(?:detected\ (?:expedited\ )?stalls?|stall\ on)|\bself-detected\ stall",
        "a processor was stuck in the kernel", hints="lockup|stall", opens=True,
    ),
    kernel_rule(
        "hung_task", SymptomKind.KERNEL_FAULT, 75,
        r"\btask\ \S+\ blocked\ for\ more\ than\ \d+\ seconds",
        "a task waits in the kernel for minutes: often a disk or a network file system that does not answer",
        hints="blocked for more than", opens=True,
    ),
    kernel_rule(
        "kernel_fault", SymptomKind.KERNEL_FAULT, 90,
        r"\bkernel\ (?:panic|bug\ at|null\ pointer)|\boops(?::|\ -)|\bbug:\ |\bunable\ to\ handle\ (?:kernel|page)"
        r"|\bgeneral\ protection\ fault|\bdouble\ fault\b|\bscheduling\ while\ atomic",
        "the kernel itself failed",
        hints="panic|oops|bug|unable to handle|protection fault|double fault|while atomic",
        opens=True,
    ),
    kernel_rule(
        "kernel_warning", SymptomKind.KERNEL_FAULT, 50,
        r"\bwarning:\ cpu:\ \d+\ pid:|\btainted:|\bcall\ trace:", "the kernel warns of a fault of its own",
        hints="warning: cpu|tainted|call trace", opens=False,
    ),
    kernel_rule(
        "overheating", SymptomKind.HARDWARE_ERROR, 80,
        r"\bcritical\ temperature\ reached|\bthermal\ shutdown|\boverheat|\btemperature\b.*\bshutting\ down",
        "the hardware is too hot", hints="temperature|thermal|overheat", opens=True,
    ),
    kernel_rule(
        "throttled", SymptomKind.HARDWARE_ERROR, 50, r"\btemperature\ above\ threshold|\bcpu\ clock\ throttled",
        "a processor was slowed down because it was hot", hints="above threshold|throttled", opens=False,
    ),
    kernel_rule(
        "conntrack_full", SymptomKind.LOG_RULE, 75, r"conntrack:.*\btable\ full,\ dropping",
        "the connection table is full: new connections are dropped", hints="table full", opens=True,
        about="connection tracking",
    ),
    kernel_rule(
        "network_memory", SymptomKind.LOG_RULE, 70,
        r"\btcp:\ out\ of\ memory|\bout\ of\ socket\ memory|\bneighbou?r\ table\ overflow",
        "the network stack ran out of room", hints="out of memory|socket memory|table overflow", opens=True,
        about="network stack",
    ),
    kernel_rule(
        "network_device_hung", SymptomKind.HARDWARE_ERROR, 80,
        r"\bnetdev\ watchdog:\ \(?(?P<interface>[\w.-]+)|\b(?P<interface_>\w+):.*"
        r"\bdetected\ (?:tx|hardware)\ unit\ hang",
        "a network device stopped sending", hints="netdev watchdog|unit hang", opens=True,
        about="{interface}",
    ),
    kernel_rule(
        "link_down", SymptomKind.LOG_RULE, 50, r"\b(?P<interface>[\w.-]+):?\ (?:nic\ )?link\ is\ down\b",
        "a network link went down", hints="link is down", opens=False, about="{interface}",
    ),
    kernel_rule(
        "gpu_fault", SymptomKind.HARDWARE_ERROR, 60,
        r"\bnvrm:\ xid\b|\bgpu\ hang\b|\bring\ \S+\ timeout|\bgpu\ has\ fallen\ off",
        "a graphics processor reports a fault", hints="xid|gpu|ring", opens=False,
    ),
    kernel_rule(
        "syn_flood", SymptomKind.LOG_RULE, 50, r"\bpossible\ syn\ flooding\ on\ port",
        "more connections come in than a service takes", hints="syn flooding", opens=False,
    ),
    kernel_rule(
        "clock_unstable", SymptomKind.LOG_RULE, 50, r"\bclocksource\b.*\b(?:unstable|skewed)|\btsc\ unstable",
        "the kernel distrusts its clock", hints="clocksource|tsc unstable", opens=False,
    ),
)  # fmt: skip
