"""Strip what acts on a terminal or reorders text out of a text that comes piece by piece. Pure."""

import re
from typing import Final

from ai_sysadmin.context.defuse import defuse

_BEGIN: Final = re.compile(r"[\x1b\x9b]")
_WHOLE: Final = re.compile(
    r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c\n]{0,512}(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]{0,8}[0-~]?"
    r"|\x9b[0-?]{0,64}[ -/]{0,8}[@-~]?"
)
_UNFINISHED: Final = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|[\]PX^_][^\x07\x1b\x9c\n]{0,512}\x1b?|[ -/]{0,8})|\x9b[0-?]{0,64}[ -/]{0,8}"
)


class Stripper:
    """``defuse`` for a stream: the result is the same wherever the text is split. Tabs stay, for code needs them."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        return self._strip(self._held + text, final=False)

    def end(self) -> str:
        """Return what is left, the text being at its end here."""
        return self._strip(self._held, final=True)

    def _strip(self, text: str, *, final: bool) -> str:
        self._held = ""
        said: list[str] = []
        at = 0
        while begin := _BEGIN.search(text, at):
            said.append(text[at : begin.start()])
            if not final and _UNFINISHED.fullmatch(text, begin.start()):
                self._held = text[begin.start() :]
                return _harmless("".join(said))
            whole = _WHOLE.match(text, begin.start())
            at = whole.end() if whole else begin.end()
        return _harmless("".join([*said, text[at:]]))


def _harmless(text: str) -> str:
    return "\t".join(map(defuse, text.split("\t")))
