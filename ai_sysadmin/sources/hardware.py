"""What hardware there is, from sysfs: PCI and USB devices, graphics, network cards, disks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import attribute, children, number

_MOST_LINES: Final = 100
_SECTOR: Final = 512
_UNITS: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"))
_CLASSES: Final = {
    "0x0100": "SCSI controller",
    "0x0101": "IDE controller",
    "0x0104": "RAID controller",
    "0x0106": "SATA controller",
    "0x0107": "SAS controller",
    "0x0108": "NVMe controller",
    "0x01": "storage controller",
    "0x0200": "Ethernet controller",
    "0x0280": "wireless network controller",
    "0x02": "network controller",
    "0x03": "graphics controller",
    "0x04": "multimedia device",
    "0x05": "memory controller",
    "0x0600": "host bridge",
    "0x0604": "PCI bridge",
    "0x06": "bridge",
    "0x07": "communication controller",
    "0x08": "system peripheral",
    "0x0c03": "USB controller",
    "0x0c": "serial bus controller",
    "0x0d": "wireless controller",
    "0x10": "encryption controller",
    "0x12": "processing accelerator",
}
_VENDORS: Final = {
    "0x1002": "AMD",
    "0x1022": "AMD",
    "0x10de": "NVIDIA",
    "0x10ec": "Realtek",
    "0x144d": "Samsung",
    "0x14e4": "Broadcom",
    "0x15b3": "Mellanox",
    "0x15b7": "SanDisk",
    "0x168c": "Qualcomm Atheros",
    "0x1969": "Qualcomm Atheros",
    "0x1af4": "Red Hat (virtio)",
    "0x1b21": "ASMedia",
    "0x1c5c": "SK hynix",
    "0x1344": "Micron",
    "0x8086": "Intel",
}


class Part(NamedTuple):
    """One kind of hardware, a line for each device."""

    name: str
    title: str
    lines: tuple[str, ...]


def hardware(root: Path = Path("/")) -> list[Part]:
    """Return what there is, kind by kind; a kind of which there is nothing is left out."""
    sys_ = root / "sys"
    kinds: tuple[tuple[str, str, Callable[[Path], Iterator[str]]], ...] = (
        ("hardware graphics", "Graphics cards (GPU)", _graphics),
        ("hardware network", "Network cards", _network),
        ("hardware disks", "Disks and block devices", _disks),
        ("hardware pci", "PCI devices", _pci),
        ("hardware usb", "USB devices", _usb),
    )
    parts = [Part(name, title, tuple(look(sys_))[:_MOST_LINES]) for name, title, look in kinds]
    return [part for part in parts if part.lines]


def _pci(sys_: Path) -> Iterator[str]:
    for device in children(sys_ / "bus/pci/devices"):
        yield f"{device.name}: {_described(device)}"


def _graphics(sys_: Path) -> Iterator[str]:
    for device in children(sys_ / "bus/pci/devices"):
        if attribute(device / "class").startswith("0x03"):
            memory = number(device / "mem_info_vram_total")
            yield f"{device.name}: {_described(device)}{f', {_size(memory)} of memory' if memory else ''}"


def _described(device: Path) -> str:
    kind = attribute(device / "class")
    vendor, model = attribute(device / "vendor"), attribute(device / "device")
    what = _CLASSES.get(kind[:6]) or _CLASSES.get(kind[:4]) or f"device of class {kind}"
    driver = _driver(device)
    ids = f"{vendor.removeprefix('0x')}:{model.removeprefix('0x')}"
    return f"{what}, {_VENDORS.get(vendor, 'vendor')} [{ids}], {f'driver {driver}' if driver else 'no driver'}"


def _driver(device: Path) -> str:
    try:
        return (device / "driver").readlink().name
    except OSError:
        return ""


def _usb(sys_: Path) -> Iterator[str]:
    for device in children(sys_ / "bus/usb/devices"):
        vendor, model = attribute(device / "idVendor"), attribute(device / "idProduct")
        if vendor and not device.name.startswith("usb"):  # the root hubs are the controllers, which PCI lists
            said = " ".join(filter(None, (attribute(device / "manufacturer"), attribute(device / "product"))))
            yield f"{device.name}: {said or 'unnamed'} [{vendor}:{model}]"


def _network(sys_: Path) -> Iterator[str]:
    for link in children(sys_ / "class/net"):
        if (link / "device").exists():
            kind = "wireless" if (link / "wireless").is_dir() or (link / "phy80211").exists() else "wired"
            driver = _driver(link / "device")
            yield f"{link.name}: {kind}{f', driver {driver}' if driver else ''}"


def _disks(sys_: Path) -> Iterator[str]:
    for disk in children(sys_ / "block"):
        sectors = number(disk / "size") or 0
        if not sectors or disk.name.startswith(("loop", "ram", "zram", "sr", "fd")):
            continue
        model = " ".join(filter(None, (attribute(disk / "device/vendor"), attribute(disk / "device/model"))))
        turning = "rotating" if attribute(disk / "queue/rotational") == "1" else "solid state"
        kind = "" if disk.name.startswith(("dm-", "md")) else f", {turning}"
        held = [attribute(disk / "dm/name"), attribute(disk / "md/level")]
        name = next((f" ({each})" for each in held if each), "")
        removable = ", removable" if attribute(disk / "removable") == "1" else ""
        yield f"{disk.name}{name}: {_size(sectors * _SECTOR)}{kind}{removable}{f', {model}' if model else ''}"


def _size(count: int) -> str:
    for size, unit in _UNITS:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
