"""Binding this node's peer key to its wallet on chain, once, when a provider starts."""

import structlog

from capanode.node.chain.registry import Registry
from capanode.node.chain.sender import Mined, Sender
from capanode.node.keys.peer_key import PeerKey
from capanode.protocol.faults import Misconfigured, Refused
from capanode.protocol.ids import Address

log = structlog.get_logger()


async def ensure_registered(
    registry: Registry, sender: Sender, peer: PeerKey, wallet: Address, hardware_class: str
) -> None:
    """Register the peer if nobody has; idempotent.

    Raises:
        Misconfigured: the peer belongs to another wallet, or only the wallet's own machine can register it.
        Refused: the wallet cannot pay the gas, or the registry refuses.
    """
    bound = await registry.binding(peer.public_key)
    if bound is not None and bound.owner == wallet:
        return
    if bound is not None:
        raise Misconfigured(
            f"This node's peer key is bound to the wallet 0x{bound.owner.hex()}: use that wallet, or a new data folder."
        )
    if sender.account.address != wallet:
        raise Misconfigured("This machine has only a hot key: run `capanode node add` on the wallet's machine first.")
    call = registry.register(peer, wallet, hardware_class)
    key = f"register/{peer.public_key.hex()}"
    await sender.submit(key, call.to, call.data)
    if not isinstance(await sender.outcome(key), Mined):
        raise Refused("the registration of this node was mined without effect: see the log, then start again")
    log.info("registered", peer=peer.peer_id)
