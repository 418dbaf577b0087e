"""Where the suite remembers."""

from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, NonNegativeFloat, field_validator

from ai_sysadmin.core.section import Section


class Database(Section):
    """The relational database: SQLite in the state directory, or PostgreSQL."""

    url: str = Field(
        "",
        description="PostgreSQL as libpq has it, such as postgresql:///ai-sysadmin?host=/run/postgresql&user=ai-sysadmin;"
        " a password stands in a file that it names by passfile=. Empty: SQLite in state_dir.",
    )

    wait_seconds: NonNegativeFloat = Field(
        60,
        description="How long a service that starts waits for PostgreSQL, before systemd starts it again.",
    )

    @field_validator("url")
    @classmethod
    def _is_postgresql(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in {"postgresql", "postgres"}:
            raise ValueError(
                "that is no URL of PostgreSQL's: begin it with postgresql://, or leave it empty for SQLite in state_dir"
            )
        if parts.password or "password" in dict(parse_qsl(parts.query)):
            raise ValueError(
                "a password does not stand in the settings, which everybody may read: put"
                " host:port:database:user:password into a file of mode 0600 and name it in the URL by passfile=/path"
            )
        return url
