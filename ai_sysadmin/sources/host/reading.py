"""Reading the small files of /proc and /sys, and the one error for what a host does not say."""

from pathlib import Path

from ai_sysadmin.core.errors import AiSysadminError


class HostUnreadable(AiSysadminError):
    """This host does not say."""


def text_of(path: Path, what: str) -> str:
    """Return a file's text.

    Args:
        what: what the file tells, for the error's sentence: "memory use".

    Raises:
        HostUnreadable: it is not there, or may not be read.
    """
    try:
        return path.read_text(errors="surrogateescape")
    except OSError as error:
        raise HostUnreadable(f"{what} cannot be read: {error.strerror}") from error


def children(directory: Path, pattern: str = "*") -> list[Path]:
    """Return what lies in a directory of sysfs and fits a pattern, in order; a device may go while it is looked at."""
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return []


def attribute(path: Path) -> str:
    """Return one attribute of sysfs without its line end; empty: this device has none, or does not answer."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """Return one attribute of sysfs as a number; none: it is not there, or is no number."""
    try:
        return int(path.read_text(errors="replace"))
    except (OSError, ValueError):
        return None
