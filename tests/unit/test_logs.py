"""runtime/logs.py: what journald is sent, read back from a real datagram socket, and what a terminal shows."""

import logging
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_sysadmin.runtime.logs import JournalHandler, datagram, fields_of, plain


def parse(data: bytes) -> dict[str, bytes]:
    """Read a native datagram as journald does."""
    fields: dict[str, bytes] = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            fields[name.decode()], data = value, rest
        else:
            (length,) = struct.unpack("<Q", rest[:8])
            fields[name.decode()], data = rest[8 : 8 + length], rest[8 + length + 1 :]
    return fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[tuple[socket.socket, logging.Logger]]:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(2)
        handler = JournalHandler("ai-sysadmin-test", str(path))
        log = logging.Logger("ai_sysadmin.somewhere")  # noqa: LOG001 — a logger of its own, outside the tree
        log.addHandler(handler)
        yield receiver, log
        handler.close()


def test_a_record_is_a_sentence_and_fields(journald: tuple[socket.socket, logging.Logger]) -> None:
    receiver, log = journald
    log.warning("incident opened: %s", "web.service", extra={"event": "incident_opened", "incident_id": "abc234"})
    fields = parse(receiver.recv(1 << 20))
    assert fields["MESSAGE"] == b"incident opened: web.service"
    assert fields["PRIORITY"] == b"4"
    assert fields["SYSLOG_IDENTIFIER"] == b"ai-sysadmin-test"
    assert (fields["AI_EVENT"], fields["AI_INCIDENT_ID"]) == (b"incident_opened", b"abc234")
    assert fields["CODE_FUNC"] == b"test_a_record_is_a_sentence_and_fields"


def test_newlines_cannot_forge_a_field(journald: tuple[socket.socket, logging.Logger]) -> None:
    receiver, log = journald
    log.info("one\nPRIORITY=0\nUNIT=sshd.service", extra={"unit": "x\nMESSAGE=forged"})
    fields = parse(receiver.recv(1 << 20))
    assert fields["MESSAGE"] == b"one\nPRIORITY=0\nUNIT=sshd.service"
    assert fields["AI_UNIT"] == b"x\nMESSAGE=forged"
    assert fields["PRIORITY"] == b"6"
    assert "UNIT" not in fields


def test_odd_names_become_field_names(journald: tuple[socket.socket, logging.Logger]) -> None:
    receiver, log = journald
    log.info("x", extra={"a=b\nc é": 1})
    assert parse(receiver.recv(1 << 20))["AI_A_B_C__"] == b"1"


def test_long_values_are_cut_to_what_a_datagram_takes(journald: tuple[socket.socket, logging.Logger]) -> None:
    receiver, log = journald
    log.info("ä" * 1_000_000, extra={f"field_{n}": "y" * 100_000 for n in range(40)})
    data = receiver.recv(1 << 20)
    assert len(data) <= 120 << 10
    message = parse(data)["MESSAGE"].decode()
    assert message.endswith("ä…")
    assert len(message.encode()) <= 32 << 10


def test_an_exception_comes_with_its_traceback(journald: tuple[socket.socket, logging.Logger]) -> None:
    receiver, log = journald
    try:
        raise KeyError("gone")
    except KeyError:
        log.exception("it broke")
    message = parse(receiver.recv(1 << 20))["MESSAGE"].decode()
    assert message.startswith("it broke\nTraceback")
    assert message.endswith("KeyError: 'gone'")


def test_what_journald_does_not_take_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = JournalHandler("ai-sysadmin-test", str(tmp_path / "nobody"))
    handler.handle(logging.LogRecord("x", logging.ERROR, "f.py", 1, "it broke", (), None))
    handler.close()
    assert capsys.readouterr().err.endswith("error: it broke\n")


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.INFO, "f.py", 1, message, (), None)
    vars(made).update(extra)
    return made


def test_a_plain_line_cannot_move_the_cursor() -> None:
    line = plain(record("a\x1b[2Jb\nc\u202ed", incident_id="abc234"))
    assert line[9:] == "a [2Jb c d [abc234]"


def test_text_that_is_not_unicode_is_still_sent() -> None:
    assert parse(datagram({"MESSAGE": "a\udc80b"}))["MESSAGE"] == b"a?b"


def test_standard_attributes_are_not_extras() -> None:
    names = set(fields_of(record("x"), "s"))
    expected = {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "CODE_FILE", "CODE_LINE", "CODE_FUNC", "AI_LOGGER"}
    assert names == expected, f"on Python {sys.version_info[:2]}"
