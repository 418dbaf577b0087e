"""Few cases in which every two values of different factors meet."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

Case = Mapping[str, object]


def pairwise(factors: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    """Return cases that hold every pair: always the one that adds most, the first of those. The same each time."""
    everything = [dict(zip(factors, values, strict=True)) for values in product(*factors.values())]
    missing = {pair for case in everything for pair in pairs(case)}
    cases: list[dict[str, object]] = []
    while missing:
        best = max(everything, key=lambda case: len(pairs(case) & missing))
        cases.append(best)
        missing -= pairs(best)
    return cases


def pairs(case: Case) -> set[tuple[tuple[str, object], tuple[str, object]]]:
    """Return the pairs of values that a case holds."""
    return set(combinations(case.items(), 2))
