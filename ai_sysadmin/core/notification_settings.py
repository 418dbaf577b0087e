"""How a person is told that something needs them."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from ai_sysadmin.core.section import Section

Occasion = Literal["needs_person", "acted", "reverted", "resolved", "suite_trouble"]


class Notifications(Section):
    """Who is told, and how often. A message says host, unit, kind and id; never a word of a log."""

    urls_file: Path | None = Field(
        None, description="A file of Apprise URLs, one a line, readable by the notifier alone; empty: nobody is told."
    )
    heartbeat_url_file: Path | None = Field(
        None, description="A file with a URL that is asked for as long as all services live: a dead man's switch."
    )
    heartbeat_seconds: PositiveFloat = Field(300, description="How often that is.")
    occasions: tuple[Occasion, ...] = Field(
        ("needs_person", "acted", "reverted", "resolved", "suite_trouble"), description="What is told."
    )
    most_per_hour: PositiveInt = Field(6, description="So many messages an hour; what is beyond comes as one summary.")
    link: str = Field("", description="Where people look further, such as the front end's URL; empty: no link.")

    @field_validator("link")
    @classmethod
    def _is_a_link(cls, link: str) -> str:
        if link and (urlsplit(link).scheme not in {"http", "https"} or not urlsplit(link).hostname):
            raise ValueError("must be an http:// or https:// URL")
        return link
