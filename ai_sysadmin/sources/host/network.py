"""Links and faults of the network interfaces that lead out of this host."""

from collections.abc import Iterable
from pathlib import Path

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources.host.reading import HostUnreadable, attribute, children, number, text_of

_IS_UP = 0x1


def outward(sys_: Path) -> list[Path]:
    """Return the interfaces with hardware behind them, and the bridges and bonds that have such an interface as a port.

    Left out: those of containers, machines and tunnels, and all that are administratively down.

    Raises:
        HostUnreadable: there is none.
    """
    directory = sys_ / "class/net"
    try:
        interfaces = sorted(directory.iterdir())
    except OSError as error:
        raise HostUnreadable(f"the network interfaces cannot be read: {error.strerror}") from error
    physical = {each.name for each in interfaces if (each / "device").exists()}
    found = [each for each in interfaces if each.name in physical or _ports(each) & physical]
    if not found:
        raise HostUnreadable("this host has no network interface with hardware behind it")
    return [each for each in found if _is_up(each)]


def _ports(interface: Path) -> frozenset[str]:
    bridged = frozenset(port.name for port in children(interface / "brif"))
    return bridged or frozenset(attribute(interface / "bonding/slaves").split())


def _is_up(interface: Path) -> bool:
    try:
        return bool(int(attribute(interface / "flags"), 16) & _IS_UP)
    except ValueError:
        return False


class Links:
    """Whether the outward interfaces have a link.

    Left out: wireless ones, which come and go with the place, and those that never had a link since the host started:
    nothing is plugged in.
    """

    def __init__(self, sys_: Path = Path("/sys")) -> None:
        self._sys = sys_
        self._had_link: set[str] = set()

    def sample(self) -> list[Sample]:
        """Return ``network_link_up`` per interface. Raises: HostUnreadable."""
        samples: list[Sample] = []
        for interface in outward(self._sys):
            if (interface / "phy80211").exists() or (interface / "wireless").exists():
                continue
            has_link = number(interface / "carrier") == 1
            # Some drivers do not count: for them it is enough that a link was seen here.
            if has_link or (number(interface / "carrier_up_count") or 0) > 0:
                self._had_link.add(interface.name)
            if interface.name in self._had_link:
                samples.append(Sample("network_link_up", float(has_link), interface.name, "bool"))
        return samples


class NetworkRates:
    """Errors and dropped packets per second since the previous reading, per outward interface."""

    def __init__(self, proc: Path = Path("/proc"), sys_: Path = Path("/sys")) -> None:
        self._proc = proc
        self._sys = sys_
        self._before: dict[str, tuple[int, int]] = {}
        self._before_at = 0.0

    def sample(self, now: float) -> list[Sample]:
        """Return both rates per interface; nothing at the first reading, or for one that was made anew since.

        Args:
            now: seconds of a clock that only moves forward.

        Raises:
            HostUnreadable: there is no such interface, or no counters.
        """
        names = {interface.name for interface in outward(self._sys)}
        lines = text_of(self._proc / "net/dev", "the network counters").splitlines()
        counted = {name: counts for name, counts in _faults(lines) if name in names}
        before, self._before = self._before, counted
        passed, self._before_at = now - self._before_at, now
        if passed <= 0:
            return []
        samples: list[Sample] = []
        for name, counts in counted.items():
            risen = [count - earlier for count, earlier in zip(counts, before.get(name, ()), strict=False)]
            if risen and min(risen) >= 0:
                samples.append(Sample("network_errors_per_second", risen[0] / passed, name, "per_second"))
                samples.append(Sample("network_drops_per_second", risen[1] / passed, name, "per_second"))
        return samples


def _faults(lines: Iterable[str]) -> Iterable[tuple[str, tuple[int, int]]]:
    """Yield each interface with its errors and its dropped packets, both directions together."""
    for line in lines:
        name, colon, rest = line.partition(":")
        fields = rest.split()
        if colon and len(fields) >= 12:
            yield name.strip(), (int(fields[2]) + int(fields[10]), int(fields[3]) + int(fields[11]))
