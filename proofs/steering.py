"""Steering: differences that are small at every step, and add up because they keep their direction.

Rounding forgets: whoever recomputes each step from the committed state finds differences whose signs change from step
to step, so their sum grows as the root of the number of steps. A steered run's differences keep their signs, and the
sum grows with the number. What is measured is the share of the differences' power that is coherent: 0 for noise, 1 for
a push that never changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from capanode.proofs.comparators.distance import Array, plain

MIN_STEPS: Final = 8
"""Fewer steps say nothing of a direction."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Coherent share of the differences of several steps' values; `values` that never differed are left out."""

    steps: int
    values: int
    coherence: float
    largest: float


def drift(steps: Iterable[tuple[Array, Array]]) -> Drift:
    """The drift of (committed, recomputed) states of recomputed steps; floats of one shape, not finite ones left out.

    Raises:
        ValueError: the arrays of two steps have not one shape.
    """
    count = 0
    total = squares = np.zeros(0)
    for committed, recomputed in steps:
        with np.errstate(over="ignore", invalid="ignore"):
            difference = plain(committed).astype(np.float64) - plain(recomputed).astype(np.float64)
        difference = np.where(np.isfinite(difference), difference, 0.0)
        if count == 0:
            total, squares = np.zeros_like(difference), np.zeros_like(difference)
        if difference.shape != total.shape:
            raise ValueError("the steps' arrays have not one shape")
        total, squares, count = total + difference, squares + difference**2, count + 1
    differing = squares > 0
    if count < 2 or not differing.any():
        return Drift(count, 0, 0.0, 0.0)
    # For n independent signs the square of the sum is the sum of squares, for n equal ones n times that.
    power = float(np.mean(total[differing] ** 2 / squares[differing]))
    largest = float(np.abs(total).max())
    return Drift(count, int(np.count_nonzero(differing)), max(0.0, (power - 1) / (count - 1)), largest)


def is_steered(found: Drift, max_coherence: float) -> bool:
    """Whether enough steps and values differ, and their differences keep their direction."""
    return found.steps >= MIN_STEPS and found.values >= MIN_STEPS and found.coherence > max_coherence
