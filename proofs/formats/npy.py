"""NumPy's array file. The header is matched and not evaluated; objects, records and text are refused.

**Source**: NumPy Enhancement Proposal 1; versions 1.0, 2.0 and 3.0 of the format.
"""

import re
from math import prod
from typing import Final

import numpy as np

from capanode.proofs.formats.contents import Array, Contents, Unreadable

_MAGIC: Final = b"\x93NUMPY"
_LENGTH_BYTES: Final = {1: 2, 2: 4, 3: 4}
_MAX_HEADER_BYTES: Final = 4096
_MAX_DIMENSIONS: Final = 32
_HEADER: Final = re.compile(
    rb"\{'descr': '(?P<descr>[<>|][a-z][0-9]{1,2})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,15},? ?)*)\),? ?\} *\n"
)
_KINDS: Final = frozenset(
    ["|b1", "|i1", "|u1"]
    + [order + kind for order in "<>" for kind in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")]
)


def read(data: bytes) -> Contents:
    """The array of an npy file.

    Raises:
        Unreadable: not such a file, or one that holds more than plain numbers.
    """
    array, order = parse(memoryview(data))
    return Contents((("", array),), (order,))


def parse(data: memoryview) -> tuple[Array, str]:
    """The array, and its memory order as a word; the array is a view of `data` in the order of its bytes.

    Raises:
        Unreadable: as `read`.
    """
    if bytes(data[:6]) != _MAGIC or len(data) < 10 or data[6] not in _LENGTH_BYTES or data[7] != 0:
        raise Unreadable("it is no npy file of a known version")
    begin = 8 + _LENGTH_BYTES[data[6]]
    length = int.from_bytes(data[8:begin], "little")
    if length > _MAX_HEADER_BYTES:
        raise Unreadable("its npy header is too long")
    found = _HEADER.fullmatch(bytes(data[begin : begin + length]))
    if found is None:
        raise Unreadable("its npy header is not that of a plain array")
    kind = found["descr"].decode()
    if kind not in _KINDS:
        raise Unreadable(f"it holds {kind}, which is no kind of number that is compared")
    shape = tuple(int(size) for size in re.findall(rb"[0-9]+", found["shape"]))
    return _view(data[begin + length :], np.dtype(kind), shape, found["fortran"] == b"True")


def _view(body: memoryview, dtype: "np.dtype[np.generic]", shape: tuple[int, ...], fortran: bool) -> tuple[Array, str]:
    if len(shape) > _MAX_DIMENSIONS:
        raise Unreadable("it has too many dimensions")
    if prod(shape) * dtype.itemsize != len(body):
        raise Unreadable("it is shorter or longer than its shape says")
    # An empty array's other sizes are held by no byte of it.
    if prod(max(size, 1) for size in shape) >= 2**40:
        raise Unreadable("its dimensions are too large")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C"), "order F" if fortran else "order C"
