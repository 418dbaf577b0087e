"""Blocking an address for real: another host, a veth pair between them, the kernel's own nftables, and systemd's units.

The machine's own network and one beyond it stand for a server and who attacks it.
"""

import json
import time
from collections.abc import Iterator
from ipaddress import ip_address
from platform import machine

import pytest

from ai_sysadmin.actions.catalogue.power import BootSeen, RebootHost
from ai_sysadmin.sources.logins import layout
from tests.system.machine import Machine
from tests.system.suite import Suite

SUITE = Suite(start=())
FAR, FAR_6, OTHER = "203.0.113.7", "2001:db8::7", "203.0.113.8"
HERE, HERE_6 = "203.0.113.1", "2001:db8::1"
PORT = 22022

# What the executor does with a plan, as a program inside: each stage as a unit of its own, by D-Bus.
ACT = """
import asyncio, json, sys
from ai_sysadmin.actions.catalogue.addresses import AddressSeen, BlockAddress, NftSeen, UnblockAddress
from ai_sysadmin.actions.catalogue.power import BootSeen, RebootHost
from ai_sysadmin.executor.systemd import SystemdEffects
from ai_sysadmin.runtime.bus import SystemBus

async def act(name, arguments, *stages):
    entry, seen = {
        "block_address": (BlockAddress, AddressSeen(nft="nft", seconds=3600, enough=10, within_seconds=3600)),
        "unblock_address": (UnblockAddress, NftSeen(nft="nft")),
        "reboot_host": (RebootHost, BootSeen(boot_id="a", uptime_seconds=1)),
    }[name]
    plan, statuses = entry.model_validate(json.loads(arguments)).plan(seen), {}
    effects = SystemdEffects(SystemBus(), 30)
    for stage in (plan.run, *plan.checks, plan.revert):
        if stage is not None and stage.name in stages:
            await effects.release("test")
            await effects.start("test", stage, {})
            while (unit := await effects.look("test")).running:
                await asyncio.sleep(0.02)
            statuses[stage.name] = unit.exit_status
            await effects.release("test")
    print(json.dumps(statuses))

asyncio.run(act(*sys.argv[1:]))
"""

# What the executor looks at, in a unit with the executor's own sandbox.
LOOK = """
import json
from pathlib import Path
from ai_sysadmin.sources.logins import FAILED, newest_logins
from ai_sysadmin.sources.own_network import own_network, tcp_peers
from ai_sysadmin.sources.rebooting import boot_id, holders, packages_change, unseen_encryption, uptime_seconds, who_asks
found = own_network()
print(json.dumps({
    "own": sorted(map(str, found.own)), "gateways": sorted(map(str, found.gateways)),
    "resolvers": sorted(map(str, found.resolvers)),
    "peers": sorted({f"{peer.address} {peer.port} {peer.uid}" for peer in tcp_peers()}),
    "failed": [str(login.address) for login in newest_logins(FAILED)],
    "own_view": Path("/proc/self/net/dev").read_text().count(":"),
    "boot": [boot_id(), uptime_seconds(), who_asks(), unseen_encryption(), holders(), packages_change()],
}))
"""

LISTEN = f"""
import socket
family = socket.create_server(("::", {PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
kept = []
while True:
    kept.append(family.accept()[0])
"""


@pytest.fixture(scope="module")
def network(suite_machine: Machine) -> Iterator[Machine]:
    """Two hosts: the machine, and beyond a cable one that has three addresses."""
    for line in (
        "ip link set lo up",
        "ip netns add far",
        "ip link add here type veth peer name there netns far",
        f"ip address add {HERE}/24 dev here",
        f"ip address add {HERE_6}/64 dev here nodad",
        "ip link set here up",
        f"ip -n far address add {FAR}/24 dev there",
        f"ip -n far address add {OTHER}/24 dev there",
        f"ip -n far address add {FAR_6}/64 dev there nodad",
        "ip -n far link set there up",
        f"ip route add default via {OTHER}",
    ):
        suite_machine.run(line.split()).ok()
    wrapper = suite_machine.path("/opt/bin/ai-sysadmin").read_text()
    for name, text in {"act": ACT, "look": LOOK, "listen": LISTEN}.items():
        suite_machine.put(wrapper.replace("-P -m ai_sysadmin", f"-P /opt/{name}.py"), f"/opt/bin/{name}", mode=0o755)
        suite_machine.put(text, f"/opt/{name}.py")
    suite_machine.run(["systemd-run", "-q", "--unit=listen", "/opt/bin/listen"]).ok()
    suite_machine.eventually(lambda: reaches(suite_machine, FAR), "it can be reached")
    yield suite_machine


@pytest.fixture(autouse=True)
def nothing_is_blocked(network: Machine) -> None:
    network.run(["nft", "flush ruleset"]).ok()


def reaches(machine: Machine, source: str) -> bool:
    """Tell whether the far host gets through from one of its addresses."""
    to = HERE_6 if ":" in source else HERE
    code = f"import socket; socket.create_connection(({to!r}, {PORT}), 0.5, ({source!r}, 0))"
    return machine.run(["ip", "netns", "exec", "far", "/usr/bin/python3", "-c", code]).exit_status == 0


def act(machine: Machine, name: str, arguments: dict[str, str], *stages: str) -> dict[str, int]:
    found: dict[str, int] = machine.run(["/opt/bin/act", name, json.dumps(arguments), *stages]).ok().json
    return found


def block(machine: Machine, address: str, seconds: int = 60) -> None:
    done = act(machine, "block_address", {"address": address, "seconds": str(seconds)}, "run", "blocked")
    assert done == {"run": 0, "blocked": 0}


