"""The values of largest magnitude: where they are, and roughly what they are.

The `top` values of an array are those of largest magnitude, the earlier place first where magnitudes are equal. Two
arrays agree when enough of these places are the same; when, at the common places, sign and binary exponent are the same
but for a share; and when, where those are the same, the mantissas (from 1 to 2) differ little on the average. All other
values may be anything, so this tells a model, a prompt or a precision from another, and not each value.

**Source**: the idea is TOPLOC's (arXiv 2501.16007); the definition here is ours.
"""

import numpy as np

from capanode.proofs.comparators.distance import Array, Distance, Verdict, is_float, plain, same_specials
from capanode.protocol.comparator import WHOLE_PPM, Fingerprint, amount


def compare(a: Array, b: Array, bound: Fingerprint) -> Verdict:
    """Whether two arrays of one shape and kind have about the same largest values."""
    if not is_float(a):
        return Verdict("it holds no floats, of which alone fingerprints are made", Distance(a.size))
    x, y = plain(a), plain(b)
    if not same_specials(x, y):
        return Verdict("NaN or infinity stands where the other has a number", Distance(x.size))
    places_x, places_y = _top(x, bound.top), _top(y, bound.top)
    if not places_x.size:
        return Verdict("", Distance(x.size))
    common = np.intersect1d(places_x, places_y, assume_unique=True)
    u, v = x[common].astype(np.float64), y[common].astype(np.float64)
    mantissa_u, exponent_u = np.frexp(u)
    mantissa_v, exponent_v = np.frexp(v)
    alike = (exponent_u == exponent_v) & (np.signbit(u) == np.signbit(v))
    # frexp's mantissas are from a half to one.
    off = 2 * np.abs(mantissa_u[alike] - mantissa_v[alike])
    others = int(common.size - np.count_nonzero(alike))
    mean = float(off.mean()) if off.size else 0.0
    largest = float(np.abs(u - v).max(initial=0.0))
    distance = Distance(x.size, int(places_x.size - common.size) + others, largest)
    return Verdict(_reason(places_x.size, common.size, others, mean, bound), distance)


def _top(values: Array, count: int) -> Array:
    """Places of the largest finite magnitudes; at most `count`, fewer in a short array."""
    magnitude = np.where(np.isfinite(values), np.abs(values), -1.0)
    count = min(count, int(np.count_nonzero(magnitude >= 0)))
    if count == 0:
        return np.zeros(0, np.int64)
    least = np.partition(magnitude, magnitude.size - count)[magnitude.size - count]
    above = np.flatnonzero(magnitude > least)
    return np.concatenate((above, np.flatnonzero(magnitude == least)[: count - above.size]))


def _reason(top: int, common: int, others: int, mean: float, bound: Fingerprint) -> str:
    if common * WHOLE_PPM < bound.min_overlap_ppm * top:
        return f"only {common} of the {top} largest values are at the same places"
    if others * WHOLE_PPM > bound.max_exponent_ppm * common:
        return f"{others} of {common} large values have another sign or exponent"
    if mean > amount(bound.max_mantissa):
        return f"the mantissas of the largest values differ by {mean:.3g} on the average"
    return ""
