"""Addresses as people write them.

**Source**: EIP-55.
"""

import re
from typing import Final

from eth_hash.auto import keccak

from capanode.protocol.ids import Address

_ADDRESS: Final = re.compile("0x[0-9a-fA-F]{40}")


def address_of(text: str) -> Address:
    """The address that a text is; one in mixed case says by its capitals whether it was mistyped.

    Raises:
        ValueError: it is none, or its capitals are not those of its checksum.
    """
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text[:50]!r} is no address; write 0x and 40 hex digits")
    found, digits = Address(bytes.fromhex(text[2:])), text[2:]
    if digits not in (digits.lower(), digits.upper(), _checked(found)):
        raise ValueError(f"{text} has a wrong checksum: a digit is mistyped, or write it in lower case")
    return found


def _checked(address: Address) -> str:
    digits = address.hex()
    marks = keccak(digits.encode()).hex()
    return "".join(digit.upper() if int(mark, 16) >= 8 else digit for digit, mark in zip(digits, marks, strict=False))
