"""What changed on the host before a moment: a NixOS generation, packages, unit files, configuration, a command.

``host_changes`` asks all the others at once: ``generations`` (with ``profile``, ``system_tree``
and ``closures``), ``packages``,
``unit_files``, ``configuration``, ``reboots`` and ``manual``. ``subject`` knows what belongs to the unit that is asked
about, ``ranking`` puts what was found into order.
"""

from datetime import datetime, timedelta
from typing import Literal, Protocol

from pydantic import AwareDatetime

from ai_sysadmin.core.records import Record

ChangeKind = Literal["generation", "package", "unit_file", "configuration", "reboot", "command"]


class Change(Record):
    """One thing that changed. ``about`` is its path, package or unit; ``details`` are further lines.

    ``unit_related`` says that it belongs to the unit that was asked about; ``took_effect`` is false for what waits for
    a reboot.
    """

    at: AwareDatetime
    kind: ChangeKind
    what: str
    about: str = ""
    details: tuple[str, ...] = ()
    unit_related: bool = False
    took_effect: bool = True


class ChangesSeen(Record):
    """What changed, the newest first; ``gaps`` say what could not be looked at, ``left_out`` how many were too many."""

    changes: tuple[Change, ...]
    gaps: tuple[str, ...] = ()
    left_out: int = 0


class Changes(Protocol):
    """How it is asked what changed."""

    async def before(self, unit: str, moment: datetime, within: timedelta) -> ChangesSeen:
        """Return what changed in the time up to a moment (and the few seconds of its doubt); ``unit`` may be empty.

        Never raises: what cannot be looked at is a gap.
        """
        ...
