"""Take secrets out of text before it is kept, shown, or put before a model. Pure.

    text → private keys (they span lines) → line by line: tokens, names, numbers, addresses, the operator's rules → text

A mark such as ``[redacted: password]`` stands in a secret's place; what names the secret stays, so that a line can
still be understood. Marks are left alone: redacting twice changes nothing more.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ai_sysadmin.context.private_keys import without_private_keys
from ai_sysadmin.context.secret_names import NAMED, kind_of
from ai_sysadmin.context.secret_shapes import ADDRESSES, NUMBERS, TOKENS, Shape
from ai_sysadmin.context.secret_words import COMMANDS, HEADERS, SENTENCES
from ai_sysadmin.core.context_settings import RedactionRule
from ai_sysadmin.core.records import Evidence, EvidencePack

MOST_LINE_CHARACTERS: Final = 64 << 10
"""Of a longer line only the beginning and the end are looked at, and kept."""

_RULE_STEP: Final = 2048
_RULE_LENGTH: Final = 4096
_MOST_PASSES: Final = 4

_MARKS: Final = "-_.$:}*="


def _character(shape: Shape) -> str:
    """Return a character that all hints of a shape have; empty: there is none."""
    return next((each for each in _MARKS if all(each in hint for hint in shape.hints)), "")


_SAID: Final = (*HEADERS, *COMMANDS, *NAMED, *SENTENCES)
_WORDS: Final = (
    "pass", "pwd", "pw=", "pw:", 'pw"', "pw'", "pw>", "pw]", "pw ", "secret", "token", "key", "cookie", "://", "cred",
    "authorization", "auth ", 'auth"', "otp", "psk", "jwt", "session_id", "session-id", "sessionid", "essid", "sid=",
    "sid:", 'sid"', "sig=", "signature", "basic ", "__construct", "connect(", "ldap_bind",
    "bearer", "identified", "community", "seed", "mnemonic", "recovery", "csrf", "xsrf", "@tcp", "@unix", "code=",
    "auth=", "assertion=", "n code", "y code", "a code", "e code", "x-amz-", "x-goog-", " -p", " -w", " -a ", " -u",
    "--user", " -x ", " -c ", "ldap", "masterauth",
)  # fmt: skip
"""A line without any of them holds no secret that is known by a name."""

_LONG: Final = 20
_TOKENS: Final = tuple(
    (character, tuple(shape for shape in TOKENS if _character(shape) == character)) for character in (*_MARKS, "")
)
"""The tokens by the one character that all their hints have; without it, none of their hints need be looked for."""

_NUMBER: Final = re.compile(r"\d{4}[ -]?\d{4}")

_MARK: Final = re.compile(r"\[redacted: ([A-Za-z][A-Za-z0-9 _-]{0,60})\]")
_LONGEST_MARK: Final = 80
_KEPT: Final = 0x10F000
_TAKEN: Final = 0x10F800
_SIGNS: Final = re.compile(f"[{chr(_KEPT)}-{chr(0x10FFFD)}]")
_ONLY_SIGNS: Final = re.compile(rf"""[ .,;:!?)\]}}'"]*(?:{_SIGNS.pattern}[ .,;:!?)\]}}'"]*)+""")


def mark(kind: str) -> str:
    """Return what stands in a secret's place."""
    return f"[redacted: {kind}]"


class Redacted(NamedTuple):
    """A text without its secrets, and how many were taken out, by kind."""

    text: str
    counts: dict[str, int]


def shortened(text: str, most: int) -> str:
    """Return the first so many characters of a text whose secrets were taken out; no mark is cut in two."""
    if len(text) <= most:
        return text
    for match in _MARK.finditer(text, max(0, most - _LONGEST_MARK), most + _LONGEST_MARK):
        if match.start() < most < match.end():
            return text[: match.start()]
    return text[:most]


class Redactor:
    """Takes secrets out of text: the built-in shapes first, then the operator's rules.

    A rule sees a long line in overlapping stretches of 4,096 characters, so that one whose cost grows with the square
    of what it is given stays bounded; one whose cost grows exponentially does not.
    """

    def __init__(self, rules: Sequence[RedactionRule] = ()) -> None:
        self._rules = tuple((rule.name, re.compile(rule.pattern)) for rule in rules)

    def redact(self, text: str) -> Redacted:
        """Return text with a mark in each secret's place; a line over ``MOST_LINE_CHARACTERS`` loses its middle."""
        counts: dict[str, int] = {}
        if "PRIVATE KEY" in text:
            text, keys = without_private_keys(text, mark("private key"))
            if keys:
                counts["private key"] = keys
        if "\n" not in text:
            return Redacted(self._line(text, counts), counts)
        return Redacted("\n".join([self._line(line, counts) for line in text.split("\n")]), counts)

    def value(self, name: str, text: str) -> Redacted:
        """Return what is known under a name (a label, a fact) without its secrets."""
        if text and not _MARK.fullmatch(text) and (kind := kind_of(name, text)):
            return Redacted(mark(kind), {kind: 1})
        return self.redact(text)

    def mapping(self, pairs: Mapping[str, str]) -> tuple[dict[str, str], dict[str, int]]:
        """Return named values without their secrets, and how many were taken out, by kind."""
        counts: Counter[str] = Counter()
        values: dict[str, str] = {}
        for name, text in pairs.items():
            values[name], found = self.value(name, text)
            counts.update(found)
        return values, dict(counts)

    def _line(self, line: str, counts: dict[str, int]) -> str:
        if len(line) > MOST_LINE_CHARACTERS:
            line = _cut(line)
        shapes = _shapes_for(line)
        if not shapes and not self._rules:
            return line
        work = _Line(line)
        for _ in range(_MOST_PASSES):
            before = work.text
            for shape in shapes:
                work.take(shape)
            for name, pattern in self._rules:
                work.take_by_rule(name, pattern)
            if work.text == before:
                break
        return work.finished(counts)


