"""Pictures as PNG: grey or colour, with or without alpha, of 8 or 16 bits, not interlaced.

A reader of our own over zlib: these pictures need no more than this, and it puts no image library's parsers in front of
a stranger's bytes. Palettes and interlacing are refused.

**Source**: PNG (third edition), §5, §9, §11.
"""

import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from capanode.proofs.formats.contents import Array, Contents, Unreadable

MAX_PIXELS: Final = 2**22
MAX_SIDE: Final = 2**14
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_CHANNELS: Final = {0: 1, 2: 3, 4: 2, 6: 4}
_DROPPED: Final = frozenset([b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"eXIf"])
"""What says nothing of a sample's value."""


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    bytes_each: int
    channels: int


def read(data: bytes) -> Contents:
    """The samples as height × width × channels; notes, times and colour profiles do not count.

    Raises:
        Unreadable: no such picture, too large, or damaged.
    """
    header: _Header | None = None
    packed: list[bytes] = []
    for kind, body in _chunks(data):
        if kind == b"IHDR" and header is None:
            header = _header(body)
        elif kind == b"IDAT" and header is not None:
            packed.append(body)
        elif kind not in _DROPPED and kind != b"IEND":
            raise Unreadable("it has a part that is not read, or parts out of order")
    if header is None:
        raise Unreadable("it has no PNG header")
    return Contents((("", _samples(header, _unfolded(header, b"".join(packed)))),))


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    if data[:8] != _SIGNATURE:
        raise Unreadable("it is no PNG file")
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        total = data[at + 8 + length : at + 12 + length]
        if len(total) != 4 or zlib.crc32(kind + body) != int.from_bytes(total, "big"):
            raise Unreadable("a part of it is cut off or damaged")
        chunks.append((kind, body))
        at += 12 + length
        if kind == b"IEND":
            break
    if at != len(data) or not chunks or chunks[-1][0] != b"IEND":
        raise Unreadable("it does not end where a PNG ends")
    return chunks


def _header(body: bytes) -> _Header:
    if len(body) != 13:
        raise Unreadable("its header is malformed")
    width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    depth, colour, compression, filtering, interlaced = body[8:]
    if colour not in _CHANNELS or depth not in (8, 16) or compression or filtering or interlaced:
        raise Unreadable("it is a kind of PNG that is not read (a palette, few bits, or interlaced)")
    if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE or width * height > MAX_PIXELS:
        raise Unreadable("it is larger than a picture that is read")
    return _Header(width, height, depth // 8, _CHANNELS[colour])


def _unfolded(header: _Header, packed: bytes) -> bytes:
    expected = header.height * (1 + header.width * header.channels * header.bytes_each)
    unfolding = zlib.decompressobj()
    try:
        # One byte more than there should be shows what is too long without unfolding all of it.
        data = unfolding.decompress(packed, expected + 1)
    except zlib.error as error:
        raise Unreadable("its pixels cannot be unpacked") from error
    if len(data) != expected:
        raise Unreadable("it has more or fewer pixels than it says")
    return data


def _samples(header: _Header, data: bytes) -> Array:
    step = header.channels * header.bytes_each
    rows = np.frombuffer(data, np.uint8).reshape(header.height, 1 + header.width * step)
    filters, filtered = rows[:, 0], rows[:, 1:].reshape(header.height, header.width, step)
    if filters.max() > 4:
        raise Unreadable("it uses a filter that PNG does not have")
    pixels = np.ascontiguousarray(_unfiltered(filters, filtered))
    shape = (header.height, header.width, header.channels)
    return pixels.view(">u2").reshape(shape) if header.bytes_each == 2 else pixels.reshape(shape)


def _unfiltered(filters: Array, filtered: Array) -> Array:
    """Each pixel needs those to its left, above, and left above: all of one diagonal are known at once.

    One pixel down and one to the left is always the same number of pixels further, so a diagonal is a plain slice. The
    last two are kept by row, shifted by one: what is never written there is the border of zeros that the filters want.
    """
    height, width, step = filtered.shape
    flat, found = filtered.reshape(-1, step), np.empty((height * width, step), np.uint8)
    rows = filters[:, None]
    kept = np.zeros((3, height + 1, step), np.int16)
    for diagonal in range(height + width - 1):
        first, end = max(0, diagonal - width + 1), min(height, diagonal + 1)
        at = slice(diagonal + first * (width - 1), diagonal + (end - 1) * (width - 1) + 1, max(1, width - 1))
        before, earlier, now = kept[(diagonal - 1) % 3], kept[(diagonal - 2) % 3], kept[diagonal % 3]
        left, above, corner = before[first + 1 : end + 1], before[first:end], earlier[first:end]
        kind = rows[first:end]
        guess = np.select(
            [kind == 0, kind == 1, kind == 2, kind == 3],
            [np.zeros_like(left), left, above, (left + above) >> 1],
            _paeth(left, above, corner),
        )
        now[first + 1 : end + 1] = (flat[at] + guess) & 0xFF
        found[at] = now[first + 1 : end + 1]
    return found.reshape(height, width, step)


def _paeth(left: Array, above: Array, corner: Array) -> Array:
    estimate = left + above - corner
    to_left, to_above, to_corner = abs(estimate - left), abs(estimate - above), abs(estimate - corner)
    nearest_above = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest_above)
