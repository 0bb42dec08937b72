"""The majority of several results of one job: those that a comparator finds equal to the same one.

Closeness is not transitive, so nothing is chained: each result gathers those equal to itself, and the largest
gathering that is more than half of all results wins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Majority:
    """Positions of the results that agree with the one at `example`, itself included; the others are against it."""

    example: int
    agreeing: tuple[int, ...]


def majority(results: Sequence[T | None], equal: Callable[[T, T], bool]) -> Majority | None:
    """The largest gathering of equal results, None when it is not more than half of all.

    None among the results is one that did not come; it counts among all. The earliest of equally large ones counts.
    """
    best: Majority | None = None
    for position, result in enumerate(results):
        if result is None:
            continue
        agreeing = tuple(
            other
            for other, theirs in enumerate(results)
            if other == position or (theirs is not None and equal(result, theirs))
        )
        if best is None or len(agreeing) > len(best.agreeing):
            best = Majority(position, agreeing)
    if best is None or 2 * len(best.agreeing) <= len(results):
        return None
    return best
