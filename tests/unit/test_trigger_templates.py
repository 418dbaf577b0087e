"""trigger_monitor/masks.py: what varies is masked, what says something stays."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.trigger_monitor.lines.masks import LOOKED_AT, MOST_TOKENS, is_count, masked, source_of, with_zeros


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("upstream 5 refused the connection", "upstream <n> refused the connection"),
        ("took 12ms in worker-7, 99.5 %", "took <n>ms in worker-<n>, <n> %"),
        ("from 10.1.2.3:443 and fe80::1c2 and ::1", "from <ip> and <ip> and <ip>"),
        ("id 550e8400-e29b-41d4-a716-446655440000", "id <id>"),
        ("at 0xdeadbeef in 3f9a2b7c", "at <hex> in <hex>"),
        ("cannot open /etc/nginx/nginx.conf: no such file", "cannot open <path> no such file"),
        ("2026-11-22T09:00:00.123Z boom at 12:30:01", "<time> boom at <time>"),
        ("last seen Mon Jan 5 10:00:00", "last seen <time> <time> <n> <time>"),
        ("it may fail in May 2026 or Mar", "it may fail in <time> <n> or Mar"),
        ("I/O error, dev sda, sector 12345", "I/O error, dev sda, sector <n>"),
        ("a  b\n\tc", "a b c"),
        ("offset -5 of x-5", "offset <n> of x-<n>"),
        ("config error: key listen_port missing", "config error: key listen_port missing"),
        ("std::vector and feed a dead beef", "std::vector and feed a dead beef"),
        ("", ""),
    ],
)
def test_what_varies_is_masked(message: str, template: str) -> None:
    assert masked(message) == template


def test_lines_that_differ_in_numbers_are_alike() -> None:
    assert len({masked(f"job {n}: {n * 7} of {n * n} failed in 0.{n} s") for n in range(500)}) == 1


@given(st.text(max_size=2000))
def test_any_text_has_a_bounded_template_that_is_the_same_again(message: str) -> None:
    template = masked(message)
    assert template == masked(message) == masked(message + "x" * 5000 if len(message) >= LOOKED_AT else message)
    assert len(template) <= LOOKED_AT * 6
    assert len(template.split(" ")) <= MOST_TOKENS + 1


@pytest.mark.parametrize("piece", ["1:", "/", "a/", "/a", "f", "0:", "abab ", "1.", "::", "-", "0-0", "1234-"])
def test_no_text_takes_long(piece: str) -> None:
    began = time.process_time()
    for n in range(20):
        masked(f"{n}" + piece * 1000)
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize(
    ("message", "counts"),
    [
        ("scrub ended with 0 errors", "scrub ended with 0 errors"),
        ("scrub ended with 7 errors", "scrub ended with <n> errors"),
        ("ok=12 failed=0", "ok=<n> failed=0"),
        ("ok=12 failed=3", "ok=<n> failed=<n>"),
        ("took 0 seconds", ""),
    ],
)
def test_none_and_some_of_what_goes_wrong_are_not_alike(message: str, counts: str) -> None:
    words = masked(message)
    assert is_count(words) is bool(counts)
    if counts:
        assert " ".join(with_zeros(message, words.split(" "))) == counts


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("nginx.service", "nginx.service"),
        ("session-3.scope", "session-<*>.scope"),
        ("user@1000.service", "user@<*>.service"),
        ("run-r7c1e0f2a4b.service", "run-<*>.service"),
        (f"docker-{'0a1b2c3d' * 8}.scope", "docker-<*>.scope"),
        (f"libpod-{'0a1b2c3d' * 8}.scope", "libpod-<*>.scope"),
        ("getty@tty1.service", "getty@tty1.service"),
        ("worker@12.service", "worker@<*>.service"),
        ("postgresql@15-main.service", "postgresql@<*>-main.service"),
        ("var-lib-x.mount", "var-lib-x.mount"),
        ("no-unit", "no-unit"),
    ],
)
def test_a_source_is_one_whatever_its_instance(unit: str, source: str) -> None:
    assert source_of(unit) == source
