"""Text from logs, files and models is data: made harmless to show to people, and to put before a model. Pure."""

import re
import unicodedata

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC, DCS and their like: titles, links
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]",
    re.DOTALL,
)
_INVISIBLE = frozenset({"Cf", "Cs", "Co", "Cn"})  # format (bidi, zero width, tags), surrogates, private, unassigned
_BLANK = frozenset({"Cc", "Zl", "Zp"})  # controls and the Unicode line separators
_CUT = " …"
_FENCE = str.maketrans({"<": "‹", ">": "›"})
_ROLE_MARK = re.compile(r"\[(/?)(INST|SYSTEM_PROMPT|TOOL_\w+|AVAILABLE_TOOLS)\]", re.IGNORECASE)


def defuse(text: str) -> str:
    """Drop what acts on a terminal or reorders text: escape sequences, controls but newline, bidi, zero width."""
    text = _ESCAPES.sub("", text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_harmless(character) for character in text)


def _harmless(character: str) -> str:
    if character == "\n":
        return character
    category = unicodedata.category(character)
    if category in _INVISIBLE:
        return ""
    return " " if category in _BLANK else character


def one_line(text: str, most: int) -> str:
    """Return text defused, on one line, and at most so many characters long."""
    return cut(" ".join(defuse(text).split()), most)


def without_numbers(text: str) -> str:
    """Return text with every number masked, so that two texts compare equal that differ in numbers only."""
    return re.sub(r"\d+", "#", text)


def cut(text: str, most: int) -> str:
    """Return text of at most so many characters; what is missing at its end is marked."""
    return text if len(text) <= most else text[: max(0, most - len(_CUT))] + _CUT[:most]


def newest(lines: list[str], most: int) -> list[str]:
    """Return as many of the last lines as fit into so many characters, newlines counted; at least the last, cut."""
    kept: list[str] = []
    left = most
    for line in reversed(lines):
        if kept and len(line) + 1 > left:
            break
        kept.append(cut(line, max(0, left - 1)))
        left -= len(kept[-1]) + 1
    return kept[::-1]


def for_model(text: str) -> str:
    """Return text that cannot pass for a chat template's control token, nor for the end of its fence.

    A server parses control tokens wherever they stand: ``<|im_end|>`` in a log line would end the message.
    """
    return _ROLE_MARK.sub(r"(\1\2)", defuse(text).translate(_FENCE))


def fenced(label: str, text: str) -> str:
    """Put data between marks that it cannot contain itself."""
    name = label.partition(" ")[0]
    return f"<<<{for_model(label)}\n{for_model(text)}\n{for_model(name)}>>>"


def quoted(text: str, most: int = 200) -> str:
    """Return text as one Markdown code span: no link, image or markup in it comes to life."""
    return f"`{one_line(text, most).replace('`', chr(0x27))}`"
