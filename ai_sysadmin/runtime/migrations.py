"""Numbered scripts that make a database's tables, as both databases read them, and which suites may use the result.

A script's first line may be ``-- needs: N``: the oldest schema version whose code still reads and writes a database
that the script was applied to. Without the line it is read off the script: one that only adds demands nothing, one
that drops or renames demands its own number.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Final

from ai_sysadmin.core.errors import StoreUnavailable

log = logging.getLogger(__name__)

_NAMED: Final = re.compile(r"(\d{4})-[a-z0-9-]+\.sql")
_NEEDS: Final = re.compile(r"--\s*needs:\s*(\d+)\s*$")
_COMMENT: Final = re.compile(r"--[^\n]*")
_TAKES_AWAY: Final = re.compile(
    r"\b(?:DROP\s+(?!INDEX\b)\w+|RENAME|ALTER\s+(?:COLUMN\s+)?\w+\s+(?:TYPE|SET\s+(?:NOT\s+NULL|DATA))|ADD\s+CONSTRAINT)\b",
    re.IGNORECASE,
)
_ADDS_COLUMN: Final = re.compile(r"\bADD\s+COLUMN\b(?P<what>.*)", re.IGNORECASE | re.DOTALL)


class SchemaUnusable(StoreUnavailable):
    """This version of the suite cannot use the database's tables, however long it waits."""


@dataclass(frozen=True)
class Script:
    """One step of the schema.

    Args:
        number: the schema's version once it is applied.
        needs: the oldest schema version whose code can use what it leaves; 0: any.
    """

    number: int
    name: str
    needs: int
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Applied:
    """What a database says of its schema: how far it is, and the oldest version whose code can use it."""

    version: int
    needs: int


def scripts_in(directory: Traversable) -> tuple[Script, ...]:
    """Return a directory's scripts in order. Raises: SchemaUnusable: a number is missing or there twice."""
    names = sorted(entry.name for entry in directory.iterdir() if entry.name.endswith(".sql"))
    for number, name in enumerate(names, 1):
        found = _NAMED.fullmatch(name)
        if found is None or int(found[1]) != number:
            raise SchemaUnusable(
                f"the migrations in {directory} are not whole: {name} stands where number {number:04} is expected; "
                "install this version of the suite again"
            )
    return tuple(_script(number, directory / name) for number, name in enumerate(names, 1))


def needs_of(scripts: Sequence[Script]) -> int:
    """Return the oldest schema version whose code can use a database that has all of these."""
    return max((script.needs for script in scripts), default=0)


def pending(scripts: Sequence[Script], applied: Applied, database: str) -> Sequence[Script]:
    """Return what is still to be applied to a database. Raises: SchemaUnusable: only a newer version can use it."""
    known = len(scripts)
    if applied.version > known and applied.needs > known:
        raise SchemaUnusable(
            f"the database {database} was written by a newer version (schema {applied.version}, usable from schema "
            f"{applied.needs} on; this version knows {known}): update this service, or restore a backup from before"
        )
    if applied.version > known:
        log.warning(
            "the database %s was written by a newer version (schema %d, this version knows %d); it can be used",
            database,
            applied.version,
            known,
            extra={"event": "schema_newer"},
        )
    return scripts[applied.version :]


def broken(database: str, script: Script, number: int, why: str) -> SchemaUnusable:
    """Return the error of a script whose statement (counted from 1) the database does not take."""
    return SchemaUnusable(
        f"the database {database} cannot be brought up to date: statement {number} of {script.name} fails: {why}; "
        "nothing of it was kept and an earlier version of the suite can go on; report this as a bug of this version"
    )


def _script(number: int, file: Traversable) -> Script:
    text = file.read_text(encoding="utf-8")
    statements = tuple(part for part in text.split(";\n") if _COMMENT.sub("", part).strip(" \n\t;"))
    stated = _NEEDS.match(text.partition("\n")[0])
    needs = int(stated[1]) if stated else 0 if all(map(_only_adds, statements)) else number
    if needs > number:
        raise SchemaUnusable(
            f"{file.name} needs schema {needs}, which is above its own number {number}: correct the line"
        )
    return Script(number, file.name.removesuffix(".sql"), needs, statements)


def _only_adds(statement: str) -> bool:
    plain = _COMMENT.sub("", statement)
    if _TAKES_AWAY.search(plain):
        return False
    column = _ADDS_COLUMN.search(plain)
    return column is None or "NOT NULL" not in column["what"].upper() or "DEFAULT" in column["what"].upper()
