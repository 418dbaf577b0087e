"""sources/probes: names, resolved by real servers of the test's own, and DNS as bytes."""

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.probe_settings import DnsProbe
from ai_sysadmin.sources.probes import ProbeResult, dns
from ai_sysadmin.sources.probes.dns_message import Answers, MessageUnusable, answers, question, same
from ai_sysadmin.sources.probes.seen import ProbeFailed, Seen
from tests.probing import checked
from tests.serving import NameServer, naming, serving, unused_port


def reply(asked: bytes, *records: tuple[int, bytes], code: int = 0, flags: int = 0x8180) -> bytes:
    """Answer a question with records of a type and its data; their name points back at the question's."""
    head = asked[:2] + struct.pack("!5H", flags | code, 1, len(records), 0, 0)
    rows = (b"\xc0\x0c" + struct.pack("!2HIH", kind, 1, 60, len(data)) + data for kind, data in records)
    return head + asked[12:] + b"".join(rows)


ADDRESS = (1, bytes([192, 0, 2, 7]))
ALIAS = (5, b"\x03www\xc0\x0c")


async def _resolved(say: Callable[[bytes], list[bytes]], **settings: object) -> ProbeResult:
    async with naming(say) as (port, _):
        return await checked("dns", **{"query": "example.org", "server": "127.0.0.1", "server_port": port, **settings})


async def test_a_name_that_resolves() -> None:
    found = await _resolved(lambda asked: [reply(asked, ALIAS, ADDRESS, (1, bytes([192, 0, 2, 8])))])
    assert (found.ok, found.why) == (True, "example.org resolves to 192.0.2.7, 192.0.2.8")
    assert found.observed == {"server": "127.0.0.1", "answers": "192.0.2.7, 192.0.2.8"}


@pytest.mark.parametrize(
    ("answer", "settings", "why"),
    [
        ({"code": 3}, {}, "example.org does not resolve: no such name"),
        ({"code": 2}, {}, "example.org does not resolve: 127.0.0.1: server failure"),
        ({"records": [ALIAS]}, {}, "example.org has no A record"),
        ({"records": [ADDRESS]}, {"expect": "192.0.2.9"}, "example.org resolves to 192.0.2.7 and not to 192.0.2.9"),
        ({"records": [ADDRESS], "flags": 0x0180}, {"timeout_seconds": 0.2}, "127.0.0.1 does not answer"),
        ({"records": [(1, b"\x01")]}, {"timeout_seconds": 0.2}, "127.0.0.1 does not answer"),
    ],
)
async def test_a_name_that_does_not(answer: dict[str, Any], settings: dict[str, object], why: str) -> None:
    kept = {key: value for key, value in answer.items() if key != "records"}
    found = await _resolved(lambda asked: [reply(asked, *answer.get("records", ()), **kept)], **settings)
    assert not found.ok
    assert why in found.why


@pytest.mark.parametrize(
    ("record", "kind", "data", "expect"),
    [
        ("AAAA", 28, bytes(15) + b"\x01", "0:0:0:0:0:0:0:1"),
        ("CNAME", 5, b"\x03WWW\xc0\x0c", "www.example.org."),
        ("MX", 15, b"\x00\x0a\x04mail\xc0\x0c", "10 mail.example.org"),
        ("SRV", 33, b"\x00\x01\x00\x02\x14\x66\x04xmpp\xc0\x0c", "1 2 5222 xmpp.example.org"),
        ("TXT", 16, b"\x03one\x04 two", "one two"),
        ("NS", 2, b"\x02ns\xc0\x0c", "ns.example.org"),
        ("PTR", 12, b"\x04host\x00", "host"),
        (
            "SOA",
            6,
            b"\x02ns\xc0\x0c\x04root\xc0\x0c" + struct.pack("!5I", 7, 1, 1, 1, 1),
            "ns.example.org root.example.org 7",
        ),
    ],
)
async def test_types_of_records(record: str, kind: int, data: bytes, expect: str) -> None:
    found = await _resolved(lambda asked: [reply(asked, (kind, data))], record=record, expect=expect)
    assert found.ok, found.why


