"""Which failure is the root of which: units that fail together, and what they have to do with each other. Pure.

A unit's failure is explained by another's when the unit needs that other one (``Requires=``, ``BindsTo=``,
``Requisite=``, through the socket too that starts it), or is part of it, or wants it and starts after it, or, weakest,
only starts after it. The weaker the tie, the closer in time the two must have failed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from ai_sysadmin.sources.units import Dependencies

CLOCKS: Final = timedelta(seconds=1)
"""So much later than what it caused a failure may be told."""

_NO_ROOT = (".target", ".slice", ".device", ".scope")


class Tie(Enum):
    """Why one unit's failure may be another's."""

    NEEDS = auto()
    WANTS = auto()
    FOLLOWS = auto()


def ties(unit: str, needs: Mapping[str, Dependencies]) -> Mapping[str, Tie]:
    """Return the units that a unit depends on, each by its strongest tie, what a needed socket starts among them."""
    own = needs.get(unit)
    if own is None:
        return {}
    found = {each: Tie.FOLLOWS for each in own.after if not each.endswith(_NO_ROOT)}
    found |= {each: Tie.WANTS for each in (*own.part_of, *own.wants) if each in found or each in own.part_of}
    for each in own.needed:
        started = needs[each].triggers if each.endswith(".socket") and each in needs else ()
        found |= {other: Tie.NEEDS for other in (each, *started) if other != unit}
    return found


@dataclass(frozen=True)
class Together:
    """What failed, and how it hangs together.

    ``failed`` is what is failed or failing, and when it failed; ``needs`` is known at least of those units;
    ``within`` is how close in time cause and effect must be where nothing but order ties them.
    """

    failed: Mapping[str, datetime]
    needs: Mapping[str, Dependencies]
    within: timedelta

    def roots(self, unit: str) -> tuple[str, ...]:
        """Return the failed units that explain one unit's failure, the nearest first, through others that failed."""
        found: dict[str, None] = {}
        queue = [unit]
        for each in queue:
            fresh = [cause for cause in self._causes(each) if cause not in found and cause != unit]
            found |= dict.fromkeys(fresh)
            queue += fresh
        return tuple(found)

    def explained(self, unit: str) -> tuple[str, ...]:
        """Return the failed units that this one is a root of."""
        return tuple(each for each in self.failed if each != unit and unit in self.roots(each))

    def causes_first(self, units: Collection[str]) -> list[str]:
        """Return failed units in an order in which roots come first; in a cycle, what failed first."""
        roots = {unit: set(self.roots(unit)) & set(units) for unit in units}
        left = sorted(units, key=lambda unit: (self.failed[unit], unit))
        ordered: list[str] = []
        while left:
            free = next((unit for unit in left if not roots[unit] & set(left) - {unit}), left[0])
            left.remove(free)
            ordered.append(free)
        return ordered

    def firsts(self, units: Collection[str]) -> list[str]:
        """Return those of some failed units that none of the others explains."""
        ordered = self.causes_first(units)
        return [unit for place, unit in enumerate(ordered) if not set(self.roots(unit)) & set(ordered[:place])]

    def _causes(self, unit: str) -> list[str]:
        return [other for other, tie in ties(unit, self.needs).items() if self._explains(tie, other, unit)]

    def _explains(self, tie: Tie, cause: str, unit: str) -> bool:
        if cause not in self.failed:
            return False
        later = self.failed[unit] - self.failed[cause]
        match tie:
            case Tie.NEEDS:
                return later >= -self.within
            case Tie.WANTS:
                return abs(later) <= self.within
            case Tie.FOLLOWS:
                return -CLOCKS <= later <= self.within
