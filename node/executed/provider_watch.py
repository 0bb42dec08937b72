"""Noticing, on the requester's side, that the provider of an open deal does not answer any more.

What comes of it is a sentence for the user and a line in the job's timeline. No phase changes and no money moves: the
chain's deadline decides, since a provider that cannot be reached from here may still commit in time. A provider does
not watch its requester: it commits, is paid, and keeps the result whether the requester is there or not.
"""

from collections.abc import Callable
from typing import Final, assert_never

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain.clock import ChainClock
from capanode.node.journal import Side, Stored
from capanode.node.p2p.port import Liveness, Network, PeerLost, PeerReturned
from capanode.node.units import clock_time
from capanode.protocol import requester
from capanode.protocol.events import ProviderLost, ProviderReturned
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, PeerId, UnixTime

MAX_TOLD: Final = 256
"""Losses and returns written into the timeline of one job; a line that flaps for days goes to the log alone."""

log = structlog.get_logger()


class ProviderWatch:
    """Keeps an eye on the peers that open jobs wait for; knows who is silent now."""

    def __init__(
        self,
        agent: Agent,
        network: Network,
        peers: ProviderPeers,
        clock: ChainClock,
        grace_s: Callable[[Address], int],
    ) -> None:
        """`grace_s` says the grace of a market, in seconds."""
        self._agent = agent
        self._network = network
        self._peers = peers
        self._clock = clock
        self._grace_s = grace_s
        self._waiting: dict[str, PeerId] = {}
        self._silent: dict[PeerId, UnixTime] = {}
        self._told: dict[str, int] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear)
            while True:
                # Once more from the start when this watcher was too slow for its channel.
                async with self._agent.watching() as changes:
                    await self._look_at_all()
                    async for stored in changes:
                        await self._look_at(stored)

    def notice(self, stored: Stored) -> str:
        """What the user should know of the job's provider; empty while it answers."""
        peer = self._waiting.get(stored.key)
        since = self._silent.get(peer) if peer is not None else None
        if since is None or not isinstance(stored.state, requester.Job):
            return ""
        who = "the provider does not answer" if self._network.peers() else "no peer answers this node, check its line:"
        return f"{who} since {clock_time(since)}; {_what_then(stored.state, self._grace_s(stored.market))}"

    async def _look_at_all(self) -> None:
        for key in [key for key in self._waiting if self._agent.find(key) is None]:
            self._leave(key)
        for stored in self._agent.open_deals():
            await self._look_at(stored)

    async def _look_at(self, stored: Stored) -> None:
        if stored.side is not Side.REQUESTER or not isinstance(stored.state, requester.Job):
            return
        peer = await self._waited_for(stored.state)
        if peer == self._waiting.get(stored.key):
            return
        self._leave(stored.key)
        if peer is not None:
            self._waiting[stored.key] = peer
            self._network.watch_peer(peer)

    async def _waited_for(self, job: requester.Job) -> PeerId | None:
        match job:
            case (
                requester.Awarding()
                | requester.Running()
                | requester.Expiring()
                | requester.Committed()
                | requester.Withheld()
                | requester.Challenged(folder="")
                | requester.Paid()
            ):
                try:
                    return job.deal.peer or await self._peers.peer_of(job.deal.terms.provider)
                except Unavailable:
                    return None
            case _:
                return None

    def _leave(self, key: str) -> None:
        peer = self._waiting.pop(key, None)
        self._told.pop(key, None)
        if peer is not None and peer not in self._waiting.values():
            self._network.unwatch_peer(peer)
            self._silent.pop(peer, None)

    async def _hear(self) -> None:
        async for report in self._network.liveness:
            if report.peer in self._waiting.values():
                await self._tell(report)

    async def _tell(self, report: Liveness) -> None:
        match report:
            case PeerLost():
                self._silent[report.peer] = self._clock.now()
            case PeerReturned():
                self._silent.pop(report.peer, None)
            case _:
                assert_never(report)
        for key in [key for key, peer in self._waiting.items() if peer == report.peer]:
            stored = self._agent.find(key)
            if stored is None or not isinstance(stored.state, requester.Job):
                continue
            since = self._silent.get(report.peer)
            log.warning("provider-silent" if since else "provider-back", job=key, notice=self.notice(stored))
            self._told[key] = self._told.get(key, 0) + 1
            if self._told[key] > MAX_TOLD:
                continue
            if since is None:
                await self._agent.tell(key, ProviderReturned())
            else:
                refund_at = requester.refund_at(stored.state, self._grace_s(stored.market))
                await self._agent.tell(key, ProviderLost(since, refund_at or UnixTime(0)))


def _what_then(job: requester.Job, grace_s: int) -> str:
    free_at = requester.refund_at(job, grace_s)
    if free_at is None:
        return "the result is fetched as soon as it returns"
    if isinstance(job, requester.Awarding):
        return f"its award lapses at {clock_time(free_at)} and costs nothing"
    return f"you get your money back at {clock_time(free_at)} if it does not return"
