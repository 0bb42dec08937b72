"""Numbers within an absolute and a relative tolerance, and without a lean to one side.

The smaller magnitude counts for the relative part, so that neither side can widen its own tolerance, and it does not
matter which of the two is called the first. Steering makes differences lean: many small ones of one sign.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from capanode.proofs.comparators.distance import (
    CERTAINTY,
    Array,
    Distance,
    Verdict,
    is_float,
    pieces,
    same_specials,
    unequal,
)
from capanode.protocol.comparator import WHOLE_PPM, Closeness, amount

OUTLIER: Final = 100.0
"""Times the tolerance that even a bad value may be off: a share of bad values is no place to hide a large one."""


@dataclass(slots=True)
class _Sums:
    bad: int = 0
    above: int = 0
    below: int = 0
    largest: float = 0.0
    largest_relative: float = 0.0
    worst: float = 0.0


def compare(a: Array, b: Array, bound: Closeness) -> Verdict:
    """Whether two arrays of one shape and kind are close."""
    if not is_float(a):
        found = unequal(a, b)
        too_many = found.bad > bound.max_bad_ppm * a.size / WHOLE_PPM
        return Verdict(f"{found.bad} whole numbers differ" if too_many else "", found)
    sums = _Sums()
    for x, y in pieces(a, b):
        if not same_specials(x, y):
            return Verdict("NaN or infinity stands where the other has a number", Distance(a.size))
        _add(sums, x, y, amount(bound.atol), amount(bound.rtol))
    return _verdict(sums, a.size * (2 if a.dtype.kind == "c" else 1), bound)


def _add(sums: _Sums, x: Array, y: Array, atol: float, rtol: float) -> None:
    finite = np.isfinite(x)
    # Two float64 of opposite sign may be further apart than float64 reaches; then the difference is infinite, and bad.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        u, v = x[finite].astype(np.float64), y[finite].astype(np.float64)
        if not u.size:
            return
        difference = u - v
        size = np.abs(difference)
        smaller = np.minimum(np.abs(u), np.abs(v))
        allowed = atol + rtol * smaller
        over = size > allowed
        sums.bad += int(np.count_nonzero(over))
        sums.above += int(np.count_nonzero(difference > 0))
        sums.below += int(np.count_nonzero(difference < 0))
        sums.largest = max(sums.largest, float(size.max()))
        sums.largest_relative = max(sums.largest_relative, _largest_ratio(size, smaller))
        if over.any():
            sums.worst = max(sums.worst, _largest_ratio(size[over], allowed[over]))


def _largest_ratio(above: Array, below: Array) -> float:
    """The largest quotient; nothing by nothing is nothing, and something by nothing is infinite."""
    ratio = np.where(above == 0, 0.0, above / below)
    return float(ratio.max())


def _verdict(sums: _Sums, values: int, bound: Closeness) -> Verdict:
    differing = sums.above + sums.below
    lean = (sums.above - sums.below) / differing if differing else 0.0
    distance = Distance(values, sums.bad, sums.largest, sums.largest_relative, 0, lean)
    return Verdict(_reason(sums, values, lean, bound), distance)


def _reason(sums: _Sums, values: int, lean: float, bound: Closeness) -> str:
    if sums.bad > bound.max_bad_ppm * values / WHOLE_PPM:
        return f"{sums.bad} of {values} values are outside the tolerance"
    if sums.worst > OUTLIER:
        return f"a value is more than {OUTLIER:.0f} times the tolerance off"
    differing = sums.above + sums.below
    if differing == 0 or bound.max_bias_ppm == WHOLE_PPM:
        return ""
    if abs(lean) > bound.max_bias_ppm / WHOLE_PPM + CERTAINTY / math.sqrt(differing):
        return f"the differences lean to one side ({sums.above} above, {sums.below} below)"
    return ""