def _shapes_for(line: str) -> list[Shape]:
    """Return the shapes that a line may hold; for nearly every line there are none."""
    lowered = line.lower()
    longest = max(map(len, line.split()), default=0)
    found: list[Shape] = []
    if longest >= _LONG:
        for character, tokens in _TOKENS:
            if character in lowered:
                _add(tokens, lowered, longest, found)
    for word in _WORDS:
        if word in lowered:
            _add(_SAID, lowered, longest, found)
            break
    if _NUMBER.search(line):
        found += NUMBERS
    if "@" in line:
        found += ADDRESSES
    return found


def _add(shapes: Sequence[Shape], lowered: str, longest: int, found: list[Shape]) -> None:
    """Find the shapes one of whose hints a line has."""
    for shape in shapes:
        if longest >= shape.least:
            for hint in shape.hints:
                if hint in lowered:
                    found.append(shape)
                    break


def _cut(line: str) -> str:
    """Return a line's beginning and end, cut at blanks so that no half of a secret is left."""
    half, slack = MOST_LINE_CHARACTERS // 2 - 100, 2048
    first = max(line.rfind(" ", half - slack, half), half - slack)
    last = len(line) - half
    blank = line.find(" ", last, last + slack)
    last = blank if blank >= 0 else last + slack
    return f"{line[:first]} [{last - first} characters left out] {line[last:]}"


class _Line:
    """A line while it is worked on: marks are single characters in it, so that no pattern can break one."""

    def __init__(self, text: str) -> None:
        self._kept: dict[str, str] = {}
        self._taken: dict[str, str] = {}
        if not text.isascii():
            text = _SIGNS.sub("\ufffd", text)
        self.text = _MARK.sub(lambda match: self._sign(self._kept, _KEPT, match[1]), text)

    def take(self, shape: Shape) -> None:
        """Put a sign in the place of each secret of a shape."""
        holds, sign = shape.holds, self._sign(self._taken, _TAKEN, shape.kind)

        def replaced(match: re.Match[str]) -> str:
            group = match.lastindex or 0
            value = match[group]
            if not value or _ONLY_SIGNS.fullmatch(value) or not holds(match, value):
                return match[0]
            start, end = match.span(group)
            return match[0][: start - match.start()] + sign + match[0][end - match.start() :]

        self.text = shape.pattern.sub(replaced, self.text)

    def take_by_rule(self, name: str, pattern: re.Pattern[str]) -> None:
        """Put a sign in the place of what one of the operator's rules takes out."""
        group = pattern.groupindex.get("secret", 0)
        text, sign = self.text, self._sign(self._taken, _TAKEN, name)
        spans = sorted(
            match.span(group)
            for start in range(0, max(1, len(text) - _RULE_STEP), _RULE_STEP)
            for match in pattern.finditer(text, start, start + _RULE_LENGTH)
            if match[group] and not _ONLY_SIGNS.fullmatch(match[group])
        )
        parts: list[str] = []
        at = 0
        for start, end in spans:
            if start >= at:
                parts += text[at:start], sign
            at = max(at, end)
        self.text = "".join((*parts, text[at:]))

    def finished(self, counts: dict[str, int]) -> str:
        """Return the line with its marks; count those that were not there before."""
        words = {}
        for kind, sign in self._taken.items():
            if number := self.text.count(sign):
                counts[kind] = counts.get(kind, 0) + number
                words[sign] = mark(kind)
        words |= {sign: mark(kind) for kind, sign in self._kept.items()}
        return _SIGNS.sub(lambda match: words.get(match[0], match[0]), self.text) if words else self.text

    def _sign(self, known: dict[str, str], first: int, kind: str) -> str:
        if kind not in known and len(known) >= _TAKEN - _KEPT - 1:
            kind = next(iter(known))
        return known.setdefault(kind, chr(first + len(known)))


def redact_pack(pack: EvidencePack, redactor: Redactor) -> EvidencePack:
    """Return a pack without secrets in any of its pieces, what was taken out counted with each."""
    return pack.model_copy(update={"pieces": tuple(_redacted(piece, redactor) for piece in pack.pieces)})


def _redacted(piece: Evidence, redactor: Redactor) -> Evidence:
    counts = Counter(piece.redacted)
    changes: dict[str, object] = {}
    for field in ("title", "text", "left_out"):
        changes[field], found = redactor.redact(getattr(piece, field))
        counts.update(found)
    changes["facts"], found = redactor.mapping(piece.facts)
    counts.update(found)
    return piece.model_copy(update={**changes, "redacted": dict(counts)})
