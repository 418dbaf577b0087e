"""Where links in an answer may lead, and how one that leads elsewhere is written so that nothing renders it. Pure."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from ai_sysadmin.context.defuse import cut, defuse
from ai_sysadmin.core.settings import LOOPBACK_HOSTS, Settings

_HOST: Final = r"(?P<host>[a-z0-9_.-]+|\[[0-9a-f:.]+\])"
_PINNED: Final = re.compile(rf"https?://{_HOST}(?::\d{{1,5}})?/", re.IGNORECASE)
"""An address whose host cannot become another by what follows it."""

# none with a query: a front end sends what its own ?q= says as if a person had typed it, `/approve` too
_RELATIVE: Final = re.compile(r"\((?!//)[\w.~+,=/#-]*\)", re.ASCII)
_ABSOLUTE: Final = re.compile(r"\((?P<url>https?://[\w.~+,=/#:\[\]-]+)\)", re.ASCII | re.IGNORECASE)

_ASKS: Final = frozenset("?%&")
_URL: Final = r"(?:(?:https?|ftp)\\?:(?:\\?/){2}(?:\[[0-9a-f:.]{2,45}\])?|www\\?\.)[^\s<>`|\\()\[\]]*"
"""What renderers make a link of where it stands."""

_TOKEN: Final = re.compile(
    rf"(?P<url>{_URL})"
    r"|(?P<escape>\\[!-/:-@\[-`{-~])"
    r"|(?P<image>!(?=\[))"
    r"|(?P<mark>\[t\d{1,4}(?:,t\d{1,4})*\](?![(\[:]))"
    r"|(?P<link>\](?=\())"
    r"|(?P<definition>\]:)"
    r"|(?P<entity>&(?:#\d{1,8}|#x[0-9a-f]{1,8}|[a-z][a-z0-9]{1,31});)",
    re.IGNORECASE,
)
_TRAILING: Final = ".,:;!?'\"*_~}"
_HARMLESS_ENTITIES: Final = frozenset({"&amp;", "&lt;", "&gt;", "&quot;", "&nbsp;"})
_DATA: Final = str.maketrans({"<": "‹", ">": "›", "`": "'"})
_DATA_URL: Final = re.compile(_URL, re.IGNORECASE)

Cite = Callable[[str], str]
"""Turns the mark of a look-up, ``t3``, into what the answer shows for it."""


class Links:
    """The hosts that an answer may link to: none but this one, and those that the settings name."""

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower().strip("[]") for host in (*LOOPBACK_HOSTS, *hosts) if host)

    @classmethod
    def of(cls, settings: Settings) -> "Links":
        return cls((settings.host_name, settings.api.host, *settings.api.allowed_hosts))

    def allows(self, url: str) -> bool:
        """Tell whether an address leads to one of them, whatever may follow it, and asks nothing of it."""
        pinned = _PINNED.match(url)
        if pinned is None or not _ASKS.isdisjoint(url):
            return False
        return pinned["host"].lower().strip("[]") in self._hosts

    def leads_here(self, text: str, at: int) -> bool:
        """Tell whether a link's target, ``(…)`` at that place, is relative or leads to one of them."""
        if _RELATIVE.match(text, at):
            return True
        absolute = _ABSOLUTE.match(text, at)
        return absolute is not None and self.allows(absolute["url"])


def inert(word: str, links: Links, cite: Cite, *, definitions: bool) -> str:
    """Return a word of Markdown, no blank and no code in it, in which nothing is left that leads to a foreign host.

    Addresses become code spans, images and links are taken apart. ``definitions``: ``[label]:`` may be one here.
    """
    said: list[str] = []
    end = 0
    for found in _TOKEN.finditer(word):
        before = word[end : found.start()]
        written = _written(found, links, cite, definitions=definitions)
        # a lone backslash would take the code span's first mark for itself
        joint = "\\" if before.endswith("\\") and written.startswith("`") else ""
        said += [before, joint, written]
        end = found.end()
    return "".join([*said, word[end:]])


def _written(found: re.Match[str], links: Links, cite: Cite, *, definitions: bool) -> str:
    piece = found.group()
    match found.lastgroup:
        case "url":
            return piece if links.allows(piece) else _as_code(piece)
        case "escape":
            return "&lt;" if piece == "\\<" else piece
        case "image":
            return "\\!"
        case "mark":
            return "".join(map(cite, piece[1:-1].split(",")))
        case "link":
            return "]" if links.leads_here(found.string, found.end()) else "] "
        case "definition":
            return "]\\:" if definitions else piece
    return piece if piece.lower() in _HARMLESS_ENTITIES else f"&amp;{piece[1:]}"


def _as_code(url: str) -> str:
    address = url.rstrip(_TRAILING)
    return f"`{address}`{url[len(address) :]}" if address else url


def unlinked(text: str) -> str:
    """Return JSON, still JSON, in which no Markdown makes a link or an image of what its strings hold."""
    return text.replace("![", "! [").replace("](", "] (")


def data_text(text: str, most: int) -> str:
    """Return a tool's output as a front end may show it, as Markdown or not: no markup in it comes to life."""
    harmless = defuse(text).translate(_DATA).replace("~~~", "'''")
    harmless = harmless.replace("![", "! [").replace("](", "] (").replace("]:", "] :").replace("&#", "& #")
    return cut(_DATA_URL.sub(_data_url, harmless), most)


def _data_url(found: re.Match[str]) -> str:
    apart = " " if found.string[found.start() - 1 : found.start()] == "\\" else ""
    return apart + _as_code(found.group())


def data_line(text: str, most: int) -> str:
    """Return the like of it on one line."""
    return data_text(" ".join(defuse(text).split()), most)
