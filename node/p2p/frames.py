"""Frames on a stream: one request, one reply, then the next request.

Request: length (4 bytes, big-endian) ‖ payload. Reply: status (1 byte) ‖ length (4) ‖ payload; the payload
of any status but OK is a UTF-8 sentence.
"""

from enum import IntEnum
from typing import Final, Protocol

from capanode.protocol.faults import PeerFault

WRITE_BYTES: Final = 65_507
"""One write fills one yamux frame and one Noise record exactly; a bigger one costs a second record."""

SENTENCE_BYTES: Final = 500
"""Longest error sentence taken from a peer."""


class Status(IntEnum):
    """First byte of a reply."""

    OK = 0
    REFUSED = 1
    FAULT = 2
    UNAVAILABLE = 3


class Stream(Protocol):
    """The two calls of a libp2p stream that frames need; `read` returns b"" or raises at the end."""

    async def read(self, n: int | None = None) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


class FrameReader:
    """Reads frames from a stream through a buffer.

    Reading the length by itself would send a window update for each of its bytes.
    """

    __slots__ = ("_buffer", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    @property
    def has_buffered(self) -> bool:
        """Whether bytes beyond the last frame have arrived."""
        return bool(self._buffer)

    async def request(self, limit_bytes: int) -> bytes:
        """The next request's payload.

        Raises:
            PeerFault: longer than `limit_bytes`, or the stream ended within it.
            EOFError: the stream ended before it.
        """
        header = await self._exactly(4, at_boundary=True)
        return await self._payload(int.from_bytes(header, "big"), limit_bytes)

    async def reply(self, limit_bytes: int) -> tuple[Status, bytes]:
        """The next reply; errors as for `request`."""
        header = await self._exactly(5, at_boundary=True)
        try:
            status = Status(header[0])
        except ValueError as error:
            raise PeerFault(f"The reply has the unknown status {header[0]}.") from error
        limit = limit_bytes if status is Status.OK else SENTENCE_BYTES
        return status, await self._payload(int.from_bytes(header[1:], "big"), limit)

    async def _payload(self, length: int, limit_bytes: int) -> bytes:
        if length > limit_bytes:
            raise PeerFault(f"A frame of {length} bytes is longer than the limit of {limit_bytes}.")
        return await self._exactly(length, at_boundary=False)

    async def _exactly(self, count: int, *, at_boundary: bool) -> bytes:
        buffer = self._buffer
        while len(buffer) < count:
            chunk = await self._stream.read(max(WRITE_BYTES, min(count - len(buffer), 1 << 20)))
            if not chunk:
                if at_boundary and not buffer:
                    raise EOFError("The stream ended.")
                raise PeerFault("The stream ended within a frame.")
            buffer += chunk
        taken = bytes(memoryview(buffer)[:count])
        del buffer[:count]
        return taken


async def write_request(stream: Stream, payload: bytes) -> None:
    """Send one request."""
    await _write(stream, len(payload).to_bytes(4, "big"), payload)


async def write_reply(stream: Stream, status: Status, payload: bytes) -> None:
    """Send one reply; sentences are cut to their limit."""
    if status is not Status.OK:
        payload = payload[:SENTENCE_BYTES]
    await _write(stream, bytes([status]) + len(payload).to_bytes(4, "big"), payload)


def sentence_untrusted(payload: bytes) -> str:
    """A peer's sentence, safe to show: printable, one line, never empty. Cannot fail."""
    text = payload.decode("utf-8", errors="replace")
    return "".join(c if c.isprintable() else " " for c in text).strip() or "no reason given"


async def _write(stream: Stream, header: bytes, payload: bytes) -> None:
    first = WRITE_BYTES - len(header)
    await stream.write(header + payload[:first])
    for at in range(first, len(payload), WRITE_BYTES):
        await stream.write(payload[at : at + WRITE_BYTES])
