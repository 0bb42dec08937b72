"""Bare little-endian floats, one after the other."""

import numpy as np

from capanode.proofs.formats.contents import Contents, Unreadable


def read(data: bytes, bytes_each: int) -> Contents:
    """The floats of a file that holds nothing else.

    Raises:
        Unreadable: its length is no multiple of a float's.
    """
    if len(data) % bytes_each:
        raise Unreadable(f"its length is no multiple of {bytes_each}")
    return Contents((("", np.frombuffer(data, f"<f{bytes_each}")),))
