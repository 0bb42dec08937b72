"""Multiaddrs as the port takes them: text that ends in `/p2p/<peer id>`."""

from capanode.node.p2p.library_types import ID, Multiaddr
from capanode.protocol.faults import Refused
from capanode.protocol.ids import PeerId

_MAX_CHARS = 256


def split(address: str) -> tuple[PeerId, str]:
    """The peer and the part that can be dialled.

    Raises:
        Refused: not such a multiaddr.
    """
    try:
        if len(address) > _MAX_CHARS:
            raise ValueError("it is too long")
        parsed = Multiaddr(address)
        peer = ID.from_base58(parsed.value_for_protocol("p2p") or "")
        dialable = parsed.decapsulate(Multiaddr(f"/p2p/{peer.to_base58()}"))
        dialable.value_for_protocol("tcp")
        return PeerId(peer.to_base58()), str(dialable)
    except Exception as error:  # the parser raises many kinds
        raise Refused(
            f"'{address[:_MAX_CHARS]}' is not a TCP multiaddr of a peer ({error}); "
            "write /ip4/…/tcp/…/p2p/… as `capanode status` shows it."
        ) from error


def peer_of(peer: ID) -> PeerId:
    """The port's form of a library id."""
    return PeerId(peer.to_base58())


def id_of(peer: PeerId) -> ID:
    """The library's form of a peer id.

    Raises:
        Refused: not a peer id.
    """
    try:
        return ID.from_base58(peer)
    except Exception as error:
        raise Refused(f"'{peer[:64]}' is not a peer id.") from error
