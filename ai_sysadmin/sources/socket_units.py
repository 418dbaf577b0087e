"""Which unit a listening socket belongs to, also where its process is another user's: the kernel knows the cgroup that
a socket was made in, and tells everybody who may ask it by netlink.
"""

import re
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.sources.host.reading import attribute

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_DUMP: Final = 0x301
_ERROR, _DONE = 2, 3
_LISTENS: Final = ((socket.IPPROTO_TCP, 1 << 10), (socket.IPPROTO_UDP, 1 << 7))
_HEAD: Final = struct.Struct("=IHHII")
_ABOUT: Final = struct.Struct("=68xI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_CGROUP_ID: Final = 21
_ANSWER_SECONDS: Final = 2.0
_PIECE: Final = 1 << 18
_MOST_BYTES: Final = 8 << 20
_MOST_CGROUPS: Final = 20_000
_UNIT: Final = re.compile(r"/([^/]+\.service)(?=/|$)")


class Holder(NamedTuple):
    """A unit, and the name of its processes where they all have the same."""

    unit: str
    process: str


def asked() -> Iterator[tuple[int, int]]:
    """Ask the kernel for all sockets that are listened on: yield the inode of each, and its cgroup's number.

    Raises:
        OSError: this process may open no netlink socket, or the kernel does not know.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
        kernel.settimeout(_ANSWER_SECONDS)
        for family in (socket.AF_INET, socket.AF_INET6):
            for protocol, states in _LISTENS:
                request = struct.pack("=BBBxI48x", family, protocol, 0, states)
                kernel.sendto(_HEAD.pack(_HEAD.size + len(request), _BY_FAMILY, _DUMP, 1, 0) + request, (0, 0))
                read, done = 0, False
                while not done and read < _MOST_BYTES:
                    answer = kernel.recv(_PIECE)
                    read += len(answer)
                    found, done = parsed(answer)
                    yield from found.items()


def holders_by_cgroup(
    root: Path = Path("/"), ask: Callable[[], Iterable[tuple[int, int]]] = asked
) -> dict[int, Holder]:
    """Return who holds each socket that is listened on, by its inode; nothing where the kernel may not be asked.

    A socket that systemd opened for a unit is systemd's own, and not among them.
    """
    try:
        cgroups = dict(ask())
    except OSError:
        return {}
    known = _services(root, set(cgroups.values()))
    return {inode: known[cgroup] for inode, cgroup in cgroups.items() if cgroup in known}


def parsed(answer: bytes) -> tuple[dict[int, int], bool]:
    """Return the cgroup of each socket in a netlink answer by the socket's inode, and whether that was the last."""
    found: dict[int, int] = {}
    at = 0
    while at + _HEAD.size <= len(answer):
        length, kind, *_ = _HEAD.unpack_from(answer, at)
        if kind in {_ERROR, _DONE} or length < _HEAD.size:
            return found, True
        message = answer[at + _HEAD.size : at + length]
        if len(message) >= _ABOUT.size and (cgroup := _cgroup(message[_ABOUT.size :])):
            found[_ABOUT.unpack_from(message)[0]] = cgroup
        at += -(-length // 4) * 4
    return found, False


def _cgroup(attributes: bytes) -> int:
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if kind == _CGROUP_ID and length == _ATTRIBUTE.size + 8:
            return int.from_bytes(attributes[at + _ATTRIBUTE.size : at + length], sys.byteorder)
        at += -(-max(length, _ATTRIBUTE.size) // 4) * 4
    return 0


def _services(root: Path, wanted: set[int]) -> Mapping[int, Holder]:
    """Return the services whose cgroups, by inode, are wanted."""
    tree = root / "sys/fs/cgroup"
    tree = tree / "unified" if (tree / "unified").is_dir() else tree
    found: dict[int, Holder] = {}
    for seen, directory in enumerate(_directories(tree)):
        if seen > _MOST_CGROUPS:
            break
        unit = _UNIT.search(str(directory))
        try:
            number = directory.stat().st_ino
        except OSError:  # it ended meanwhile
            continue
        if unit and number in wanted:
            found[number] = Holder(unit[1], _process(root, directory))
    return found


def _directories(tree: Path) -> Iterator[Path]:
    waiting = [tree]
    while waiting:
        directory = waiting.pop()
        yield directory
        try:
            waiting += [each for each in directory.iterdir() if each.is_dir() and not each.is_symlink()]
        except OSError:
            continue


def _process(root: Path, cgroup: Path) -> str:
    names = {attribute(root / "proc" / pid / "comm") for pid in attribute(cgroup / "cgroup.procs").split()}
    return names.pop() if len(names) == 1 else ""
