"""The port through which everything is signed, and its form for a key in this process.

No key leaves its object: not by `repr`, not by an error, not by pickling.
"""

from typing import NoReturn, Protocol

import coincurve
from eth_hash.auto import keccak

from capanode.node.chain.transaction import Transaction, signing_digest, with_signature
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Address, Digest


class Signer(Protocol):
    """A wallet or hot key, wherever it lives; the methods may block as long as a device or a person takes."""

    @property
    def address(self) -> Address:
        """The account that signs."""
        ...

    def sign_transaction(self, transaction: Transaction) -> bytes:
        """The raw signed transaction."""
        ...

    def sign_digest(self, digest: Digest) -> bytes:
        """r ‖ s ‖ v over 32 bytes: 65 bytes, low s, v 27 or 28."""
        ...


class LocalSigner:
    """A secp256k1 key held in memory."""

    __slots__ = ("_key", "address")

    def __init__(self, key: bytes) -> None:
        try:
            self._key = coincurve.PrivateKey(key)
        except ValueError:
            raise Misconfigured("The private key is not a secp256k1 key: import another.") from None
        self.address = address_of(self._key.public_key.format(compressed=False))

    def sign_transaction(self, transaction: Transaction) -> bytes:
        """The raw signed transaction; deterministic (RFC 6979)."""
        return with_signature(transaction, self.sign_digest(signing_digest(transaction)))

    def sign_digest(self, digest: Digest) -> bytes:
        """r ‖ s ‖ v over 32 bytes: 65 bytes, low s, v 27 or 28; deterministic (RFC 6979)."""
        signature = self._key.sign_recoverable(digest, hasher=None)  # pyright: ignore[reportUnknownMemberType]  # loose stub
        return signature[:64] + bytes((27 + signature[64],))

    def __repr__(self) -> str:
        return f"LocalSigner(0x{self.address.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer is never serialized")


def address_of(public_key: bytes) -> Address:
    """The account of an uncompressed public key (65 bytes, 0x04 first)."""
    return Address(keccak(public_key[1:])[12:])
