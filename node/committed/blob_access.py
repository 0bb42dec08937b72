"""Which peer may fetch which blob: a spec's inputs and image for whoever was given the spec, a result for its buyer.

What anybody may check is anybody's (`is_public`), once it is committed.
"""

from collections.abc import Callable

from capanode.node.agent import Agent
from capanode.node.bid.auction import Auction
from capanode.node.committed.delivery import ResultDesk
from capanode.protocol import requester
from capanode.protocol.ids import Cid, PeerId
from capanode.protocol.records import Spec


class BlobAccess:
    """The rule that the blob server asks; sees the journal's open deals only."""

    def __init__(
        self, agent: Agent, auction: Auction | None, desk: ResultDesk | None, is_public: Callable[[Cid], bool]
    ) -> None:
        self._agent = agent
        self._auction = auction
        self._desk = desk
        self._is_public = is_public

    def may_fetch(self, peer: PeerId, cid: Cid) -> bool:
        """Cheap enough to be asked for every part of every blob."""
        if self._desk is not None and self._desk.may_fetch(peer, cid):
            return True
        if self._is_public(cid):
            return True
        return any(
            isinstance(stored.state, requester.Job)
            and cid in blobs_of(stored.state.order.spec)
            and self._was_given(peer, stored.state)
            for stored in self._agent.open_deals()
        )

    def _was_given(self, peer: PeerId, job: requester.Job) -> bool:
        if isinstance(job, requester.Awarding | requester.Running) and job.deal.peer == peer:
            return True
        return self._auction is not None and self._auction.is_party_to(peer, job.order.spec)


def blobs_of(spec: Spec) -> frozenset[Cid]:
    """Every blob that a provider needs for a spec."""
    found = {item.cid for item in spec.inputs if item.cid is not None}
    if spec.image.archive is not None:
        found.add(spec.image.archive.cid)
    return frozenset(found)
