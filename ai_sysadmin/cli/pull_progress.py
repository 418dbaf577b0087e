"""How far a download is, on stderr: a bar on a terminal, else a line every tenth of the way."""

import sys
from types import TracebackType
from typing import Protocol, Self

from ai_sysadmin.cli.desk import warn
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.llm_backend.weights.download import Watch, sized

_NOTE_CHARACTERS = 400
_STEPS = 10


class ShownWatch(Watch, Protocol):
    """A watch that is shown from the beginning to the end of a ``with`` block."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines:
    """A line at each tenth of what is known to come, or at each tenth of a GB."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def progress(self, done: int, total: int | None) -> None:
        step = done * _STEPS // total if total else done // (10**9 // _STEPS)
        if step != self._step:
            self._step = step
            warn(f"{self._name}: {sized(done)}" + (f" of {sized(total)}" if total else ""))

    def note(self, text: str) -> None:
        warn(f"{self._name}: {one_line(text, _NOTE_CHARACTERS)}")


class Bar:
    """A bar with the rate and the time that is left."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), Speed(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task(name, total=None)
        self._name = name
        self._done = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def progress(self, done: int, total: int | None) -> None:
        if done < self._done:  # it began anew: a rate over what was thrown away would be wrong
            self._progress.reset(self._task)
        self._done = done
        self._progress.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        from rich.text import Text

        self._progress.console.print(Text(f"{self._name}: {one_line(text, _NOTE_CHARACTERS)}"), soft_wrap=True)


def shown(name: str) -> ShownWatch:
    """Return what suits stderr."""
    return Bar(name) if sys.stderr.isatty() else Lines(name)
