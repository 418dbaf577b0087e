"""Blocking an address: what is never blocked, however it is written, and what the executor itself sees of an attack."""

import asyncio
import ipaddress
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ai_sysadmin.actions.action import Host, Session
from ai_sysadmin.actions.catalogue.addresses import AddressSeen, BlockAddress, UnblockAddress, stands_for, why_never
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.logins import DONE, FAILED, layout, newest_logins
from ai_sysadmin.sources.own_network import OwnNetwork, own_network, plain, tcp_peers
from ai_sysadmin.testing.host import FakeClock, FakeUnits

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ATTACKER = "203.0.113.7"
NOTHING = OwnNetwork(frozenset(), frozenset(), frozenset())
ADMIN = Settings(host_name="box").policy.admin_networks

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 198.51.100.0/24 2 0 2
        +-- 198.51.100.0/28 2 0 2
           |-- 198.51.100.0
              /24 link UNICAST
           |-- 198.51.100.5
              /32 host LOCAL
        |-- 198.51.100.255
           /32 link BROADCAST
"""
ROUTE = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	016433C6	0003	0	0	0	00000000	0	0	0
eth0	006433C6	00000000	0001	0	0	0	00FFFFFF	0	0	0
"""
ROUTE_6 = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001"
    " 00000400 00000001 00000000 00000003     eth0\n"
)
INET_6 = "20010db8000000000000000000000005 02 40 00 80     eth0\n"
TCP = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


