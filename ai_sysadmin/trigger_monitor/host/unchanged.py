"""Which figures need not be kept again: those that are as they were, for up to five minutes. Pure.

A disk's pages are rewritten for every series that is kept; most figures of a quiet host do not move. The mean of a
bucket is that of the figures kept: a short excursion of a figure that stands still else weighs more than its time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ai_sysadmin.core.records import Sample

_KEPT_AGAIN_SECONDS: Final = 299.0
_STEP: Final = 0.01
_LEAST_STEP: Final = {"percent": 0.1, "ratio": 0.02, "per_second": 0.02, "celsius": 0.5}
_MOST_SERIES: Final = 5000


@dataclass
class Unchanged:
    """What was kept last, by series."""

    _kept: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def left_out(self, samples: Sequence[Sample], ticks: float) -> list[Sample]:
        """Return the samples without those that moved too little since they were kept.

        Args:
            ticks: seconds of a clock that only moves forward.
        """
        if len(self._kept) > _MOST_SERIES:
            self._kept.clear()
        kept = [sample for sample in samples if self._has_moved(sample, ticks)]
        self._kept.update({(sample.name, sample.about): (sample.value, ticks) for sample in kept})
        return kept

    def _has_moved(self, sample: Sample, ticks: float) -> bool:
        before, at = self._kept.get((sample.name, sample.about), (0.0, float("-inf")))
        step = max(_STEP * abs(before), _LEAST_STEP.get(sample.unit, 0.0))
        return abs(sample.value - before) > step or not 0 <= ticks - at < _KEPT_AGAIN_SECONDS
