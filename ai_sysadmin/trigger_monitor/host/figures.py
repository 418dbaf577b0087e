"""How figures, severities and mounts are called. Pure."""

from typing import Final


def priority_of(severity: int) -> int:
    """Return the syslog priority that a severity of 0 to 100 comes to."""
    return 2 if severity >= 80 else 3 if severity >= 50 else 4


_SIZES: Final = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def shown(value: float, unit: str) -> str:
    """Say a figure for people: ``91.2 %``, ``1.4 GB``, ``12 days``."""
    match unit:
        case "percent":
            return f"{value:.1f} %"
        case "bytes":
            size = next(((name, size) for name, size in _SIZES if abs(value) >= size), ("bytes", 1.0))
            return f"{value / size[1]:.3g} {size[0]}"
        case "bool":
            return "yes" if value else "no"
        case "days":
            return f"{value:.1f} days"
        case "celsius":
            return f"{value:.0f} °C"
        case "per_second":
            return f"{value:.3g} per second"
        case _:
            return f"{value:.4g}"


def mount_unit(path: str) -> str:
    """Return the name of the systemd unit that mounts a path: ``/var/lib`` is ``var-lib.mount``."""
    name = "-".join("".join(map(_escaped, part.encode())) for part in path.split("/") if part)
    return f"\\x2e{name[1:]}.mount" if name.startswith(".") else f"{name or '-'}.mount"


def _escaped(byte: int) -> str:
    character = chr(byte)
    return character if byte < 128 and (character.isalnum() or character in ":_.") else f"\\x{byte:02x}"
