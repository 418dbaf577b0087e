"""Nothing begins on half a state: the mark that a restore leaves in a directory for as long as it may hold two."""

import os
from pathlib import Path
from typing import Final

from ai_sysadmin.core.errors import StoreUnavailable

PLAN: Final = ".restore-plan.json"


def is_interrupted(directory: Path) -> bool:
    """Tell whether a restore of this directory was begun and not ended."""
    return os.path.lexists(directory / PLAN)


def refuse_interrupted(directory: Path) -> None:
    """Raises: StoreUnavailable: a restore of this directory was broken off, or is under way."""
    if is_interrupted(directory):
        raise StoreUnavailable(
            f"a restore of {directory} is under way or was broken off: `ai-sysadmin restore --finish`, as who began "
            "it, finishes it"
        )
