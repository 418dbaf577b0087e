"""Whether a text names a host, an address or a path: whole, never as a piece of a longer name. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from ai_sysadmin.sources.reaching import Address, address_in

_DOTS: Final = ".。．｡"
_BEFORE: Final = rf"(?<![\w{_DOTS}-])(?<![^/:]/)"
_AFTER: Final = rf"(?![\w-]|[{_DOTS}]\w)"
_V4: Final = re.compile(rf"{_BEFORE}(\d{{1,3}}(?:\.\d{{1,3}}){{3}}){_AFTER}")
_TOKEN: Final = re.compile(r"[\w:.%-]+")
_V4_WITH_PORT: Final = re.compile(rf"{_BEFORE}(\d{{1,3}}(?:\.\d{{1,3}}){{3}}):(\d+)(?![\w-]|\.\w)")
_V6_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]:(\d+)(?!\w)")
_PORT: Final = re.compile(r"(.+):(\d{1,5})")
_MOST_TARGET: Final = 2048


def is_named(target: str, text: str) -> bool:
    """Tell whether a text names a target.

    A host (case does not matter, nor a trailing dot), an address in any of its spellings, either of them with a port,
    or a path or URL to the letter.
    """
    target = target.strip()
    if not target or len(target) > _MOST_TARGET or any(each.isspace() for each in target):
        return False
    text = f" {text} "
    if "/" in target:
        return _found(re.escape(target.rstrip("/")), text, r"(?<![\w./~:-])", r"/?(?![\w/~?&=#%-]|\.\w)")
    if address := _address(target):
        return address in _addresses(text)
    if with_port := _PORT.fullmatch(target):
        host, port = with_port[1], int(with_port[2])
        if address := _address(host):
            return (address, port) in _endpoints(text)
        return _found(rf"{_host(host)}:{port}", text, _BEFORE, r"(?![\w-]|\.\w)")
    return _found(_host(target), text, _BEFORE, _AFTER)


def _found(pattern: str, text: str, before: str, after: str) -> bool:
    flags = re.NOFLAG if "/" in pattern else re.IGNORECASE
    return bool(pattern) and re.search(f"{before}{pattern}{after}", text, flags) is not None


def _host(name: str) -> str:
    return re.escape(name.rstrip("."))


def _address(text: str) -> Address | None:
    """Return an address without its zone; none: it is none."""
    return address_in(text.rstrip("."))


def _addresses(text: str) -> Iterator[Address]:
    for match in _V4.finditer(text):
        if address := _address(match[1]):
            yield address
    for token in _TOKEN.findall(text):
        if token.count(":") < 2:
            continue
        # what follows may be a sentence's own colon or stop
        for trimmed in (token, token.removesuffix("."), token.removesuffix(":")):
            if address := _address(trimmed):
                yield address
                break


def _endpoints(text: str) -> Iterator[tuple[Address, int]]:
    for pattern in (_V4_WITH_PORT, _V6_WITH_PORT):
        for match in pattern.finditer(text):
            if address := _address(match[1]):
                yield address, int(match[2])
