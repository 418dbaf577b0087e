"""What a reboot of this host would meet: disks that ask for a passphrase, who holds a shutdown off, and why to reboot.

Where it cannot be seen that a disk is opened without a person, somebody is taken to be asked.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import attribute, children, text_of

_CRYPTTAB: Final = "etc/crypttab"
_NO_KEY: Final = frozenset({"", "-", "none"})
_UNATTENDED_SCRIPTS: Final = frozenset({"decrypt_derived", "passdev"})
_BY_ITSELF: Final = "tpm2-device="
_ASKS_TOO: Final = ("tpm2-pin=yes", "tpm2-pin=true", "tpm2-pin=1", "tpm2-pin=on")
_UNSEEN: Final = frozenset({"zfs", "bcachefs", "fscrypt", "ecryptfs"})
_PARTS: Final = ("kernel", "initrd", "kernel-modules")
_PACKAGE_LOCKS: Final = ("var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/lib/rpm/.rpm.lock")


class Mapping(NamedTuple):
    """One line of crypttab. ``asks`` says why opening it takes a person; empty: it does not."""

    name: str
    asks: str
    at_boot: bool


def boot_id(root: Path = Path("/")) -> str:
    """Return what names this boot. Raises: HostUnreadable."""
    return text_of(root / "proc/sys/kernel/random/boot_id", "which boot this is").strip()


def uptime_seconds(root: Path = Path("/")) -> float:
    """Return how long ago this boot began, time asleep included. Raises: HostUnreadable."""
    return float(text_of(root / "proc/uptime", "how long the host is up").split()[0])


def who_asks(root: Path = Path("/")) -> list[str]:
    """Return a sentence for each encrypted disk that a person may have to open at boot. Raises: HostUnreadable."""
    known = {each.name: each for each in crypttab(root)}
    asking = [f"{each.name}: {each.asks}" for each in known.values() if each.at_boot and each.asks]
    unknown = (name for name in _open_crypt_devices(root) if name not in known)
    return asking + [f"{name}: it is open, and /etc/crypttab does not say how" for name in unknown]


def crypttab(root: Path = Path("/")) -> list[Mapping]:
    """Return what crypttab opens. Raises: HostUnreadable: it is there and cannot be read."""
    if not (root / _CRYPTTAB).exists():
        return []
    lines = text_of(root / _CRYPTTAB, "/etc/crypttab").splitlines()
    rows = (line.split() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return [_mapping(*(row + [""] * 4)[:4]) for row in rows]


def unseen_encryption(root: Path = Path("/")) -> tuple[str, ...]:
    """Return the kinds of mounted file systems that may be encrypted without a trace here. Raises: HostUnreadable."""
    mounts = text_of(root / "proc/1/mounts", "what is mounted").splitlines()
    return tuple(sorted(_UNSEEN & {fields[2] for line in mounts if len(fields := line.split()) > 2}))


def holders(root: Path = Path("/")) -> list[str]:
    """Return who holds a shutdown off, as logind keeps it below ``/run/systemd/inhibit``."""
    found = []
    for file in children(root / "run/systemd/inhibit"):
        said = dict(line.partition("=")[::2] for line in attribute(file).splitlines())
        if said.get("MODE") == "block" and "shutdown" in said.get("WHAT", "").split(":"):
            found.append(f"the program {said.get('WHO', '')[:60]!r} of user id {said.get('UID', '?')[:10]}")
    return found


def packages_change(root: Path = Path("/")) -> bool:
    """Tell whether a package manager is at work: it holds its lock. Raises: HostUnreadable."""
    # a line with an arrow is of one who waits; an inode of another file system only errs on the safe side
    lines = text_of(root / "proc/locks", "what is locked").splitlines()
    inodes = {line.split()[5].rpartition(":")[2] for line in lines if " -> " not in line}
    return any(str(inode) in inodes for inode in _inodes(root))


def why_reboot(root: Path = Path("/")) -> str:
    """Say what waits for a reboot; empty: nothing does."""
    if (root / "run/reboot-required").exists():
        return "/run/reboot-required says that an update waits for a reboot"
    differing = [part for part in _PARTS if _differs(root, part)]
    return f"/run/current-system has another {' and '.join(differing)} than was booted" if differing else ""


def _mapping(name: str, _device: str, key: str, options: str) -> Mapping:
    said = options.split(",")
    return Mapping(name, _why_asks(key, said), at_boot="noauto" not in said)


def _why_asks(key: str, options: list[str]) -> str:
    scripts = [each.partition("=")[2].rpartition("/")[2] for each in options if each.startswith("keyscript=")]
    if scripts:
        return "" if scripts[-1] in _UNATTENDED_SCRIPTS else f"its key script {scripts[-1]!r} may ask"
    if any(each.startswith(("fido2-device=", "pkcs11-uri=")) for each in options):
        return "its key is a token that somebody has to touch"
    if any(each.startswith(_BY_ITSELF) for each in options):
        return "its TPM wants a PIN" if any(each in _ASKS_TOO for each in options) else ""
    return "it has no key file" if key in _NO_KEY else ""


def _open_crypt_devices(root: Path) -> Iterator[str]:
    for device in children(root / "sys/block", "dm-*"):
        if attribute(device / "dm/uuid").startswith("CRYPT-"):
            yield attribute(device / "dm/name")


def _inodes(root: Path) -> Iterator[int]:
    for name in _PACKAGE_LOCKS:
        try:
            yield (root / name).stat().st_ino
        except OSError:
            continue


def _differs(root: Path, part: str) -> bool:
    try:
        booted = (root / "run/booted-system" / part).readlink()
        return booted != (root / "run/current-system" / part).readlink()
    except OSError:
        return False
