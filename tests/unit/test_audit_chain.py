"""The audit's chain: every edit, deletion, swap, insertion and cut is found."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.actions.audit_chain import START, Head, head_of, line_after, verify

KINDS = ("asked", "approved", "started", "ran", "finished")


def chain(count, seed=0):
    """Lines of a chain, and its head."""
    chance, head, lines = random.Random(seed), START, []
    for number in range(count):
        body = {"kind": KINDS[number % 5], "text": f"nginx.service {chance.random()} ü", "argv": [["systemctl", "x"]]}
        line, head = line_after(head, body)
        lines.append(line)
    return lines, head


def test_a_chain_is_whole():
    lines, head = chain(50)
    assert verify(lines, [head]) == (head, "")
    assert head_of(lines[-1]) == head
    assert verify([]) == (START, "")


def test_a_line_is_canonical_and_follows_the_one_before():
    lines, _ = chain(2)
    first, second = (json.loads(line) for line in lines)
    assert (first["number"], first["previous"]) == (1, "0" * 64)
    assert (second["number"], second["previous"]) == (2, first["hash"])
    assert lines[0].endswith(b"\n")
    assert lines[0].isascii()


def flip(lines, chance):
    """Change one byte somewhere to any other."""
    data = bytearray(b"".join(lines))
    place = chance.randrange(len(data))
    data[place] = chance.choice([byte for byte in range(256) if byte != data[place]])
    return bytes(data).splitlines(keepends=True) if chance.random() < 0.5 else _by_line_feed(bytes(data))


def _by_line_feed(data):
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + ([data.split(b"\n")[-1]] if data[-1:] != b"\n" else [])


def delete(lines, chance):
    place = chance.randrange(len(lines))
    return lines[:place] + lines[place + 1 :]


def swap(lines, chance):
    first, second = chance.sample(range(len(lines)), 2)
    lines = list(lines)
    lines[first], lines[second] = lines[second], lines[first]
    return lines


def cut(lines, chance):
    data = b"".join(lines)
    return _by_line_feed(data[: chance.randrange(len(data))])


def repeat(lines, chance):
    place = chance.randrange(len(lines))
    return [*lines[:place], lines[place], *lines[place:]]


@pytest.mark.parametrize("tampering", [flip, delete, swap, cut, repeat])
def test_a_thousand_times_tampered_with_a_thousand_times_found(tampering):
    lines, head = chain(60)
    chance = random.Random(7)
    for _ in range(1000):
        assert verify(tampering(lines, chance), [head]).fault


def test_what_was_cut_off_shows_against_an_anchor_alone():
    lines, head = chain(10)
    assert verify(lines[:7]).fault == ""
    assert verify(lines[:7], [head]).fault == "lines 8 to 10 are missing: they are known elsewhere"


def test_another_history_shows_against_an_anchor():
    _, head = chain(10)
    other, _ = chain(10, seed=1)
    assert "line 10 is another" in verify(other, [head]).fault
    assert "line 4 is another" in verify(other, [Head(4, "f" * 64)]).fault


@pytest.mark.parametrize(
    "forged",
    [
        lambda line: b" " + line,
        lambda line: line.replace(b'","', b'", "', 1),
        lambda line: line.rstrip(b"\n"),
        lambda line: line.rstrip(b"\n") + b"\r\n",
        lambda line: line.replace(b'"kind"', b'"kind":"asked","kind"', 1),  # twice the same key: the last one counts
        lambda line: line.replace(b"\\u00fc", "ü".encode(), 1),
        lambda line: line.replace(b"nginx", b"\\u006eginx", 1),
        lambda _line: b"[]\n",
        lambda _line: b"{}\n",
        lambda _line: b"\n",
        lambda _line: b"\xff\xfe\n",
        lambda _line: b"[" * 100_000 + b"\n",
        lambda _line: b'{"hash":NaN}\n',
    ],
)
def test_what_reads_the_same_but_is_written_otherwise_is_found(forged):
    lines, _ = chain(3)
    report = verify([lines[0], forged(lines[1]), lines[2]])
    assert report.head.number == 1
    assert report.fault.startswith("line 2 ")


def test_the_chains_own_fields_are_nobodys():
    with pytest.raises(ValueError, match="hash"):
        line_after(START, {"hash": "x"})


@given(st.dictionaries(st.text().filter(lambda name: name not in {"number", "previous", "hash"}), st.text()))
def test_whatever_is_said_makes_a_whole_line(body):
    line, head = line_after(START, body)
    assert line.count(b"\n") == 1
    assert verify([line]) == (head, "")
