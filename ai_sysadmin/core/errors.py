"""Every error this suite raises on purpose.

    AiSysadminError
    ├── SettingsError          the configuration is wrong          → exit 78, systemd does not restart
    ├── Unavailable            a dependency is away                → back off, stay up, status says so
    │   ├── BackendUnavailable   a model server
    │   ├── StoreUnavailable     the database
    │   ├── IndexUnavailable     the vector index
    │   ├── JournalUnavailable   the system journal
    │   ├── SystemdUnavailable   systemd's D-Bus interface
    │   ├── ExecutorUnavailable  the executor's sockets
    │   └── ApiUnavailable       the API's socket
    ├── ModelMisbehaved        a model's reply cannot be used      → recorded, escalated, never "healthy"
    │   └── ReplyUnusable        it does not fit the schema, twice
    ├── NotFound               no such incident, action or unit
    └── Refused                policy or a person said no          → recorded, never retried
        └── ApprovalRequired     a person has to decide first

Foreign errors are translated at their one door. Anything else is a bug: the process ends, systemd restarts it.
"""


class AiSysadminError(Exception):
    """The suite could not do what was asked."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


class SettingsError(AiSysadminError):
    """The configuration is wrong."""


class Unavailable(AiSysadminError):
    """Something this service depends on does not answer."""


class BackendUnavailable(Unavailable):
    """The model server does not answer."""


class StoreUnavailable(Unavailable):
    """The database does not answer."""


class IndexUnavailable(Unavailable):
    """The vector index does not answer."""


class JournalUnavailable(Unavailable):
    """The system journal cannot be read."""


class SystemdUnavailable(Unavailable):
    """systemd does not answer on the system bus."""


class ExecutorUnavailable(Unavailable):
    """The executor does not answer on its socket."""


class ApiUnavailable(Unavailable):
    """The API does not answer on its socket."""


class ModelMisbehaved(AiSysadminError):
    """The model's reply cannot be used."""


class ReplyUnusable(ModelMisbehaved):
    """The model's reply does not fit the schema, and neither did its repair."""


class NotFound(AiSysadminError):
    """There is no such thing."""


class Refused(AiSysadminError):
    """Policy or a person said no."""


class ApprovalRequired(Refused):
    """A person has to approve this first."""
