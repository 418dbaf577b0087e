"""The settings of layer 2: what evidence is gathered, what is taken out of it, what is known beside it."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from ai_sysadmin.core.noticing_settings import RuleName
from ai_sysadmin.core.section import Section


class RedactionRule(Section):
    """What else must not be kept or shown to a model, beside the built-in shapes of secrets."""

    name: RuleName = Field(description="What is taken out, as it is named in the text's place.")
    pattern: str = Field(
        max_length=500,
        description="A regular expression (Python's); its group 'secret', or else the whole match, is taken out.",
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        if compiled.search("") is not None:
            raise ValueError("matches an empty text, so it would match everywhere: make it more specific")
        return pattern


class Context(Section):
    """What becomes evidence for an incident."""

    log_lines: PositiveInt = Field(2000, le=20_000, description="How many of a unit's log lines are read at most.")
    log_before_seconds: PositiveFloat = Field(1800, description="How far before the fault a unit's log is read.")
    baseline_hours: PositiveFloat = Field(24, description="What a figure at the fault is compared with.")
    changes_hours: PositiveFloat = Field(24, description="How far back it is asked what changed before the fault.")
    changes_directories: tuple[Path, ...] = Field(
        (Path("/etc"),), description="Directories whose changed files are evidence."
    )
    past_incidents: NonNegativeInt = Field(3, description="How many similar incidents of the past are shown.")
    runbooks: NonNegativeInt = Field(2, description="How many matching runbooks are shown.")
    sysstat: bool = Field(
        True, description="Read sysstat's records (sadf) for the time before this suite kept figures itself."
    )
    gather_seconds: PositiveFloat = Field(10, description="The longest that one look-up for evidence may take.")
    redaction: tuple[RedactionRule, ...] = Field(
        (), description="What else is taken out of everything that is kept or shown to a model."
    )


class Knowledge(Section):
    """What is known beside the incident at hand, and how it is found."""

    configuration_repository: Path | None = Field(
        None, description="The NixOS configuration (a directory): kept searchable, with file and line."
    )
    runbooks: tuple[Path, ...] = Field((), description="Directories of your own runbooks, beside those shipped.")
    index_every_seconds: PositiveFloat = Field(300, description="How often it is looked for what is new to know.")
    chroma_url: str = Field(
        "", description="The ChromaDB server that holds the vectors; empty: none, knowledge is found by full text."
    )
    chroma_in_up: bool = Field(
        True, description="`up` runs a ChromaDB of its own where it is installed and embeddings are configured."
    )
    onnx_archive: Path | None = Field(
        None,
        description="ChromaDB's own embedding model (all-MiniLM-L6-v2, onnx.tar.gz), checked against its published"
        " SHA-256; used where backends.embedding is not set.",
    )
    minimum_similarity: NonNegativeFloat = Field(
        0.2, le=1, description="What is less alike (cosine) is not found by vectors."
    )

    @field_validator("chroma_url")
    @classmethod
    def _is_loopback(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL such as http://127.0.0.1:8000")
        if parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError("must be on this host: ChromaDB asks nobody who they are")
        return url.rstrip("/")
