"""What stands in the prototype's records, whatever their shape: flat text, and moments. Pure."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

_MOST_VALUES: Final = 200
_MOST_DEPTH: Final = 8
_MILLISECONDS_FROM: Final = 1e11
_EARLIEST: Final = 1e8
_MOMENTS: Final = (
    "updated_at", "closed_at", "resolved_at", "last_verified", "last_updated", "timestamp", "executed_at", "queued_at",
    "created_at", "time", "at", "date",
)  # fmt: skip
"""The fields that say when a record was last changed, the best first."""


def flat(fields: Mapping[str, object]) -> dict[str, str]:
    """Return fields as text by their path (``action.command``); what is null or empty is left out.

    Lists of plain values become one text; a text that holds JSON is read as that. Of very many fields, and of very deep
    ones, the first are returned.
    """
    values: dict[str, str] = {}
    for name, value in _leaves("", fields, 0):
        if len(values) >= _MOST_VALUES:
            break
        if value.strip():
            values[name] = value
    return values


def moment_of(values: Mapping[str, str]) -> datetime | None:
    """Return when a record says that it was last changed; a moment without a zone is UTC, as the prototype wrote it."""
    by_last: dict[str, str] = {}
    for name, value in values.items():
        by_last.setdefault(name.rpartition(".")[2], value)
    found = (moment(by_last[name]) for name in _MOMENTS if name in by_last)
    return next((each for each in found if each is not None), None)


def moment(text: str) -> datetime | None:
    """Return a moment from ISO 8601 or from seconds (or milliseconds) since 1970; none: it is neither."""
    try:
        number = float(text)
    except ValueError:
        return _iso(text)
    seconds = number / 1000 if number > _MILLISECONDS_FROM else number
    if not _EARLIEST <= seconds < _MILLISECONDS_FROM:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _iso(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _leaves(name: str, value: object, depth: int) -> Iterator[tuple[str, str]]:
    value = _decoded(value)
    if depth > _MOST_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            path = _writable(f"{name}.{key}" if name else str(key))
            yield from _leaves(path, inner, depth + 1)
    elif isinstance(value, list):
        if all(_is_plain(each) for each in value):
            yield name, ", ".join(_text(each) for each in value if each is not None)
            return
        for number, inner in enumerate(value, 1):
            yield from _leaves(f"{name}.{number}", inner, depth + 1)
    elif value is not None:
        yield name, _text(value)


def _decoded(value: object) -> object:
    """Return what a text holds that is a JSON list or object: ChromaDB's metadata knows plain values only."""
    if not isinstance(value, str) or value[:1] not in {"[", "{"}:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _text(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _writable(text)


def _writable(text: str) -> str:
    """Replace lone surrogates, as JSON may hold them: no database takes them."""
    return text.encode("utf-8", "replace").decode()
