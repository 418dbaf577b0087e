"""What a diff has to be before anything is made of it. Pure."""

import re
from typing import Final

MOST_BYTES: Final = 12 << 10
_BINARY: Final = re.compile(r"^(?:GIT binary patch|Binary files .* differ)$", re.MULTILINE)
_MODE: Final = re.compile(r"^(?:(?:new|deleted) file mode|(?:new|old) mode|index \S+) (?:120000|160000)$", re.MULTILINE)
_HUNK: Final = re.compile(r"^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@", re.MULTILINE)


def diff_fault(diff: str) -> str | None:
    """Say why a text is no diff that may become a branch; none: it may."""
    if len(diff.encode(errors="surrogatepass")) > MOST_BYTES:
        return f"the diff is larger than {MOST_BYTES >> 10} KB"
    if not _HUNK.search(diff):
        return "that is no unified diff: it has no line such as @@ -1,3 +1,4 @@"
    if any((character < " " and character not in "\n\t") or "\ud800" <= character <= "\udfff" for character in diff):
        return "the diff is no plain text"
    if _BINARY.search(diff):
        return "the diff holds a binary patch"
    if _MODE.search(diff):
        return "the diff makes or changes a link or a submodule"
    return None
