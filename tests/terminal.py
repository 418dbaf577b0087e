"""A terminal of its own for a process: what is typed, what stands on its screen, and all that was ever sent to it."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import asynccontextmanager

_SEQUENCE = re.compile(
    r"\x1b\[(?P<private>\??)(?P<numbers>[0-9;]*)(?P<final>[@-~])"
    r"|\x1b\](?P<osc>.*?)(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_PARTIAL = re.compile(r"\x1b(?:\[[0-9;?]*|\][^\x07]*)?$")


class Screen:
    """What stands on a terminal that never scrolls: the scrollback is part of it."""

    def __init__(self, columns):
        self.columns = columns
        self.rows = [[]]
        self.row = self.column = 0
        self.wraps = True
        self.links = []
        self._waiting = ""

    @property
    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.rows).rstrip()

    def take(self, text):
        text = self._waiting + text
        partial = _PARTIAL.search(text)
        self._waiting = text[partial.start() :] if partial else ""
        text = text[: partial.start()] if partial else text
        at = 0
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            if found:
                self._sequence(found)
                at = found.end()
            else:
                self._character(text[at])
                at += 1

    def _character(self, character):
        if character == "\n":
            self._to(self.row + 1, self.column)
        elif character == "\r":
            self.column = 0
        elif character == "\b":
            self.column = max(0, self.column - 1)
        elif character >= " ":
            if self.column >= self.columns and self.wraps:
                self._to(self.row + 1, 0)
            line = self.rows[self.row]
            line += " " * (self.column + 1 - len(line))
            line[self.column] = character
            self.column += 1

    def _sequence(self, found):
        if found["osc"] is not None:
            self.links.append(found["osc"])
            return
        number = int((found["numbers"] or "").partition(";")[0] or 0)
        match found["final"]:
            case "A":
                self._to(self.row - max(1, number), self.column)
            case "B":
                self._to(self.row + max(1, number), self.column)
            case "C":
                self.column += max(1, number)
            case "D":
                self.column = max(0, self.column - max(1, number))
            case "G":
                self.column = max(0, number - 1)
            case "J":
                del self.rows[self.row][self.column :], self.rows[self.row + 1 :]
            case "K":
                kept = 0 if number == 2 else self.column
                del self.rows[self.row][kept:]
            case "h" | "l" if found["private"] and found["numbers"] == "7":
                self.wraps = found["final"] == "h"

    def _to(self, row, column):
        self.row, self.column = max(0, row), column
        while len(self.rows) <= self.row:
            self.rows.append([])


class Terminal:
    """A process on a terminal."""

    def __init__(self, process, master, columns):
        self.process, self.screen, self.raw = process, Screen(columns), ""
        self._master = master
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self):
        try:
            piece = os.read(self._master, 65536).decode(errors="replace")
        except OSError:
            piece = ""
        if not piece:
            asyncio.get_running_loop().remove_reader(self._master)
        self.raw += piece
        self.screen.take(piece)
        self._news.set()

    def types(self, keys):
        os.write(self._master, keys.encode())

    async def until(self, holds, what, seconds=15):
        """Wait until ``holds(screen's text)``."""
        try:
            async with asyncio.timeout(seconds):
                while not holds(self.screen.text):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"never came: {what}\n{self.screen.text}") from None

    async def sees(self, text, times=1):
        await self.until(lambda shown: shown.count(text) >= times, text)

    async def ended(self):
        """Return the exit code of the process."""
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), 15)


@asynccontextmanager
async def on_a_terminal(*arguments, columns=80, lines=30, **environment):
    """Run the command line on a terminal of that size."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = _started(slave, arguments, environment)
    os.close(slave)
    terminal = Terminal(process, master, columns)
    try:
        yield terminal
    finally:
        asyncio.get_running_loop().remove_reader(master)
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)


def _started(slave, arguments, environment):
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
    return subprocess.Popen(
        [sys.executable, "-m", "ai_sysadmin", *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=_controlling,
        env=kept | {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "TZ": "UTC"} | environment,
    )


def _controlling():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
