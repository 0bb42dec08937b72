"""Where the requester of an announced demand can be reached, as it travels in the announcement's event."""

from dataclasses import dataclass
from typing import ClassVar, Final

from capanode.protocol import encoding
from capanode.protocol.ids import PeerId

MAX_LOCATOR_BYTES: Final = 512
"""What the market takes. Source: `IDealMarket.MAX_LOCATOR`."""


@dataclass(frozen=True, slots=True)
class Locator:
    """The requester's peer id, and as many of its multiaddrs as fit."""

    RECORD: ClassVar[tuple[str, int]] = ("locator", 1)

    peer: PeerId
    addresses: tuple[str, ...]


def locator_of(peer: PeerId, addresses: tuple[str, ...]) -> bytes:
    """The encoded locator, with addresses left out from the end until it fits."""
    for count in range(len(addresses), -1, -1):
        data = encoding.encode(Locator(peer, addresses[:count]))
        if len(data) <= MAX_LOCATOR_BYTES:
            return data
    raise ValueError("a peer id alone does not fit the locator")
