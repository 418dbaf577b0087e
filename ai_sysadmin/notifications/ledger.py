"""What some addresses are still owed: messages that at least one address has, kept over a restart.

told by one address → kept here → the store is told → the others get it when they answer again → forgotten
"""

import logging
import os
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, ValidationError

from ai_sysadmin.core.records import Record
from ai_sysadmin.notifications.messages import Message

log = logging.getLogger(__name__)

KEPT: Final = timedelta(days=1)
MOST_OWED: Final = 200


class Owed(Record):
    """A message that went out. ``missing`` are the ids of addresses; ``recorded``: the store knows that it was told."""

    ids: tuple[int, ...]
    message: Message
    at: AwareDatetime
    had: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    recorded: bool = False

    def told_to(self, address: str) -> "Owed":
        missing = tuple(each for each in self.missing if each != address)
        return self.model_copy(update={"had": (*self.had, address), "missing": missing})


class Book(Record):
    """All that is kept. ``held``: something was held back, and comes as one summary."""

    held: bool = False
    owed: tuple[Owed, ...] = ()

    def with_owed(self, owed: Owed) -> "Book":
        """Return the book with a message's state in the place of what it said of it before."""
        if all(each.ids != owed.ids for each in self.owed):
            return self.model_copy(update={"owed": (*self.owed, owed)})
        return self.model_copy(update={"owed": tuple(owed if each.ids == owed.ids else each for each in self.owed)})

    def recorded(self, owed: Owed) -> "Book":
        """Return the book with a message that the store knows to be told; without it where nobody is owed it."""
        if owed.missing:
            return self.with_owed(owed.model_copy(update={"recorded": True}))
        return self.model_copy(update={"owed": tuple(each for each in self.owed if each.ids != owed.ids)})

    def settled(self, addresses: Sequence[str], now: datetime) -> "Book":
        """Return the book without what nobody is owed any more, or for too long."""
        kept = []
        for each in self.owed:
            missing = tuple(address for address in each.missing if address in addresses)
            if not each.recorded or (missing and now - each.at <= KEPT):
                kept.append(each.model_copy(update={"missing": missing}))
        return self.model_copy(update={"owed": tuple(kept[-MOST_OWED:])})


class Ledger:
    """The book, and the file that it is kept in. While the disk takes nothing it is kept in memory alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_away = False
        self.book = self._read()

    def keep(self, book: Book) -> None:
        """Replace the book; on disk it appears whole, or not at all."""
        if book == self.book:
            return
        self.book = book
        try:
            _replace(self._path, book.model_dump_json())
        except OSError as error:
            if not self._is_away:
                text = "%s cannot be written: %s; after a restart some messages may come twice"
                log.warning(text, self._path, error.strerror, extra={"event": "ledger_unwritable"})
            self._is_away = True
        else:
            self._is_away = False

    def _read(self) -> Book:
        try:
            return Book.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Book()
        except (OSError, ValidationError):
            log.warning("%s cannot be read, and is begun anew", self._path, extra={"event": "ledger_unreadable"})
            return Book()


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
