"""What could mend an incident, of the catalogue: what a model may choose from, most likely first. Pure.

Only what follows from measurements is offered, with arguments that code filled in.
"""

from collections.abc import Sequence
from typing import Final

from ai_sysadmin.actions.catalogue.disk_space import FreeDiskSpace
from ai_sysadmin.actions.catalogue.units import ResetFailedUnit, RestartUnit, StartUnit, candidates
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.sources.units import UnitStatus

OFFERED: Final = (RestartUnit, StartUnit, ResetFailedUnit, FreeDiskSpace)
"""The entries that are ever offered for an incident."""
_FULL: Final = frozenset({SymptomKind.DISK_FULL, SymptomKind.INODES_FULL, SymptomKind.DISK_FILLING})


def remedies(kind: SymptomKind, about: str, status: UnitStatus | None) -> Sequence[ProposedAction]:
    """Return what could mend an incident; nothing where nothing would help.

    Args:
        about: what it is about, where that is no unit: of a full file system, where it is mounted.
        status: its unit as it was seen; none: it has none, or nobody could look.
    """
    if kind in _FULL and about.startswith("/"):
        return (ProposedAction(name=FreeDiskSpace.name, arguments={"path": about}),)
    if status is None:
        return ()
    if kind is SymptomKind.PROBE_FAILED and status.active_state == "active":
        return (ProposedAction(name=RestartUnit.name, arguments={"unit": status.name}),)
    return candidates(status)
