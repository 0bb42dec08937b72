"""The provider registry: which wallet a peer works for, and what came of a provider's deals."""

from dataclasses import dataclass

from capanode.contracts_abi import bindings
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.view import BlockTag, ContractCall, View, read, read_all
from capanode.node.keys.peer_key import PeerKey, uncompressed
from capanode.node.keys.signer import address_of
from capanode.protocol.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, UnixTime, Wei


@dataclass(frozen=True, slots=True)
class NodeBinding:
    """A peer that is bound to a wallet."""

    owner: Address
    since: UnixTime


@dataclass(frozen=True, slots=True)
class Record:
    """What a provider's recorded deals came to."""

    finalized: int
    accepted: int
    abandoned: int
    expired: int
    cancelled: int
    paid_wei: Wei


class Registry:
    """One provider registry; each read is one round trip and raises `Unavailable` when no endpoint answers."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc = rpc
        self.address = address

    async def binding(self, public_key: bytes, at: BlockTag = "latest") -> NodeBinding | None:
        """The wallet that the peer with this compressed public key is bound to."""
        return await read(self._rpc, self._node_of(public_key), at)

    async def bindings_of(
        self, public_keys: tuple[bytes, ...], at: BlockTag = "latest"
    ) -> tuple[NodeBinding | None, ...]:
        """As `binding`, for several peers in one round trip."""
        return await read_all(self._rpc, tuple(self._node_of(key) for key in public_keys), at)

    async def record(self, provider: Address, at: BlockTag = "latest") -> Record:
        """Counts of a provider's ended deals."""
        data = bindings.encode_provider_registry_reputation_of(provider)
        return await read(self._rpc, View(self.address, data, _record), at)

    def register(
        self, peer: PeerKey, owner: Address, hardware_class: str, offers_digest: Digest = ZERO_DIGEST
    ) -> ContractCall:
        """Bind this node's peer key to the wallet that sends the call."""
        point = uncompressed(peer.public_key)
        data = bindings.encode_provider_registry_register(
            int.from_bytes(point[1:33], "big"),
            int.from_bytes(point[33:], "big"),
            peer.bind_to(owner, self._rpc.chain_id, self.address),
            hardware_class,
            offers_digest,
        )
        return ContractCall(self.address, data)

    def update(self, public_key: bytes, hardware_class: str, offers_digest: Digest = ZERO_DIGEST) -> ContractCall:
        """Change what a bound node offers."""
        data = bindings.encode_provider_registry_update_node(peer_address(public_key), hardware_class, offers_digest)
        return ContractCall(self.address, data)

    def remove(self, public_key: bytes) -> ContractCall:
        """End the binding of a node."""
        return ContractCall(self.address, bindings.encode_provider_registry_remove_node(peer_address(public_key)))

    def record_deal(self, deal: bindings.Claim) -> ContractCall:
        """Count an ended deal towards its provider's record; anyone may."""
        return ContractCall(self.address, bindings.encode_provider_registry_record(deal))

    def _node_of(self, public_key: bytes) -> View[NodeBinding | None]:
        data = bindings.encode_provider_registry_node_of(peer_address(public_key))
        return View(self.address, data, _binding)


def peer_address(public_key: bytes) -> Address:
    """How the registry names the peer of a compressed public key."""
    return address_of(uncompressed(public_key))


def _binding(data: bytes) -> NodeBinding | None:
    found = bindings.decode_provider_registry_node_of(data)
    return None if found.owner == ZERO_ADDRESS else NodeBinding(found.owner, UnixTime(found.since))


def _record(data: bytes) -> Record:
    found = bindings.decode_provider_registry_reputation_of(data)
    return Record(found.finalized, found.accepted, found.abandoned, found.expired, found.cancelled, Wei(found.paid))
