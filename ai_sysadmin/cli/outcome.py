"""The one place where an error becomes an exit code and a sentence.

0 done · 1 it failed · 2 usage · 3 refused by policy · 4 not reachable · 78 settings
"""

from typing import Any

from ai_sysadmin.cli.desk import print_json, warn
from ai_sysadmin.core.errors import AiSysadminError, Refused, SettingsError, Unavailable

FAILED = 1
EXIT_CODES: tuple[tuple[type[AiSysadminError], int], ...] = ((SettingsError, 78), (Refused, 3), (Unavailable, 4))


def exit_code(error: AiSysadminError) -> int:
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), FAILED)


def report(error: AiSysadminError, *, as_json: bool, beside: dict[str, Any] | None = None) -> int:
    """Say an error, a sentence on stderr and with JSON a document on stdout too; return its exit code.

    Args:
        beside: what was found out all the same, for the document.
    """
    warn(f"ai-sysadmin: {error}")
    if as_json:
        said = {"kind": type(error).__name__, "message": str(error), "exit_code": exit_code(error)}
        print_json({"error": said, **(beside or {})})
    return exit_code(error)
