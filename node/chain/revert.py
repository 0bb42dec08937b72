"""Why a contract refuses, as a sentence.

**Source**: Solidity's `Error(string)` and `Panic(uint256)`; the custom errors of contracts_abi.
"""

from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from capanode.contracts_abi.bindings import UndecodableData, decode_error

_ERROR: Final = bytes.fromhex("08c379a0")
_PANIC: Final = bytes.fromhex("4e487b71")
_MAX_TEXT_CHARS: Final = 300


def explain(data: bytes) -> str | None:
    """The sentence behind revert data; None where these contracts know no such error."""
    try:
        if data[:4] == _ERROR:
            (text,) = decode(("string",), data[4:])
            return f"The contract refuses: {text[:_MAX_TEXT_CHARS]}."
        if data[:4] == _PANIC:
            (code,) = decode(("uint256",), data[4:])
            return f"The contract panicked (code {code:#x}): report this, it is a bug."
        error = decode_error(data)
    except (DecodingError, OverflowError, UnicodeDecodeError, UndecodableData):
        return None
    return None if error is None else f"{error} [{error.name}]."
