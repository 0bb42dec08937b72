"""One `NewType` per meaning, so that a digest of one thing is never passed for another.

Everything here is bytes or int inside; hex, tokens and dates exist only at the edges
(`capanode.node`). Amounts are base units of the payment token, never floats.
"""

from typing import Final, NewType

Address = NewType("Address", bytes)
"""20 bytes: an account or contract on an EVM chain."""

PeerId = NewType("PeerId", str)
"""Base58 text form of a libp2p peer id (`16Uiu2…` for the secp256k1 keys that nodes use)."""

Digest = NewType("Digest", bytes)
"""32 bytes: a hash whose meaning the name of the variable states."""

SpecDigest = NewType("SpecDigest", bytes)
"""32 bytes: sha256 of a spec's canonical encoding. Source: docs/protocol.md, "Spec"."""

DemandDigest = NewType("DemandDigest", bytes)
"""32 bytes: what a deal is about, as the contract binds it. Source: docs/protocol.md, "Demand"."""

DealId = NewType("DealId", bytes)
"""32 bytes: EIP-712 digest of the award, or of the announcement. Source: docs/protocol.md, "Deal id"."""

CaseId = NewType("CaseId", bytes)
"""32 bytes: a challenge as the court knows it. Source: `IDisputeCourt.caseIdOf`."""

TxHash = NewType("TxHash", bytes)
"""32 bytes: keccak256 of a signed transaction."""

Cid = NewType("Cid", str)
"""CIDv1 in base32 text form (`bafk…`, `bafy…`)."""

Wei = NewType("Wei", int)
"""Base units of the payment token (10**-18 of a token), or of the chain's own coin for gas."""

UnixTime = NewType("UnixTime", int)
"""Seconds since 1970 as the chain's block timestamps count them."""

Ppm = NewType("Ppm", int)
"""Parts per million."""

UINT96_MAX: Final = 2**96 - 1
"""Largest amount that a deal may name. Source: PROTOCOL, amounts are uint96."""

ZERO_ADDRESS: Final = Address(bytes(20))
ZERO_DIGEST: Final = Digest(bytes(32))