@pytest.mark.parametrize("address", [FAR, FAR_6])
def test_what_comes_from_a_blocked_address_is_dropped_until_it_is_let_in_again(network: Machine, address: str) -> None:
    assert reaches(network, address)
    block(network, address)
    assert not reaches(network, address)
    assert reaches(network, OTHER)
    done = act(network, "unblock_address", {"address": address}, "run", "free")
    assert done == {"run": 0, "free": 0}
    assert reaches(network, address)


def test_a_block_that_is_taken_back_is_gone(network: Machine) -> None:
    block(network, FAR)
    assert act(network, "block_address", {"address": FAR}, "revert") == {"revert": 0}
    assert act(network, "block_address", {"address": FAR}, "blocked") == {"blocked": 1}
    assert reaches(network, FAR)


def test_a_block_ends_by_itself(network: Machine) -> None:
    block(network, FAR, seconds=3)
    assert not reaches(network, FAR)
    time.sleep(3)
    network.eventually(lambda: reaches(network, FAR), "the block ends", within=3)


def test_blocking_again_and_again_keeps_what_is_blocked_and_doubles_no_rule(network: Machine) -> None:
    block(network, FAR, seconds=20)
    block(network, FAR_6)
    once = network.run(["nft", "list chains"]).ok().stdout
    rules = network.run(["nft", "list chain inet ai_sysadmin input"]).ok().stdout
    block(network, OTHER)
    block(network, FAR, seconds=600)  # renewed, not kept as it was
    assert network.run(["nft", "list chains"]).ok().stdout == once
    assert network.run(["nft", "list chain inet ai_sysadmin input"]).ok().stdout == rules
    assert rules.count("drop") == 2
    assert "timeout 10m" in network.run(["nft", f"get element inet ai_sysadmin blocked4 {{ {FAR} }}"]).ok().stdout
    assert not any(reaches(network, each) for each in (FAR, FAR_6, OTHER))


def test_tables_of_others_stay_as_they_are(network: Machine) -> None:
    network.run(["nft", "add table inet theirs; add chain inet theirs c { type filter hook input priority 0; }"]).ok()
    network.run(["nft", "add rule inet theirs c tcp dport 9 drop"]).ok()
    theirs = network.run(["nft", "list table inet theirs"]).ok().stdout
    block(network, FAR)
    assert network.run(["nft", "list table inet theirs"]).ok().stdout == theirs


def test_letting_in_who_is_not_blocked_fails_and_one_who_still_is_does_not_pass(network: Machine) -> None:
    assert act(network, "unblock_address", {"address": FAR}, "run")["run"] != 0
    block(network, FAR)
    assert act(network, "unblock_address", {"address": FAR}, "free")["free"] != 0
    assert not reaches(network, FAR)


def test_the_executor_sees_what_the_host_lives_by(network: Machine) -> None:
    """No capability, no network of its own: all it has is the right to look at the first process's tables."""
    network.put("nameserver 192.0.2.53\n", "/etc/resolv.conf")
    network.path("/var/log/btmp").write_bytes(failed_login(FAR))
    sandbox = (
        "CapabilityBoundingSet=",
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "ProtectProc=default",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateDevices=yes",
        "NoNewPrivileges=yes",
    )
    argv = ["systemd-run", "-q", "--wait", "--pipe", *(f"--property={each}" for each in sandbox), "/opt/bin/look"]
    for name, source, to in (("knock4", FAR, HERE), ("knock6", FAR_6, HERE_6)):
        code = (
            f"import socket, time; s = socket.create_connection(({to!r}, {PORT}), 5, ({source!r}, 0)); time.sleep(60)"
        )
        far = ["ip", "netns", "exec", "far", "/usr/bin/python3", "-c", code]
        network.run(["systemd-run", "-q", f"--unit={name}", *far]).ok()
    wanted = {f"{FAR} {PORT} 0", f"{FAR_6} {PORT} 0"}
    network.eventually(lambda: wanted <= set(network.run(argv).ok().json["peers"]), "both are connected")
    seen = network.run(argv).ok().json
    assert {HERE, HERE_6, "203.0.113.255", "127.0.0.1", "::1"} <= set(seen["own"])
    assert seen["gateways"] == [OTHER]
    assert "192.0.2.53" in seen["resolvers"]
    assert seen["failed"] == [FAR]
    assert seen["own_view"] == 1  # its own network is another, with nothing but a loopback
    boot, uptime, *_ = seen["boot"]
    assert boot == boot_of(network)
    assert uptime > 0


def failed_login(address: str) -> bytes:
    packed = ip_address(address).packed.ljust(16, b"\0")
    return layout(machine()).pack(6, 1, b"ssh:notty", b"", b"root", b"", 0, 0, 0, int(time.time()), 0, packed)


def test_a_reboot_is_announced_and_can_be_called_off(network: Machine) -> None:
    scheduled = "/run/systemd/shutdown/scheduled"
    assert act(network, "reboot_host", {}, "run") == {"run": 0}
    assert "MODE=reboot" in network.run(["cat", scheduled]).ok().stdout
    assert act(network, "reboot_host", {}, "revert") == {"revert": 0}
    assert network.run(["test", "-e", scheduled]).exit_status != 0


def test_a_reboot_is_seen_by_its_boot(network: Machine) -> None:
    before = BootSeen(boot_id=boot_of(network), uptime_seconds=1000)
    network.reboot()
    after = BootSeen(boot_id=boot_of(network), uptime_seconds=99_999)
    assert RebootHost().shortfall(before, after) is None


def boot_of(machine: Machine) -> str:
    return machine.run(["cat", "/proc/sys/kernel/random/boot_id"]).ok().stdout.strip()
