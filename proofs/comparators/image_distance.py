"""Pictures by the mean difference of their samples, over the whole and in each block of 8 × 8 pixels.

The block's bound keeps a small part from being another one while the mean stays small.
"""

from typing import Final

import numpy as np

from capanode.proofs.comparators.distance import Array, Distance, Verdict
from capanode.protocol.comparator import WHOLE_PPM, ImageBound

BLOCK: Final = 8


def compare(a: Array, b: Array, bound: ImageBound) -> Verdict:
    """Whether two pictures of one size and kind look alike; samples are height × width × channels."""
    full = float(np.iinfo(a.dtype).max)
    off = np.abs(a.astype(np.float32) - b.astype(np.float32)).mean(axis=2, dtype=np.float64) / full
    mean, block = float(off.mean()), _largest_block(off)
    distance = Distance(a.size, int(np.count_nonzero(a != b)), float(off.max() * full), block)
    if mean * WHOLE_PPM > bound.max_mean_ppm:
        return Verdict(f"the pictures differ by {mean:.2%} of the full range on the average", distance)
    if block * WHOLE_PPM > bound.max_block_ppm:
        return Verdict(f"a part of the pictures differs by {block:.2%} of the full range", distance)
    return Verdict("", distance)


def _largest_block(off: Array) -> float:
    """The largest mean of a block; blocks at the right and lower edge are cut off by it."""
    height, width = off.shape
    rows: Array = np.arange(0, height, BLOCK, dtype=np.int64)
    columns: Array = np.arange(0, width, BLOCK, dtype=np.int64)
    sums = np.add.reduceat(np.add.reduceat(off, rows, axis=0), columns, axis=1)
    tall = np.minimum(BLOCK, height - rows)
    wide = np.minimum(BLOCK, width - columns)
    return float((sums / (tall[:, None] * wide[None, :])).max())
