"""trigger_monitor/templates.py: what varies is masked, what says something stays."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.trigger_monitor.templates import LOOKED_AT, template_of


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
        ("I/O error, dev sda, sector 12345", "I/O error, dev sda, sector <n>"),
        ("a  b\n\tc", "a b c"),
        ("config error: key listen_port missing", "config error: key listen_port missing"),
        ("std::vector and feed a dead beef", "std::vector and feed a dead beef"),
        ("", ""),
    ],
)
def test_what_varies_is_masked(message: str, template: str) -> None:
    assert template_of(message) == template


def test_lines_that_differ_in_numbers_are_alike() -> None:
    assert len({template_of(f"job {n}: {n * 7} of {n * n} failed in 0.{n} s") for n in range(500)}) == 1


@given(st.text(max_size=2000))
def test_any_text_has_a_bounded_template_that_is_the_same_again(message: str) -> None:
    template = template_of(message)
    assert (
        template == template_of(message) == template_of(message + "x" * 5000 if len(message) >= LOOKED_AT else message)
    )
    assert len(template) <= LOOKED_AT * 6


@pytest.mark.parametrize("piece", ["1:", "/", "a/", "/a", "f", "0:", "abab ", "1.", "::", "-", "0-0", "1234-"])
def test_no_text_takes_long(piece: str) -> None:
    began = time.process_time()
    for n in range(20):
        template_of(f"{n}" + piece * 1000)
    assert time.process_time() - began < 0.2
