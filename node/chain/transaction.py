"""Transactions of type 2 (EIP-1559) as bytes.

Encoded here rather than by eth-account, which is some ten times slower and wants hexadecimal dictionaries.

**Source**: EIP-1559, EIP-2718; RLP as in the Ethereum yellow paper, appendix B.
"""

from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from capanode.protocol.ids import Address, Digest, TxHash, Wei

_TYPE: Final = b"\x02"
_NO_ACCESS_LIST: Final = b"\xc0"


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a wallet signs; `to` is None when `data` creates a contract."""

    chain_id: int
    nonce: int
    to: Address | None
    data: bytes
    value_wei: Wei
    gas: int
    max_fee_wei: Wei
    """Most that may be paid for a unit of gas, base fee included."""

    tip_wei: Wei
    """What the block's producer gets of it for a unit of gas."""


def signing_digest(transaction: Transaction) -> Digest:
    """keccak256(0x02 ‖ rlp(fields)): what the signature covers."""
    return Digest(keccak(_TYPE + _list(_fields(transaction))))


def with_signature(transaction: Transaction, signature: bytes) -> bytes:
    """The raw transaction; `signature` is r ‖ s ‖ v with v 27 or 28."""
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:64], "big")
    return _TYPE + _list(_fields(transaction) + _int(signature[64] - 27) + _int(r) + _int(s))


def transaction_hash(raw: bytes) -> TxHash:
    """What the chain calls a raw transaction."""
    return TxHash(keccak(raw))


def created_address(sender: Address, nonce: int) -> Address:
    """Where the contract is that a transaction without `to` creates: keccak256(rlp([sender, nonce]))[12:]."""
    return Address(keccak(_list(_text(sender) + _int(nonce)))[12:])


def _fields(transaction: Transaction) -> bytes:
    return b"".join(
        (
            _int(transaction.chain_id),
            _int(transaction.nonce),
            _int(transaction.tip_wei),
            _int(transaction.max_fee_wei),
            _int(transaction.gas),
            _text(transaction.to or b""),
            _int(transaction.value_wei),
            _text(transaction.data),
            _NO_ACCESS_LIST,
        )
    )


def _int(value: int) -> bytes:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _text(value: bytes) -> bytes:
    if len(value) == 1 and value[0] < 0x80:
        return value
    return _length(len(value), 0x80) + value


def _list(payload: bytes) -> bytes:
    return _length(len(payload), 0xC0) + payload


def _length(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes((offset + length,))
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((offset + 55 + len(digits),)) + digits
