"""What an action's unit wrote, from the journal: the newest of it, in the memory of that much.

A unit's stdout and stderr are one stream to journald, in the order they were written, one entry a line. Empty lines are
not kept; a line over journald's ``LineMax=`` (48 KiB) comes in pieces, and of more than its rate limit (10,000 lines in
30 s for one unit) it drops what comes later. So a stage that prepares an action tells what it has to tell in its *last*
line, of at most ``LINE_BYTES``, and says little before: ``last_line`` returns it.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run, spawn

log = logging.getLogger(__name__)

CUT: Final = "[… the beginning was cut]\n"
LINE_BYTES: Final = 32 << 10
"""The longest line that a preparation may tell something in."""

_JOURNAL_LINE_BYTES: Final = 64 << 10
_SECONDS: Final = 10.0
_CHUNK: Final = 1 << 16


async def written(unit: str, most_bytes: int, invocation: str = "") -> str:
    """Return what a unit wrote to stdout and stderr, the newest kept; empty: nothing, or the journal cannot be read.

    ``invocation`` is the id of one of its runs; empty: all of them.
    journald is asked first to take in what it was sent. Only what came through the unit's own streams counts: nobody
    else can put words there.
    """
    matches = [f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout"]
    if invocation:
        matches.append(f"_SYSTEMD_INVOCATION_ID={invocation}")
    try:
        await run(("journalctl", "--sync"), timeout_seconds=_SECONDS)
        return newest(await _newest_lines(matches, most_bytes + _JOURNAL_LINE_BYTES), most_bytes)
    except (CommandMissing, CommandTimedOut, TimeoutError) as fault:
        log.warning("what %s wrote cannot be read: %s", unit, fault, extra={"event": "output_unreadable"})
        return ""


async def _newest_lines(matches: Sequence[str], most_bytes: int) -> bytes:
    """Return the last whole lines, oldest first. Raises: CommandMissing, TimeoutError."""
    # newest first: of 100 MB no more is read than what is kept
    argv = ("journalctl", "-q", "--no-pager", "-r", "-o", "cat", *matches)
    said = bytearray()
    async with asyncio.timeout(_SECONDS), await spawn(argv, stdout_pipe=True) as child:
        while len(said) <= most_bytes and (chunk := await child.stdout.read(_CHUNK)):
            said += chunk
    lines = bytes(said).split(b"\n")
    return b"".join(line + b"\n" for line in reversed(lines[:-1]))


def newest(said: bytes, most_bytes: int) -> str:
    """Return the end of a text in at most so many bytes, from a line's beginning, with a mark where it was cut.

    What is no UTF-8, and NUL, which no store takes, are replaced; other control characters stay.
    """
    plain = said.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}").encode()
    if len(plain) <= most_bytes:
        return plain.decode()
    room = max(most_bytes - len(CUT.encode()), 0)
    kept = plain[len(plain) - room :]
    _, _, whole_lines = kept.partition(b"\n")
    return CUT + (whole_lines or kept).decode(errors="ignore")


def last_line(output: str) -> str:
    """Return the last line that says something; empty: none does."""
    return next((line for line in reversed(output.splitlines()) if line.strip()), "")
