"""What every command has in hand: the settings, how to answer, and the options that all of them take."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime import settings_file

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="Settings file, JSON or TOML; without it, the usual places.", metavar="FILE"),
]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="Keep and look for everything below this directory.", metavar="DIR")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]


@dataclass(frozen=True)
class Given:
    """The common options, as far as they were given."""

    settings: Path | None = None
    state_dir: Path | None = None
    as_json: bool = False

    def over(self, other: object) -> "Given":
        """Return these options, with what is missing taken from before the subcommand."""
        before = other if isinstance(other, Given) else Given()
        return Given(
            self.settings or before.settings, self.state_dir or before.state_dir, self.as_json or before.as_json
        )


@dataclass(frozen=True)
class Desk:
    """Settings that were read and checked, and how the answer is wanted."""

    settings: Settings
    as_json: bool
    given: Given

    @classmethod
    def open(cls, context: typer.Context, settings: Path | None, state_dir: Path | None, as_json: bool) -> "Desk":
        """Raises: SettingsError."""
        given = Given(settings, state_dir, as_json).over(context.obj)
        return cls(settings_file.load(given.settings, given.state_dir), given.as_json, given)

    def answer(self, record: Record, page: str) -> None:
        """Print a record as it was asked for: as JSON, or as the page made of it."""
        if self.as_json:
            print_json(record.model_dump(mode="json"))
        else:
            say(page)


def say(text: str) -> None:
    print(text, flush=True)


def print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2), flush=True)


def warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
