"""What a NixOS system says of itself: its version, kernel, and the commit of the configuration it was built from."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.changes.closures import split_name
from ai_sysadmin.sources.changes.rooted import entry_of, inside, resolved, target_of

_MOST_BYTES: Final = 64 << 10
_REVISION: Final = re.compile(r'\\?"configurationRevision\\?"\s*:\s*\\?"([^"\\]{1,100})')
_PRETTY: Final = re.compile(r'^PRETTY_NAME="?([^"\n]{1,100})', re.MULTILINE)


class SystemSaid(NamedTuple):
    """A system in its own words; what is empty it does not say."""

    version: str = ""
    kernel: str = ""
    revision: str = ""


def said_by(root: Path, system: str) -> SystemSaid:
    """Return what a system of the store says of itself. Never raises: what cannot be read is empty.

    The revision is read out of the ``nixos-version`` that the system holds, which need not run for it: so it is known
    of every generation there is.
    """
    kernel = entry_of(target_of(root, f"{system}/kernel"))
    script = _text(root, f"{system}/sw/bin/nixos-version")
    revision = _REVISION.search(script)
    return SystemSaid(
        version=" ".join(_text(root, f"{system}/nixos-version").split())[:100],
        kernel=" ".join(filter(None, split_name(kernel))) if kernel else "",
        revision=revision[1] if revision else "",
    )


def distribution(root: Path) -> str:
    """Return the name of the system that runs here, such as ``Debian GNU/Linux 12 (bookworm)``."""
    for name in ("/etc/os-release", "/usr/lib/os-release"):
        if match := _PRETTY.search(_text(root, name)):
            return match[1]
    return "a system without a name"


def _text(root: Path, path: str) -> str:
    try:
        with inside(root, resolved(root, path)).open("rb") as opened:
            return opened.read(_MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""