class Sessions:
    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    async def live(self):
        return tuple(Session(user="alice", uid=1000, remote_host=host) for host in self.hosts)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host at 198.51.100.5 and 2001:db8::5 behind 198.51.100.1 and 2001:db8::1; it has nft."""
    for name, text in {
        "proc/1/net/fib_trie": FIB_TRIE,
        "proc/1/net/route": ROUTE,
        "proc/1/net/ipv6_route": ROUTE_6,
        "proc/1/net/if_inet6": INET_6,
        "proc/1/net/tcp": TCP,
        "proc/1/net/tcp6": TCP,
        "etc/resolv.conf": "# made by hand\nnameserver 192.0.2.53\nnameserver fe80::53%eth0\nsearch example.org\n",
        "run/systemd/resolve/resolv.conf": "nameserver 2001:DB8::53\nnameserver nonsense\n",
        "usr/sbin/nft": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "usr/sbin/nft").chmod(0o755)
    return tmp_path


def record(address: str, at: datetime, kind: int = 6, host: bytes = b"") -> bytes:
    packed = ipaddress.ip_address(address).packed.ljust(16, b"\0") if address else bytes(16)
    stamp = int(at.timestamp())
    return layout(platform.machine()).pack(kind, 1, b"ssh:notty", b"", b"root", host, 0, 0, 0, stamp, 0, packed)


def write(root: Path, name: str, *records: bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(records))
    path.chmod(0o660)
    return path


def fail(root: Path, count: int, address: str = ATTACKER, ago: float = 60) -> None:
    write(root, FAILED, *[record(address, NOW - timedelta(seconds=ago))] * count)


def connect(root: Path, address: str, port: int, uid: int, state: str = "01") -> None:
    far = ipaddress.ip_address(address).packed
    six = len(far) == 16
    words = "".join(far[start : start + 4][::-1].hex() for start in range(0, len(far), 4)).upper()
    line = f"   0: {'0' * len(words)}:{port:04X} {words}:D431 {state} 00000000:00000000 02:0 0 {uid} 0 77 4\n"
    with (root / f"proc/1/net/tcp{'6' if six else ''}").open("a") as file:
        file.write(line)


def host(root: Path, *remote: str, **settings) -> Host:
    given = Settings.model_validate({"host_name": "box"} | settings)
    return Host(given, FakeUnits(), Sessions(*remote), FakeClock(NOW), root=root)


def seen(root: Path, address: str = ATTACKER, *remote: str, **settings) -> AddressSeen:
    return asyncio.run(BlockAddress(address=address).observe(host(root, *remote, **settings)))


def obstacle(root: Path, address: str = ATTACKER, *remote: str, **settings) -> str:
    return BlockAddress(address=address).obstacle(seen(root, address, *remote, **settings)) or ""


# --- the argument


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:CB00:7107", "203.0.113.7"),
        ("0:0:0:0:0:ffff:cb00:7107", "203.0.113.7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("2001:0db8:0000:0000:0000:0000:0000:0007", "2001:db8::7"),
    ],
)
def test_an_address_has_one_form(text, meant):
    assert BlockAddress(address=text).subject == meant
    assert UnblockAddress(address=text).subject == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "203.0.113.0/24",
        "203.0.113.7-203.0.113.9",
        "203.0.113.07",
        "0xcb007107",
        "3405803783",
        "203.0.113",
        " 203.0.113.7",
        "203.0.113.7\n",
        "203.0.113.7 timeout 1d",
        "203.0.113.7, 203.0.113.8",
        "203.0.113.7 }; flush ruleset",
        "fe80::1%eth0",
        "2001:db8::7%",
        "::ffff:203.0.113.7%1",
        "@blocked4",
        "example.org",
        "\u0662\u0660\u0663.0.113.7",
        "[2001:db8::7]",
    ],
)
def test_what_is_not_one_address_is_refused(text):
    with pytest.raises(ValidationError):
        BlockAddress(address=text)


@pytest.mark.parametrize("seconds", ["0", "-1", "604801", "1h", "60s", "1.5", ""])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(ValidationError):
        BlockAddress.model_validate({"address": ATTACKER, "seconds": seconds})


def test_no_longer_than_the_settings_allow():
    short = Settings.model_validate({"host_name": "box", "actions": {"block_seconds": 600}})
    assert BlockAddress(address=ATTACKER, seconds=600).refuse(short) is None
    assert "allows 600" in (BlockAddress(address=ATTACKER, seconds=601).refuse(short) or "")


# --- what is never blocked


def forms(text: str) -> list[str]:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        return [text, text.upper(), address.exploded, address.exploded.upper(), address.compressed]
    words = address.packed.hex()
    low = f"{words[:4]}:{words[4:]}"
    return [
        text,
        f"::ffff:{text}",
        f"::FFFF:{low.upper()}",
        f"0000:0000:0000:0000:0000:ffff:{low}",
        f"::{text}",
        f"64:ff9b::{text}",
        f"2002:{low}::1",
        f"fd00::5efe:{low}",
    ]


IN_ADMIN = st.sampled_from(ADMIN).flatmap(
    lambda text: st.integers(int((network := ipaddress.ip_network(text))[0]), int(network[-1])).map(
        lambda number: str(type(network[0])(number))
    )
)


@given(IN_ADMIN, st.data())
def test_no_form_of_an_admins_address_is_blocked(text, data):
    form = data.draw(st.sampled_from(forms(text)))
    address = plain(BlockAddress(address=form).subject)
    assert why_never(address, NOTHING, ADMIN)


@given(st.ip_addresses())
def test_every_special_address_is_refused_and_so_is_every_own_one(address):
    own = OwnNetwork(frozenset({address}), frozenset(), frozenset())
    assert why_never(plain(str(address)), own, ())
    if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
        assert why_never(plain(str(address)), NOTHING, ())


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "loopback"),
        ("0.0.0.0", "loopback"),
        ("::1", "loopback"),
        ("::", "loopback"),
        ("224.0.0.1", "loopback"),
        ("ff02::1", "loopback"),
        ("255.255.255.255", "loopback"),
        ("169.254.1.1", "loopback"),
        ("192.168.1.4", "192.168.0.0/16"),
        ("::ffff:10.1.2.3", "10.0.0.0/8"),
        ("fd12::1", "fc00::/7"),
        ("198.51.100.5", "this host's own"),
        ("198.51.100.255", "this host's own"),
        ("2001:db8::5", "this host's own"),
        ("64:ff9b::198.51.100.5", "this host's own"),
        ("198.51.100.1", "gateway"),
        ("2001:db8::1", "gateway"),
        ("192.0.2.53", "name server"),
        ("2001:db8::53", "name server"),
    ],
)
def test_what_the_host_lives_by_is_never_blocked(root, address, why):
    fail(root, 50, address)
    assert why in obstacle(root, address)


def test_a_strangers_address_may_be_blocked(root):
    assert obstacle(root) == ""
    assert BlockAddress(address=ATTACKER).risk(seen(root)) is Risk.REVERSIBLE


def test_admin_networks_are_the_settings(root):
    assert "203.0.113.0/24" in obstacle(root, policy={"admin_networks": ["203.0.113.0/24"]})
    assert "::ffff:203.0.113.0/120" in obstacle(root, policy={"admin_networks": ["::ffff:203.0.113.0/120"]})
    assert obstacle(root, "192.168.7.7", policy={"admin_networks": []}) == ""


@pytest.mark.parametrize("remote", [ATTACKER, f"::ffff:{ATTACKER}", "office.example.org", "UNKNOWN"])
def test_the_peer_of_a_session_is_never_blocked(root, remote):
    fail(root, 50)
    assert "alice is logged in" in obstacle(root, ATTACKER, "198.51.100.77", remote)


def test_sessions_from_elsewhere_do_not_matter(root):
    assert obstacle(root, ATTACKER, "", "198.51.100.77", "fe80::3%eth0") == ""


@pytest.mark.parametrize(
    ("port", "uid", "state", "counts"),
    [
        (22, 1000, "01", True),
        (2222, 0, "01", True),
        (443, 33, "01", False),
        (22, 0, "06", False),
    ],
)
def test_an_open_connection_of_root_or_sshd_stands_against_it(root, port, uid, state, counts):
    connect(root, ATTACKER, port, uid, state)
    assert ("somebody may be at work" in obstacle(root)) is counts
    connect(root, f"::ffff:{ATTACKER}", port, uid, state)
    assert seen(root).connections == 2 * counts


def test_the_connections_of_an_attack_do_not_protect_it(root):
    connect(root, ATTACKER, 22, 0)
    fail(root, 10)
    assert obstacle(root) == ""


def test_without_nft_nothing_is_blocked(root):
    (root / "usr/sbin/nft").unlink()
    assert "install nftables" in obstacle(root)
    unblock = UnblockAddress(address=ATTACKER)
    assert "install nftables" in (unblock.obstacle(asyncio.run(unblock.observe(host(root)))) or "")


@pytest.mark.parametrize("name", ["fib_trie", "route", "tcp"])
def test_what_cannot_be_seen_is_not_taken_for_absent(root, name):
    (root / "proc/1/net" / name).unlink()
    with pytest.raises(Unavailable, match=name):
        seen(root)


def test_a_kernel_without_ipv6_is_fine(root):
    for name in ("tcp6", "if_inet6", "ipv6_route"):
        (root / "proc/1/net" / name).unlink()
    assert obstacle(root) == ""


# --- what speaks for it


def warrant(root: Path, address: str = ATTACKER, **settings) -> str | None:
    return BlockAddress(address=address).warrant(seen(root, address, **settings))


@pytest.mark.parametrize(
    ("count", "ago", "is_warranted"), [(10, 60, True), (9, 60, False), (50, 3601, False), (0, 0, False)]
)
def test_enough_failed_logins_of_late_are_an_attack(root, count, ago, is_warranted):
    fail(root, count, ago=ago)
    assert (warrant(root) is not None) is is_warranted


def test_the_warrant_says_what_was_counted(root):
    fail(root, 37)
    assert warrant(root) == "37 failed logins from 203.0.113.7 within 3600 s"
    assert warrant(root, actions={"block_failed_logins": 38}) is None


def test_failed_logins_of_others_do_not_count(root):
    fail(root, 50, "203.0.113.8")
    assert warrant(root) is None
    assert seen(root).failed == 0


def test_who_logged_in_from_there_before_is_no_stranger(root):
    fail(root, 50)
    write(root, DONE, record(ATTACKER, NOW - timedelta(days=20), kind=8), record("203.0.113.8", NOW, kind=7))
    assert warrant(root) is not None
    write(root, DONE, record(ATTACKER, NOW - timedelta(days=20), kind=7))
    assert warrant(root) is None
    assert obstacle(root) == ""  # a person may still want it


def test_no_file_of_failed_logins_is_no_attack(root):
    assert warrant(root) is None


def test_a_name_in_a_record_is_not_believed(root):
    write(root, FAILED, *[record("", NOW, host=ATTACKER.encode())] * 50)
    assert warrant(root) is None


def test_records_of_ipv6_and_cut_ones_are_read(root):
    six = record("2001:db8::bad", NOW)
    mapped = record(f"::ffff:{ATTACKER}", NOW)
    write(root, FAILED, six, mapped, six[:100])
    assert [str(each.address) for each in newest_logins(FAILED, root)] == ["2001:db8::bad", ATTACKER]


def test_only_the_newest_records_are_read(root):
    write(root, FAILED, *[record(ATTACKER, NOW)] * 50, *[record("203.0.113.8", NOW)] * 4096)
    found = newest_logins(FAILED, root)
    assert {str(each.address) for each in found} == {"203.0.113.8"}
    assert len(found) == 4096


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.chmod(0o666),
        lambda path: (path.rename(path.with_name("other")), path.symlink_to("other")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_records_that_others_could_have_written_are_no_evidence(root, spoil):
    fail(root, 50)
    spoil(root / FAILED)
    with pytest.raises(Unavailable, match="btmp"):
        seen(root)


def test_a_record_has_the_length_that_the_c_library_gives_it():
    assert layout("x86_64").size == 384
    assert layout("aarch64").size == 400


# --- what is read of the kernel


def test_the_addresses_that_a_host_lives_by(root):
    found = own_network(root)
    assert {str(each) for each in found.own} == {"198.51.100.5", "198.51.100.255", "2001:db8::5"}
    assert {str(each) for each in found.gateways} == {"198.51.100.1", "2001:db8::1"}
    assert {str(each) for each in found.resolvers} == {"192.0.2.53", "fe80::53", "2001:db8::53"}


def test_peers_of_both_families(root):
    connect(root, "2001:db8::bad", 443, 33)
    connect(root, ATTACKER, 22, 0)
    connect(root, ATTACKER, 22, 0, state="0A")
    assert [(str(peer.address), peer.port, peer.uid) for peer in tcp_peers(root)] == [
        (ATTACKER, 22, 0),
        ("2001:db8::bad", 443, 33),
    ]


def test_peers_of_one_address_only(root):
    for address in (ATTACKER, f"::ffff:{ATTACKER}", "203.0.113.8", "2001:db8::bad"):
        connect(root, address, 22, 0)
    assert [str(peer.address) for peer in tcp_peers(root, [plain(ATTACKER)])] == [ATTACKER, ATTACKER]
    assert [str(peer.address) for peer in tcp_peers(root, [plain("2001:db8::bad")])] == ["2001:db8::bad"]
    assert len(list(tcp_peers(root))) == 4


def test_this_kernels_own_tables_are_read():
    assert "127.0.0.1" in {str(each) for each in own_network().own}
    list(tcp_peers())


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_found(address):
    for form in forms(str(address)):
        assert address in set(stands_for(plain(form)))


# --- what is done


@pytest.mark.parametrize(("address", "blocked"), [(ATTACKER, "blocked4"), ("2001:db8::7", "blocked6")])
def test_the_plan_blocks_one_address_for_a_time_and_takes_it_back(root, address, blocked):
    action = BlockAddress(address=address, seconds=90)
    plan = action.plan(seen(root, address))
    (command,) = plan.run.commands
    assert command[0] == "nft"
    assert command[1].endswith(f"add element inet ai_sysadmin {blocked} {{ {address} timeout 90s }}")
    assert plan.checks[0].commands[0][1] == f"get element inet ai_sysadmin {blocked} {{ {address} }}"
    assert plan.revert is not None
    assert plan.revert.commands[0][1] == f"delete element inet ai_sysadmin {blocked} {{ {address} }}"
    for stage in (plan.run, *plan.checks, plan.revert):
        box = stage.sandbox
        assert (box.capabilities, box.network, box.writable) == (("CAP_NET_ADMIN",), True, ())
        assert set(box.families) == {"AF_UNIX", "AF_NETLINK"}


def test_a_block_lasts_as_long_as_the_settings_say_where_nobody_says_how_long(root):
    plan = BlockAddress(address=ATTACKER).plan(seen(root, actions={"block_seconds": 77}))
    assert "timeout 77s" in plan.run.commands[0][1]


def test_a_login_from_there_during_the_check_ends_it(root):
    action, before = BlockAddress(address=ATTACKER), seen(root)
    assert action.shortfall(before, before) is None
    assert "alice is logged in" in (action.shortfall(before, seen(root, ATTACKER, ATTACKER)) or "")


def test_unblocking_is_a_persons_wish_and_is_checked(root):
    action = UnblockAddress(address=ATTACKER)
    now = asyncio.run(action.observe(host(root)))
    assert action.obstacle(now) is None
    assert action.warrant(now) is None
    plan = action.plan(now)
    assert plan.run.commands[0] == ("nft", f"delete element inet ai_sysadmin blocked4 {{ {ATTACKER} }}")
    assert "--check" in plan.checks[0].commands[0]
