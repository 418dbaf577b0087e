"""tools/targets and the addresses that are never asked: what settings name, what this host is, how targets are read."""

from pathlib import Path

import pytest

from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.reaching import why_never
from ai_sysadmin.tools.targets import Place, loopback_place, own_hosts, place_in, targets_of, url_key
from tests.looking import tree

SETTINGS = {
    "tools": {"targets": ["nas.lan", "Mail.LAN:25", "https://app.lan/health?x=1", "[2001:db8::7]:443"]},
    "backends": {"meta": {"url": "http://gpu.lan:8082", "allow_remote": True}},
    "trigger_monitor": {
        "certificates": ["shop.lan:443", "box.lan:8443", "/etc/ssl/x.pem"],
        "probes": [
            {"type": "http", "name": "a", "url": "http://web.lan/ok", "method": "HEAD", "verify_tls": False},
            {"type": "tcp", "name": "b", "host": "db.lan", "port": 5432},
            {"type": "dns", "name": "c", "query": "name.lan", "server": "192.0.2.53"},
            {"type": "certificate", "name": "d", "host": "cert.lan"},
            {"type": "certificate", "name": "e", "path": "/etc/ssl/y.pem"},
        ],
    },
}


def test_what_settings_name() -> None:
    found = targets_of(Settings.model_validate(SETTINGS))
    named = {"nas.lan", "mail.lan", "app.lan", "2001:db8::7", "gpu.lan", "shop.lan", "box.lan", "web.lan", "db.lan"}
    assert found.hosts == named | {"name.lan", "192.0.2.53", "cert.lan", "127.0.0.1"}
    assert {url: tuple(how) for url, how in found.urls.items()} == {
        "https://app.lan/health?x=1": ("GET", True),
        "https://shop.lan/": ("GET", True),
        "https://box.lan:8443/": ("GET", True),
        "http://web.lan/ok": ("HEAD", False),
    }


def test_what_this_host_is(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/sys/kernel/hostname": "Box\n",
            "etc/hosts": "127.0.1.1 box.example.org box # 192.0.2.1 no\n10.0.0.5 five\n10.0.0.9 other.example.org\n",
            "etc/resolv.conf": "nameserver 127.0.0.53\n",
            "run/systemd/resolve/resolv.conf": "nameserver 10.0.0.1\n",
            "proc/net/fib_trie": "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.5\n        /32 host LOCAL\n"
            "     |-- 127.0.1.1\n        /32 host LOCAL\n     |-- 10.0.0.0\n        /24 link UNICAST\n",
            "proc/net/if_inet6": "20010db8000000000000000000000005 02 40 00 80 eth0\n",
            "proc/net/route": "Iface Dest Gateway\neth0 00000000 0100000A 0003\neth0 0000000A 00000000 0001\n",
            "proc/net/ipv6_route": f"{'0' * 32} 00 {'0' * 32} 00 20010db8{'0' * 23}1 0 0 0 0 eth0\n",
        },
    )
    assert own_hosts(tmp_path) == {
        *("localhost", "127.0.0.1", "::1", "box", "box.example.org", "five", "127.0.1.1", "10.0.0.5"),
        *("2001:db8::5", "10.0.0.1", "2001:db8::1", "127.0.0.53"),
    }


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("db.lan:5432", ("db.lan", 5432)),
        ("[2001:db8::1]:53", ("2001:db8::1", 53)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("[::1]", ("::1", 0)),
        ("db.lan", ("db.lan", 0)),
        ("db.lan:0", None),
        ("db.lan:65536", None),
        ("a:b:c", None),
        ("-x", None),
        ("a b", None),
        ("user@host:22", None),
        ("http://db.lan", None),
        ("", None),
    ],
)
def test_places(target: str, place: tuple[str, int] | None) -> None:
    assert place_in(target) == (Place(*place) if place else None)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://127.0.0.1:8080/", ("127.0.0.1", 8080)),
        ("http://localhost:8080", ("127.0.0.1", 8080)),
        ("http://[::1]:80/", ("::1", 80)),
        ("http://127.0.0.1", ("127.0.0.1", 80)),
        ("http://127.0.0.1:99999/", None),
        ("http://127.0.0.1:80/admin", None),
        ("http://127.0.0.1:80/?x", None),
        ("http://127.0.0.1:80@evil.org/", None),
        ("http://127.0.0.1.evil.org:80/", None),
        ("https://127.0.0.1:443/", None),
        ("http://0.0.0.0:80/", None),
        ("http://127.1:80/", None),
    ],
)
def test_first_pages_of_ports_here(url: str, place: tuple[str, int] | None) -> None:
    assert loopback_place(url) == (Place(*place) if place else None)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
        *("fd00:ec2::254", "FD00:0EC2:0:0::254", "fe80::1", "fe80::1%eth0", "::169.254.169.254", "100.100.100.200"),
        *("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "metadata", ""),
    ],
)
def test_addresses_that_are_never_asked(address: str) -> None:
    assert why_never(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.7", "2001:db8::1", "fd00::1", "8.8.8.8"])
def test_addresses_that_may_be(address: str) -> None:
    assert not why_never(address)


def test_a_url_is_compared_without_the_case_of_its_host() -> None:
    assert url_key("HTTP://App.LAN") == url_key("http://app.lan/")
    assert url_key("http://app.lan/A") != url_key("http://app.lan/a")
