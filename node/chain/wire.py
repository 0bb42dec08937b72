"""The hexadecimal forms of Ethereum's JSON-RPC, read as from a stranger.

An endpoint may lie or be broken, so each reader checks type, length and range, and raises `BadReply`.

**Source**: Ethereum JSON-RPC specification, "hex encoding".
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Digest

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

MAX_QUANTITY_CHARS: Final = 66
"""`0x` and 64 digits: no quantity is wider than an EVM word."""


class BadReply(Unavailable):
    """An endpoint answered with something that is not what the method returns."""


def quantity(value: int) -> str:
    """`255` as `0xff`."""
    return hex(value)


def hexadecimal(value: bytes) -> str:
    """Bytes as `0x…`, two digits each."""
    return "0x" + value.hex()


def read_quantity(value: object) -> int:
    """An unsigned integer of at most 256 bits."""
    if not isinstance(value, str) or not value.startswith("0x") or len(value) > MAX_QUANTITY_CHARS:
        raise _bad("a malformed number")
    try:
        return int(value, 16)
    except ValueError:
        raise _bad("a malformed number") from None


def read_bytes(value: object) -> bytes:
    """Bytes of any length."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise _bad("malformed bytes")
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        raise _bad("malformed bytes") from None


def read_digest(value: object) -> Digest:
    """Exactly 32 bytes."""
    return Digest(_sized(value, 32))


def read_object(value: object) -> Mapping[str, object]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise _bad("no object where one is due")
    return value  # pyright: ignore[reportUnknownVariableType]  # JSON keys are text


def read_list(value: object) -> Sequence[object]:
    """A JSON array."""
    if not isinstance(value, list):
        raise _bad("no list where one is due")
    return value  # pyright: ignore[reportUnknownVariableType]


def _sized(value: object, length: int) -> bytes:
    read = read_bytes(value)
    if len(read) != length:
        raise _bad(f"{len(read)} bytes where {length} are due")
    return read


def _bad(what: str) -> BadReply:
    return BadReply(f"The RPC endpoint returned {what}: check the endpoint, or use another.")
