"""The prototype's files: its queue of proposals, its logs, its models. They are only ever read.

A line that cannot be read is passed over and told by its number, never by what stands in it.
"""

import hashlib
import json
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from ai_sysadmin.core.errors import Refused
from ai_sysadmin.stores.prototype import LOGS, Entry, Left, Origin, Reading
from ai_sysadmin.stores.prototype.values import flat, moment_of

MODEL_STATE: Final = "review_model_state.json"
_MOST_LINE: Final = 1 << 20
_MOST_QUEUE: Final = 64 << 20
_MOST_TOLD: Final = 1000
"""So many broken lines are told one by one."""

_LISTS: Final = ("queue", "pending", "approvals", "proposals", "actions", "items")


def read_files(directory: Path, most: int) -> tuple[tuple[Reading, ...], tuple[Left, ...]]:
    """Return what of the queue and the logs there is, of each log the newest so many; and which could not be read."""
    readings: list[Reading] = []
    left: list[Left] = []
    for origin in (Origin.APPROVAL_QUEUE, *LOGS):
        path = directory / origin.value
        try:
            readings.append(_queue(path) if origin is Origin.APPROVAL_QUEUE else _log(path, origin, most))
        except FileNotFoundError:
            continue
        except (OSError, Refused) as error:
            left.append(Left(where=str(path), why=f"cannot be read: {error}"))
    return tuple(readings), tuple(left)


def left_alone(directory: Path, models: Path) -> tuple[Left, ...]:
    """Name what stays as it is: the model's own state, and model files, which can be served from where they are."""
    found: list[Left] = []
    if (directory / MODEL_STATE).is_file():
        why = "the review model keeps its own state in the database: nothing of it is of use"
        found.append(Left(where=str(directory / MODEL_STATE), why=why))
    for path in sorted((directory / "models").glob("*.gguf")):
        is_ours = path.parent.resolve() == models.resolve()
        use = "it lies where `ai-sysadmin models` looks" if is_ours else f"to use it, move it to {models}"
        found.append(Left(where=str(path), why=f"a model of {path.stat().st_size / 1e6:,.0f} MB stays: {use}"))
    return tuple(found)


def _log(path: Path, origin: Origin, most: int) -> Reading:
    newest: deque[Entry] = deque(maxlen=most)
    broken: list[Left] = []
    digest = hashlib.sha256()
    found = good = 0
    with _opened(path) as file:
        for number, line in _lines(file, digest.update):
            found += 1
            entry = _line_entry(origin, line)
            if isinstance(entry, Entry):
                good += 1
                newest.append(entry)
            elif found - good <= _MOST_TOLD:
                broken.append(Left(where=f"{path}, line {number}", why=entry))
    if found - good > _MOST_TOLD:
        broken.append(Left(where=str(path), why=f"{found - good - _MOST_TOLD} more lines cannot be read"))
    if good > len(newest):
        why = f"the {good - len(newest)} entries before the newest {most} stay in the file alone (--most takes more)"
        broken.append(Left(where=str(path), why=why))
    return Reading(
        origin=origin,
        where=str(path),
        found=found,
        digest=digest.hexdigest()[:16],
        entries=tuple(newest),
        left=tuple(broken),
    )


def _line_entry(origin: Origin, line: bytes) -> Entry | str:
    """Return a line's entry, or what is wrong with it. What names it is what stands in it: lines move as logs turn."""
    if len(line) > _MOST_LINE:
        return f"is longer than {_MOST_LINE >> 20} MiB"
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return "is no JSON"
    if not isinstance(fields, dict):
        return "is no JSON object"
    return _entry(origin, fields, hashlib.sha256(line.strip()).hexdigest()[:16])


def _queue(path: Path) -> Reading:
    with _opened(path) as file:
        text = file.read(_MOST_QUEUE + 1)
    if len(text) > _MOST_QUEUE:
        raise Refused(f"it is larger than {_MOST_QUEUE >> 20} MiB")
    digest = hashlib.sha256(text).hexdigest()[:16]
    reading = Reading(origin=Origin.APPROVAL_QUEUE, where=str(path), found=0, digest=digest)
    if not text.strip():
        return reading
    try:
        items = _items(json.loads(text))
    except json.JSONDecodeError as error:
        why = f"is no JSON: {error.msg}"
        return reading.model_copy(update={"found": 1, "left": (Left(where=f"{path}, line {error.lineno}", why=why),)})
    except (ValueError, RecursionError):
        return reading.model_copy(update={"found": 1, "left": (Left(where=str(path), why="is no JSON in UTF-8"),)})
    entries = tuple(_proposal(each) for each in items if isinstance(each, dict))
    left = [
        Left(where=f"{path}, entry {number}", why="is no JSON object")
        for number, each in enumerate(items, 1)
        if not isinstance(each, dict)
    ]
    return reading.model_copy(update={"found": len(items), "entries": entries, "left": tuple(left)})


def _items(queue: object) -> Sequence[object]:
    """Return the proposals of a queue: a list of them, an object that holds such lists, or objects by their ids."""
    if isinstance(queue, list):
        return queue
    if not isinstance(queue, dict):
        return (queue,)
    lists = [queue[name] for name in _LISTS if isinstance(queue.get(name), list)]
    if lists:
        return [item for each in lists for item in each]
    if all(isinstance(each, dict) for each in queue.values()):
        return [{"id": name, **each} for name, each in queue.items()]
    return (queue,)


def _proposal(fields: Mapping[str, object]) -> Entry:
    body = json.dumps(fields, sort_keys=True).encode()
    return _entry(Origin.APPROVAL_QUEUE, fields, hashlib.sha256(body).hexdigest()[:16])


def _entry(origin: Origin, fields: Mapping[str, object], key: str) -> Entry:
    values = flat(fields)
    return Entry(origin=origin, key=key, values=values, at=moment_of(values))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading. Raises: OSError; Refused: it is no regular file, and reading it might never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused("it is no regular file")
        yield file


def _lines(file: BinaryIO, seen: Callable[[bytes], None]) -> Iterator[tuple[int, bytes]]:
    """Yield lines that are not empty, with their numbers; of one that is too long, a beginning that is too long."""
    number = 0
    while line := file.readline(_MOST_LINE + 2):
        number += 1
        seen(line)
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(_MOST_LINE)):
            seen(rest)
        if line.strip():
            yield number, line
