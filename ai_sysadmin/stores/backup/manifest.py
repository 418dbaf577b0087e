"""What is in a backup, and whether it may be restored here. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AwareDatetime, Field, StringConstraints

from ai_sysadmin.core.errors import AiSysadminError, Refused
from ai_sysadmin.core.records import Record

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


class Part(StrEnum):
    """Whose state it is; each part has a directory of its own."""

    STATE = "state"
    EXECUTOR = "executor"


class Form(StrEnum):
    """How a file is copied while it is written to."""

    DATABASE = "database"
    WHOLE = "whole"
    """It is only ever replaced, so that it reads whole."""
    LINES = "lines"
    """It only ever grows; a half-written last line is left out."""


@dataclass(frozen=True)
class Kept:
    """A file that a backup holds where it is there.

    ``of_database``: it says something about the database beside it, and is wrong beside another one.
    """

    part: Part
    name: str
    form: Form
    secret: bool = False
    of_database: bool = False

    @property
    def path(self) -> str:
        return f"{self.part.value}/{self.name}"


DATABASE: Final = Kept(Part.STATE, "ai-sysadmin.db", Form.DATABASE)
EXECUTOR_DATABASE: Final = Kept(Part.EXECUTOR, "executor.db", Form.DATABASE)

KEPT: Final = (
    # In the order of copying: what follows another's numbered events is copied before it, so that it is never ahead.
    DATABASE,
    Kept(Part.STATE, "notifications.json", Form.WHOLE, of_database=True),
    Kept(Part.STATE, "api-key", Form.WHOLE, secret=True),
    Kept(Part.STATE, "ingest-key", Form.WHOLE, secret=True),
    Kept(Part.EXECUTOR, "audit.jsonl", Form.LINES, of_database=True),
    EXECUTOR_DATABASE,
)
BY_PATH: Final[Mapping[str, Kept]] = {kept.path: kept for kept in KEPT}

SIDECARS: Final = ("-wal", "-shm", "-journal")
SPOOL: Final = "spool"
"""What the trigger monitor could not yet write into the database; it belongs to that database alone."""


class Member(Record):
    """A file of a backup, with its permissions; of a database also its schema, and the oldest that can use it."""

    path: str
    size: int = Field(ge=0)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    mode: int = Field(ge=0, le=0o777)
    schema_version: int | None = Field(None, ge=0)
    schema_needs: int = Field(0, ge=0)

    @property
    def kept(self) -> Kept:
        return BY_PATH[self.path]


class Manifest(Record):
    """The head of a backup. ``left_out`` says in words what this host has, and the backup has not."""

    format: int
    suite_version: str
    host: str
    at: AwareDatetime
    members: tuple[Member, ...]
    left_out: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(member.size for member in self.members)

    def of(self, part: Part) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.kept.part is part)

    def has(self, kept: Kept) -> bool:
        return any(member.path == kept.path for member in self.members)

    def only(self, wanted: frozenset[Part], *, with_database: bool, left_out: Sequence[str] = ()) -> "Manifest":
        """Return it with the members that are to be restored, and what more is left out."""
        chosen = (member for member in self.members if member.kept.part in wanted)
        members = (each for each in chosen if with_database or not _goes_with(DATABASE, each.kept))
        return self.model_copy(update={"members": tuple(members), "left_out": (*self.left_out, *left_out)})


def check_shape(manifest: Manifest) -> None:
    """Raises: Refused: it is of a later format. AiSysadminError: it names what no backup of this suite holds."""
    if manifest.format > FORMAT:
        raise Refused(
            f"the backup was written by a newer version ({manifest.suite_version}, format {manifest.format}; this "
            f"version reads {FORMAT}): restore it with that version"
        )
    paths = [member.path for member in manifest.members]
    if strange := [path for path in paths if path not in BY_PATH]:
        raise AiSysadminError(f"the manifest names {strange[0]!r}, which is no file of this suite's: it was changed")
    if len(set(paths)) != len(paths):
        raise AiSysadminError("the manifest names a file twice: it was changed")
    for member in manifest.members:
        if (member.schema_version is not None) != (member.kept.form is Form.DATABASE):
            raise AiSysadminError(f"the manifest says the wrong things about {member.path}: it was changed")
    executor = {member.kept.name for member in manifest.of(Part.EXECUTOR)}
    if executor and EXECUTOR_DATABASE.name not in executor:
        raise AiSysadminError("the backup holds the executor's audit without its journal: they go together")


def check_fits(manifest: Manifest, host: str, schemas: Mapping[str, int], *, host_differs: bool) -> None:
    """Decide whether a backup may be restored here.

    Args:
        schemas: by a database's path in the backup, the newest schema that this version knows.
        host_differs: another host's is wanted.

    Raises: Refused.
    """
    if manifest.host != host and not host_differs:
        raise Refused(
            f"the backup is of the host {manifest.host!r}, and this one is {host!r}: --host-differs takes it all the "
            "same; records of another host are not shown under this one's name"
        )
    for member in manifest.members:
        known = schemas.get(member.path, 0)
        if min(member.schema_version or 0, member.schema_needs) > known:
            raise Refused(
                f"{member.path} was written by a newer version ({manifest.suite_version}, usable from "
                f"schema {member.schema_needs} on; this version knows {known}): update this one first"
            )


def set_aside(part: Part, manifest: Manifest) -> tuple[str, ...]:
    """Return the names in a part's directory that make room: what is replaced, and what would be wrong beside it.

    What the backup has nothing in the place of stays: models, logs, the vector index, the kill switch.
    """
    names = [member.kept.name for member in manifest.of(part)]
    database = DATABASE if part is Part.STATE else EXECUTOR_DATABASE
    if database.name not in names:
        return tuple(names)
    sidecars = [database.name + each for each in SIDECARS]  # before the database: none may meet another one
    others = [kept.name for kept in KEPT if kept.of_database and kept.part is part and kept.name not in names]
    spool = [SPOOL] if part is Part.STATE else []
    return (*sidecars, *spool, *others, *names)


def _goes_with(database: Kept, kept: Kept) -> bool:
    return kept == database or (kept.part is database.part and kept.of_database)
