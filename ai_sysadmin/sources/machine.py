"""What machine this is: its processors, firmware, maker, and whether it is a virtual one."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import attribute, children

_KEYS: Final = ("model name", "Model", "Hardware", "cpu model", "uarch", "isa")
_HYPERVISORS: Final = ("KVM", "QEMU", "VMware", "VirtualBox", "Xen", "Bochs", "Parallels", "Virtual Machine", "HVM")


class Processors(NamedTuple):
    """``mhz`` is the mean of what they run at now; none: not known. ``governors``: how their speed is chosen."""

    model: str
    number: int
    mhz: float | None
    governors: Sequence[str]


def processors(root: Path = Path("/")) -> Processors:
    """Return the processors that are in use."""
    rows = [line.partition(":") for line in attribute(root / "proc/cpuinfo").splitlines()]
    pairs = [(key.strip(), value.strip()) for key, colon, value in rows if colon]
    found = dict(reversed(pairs))  # the first processor's words win
    speeds = [float(value) for key, value in pairs if key == "cpu MHz" and value.replace(".", "", 1).isdigit()]
    policies = children(root / "sys/devices/system/cpu/cpufreq", "policy*")
    governors = Counter(name for each in policies if (name := attribute(each / "scaling_governor")))
    return Processors(
        model=next((found[key] for key in _KEYS if found.get(key)), ""),
        number=sum(key == "processor" for key, _ in pairs) or (os.cpu_count() or 1),
        mhz=sum(speeds) / len(speeds) if speeds else None,
        governors=tuple(sorted(governors)),
    )


def maker(root: Path = Path("/")) -> str:
    """Return who made the machine and what it is called; empty: it does not say."""
    dmi = root / "sys/class/dmi/id"
    words = [attribute(dmi / name) for name in ("sys_vendor", "product_name", "product_version", "board_name")]
    told = list(dict.fromkeys(word for word in words if word))
    return " ".join(told) or attribute(root / "proc/device-tree/model").rstrip("\0")


def firmware(root: Path = Path("/")) -> str:
    """Return whether the machine starts by UEFI, and its firmware's maker, version and date."""
    dmi = root / "sys/class/dmi/id"
    how = "UEFI" if (root / "sys/firmware/efi").is_dir() else "BIOS or a boot loader's own"
    words = [attribute(dmi / name) for name in ("bios_vendor", "bios_version", "bios_date")]
    return " ".join((how, *filter(None, words)))


def virtualisation(root: Path = Path("/")) -> str:
    """Return what machine or container holds this one; empty: none that shows itself."""
    container = attribute(root / "run/systemd/container")
    if container:
        return f"container ({container})"
    dmi = root / "sys/class/dmi/id"
    told = " ".join(attribute(dmi / name) for name in ("sys_vendor", "product_name", "bios_vendor"))
    named = next((name for name in _HYPERVISORS if name.casefold() in told.casefold()), "")
    if named:
        return f"virtual machine ({named})"
    kind = attribute(root / "sys/hypervisor/type")
    flags = attribute(root / "proc/cpuinfo").partition("\nflags")[2].partition("\n")[0].split()
    return f"virtual machine ({kind})" if kind else "virtual machine" if "hypervisor" in flags else ""


def kernel(root: Path = Path("/")) -> str:
    """Return the kernel's release and the machine's kind; empty: it does not say."""
    release = attribute(root / "proc/sys/kernel/osrelease")
    arch = attribute(root / "proc/sys/kernel/arch")  # from Linux 6.1 on
    return f"{release} {arch}".strip()
