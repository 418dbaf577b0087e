"""The kill switch: a file. While it is there, nothing is begun. It needs no database, and `touch` makes it."""

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from ai_sysadmin.actions.protocol import Halted
from ai_sysadmin.core.errors import StoreUnavailable

FILE: Final = "halt"
_MOST_BYTES: Final = 4096


class HaltSwitch:
    """Whether anything may be begun. Everybody who may speak to the executor may halt it; an operator lets it go on."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self._unwritten: Halted | None = None

    def halted(self) -> Halted | None:
        """Return what holds all actions; none: nothing does. A file that says nothing halts as well."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return self._unwritten
        except OSError as error:  # who cannot tell does not begin anything
            return Halted(by="the executor", why=f"{self.path} cannot be looked at: {error}", at=datetime.now(UTC))
        try:
            return Halted.model_validate_json(_content(self.path))
        except (OSError, ValidationError):
            if self._unwritten is not None:
                return self._unwritten
            at = datetime.fromtimestamp(status.st_mtime, UTC)
            return Halted(by="whoever made the file", why=f"{self.path} is there", at=at)

    def halt(self, by: str, why: str, at: datetime) -> Halted:
        """Stop; where it is halted already, that stays as it was.

        Raises:
            StoreUnavailable: it cannot be written, as on a full disk; it holds for as long as this process runs.
        """
        known = self.halted()
        if known is not None:
            return known
        halted = Halted(by=by, why=why or "no reason was given", at=at)
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "w") as opened:
                json.dump(halted.model_dump(mode="json"), opened)
                opened.flush()
                os.fsync(opened.fileno())
            self._sync_directory()
        except OSError as error:
            self._unwritten = halted
            raise StoreUnavailable(
                f"all actions are halted until the executor is restarted, and no longer: "
                f"the halt cannot be written to {self.path}: {error.strerror}"
            ) from error
        return halted

    def resume(self) -> Halted | None:
        """Let actions begin again; return what held them. Raises: StoreUnavailable: the file cannot be removed."""
        known = self.halted()
        try:
            self.path.unlink(missing_ok=True)
            self._sync_directory()
        except OSError as error:
            raise StoreUnavailable(f"{self.path} cannot be removed: {error.strerror}; remove it as root") from error
        self._unwritten = None
        return known

    def _sync_directory(self) -> None:
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _content(path: Path) -> bytes:
    """Return the beginning of the file itself. Raises: OSError: it is none; a link is not followed, a pipe not read."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(f"{path} is no file")
        return os.read(file, _MOST_BYTES)
    finally:
        os.close(file)
