"""Who signed a digest: the check that a contract makes with ecrecover, for keys (not contract wallets).

**Source**: EIP-191/712 digests; low `s` as OpenZeppelin's ECDSA demands.
"""

from typing import Final

import coincurve
from eth_hash.auto import keccak

from capanode.protocol.ids import Address, Digest

_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def recover(digest: Digest, signature: bytes) -> Address | None:
    """The account whose key made the 65-byte `r ‖ s ‖ v`; None for anything that a contract would refuse."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        return None
    try:
        key = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes((signature[64] - 27,)), digest, hasher=None
        )
    except ValueError:
        return None
    except Exception as error:
        # The library raises plain Exception for a point that is not on the curve.
        if type(error) is not Exception:
            raise
        return None
    return Address(keccak(key.format(compressed=False)[1:])[12:])


def is_signed_by(signer: Address, digest: Digest, signature: bytes) -> bool:
    """Whether that account's key signed the digest."""
    return recover(digest, signature) == signer