async def test_a_lost_datagram_is_asked_for_again() -> None:
    lost = 1

    def say(asked: bytes) -> list[bytes]:
        nonlocal lost
        lost -= 1
        return [reply(asked, ADDRESS)] if lost < 0 else []

    assert (await _resolved(say, timeout_seconds=0.4)).ok


async def test_answers_to_other_questions_are_not_listened_to() -> None:
    def say(asked: bytes) -> list[bytes]:
        other_number = bytes([asked[0] ^ 1]) + asked[1:]
        other_name = question(int.from_bytes(asked[:2], "big"), "example.net", "A")
        forged = (1, bytes([198, 51, 100, 1]))
        return [b"", b"x", reply(other_number, forged), reply(other_name, forged), reply(asked, ADDRESS)]

    assert (await _resolved(say)).observed["answers"] == "192.0.2.7"


async def test_a_long_answer_is_fetched_over_tcp() -> None:
    many = [(1, bytes([192, 0, 2, last])) for last in range(200)]

    async def at_length(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        whole = reply(asked, *many)
        writer.write(len(whole).to_bytes(2, "big") + whole)

    async with serving(at_length) as port:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: NameServer(lambda asked: [reply(asked, ADDRESS, flags=0x8380)[:-2]]), local_addr=("127.0.0.1", port)
        )
        found = await checked("dns", query="example.org", server="127.0.0.1", server_port=port, expect="192.0.2.199")
        transport.close()
    assert found.ok, found.why


async def test_the_hosts_own_servers_are_asked_in_turn(tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("# nameserver 192.0.2.1\nsearch example.org\nnameserver 127.0.0.2\nnameserver 127.0.0.1\n")
    async with naming(lambda asked: [reply(asked, ADDRESS)]) as (port, server):
        wanted = DnsProbe(type="dns", name="x", query="example.org", server_port=port, timeout_seconds=2)
        seen = Seen()
        assert "192.0.2.7" in await dns.look(wanted, seen, resolv_conf)
    assert (seen["server"], server.asked) == ("127.0.0.1", 1)
    for text, why in (("", "names no DNS server"), (None, "cannot be read")):
        resolv_conf.unlink() if text is None else resolv_conf.write_text(text)
        with pytest.raises(ProbeFailed, match=why):
            await dns.look(wanted, Seen(), resolv_conf)


async def test_a_name_that_can_be_none() -> None:
    for query in ("a..b", "x" * 64 + ".org", "."):
        found = await checked("dns", query=query, server="127.0.0.1", server_port=await unused_port())
        assert found.ok is False
        assert query == "." or "cannot be a DNS name" in found.why


@given(st.binary(max_size=300))
def test_no_datagram_breaks_the_reader(data: bytes) -> None:
    asked = question(7, "example.org", "TXT")
    for message in (data, asked[:2] + data, reply(asked, (16, b"\x01x"), flags=0x8180)[: len(asked) + 4] + data):
        try:
            found = answers(message, 7, "example.org", "TXT")
        except MessageUnusable:
            continue
        assert isinstance(found, Answers)


def test_a_name_that_points_at_itself_ends() -> None:
    asked = question(7, "example.org", "CNAME")
    at = len(asked) + 12
    with pytest.raises(MessageUnusable, match="damaged"):
        answers(reply(asked, (5, struct.pack("!H", 0xC000 | at))), 7, "example.org", "CNAME")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("192.0.2.1", "192.0.2.1", True), ("::1", "0::1", True), ("A.org", "a.ORG.", True), ("a.org", "b.org", False)],
)
def test_answers_that_mean_the_same(one: str, other: str, expected: bool) -> None:
    assert same(one, other) is expected
