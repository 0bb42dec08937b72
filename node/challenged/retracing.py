"""The trace of somebody else's deal computed from its first step, where the leaves that it committed to are withheld.

Nothing of the provider is used but what the terms bind: each step begins with the state that came out here. A trace is
found by computing it twice; what came out is kept, so that a forced reveal goes on after a restart.
"""

from collections.abc import Sequence
from typing import Final

from capanode.node.chain.clock import ChainClock
from capanode.node.challenged.evidence import EvidenceFinder, Found
from capanode.node.challenged.own_traces import OwnTraces
from capanode.node.challenged.reexecution import Reexecution
from capanode.proofs.descent import retraced
from capanode.proofs.trace import Trace, trace_root
from capanode.protocol.faults import Refused
from capanode.protocol.ids import DealId, Digest, UnixTime

KEPT_S: Final = 31 * 86_400
"""A trace is kept so long beyond its deal's window; no dispute is open longer. Source: docs/protocol.md §12."""


class Retracing:
    """Computes traces, and remembers them."""

    def __init__(self, finder: EvidenceFinder, reexecution: Reexecution, kept: OwnTraces, clock: ChainClock) -> None:
        self._finder = finder
        self._reexecution = reexecution
        self._kept = kept
        self._clock = clock

    async def retrace(self, found: Found) -> Trace | None:
        """The trace as it comes out here, both times; None where it came out now so, now otherwise.

        Raises:
            Refused: this machine cannot judge the deal, or it does not begin with its inputs.
            BytesMissing: inputs or image cannot be had.
            PeerFault: what is served of them is not what was committed.
            StepLost, Unavailable: the engine, the disk or a device failed.
        """
        evidence = found.evidence
        if evidence.spec.comparator is not None:
            raise Refused("its states are compared by values: without the provider's nothing can be said of its leaves")
        if not self._reexecution.is_like(evidence):
            raise Refused("its provider may have another machine: other leaves would prove nothing")
        first, again = [await self._reexecution.trace(found) for _ in range(2)]
        if first != again:
            return None
        trace = retraced(evidence.deal_id, first, evidence.step_count)
        await self._keep(evidence.deal_id, trace.leaves, found.slot.deadline)
        return trace

    async def known(self, deal_id: DealId) -> Trace | None:
        """The trace that was found before, or now where it was lost; raises as `retrace`, and as `fetch_evidence`."""
        kept = await self._kept.find(deal_id)
        if kept is not None:
            return Trace(kept)
        return await self.retrace(await self._finder.fetch_evidence(deal_id))

    async def _keep(self, deal_id: DealId, leaves: Sequence[Digest], window_ends_at: UnixTime) -> None:
        now = self._clock.now()
        await self._kept.keep(deal_id, leaves, UnixTime(max(window_ends_at, now) + KEPT_S), now)


def is_as_committed(trace: Trace, found: Found) -> bool:
    """Whether a trace leads to the root that the chain has bound."""
    return trace_root(trace) == found.evidence.trace_root
