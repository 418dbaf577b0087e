"""What front ends do with code beyond showing it, and how it is kept from them. Pure."""

import re
from typing import Final

_TAGS: Final = re.compile(
    r"<(?=/?(?:think|thought|reason|code_interpreter|details|html|head|body|style|script|svg|iframe)|\|(?:begin|end)_of_)",
    re.IGNORECASE,
)
"""What front ends act on wherever it stands, in code as well."""

_LANGUAGES: Final = (
    "bash c c++ conf config console cpp csv diff dockerfile dotenv fish go hcl http ini java json json5 jsonc kotlin"
    " log lua make makefile nginx nix patch perl php plaintext powershell properties promql py python rb ruby rs rust"
    " sh shell shell-session sql ssh-config systemd text toml txt yaml yml zsh"
)
_SHOWN: Final = frozenset(_LANGUAGES.split())
"""Languages of code that front ends only colour. Others (html, svg, mermaid) they may run or draw."""


def shown_language(info: str) -> str:
    """Return a language under which code is only shown, for what stands behind a fence's marks."""
    language = next(iter(info.split()), "")
    return language if not language or language.lower() in _SHOWN else "text"


def without_tags(code: str) -> str:
    """Return code in which no tag is left that front ends look for in a message's raw text."""
    return _TAGS.sub("< ", code)
