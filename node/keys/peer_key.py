"""The peer key: the secp256k1 key of a node's libp2p identity, apart from the wallet.

It is always in memory, so it holds no money; it signs one statement on chain, which wallet it works for.

**Source**: libp2p's peer id specification (identity multihash of the protobuf key); docs/protocol.md §2.
"""

import secrets
from pathlib import Path
from typing import Final

import base58
import coincurve

from capanode.node.keys.key_file import read_private_file, write_private_file
from capanode.node.keys.signer import LocalSigner
from capanode.protocol.faults import Misconfigured, PeerFault
from capanode.protocol.ids import Address, PeerId
from capanode.protocol.typed_data import domain, peer_binding_digest

PEER_ID_PREFIX: Final = bytes.fromhex("002508021221")
"""Identity multihash of 37 bytes, holding key type secp256k1 and 33 bytes of compressed key."""

_MAX_PEER_ID_CHARS: Final = 64


class PeerKey:
    """A node's libp2p key."""

    __slots__ = ("_secret", "_signer", "public_key")

    def __init__(self, secret: bytes) -> None:
        self._signer = LocalSigner(secret)
        self._secret = secret
        self.public_key: bytes = coincurve.PrivateKey(secret).public_key.format()

    @property
    def peer_id(self) -> PeerId:
        """The identity under which peers know this node."""
        return peer_id_of(self.public_key)

    def secret_for_libp2p(self) -> bytes:
        """The 32 bytes of the key, for the libp2p host and nothing else."""
        return self._secret

    def bind_to(self, owner: Address, chain_id: int, registry: Address) -> bytes:
        """The 65-byte signature by which this peer says that it works for `owner`."""
        return self._signer.sign_digest(peer_binding_digest(domain(chain_id, registry), owner))

    def __repr__(self) -> str:
        return f"PeerKey({self.peer_id})"


def open_peer_key(path: Path) -> PeerKey:
    """The key in `path`, made at the first start.

    Raises:
        Misconfigured: the file is open to others, damaged, or cannot be written.
    """
    if not path.exists():
        write_private_file(path, secrets.token_hex(32).encode() + b"\n")
    content = read_private_file(path, 128)
    try:
        secret = bytes.fromhex(content.decode().strip())
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise Misconfigured(f"The peer key {path} is damaged: restore it, or remove it for a new identity.")
    return PeerKey(secret)


def peer_id_of(public_key: bytes) -> PeerId:
    """The peer id of a compressed public key of 33 bytes."""
    return PeerId(base58.b58encode(PEER_ID_PREFIX + public_key).decode())


def public_key_of(peer_id: str) -> bytes:
    """The compressed public key that a peer id holds.

    Raises:
        PeerFault: it is not the id of a secp256k1 key.
    """
    decoded = b""
    if len(peer_id) <= _MAX_PEER_ID_CHARS and peer_id.isascii():
        try:
            decoded = base58.b58decode(peer_id)
        except ValueError:
            decoded = b""
    key = decoded.removeprefix(PEER_ID_PREFIX)
    try:
        if len(decoded) != 39 or len(key) != 33:
            raise ValueError
        coincurve.PublicKey(key)
    except ValueError:
        raise PeerFault(f"{peer_id[:_MAX_PEER_ID_CHARS]!r} is not the peer id of a secp256k1 key.") from None
    return key


def uncompressed(public_key: bytes) -> bytes:
    """The 65-byte form of a compressed public key, from which accounts are computed."""
    return coincurve.PublicKey(public_key).format(compressed=False)
