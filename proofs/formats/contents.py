"""What a reader finds in a file: the numbers, and around them all that has to be equal to the last sign."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_FILE_BYTES: Final = 256 * 2**20
"""Longest file that is read by its values, and the most that a compressed one may unfold to."""

MAX_TEXT_BYTES: Final = 8 * 2**20
"""Longest text: its values take some thirty times its bytes while it is read."""


class Unreadable(Exception):
    """A file that is not of its format, or outside its bounds; the sentence goes into a finding."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The named arrays of a file; `frame` is everything that is not a number with a tolerance."""

    arrays: tuple[tuple[str, Array], ...]
    frame: tuple[str, ...] = ()


def floats(values: list[float]) -> Array:
    """Numbers that were written as text."""
    return np.array(values, dtype="<f8")
