"""Lines with made-up secrets in them, each marked, and lines with none: what redaction is tested with.

``⟦…⟧`` is a secret, ``⏎`` a new line, ``␛`` the escape character; ``¦`` cuts a shape in two, so that no scanner of
this repository takes it for a real secret. Before the bar stands the kind that it counts as.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.context.redact import Redactor

_FILES = Path(__file__).parent / "fixtures" / "secrets"
_SECRET = re.compile("⟦(.*?)⟧", re.DOTALL)


@dataclass(frozen=True)
class Leak:
    """A text with secrets; ``expected`` is a pattern of it without them."""

    kind: str
    marked: str

    @property
    def text(self) -> str:
        return self.marked.replace("⟦", "").replace("⟧", "")

    @property
    def secrets(self) -> list[str]:
        return _SECRET.findall(self.marked)

    @property
    def expected(self) -> re.Pattern[str]:
        parts = _SECRET.split(self.marked)
        return re.compile(r"\[redacted: [\w -]+\]".join(map(re.escape, parts[::2])))

    def survivors(self, text: str) -> list[str]:
        """Return the secrets of which a text holds the whole, or a long part."""
        return [secret for secret in self.secrets if any(part in text for part in _parts(secret))]


def _parts(secret: str) -> set[str]:
    words = re.findall(r"[A-Za-z0-9]{10,}", secret)
    return {secret, *(word[at : at + 14] for word in words for at in range(max(1, len(word) - 13)))}


def leaks() -> list[Leak]:
    rows = (_FILES / "leaking.txt").read_text().splitlines()
    marks = str.maketrans({"¦": None, "⏎": "\n", "␛": "\x1b"})
    return [Leak(*row.translate(marks).split(" | ", 1)) for row in rows]


def harmless() -> list[str]:
    return (_FILES / "harmless.txt").read_text().splitlines()


def redacted(text: str) -> str:
    return Redactor().redact(text).text
