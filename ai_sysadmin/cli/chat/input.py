"""Where a person's lines come from: a terminal with history and completion, or a file of questions."""

import os
import stat
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input.typeahead import clear_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from ai_sysadmin.cli.chat.commands import Verb

PROMPT: Final = "› "
_LEAVE_HINT: Final = "(Ctrl-D leaves)"


class Questions(Protocol):
    """What a person says, line by line."""

    @property
    def attended(self) -> bool:
        """Tell whether somebody sits there who can be asked something."""
        ...

    def next(self) -> str | None:
        """Return the next thing said; none: there will be no more."""
        ...

    def confirmed(self, question: str) -> bool:
        """Ask for a yes; anything but ``y`` is a no, and so is what was typed before the question."""
        ...


class FromFile:
    """One question a line; nobody there to be asked anything. Each is echoed, so that its answer can be told."""

    attended: Final = False

    def __init__(self, lines: TextIO, out: TextIO) -> None:
        self._lines = lines
        self._out = out

    def next(self) -> str | None:
        for line in self._lines:
            if line.strip():
                self._out.write(f"{PROMPT}{line.strip()}\n")
                self._out.flush()
                return line.strip()
        return None

    def confirmed(self, question: str) -> bool:
        del question
        return False


class FromTerminal:
    """A prompt: Enter sends, Esc-Enter begins another line, Ctrl-C empties it, Ctrl-D leaves."""

    attended: Final = True

    def __init__(self, history: History) -> None:
        self._session: PromptSession[str] = PromptSession(
            history=history,
            completer=WordCompleter([f"/{verb}" for verb in Verb], sentence=True),
            complete_while_typing=Condition(lambda: self._session.default_buffer.text.startswith("/")),
            multiline=True,
            key_bindings=_keys(),
            prompt_continuation=lambda _width, _number, _wrapped: " " * len(PROMPT),
            reserve_space_for_menu=4,
        )
        self._asking: PromptSession[str] = PromptSession(history=InMemoryHistory())

    def next(self) -> str | None:
        sys.stdout.write("\n")
        while True:
            try:
                said = self._session.prompt(PROMPT).strip()
            except KeyboardInterrupt:
                sys.stdout.write(f"{_LEAVE_HINT}\n")
                continue
            except EOFError:
                return None
            if said:
                return said

    def confirmed(self, question: str) -> bool:
        clear_typeahead(self._session.input)
        clear_typeahead(self._asking.input)
        with suppress(termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        try:
            return self._asking.prompt(question).strip().lower() == "y"
        except (KeyboardInterrupt, EOFError):
            return False


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("escape", "c-j")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def history_file() -> Path:
    """Return where the person's own history is kept."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return base / "ai-sysadmin" / "chat-history"


def history_at(path: Path) -> History:
    """Return a history kept in that file, which only its owner can read; in memory where that cannot be had.

    A file or directory of somebody else, as under ``sudo``, is left alone.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_uid != os.geteuid():
            return InMemoryHistory()
        opened = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError:
        return InMemoryHistory()
    try:
        about = os.fstat(opened)
        if about.st_uid != os.geteuid() or not stat.S_ISREG(about.st_mode):
            return InMemoryHistory()
        os.fchmod(opened, 0o600)
    finally:
        os.close(opened)
    return FileHistory(str(path))


@contextmanager
def unechoed() -> Iterator[None]:
    """Keep keys from appearing between prompts. What is typed meanwhile waits for the next one; Ctrl-C works."""
    try:
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
    except (OSError, ValueError, termios.error):
        yield
        return
    silent = list(before)
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(terminal, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
