"""The gossip validator for demands."""

from collections.abc import Callable
from typing import Final

from capanode.node.announced.gossip_judge import GossipJudge, Hint, Measure
from capanode.protocol import encoding
from capanode.protocol.ids import UnixTime
from capanode.protocol.records import SignedDemand
from capanode.protocol.typed_data import demand_hint_digest, domain

DEMANDS: Final = Measure(longest_life_s=7 * 86_400, per_minute=120)
"""Enough for a batch, not for a flood."""


def demand_filter(chain_id: int, now: Callable[[], UnixTime]) -> GossipJudge:
    """Accepts demands whichever market of the chain they name.

    A node passes on what it does not trade in, so that a new version of the market reaches all that have taken it up.
    """

    def read(data: bytes) -> Hint:
        signed = encoding.decode(SignedDemand, data)
        demand = signed.demand
        return Hint(
            peer=demand.peer,
            signer=demand.requester,
            signature=signed.signature,
            signed=lambda: demand_hint_digest(domain(chain_id, signed.market), demand),
            expires_at=demand.expires_at,
        )

    return GossipJudge(read, DEMANDS, now)
