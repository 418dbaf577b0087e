"""What of an answer a front end would bring to life: links, pictures, HTML, commands, characters that act."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from markdown_it import MarkdownIt

from ai_sysadmin.openai_api_server.answers.commands import Verb, command_of
from ai_sysadmin.openai_api_server.wire import ChatRequest

OWN_HOSTS: Final = frozenset({"thishost", "127.0.0.1", "localhost", "[::1]", "::1"})
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_BARE: Final = re.compile(r"(?:https?|ftp|mailto|javascript|data|vbscript|file):[^\s<>]+|www\.[\w.-]+", re.IGNORECASE)
_LINKED_BY_ITSELF: Final = re.compile(r"(?:https?|ftp)://|www\.", re.IGNORECASE)
_ACTS_IN_CODE: Final = frozenset({"html", "svg", "mermaid", "vega", "vega-lite", "xml"})
_FRONT_ENDS_TAGS: Final = re.compile(
    r"<(?:think|details|code_interpreter|script|iframe|svg)|<\|begin_of", re.IGNORECASE
)
_CONTROLS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def live(text: str) -> list[str]:
    """Return what a renderer would make of a text that leads anywhere but to a page of this host without a query."""
    found = list(_FRONT_ENDS_TAGS.findall(text))
    for block in _MARKDOWN.parse(text):
        if block.type == "html_block":
            found.append(block.content)
        if block.type == "fence" and block.info.split()[:1] and block.info.split()[0].lower() in _ACTS_IN_CODE:
            found.append(block.content)
        for token in block.children or ():
            if token.type in {"html_inline", "image"}:
                found.append(token.content or str(token.attrs))
            elif token.type == "link_open" and not _is_harmless(str(token.attrs["href"])):
                found.append(str(token.attrs["href"]))
            elif token.type == "text":
                found += [each for each in _BARE.findall(token.content) if _leads(each)]
    return found


def _leads(address: str) -> bool:
    return _LINKED_BY_ITSELF.match(address) is not None and not _is_harmless(address)


def _is_harmless(address: str) -> bool:
    """Tell whether a link stays on this host, and asks it for nothing: Open WebUI sends its ``?q=`` by itself."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme not in {"", "http", "https"} or parts.query or "@" in parts.netloc:
        return False
    return (not parts.netloc and not address.startswith(("//", "\\"))) or host in OWN_HOSTS


def acting(text: str) -> list[str]:
    """Return the characters of a text that act on a terminal, reorder it or cannot be seen."""
    return [f"U+{ord(each):04X}" for each in text if each not in "\n\t" and unicodedata.category(each) in _CONTROLS]


def decisions(text: str) -> list[str]:
    """Return the lines of a text, and the whole of it, that would decide on an action if a person sent them."""
    return [line for line in (text, *text.splitlines()) if decides(line)]


def decides(line: str) -> bool:
    asked = ChatRequest.model_validate({"messages": [{"role": "user", "content": line}]})
    command = command_of(asked)
    return command is not None and command.verb in {Verb.APPROVE, Verb.REJECT}


def strings(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value, its names too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
