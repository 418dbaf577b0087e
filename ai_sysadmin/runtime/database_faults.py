"""What a database's errors mean, in words for whoever looks after the host: what is wrong, and what to do next.

Pure: codes and texts come in as values, so that no library of a database is imported here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Server:
    """A PostgreSQL database as people know it.

    Args:
        name: the database and where it is; no password.
        database: its name alone; empty: not given.
        user: the role that opens it; empty: not given.
    """

    name: str
    database: str = ""
    user: str = ""

    @property
    def role(self) -> str:
        return f'"{self.user}"' if self.user else "ROLE"

    @property
    def quoted(self) -> str:
        return f'"{self.database}"' if self.database else "DATABASE"


def postgres_fault(code: str, text: str, server: Server) -> str:
    """Return a sentence for PostgreSQL's error. ``code``: its SQLSTATE; empty: none came (connecting failed)."""
    said = text.strip().splitlines()[0] if text.strip() else "no reason given"
    meaning = _OF_CODE.get(code) or (_meaning_of_connecting(text) if not code else None)
    advice = meaning(server) if meaning else ""
    if code == _NOT_ALLOWED:
        advice = _grants(text, server)
    return f"the database {server.name} cannot be used: {said}" + (f"; {advice}" if advice else "")


def sqlite_fault(code: int | None, text: str, path: str) -> str:
    """Return a sentence for SQLite's error. ``code``: its extended result code; none: none came."""
    advice = _OF_PRIMARY_CODE.get((code or 0) & 0xFF, "")
    return f"the database {path} cannot be used: {text}" + (f"; {advice.format(path=path)}" if advice else "")


def is_fault_of_statement(code: int | None) -> bool:
    """Tell whether SQLite refused what was asked (wrong SQL, a constraint), and not the file or its disk."""
    return (code or _SQLITE_ERROR) & 0xFF in {_SQLITE_ERROR, 19, 20, 25}


_SQLITE_ERROR: Final = 1
_OF_PRIMARY_CODE: Final = {
    5: "another process has held it for too long: see which with fuser {path}, and restart that service",
    6: "another process has held it for too long: see which with fuser {path}, and restart that service",
    8: "it is read-only: look at the owner and mode of the file and its directory, and whether its disk was mounted"
    " read-only after an error (findmnt, journalctl -k)",
    10: "its disk fails to read or write: look at journalctl -k and at the disk's health before anything else",
    11: "the file is damaged: stop the services and take a backup back with ai-sysadmin restore",
    13: "its disk is full: make room on it (df, ai-sysadmin status); the service goes on by itself",
    14: "it cannot be opened: look at the owner and mode of the file and its directory",
    26: "the file is none of SQLite's or is damaged: stop the services and take a backup back with ai-sysadmin restore",
}

_NOT_ALLOWED: Final = "42501"
_Advice = Callable[[Server], str]


def _connections(_: Server) -> str:
    return "its server has no connection left: raise max_connections, or see who holds them in pg_stat_activity"


def _away(_: Server) -> str:
    return "its server is stopping, starting or was restarted: the next try goes on"


def _unknown_database(server: Server) -> str:
    name = server.database or "NAME"
    return (
        f"make it: createdb --owner={server.user or 'ROLE'} {name}, or on NixOS "
        f'services.postgresql.ensureDatabases = [ "{name}" ]'
    )


def _login(server: Server) -> str:
    return (
        f"its server does not let the role {server.role} in: look at pg_hba.conf, the user this service runs as "
        "(peer) and the password file that passfile= names"
    )


_OF_CODE: Final[dict[str, _Advice]] = {
    "28000": _login,
    "28P01": _login,
    "3D000": _unknown_database,
    "53300": _connections,
    "57P01": _away,
    "57P02": _away,
    "57P03": _away,
    "57014": lambda _: (
        "a statement took longer than it may: the server is overloaded, or a table has grown out of bounds"
    ),
    "55P03": lambda _: "another session holds a lock for too long: see pg_locks and pg_stat_activity",
    "40P01": lambda _: "two transactions waited for each other; the next try goes on",
    "25P03": lambda _: "the server ended a transaction that stood idle; the next try goes on",
    "53100": lambda _: "the disk of its server is full: make room there; the service goes on by itself",
    "53200": lambda _: "its server has no memory left",
    "58030": lambda _: "the disk of its server fails to read or write: look at that machine's kernel log",
    "XX001": lambda _: "its data is damaged: stop the services and restore it from its backup",
    "XX002": lambda _: "an index of it is damaged: REINDEX it, and look at the disk",
    "25006": lambda server: (
        "it is read-only: this is a standby, or default_transaction_read_only is set; "
        f"ALTER DATABASE {server.quoted} RESET default_transaction_read_only"
    ),
}

# What the server says while a session is being made comes without its code.
_OF_TEXT: Final[tuple[tuple[tuple[str, ...], _Advice], ...]] = (
    (
        ("authentication failed", "no pg_hba.conf entry", "no password supplied", 'FATAL:  role "', "is not permitted"),
        _login,
    ),
    (("FATAL:  database ",), _unknown_database),
    (("too many clients", "connection slots", "too many connections"), _connections),
    (("the database system is", "server closed the connection", "terminating connection"), _away),
    (("given no answer",), lambda _: "it hangs or is overloaded: look at its load, its disk and its log"),
    (
        ("Connection refused", "No such file or directory", "could not translate host", "timeout", "unreachable"),
        lambda _: "is its server running (systemctl status postgresql), and is the URL right?",
    ),
)


def _meaning_of_connecting(text: str) -> _Advice | None:
    return next((advice for signs, advice in _OF_TEXT if any(sign in text for sign in signs)), None)


def _grants(text: str, server: Server) -> str:
    if "for database" in text:
        return f"as a superuser in that database: GRANT CREATE ON DATABASE {server.quoted} TO {server.role};"
    return (
        f"as a superuser in that database: GRANT USAGE, CREATE ON SCHEMA ai_sysadmin TO {server.role}; "
        f"GRANT ALL ON ALL TABLES IN SCHEMA ai_sysadmin TO {server.role}; what ALTERs them needs their owner: "
        f"ALTER TABLE … OWNER TO {server.role};"
    )
