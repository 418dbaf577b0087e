"""sources/host: links and faults of the interfaces that lead out of the host."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources.host import HostUnreadable, Links, NetworkRates

HEAD = "Inter-|   Receive                                |  Transmit\n face |bytes packets errs drop|bytes\n"


class Machine:
    """Interfaces in a made-up /sys, and their counters in a made-up /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "class/net").mkdir(parents=True)
        (root / "net").mkdir()

    def plug(self, name: str, *, flags: str = "0x1003", carrier: str | None = "1", ups: str | None = "1") -> Path:
        path = self.root / "class/net" / name
        path.mkdir(exist_ok=True)
        (path / "flags").write_text(f"{flags}\n")
        for file, value in (("carrier", carrier), ("carrier_up_count", ups)):
            if value is not None:
                (path / file).write_text(f"{value}\n")
        return path

    def card(self, name: str, **state: str | None) -> Path:
        path = self.plug(name, **state)
        (path / "device").mkdir(exist_ok=True)
        return path

    def count(self, **faults: tuple[int, int, int, int]) -> None:
        rows = (
            f"  {name}: 1 2 {rx_errors} {rx_drops} 0 0 0 0 3 4 {tx_errors} {tx_drops} 0 0 0 0\n"
            for name, (rx_errors, rx_drops, tx_errors, tx_drops) in faults.items()
        )
        (self.root / "net/dev").write_text(HEAD + "".join(rows))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _links(machine: Machine) -> dict[str, float]:
    return {sample.about: sample.value for sample in Links(machine.root).sample()}


def test_only_interfaces_with_hardware_behind_them_count(machine: Machine) -> None:
    machine.card("eth0")
    for name in ("lo", "veth12", "docker0", "virbr0", "tap3", "wg0"):
        machine.plug(name)
    (machine.root / "class/net/docker0/brif/veth12").mkdir(parents=True)
    bridge = machine.plug("br0")
    (bridge / "brif/eth0").mkdir(parents=True)
    bond = machine.plug("bond0", carrier="0")
    (bond / "bonding").mkdir()
    (bond / "bonding/slaves").write_text("eth0 eth1\n")
    assert _links(machine) == {"eth0": 1.0, "br0": 1.0, "bond0": 0.0}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param({}, {"eth0": 1.0}, id="up"),
        pytest.param({"carrier": "0"}, {"eth0": 0.0}, id="lost its link"),
        pytest.param({"carrier": None}, {"eth0": 0.0}, id="does not say while it is lost"),
        pytest.param({"carrier": "0", "ups": "0"}, {}, id="never had a cable"),
        pytest.param({"flags": "0x1002", "carrier": "0"}, {}, id="administratively down"),
        pytest.param({"flags": "rubbish"}, {}, id="unreadable"),
    ],
)
def test_link(machine: Machine, state: dict[str, str | None], expected: dict[str, float]) -> None:
    machine.card("eth0", **state)
    assert _links(machine) == expected


def test_a_link_of_a_driver_that_does_not_count_is_remembered(machine: Machine) -> None:
    links = Links(machine.root)
    machine.card("eth0", ups=None)
    links.sample()
    machine.card("eth0", carrier="0", ups=None)
    assert links.sample() == [Sample("network_link_up", 0.0, "eth0", "bool")]


def test_a_wireless_link_comes_and_goes(machine: Machine) -> None:
    (machine.card("wlan0", carrier="0") / "phy80211").mkdir()
    assert _links(machine) == {}


def test_a_host_without_hardware(machine: Machine) -> None:
    machine.plug("lo")
    with pytest.raises(HostUnreadable, match="no network interface"):
        Links(machine.root).sample()


def test_rates_are_per_second_and_of_both_directions(machine: Machine) -> None:
    machine.card("eth0")
    rates = NetworkRates(machine.root, machine.root)
    machine.count(eth0=(1, 2, 3, 4), lo=(0, 0, 0, 0))
    assert rates.sample(100.0) == []
    machine.count(eth0=(6, 2, 8, 24), lo=(9, 9, 9, 9))
    assert rates.sample(110.0) == [
        Sample("network_errors_per_second", 1.0, "eth0", "per_second"),
        Sample("network_drops_per_second", 2.0, "eth0", "per_second"),
    ]
    assert rates.sample(110.0) == [], "no time passed"


def test_an_interface_that_was_made_anew_is_measured_from_then_on(machine: Machine) -> None:
    machine.card("eth0")
    machine.card("eth1")
    rates = NetworkRates(machine.root, machine.root)
    machine.count(eth0=(50, 0, 0, 0))
    rates.sample(1.0)
    machine.count(eth0=(2, 0, 0, 0), eth1=(70, 0, 0, 0))
    assert rates.sample(2.0) == []
    machine.count(eth0=(3, 0, 0, 0), eth1=(70, 0, 0, 5))
    found = {(each.name.split("_")[1], each.about): each.value for each in rates.sample(3.0)}
    assert found == {("errors", "eth0"): 1, ("drops", "eth0"): 0, ("errors", "eth1"): 0, ("drops", "eth1"): 5}


@given(st.lists(st.tuples(*[st.integers(0, 2**32)] * 4), min_size=2, max_size=6))
def test_no_rate_is_ever_negative(tmp_path_factory, counts: list[tuple[int, int, int, int]]) -> None:
    machine = Machine(tmp_path_factory.mktemp("net"))
    machine.card("eth0")
    rates = NetworkRates(machine.root, machine.root)
    for second, each in enumerate(counts):
        machine.count(eth0=each)
        assert all(sample.value >= 0 for sample in rates.sample(float(second)))
