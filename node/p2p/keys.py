"""The peer key: a secp256k1 key apart from the wallet, because it is always in memory.

A peer id is a function of the public key, and the chain can recompute it: identity multihash `00 25` of
the libp2p key message `08 02 12 21` ‖ compressed key (33 bytes), in base58.
**Source**: libp2p specs, peer-ids.
"""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import base58
import coincurve

from capanode.node.keys.key_file import write_private_file
from capanode.protocol.faults import Misconfigured, PeerFault
from capanode.protocol.ids import Address, PeerId

_PREFIX = bytes.fromhex("002508021221")


@dataclass(frozen=True, slots=True)
class PeerKey:
    """A node's network identity."""

    secret: bytes = field(repr=False)
    public: bytes
    peer_id: PeerId

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r ‖ s ‖ v (v is 27 or 28) over a 32-byte digest, as the chain's ecrecover takes it."""
        secret: Any = coincurve.PrivateKey(self.secret)
        signature: bytes = secret.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([signature[64] + 27])


def key_from_secret(secret: bytes) -> PeerKey:
    """The peer key of a 32-byte scalar.

    Raises:
        ValueError: not such a scalar.
    """
    if len(secret) != 32:
        raise ValueError("a secp256k1 key has 32 bytes")
    public = coincurve.PrivateKey(secret).public_key.format(compressed=True)
    return PeerKey(secret, public, peer_id_of(public))


def load_key(path: Path) -> PeerKey:
    """Read the key file, creating it with a new key (mode 0600) when it is missing.

    Raises:
        Misconfigured: unreadable, readable by others, or not a key.
    """
    try:
        if not path.exists():
            _create(path)
        mode = path.stat().st_mode & 0o777
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The peer key {path} cannot be used ({error}); check its owner.") from error
    if mode & 0o077:
        raise Misconfigured(f"The peer key {path} is readable by others; run chmod 600 on it.")
    try:
        return key_from_secret(bytes.fromhex(text))
    except ValueError as error:
        raise Misconfigured(
            f"The peer key {path} holds no secp256k1 key in hex; restore it, or remove it for a new peer id."
        ) from error


def peer_id_of(public: bytes) -> PeerId:
    """Peer id of a compressed secp256k1 public key (33 bytes)."""
    return PeerId(base58.b58encode(_PREFIX + public).decode("ascii"))


def public_key_of(peer: PeerId) -> bytes:
    """The compressed public key inside a secp256k1 peer id.

    Raises:
        PeerFault: not such an id (another key type, or not base58).
    """
    try:
        raw = base58.b58decode(peer)
        if len(peer) > 64 or len(raw) != 39 or not raw.startswith(_PREFIX):
            raise ValueError
        coincurve.PublicKey(raw[6:])
    except ValueError as error:
        raise PeerFault(f"'{peer[:64]}' is not the id of a secp256k1 peer; nodes use such keys.") from error
    return raw[6:]


def address_of(peer: PeerId) -> Address:
    """Ethereum address of the peer key, as the registry checks it."""
    from eth_utils.crypto import keccak

    point = coincurve.PublicKey(public_key_of(peer)).format(compressed=False)
    return Address(keccak(point[1:])[-20:])


def _create(path: Path) -> None:
    write_private_file(path, _new_secret().hex().encode() + b"\n")


def _new_secret() -> bytes:
    while True:
        secret = secrets.token_bytes(32)
        try:
            coincurve.PrivateKey(secret)
        except ValueError:
            continue
        return secret
