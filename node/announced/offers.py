"""Standing offers: a provider tells what it has free and asks, a requester remembers what it has heard."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog
import trio

from capanode.node.announced.gossip_judge import GossipJudge, Hint, Measure
from capanode.node.bid.appraisal import Appraisal
from capanode.node.bid.bidding import Identity
from capanode.node.bid.stakes import Stakes
from capanode.node.chain.clock import ChainClock
from capanode.node.p2p.port import Message, Network
from capanode.protocol import encoding
from capanode.protocol.ids import Address, PeerId, UnixTime
from capanode.protocol.records import Demand, Offer, SignedOffer
from capanode.protocol.typed_data import Domain, offer_digest
from capanode.scheduler.hardware import serves
from capanode.scheduler.pricing import Rates

RENEW_EVERY_S: Final = 30.0
SETTLED_S: Final = RENEW_EVERY_S + 5
"""Who has listened for so long has heard everybody who renews."""

LIFE_S: Final = 90
"""An offer outlives two renewals that get lost."""

OFFERS: Final = Measure(longest_life_s=10 * LIFE_S, per_minute=12)
"""Six times what a provider renews."""

MAX_OFFERS: Final = 4096
"""Peers whose offer is remembered; the longest unheard goes first."""

log = structlog.get_logger()


def offer_filter(domain: Domain, now: Callable[[], UnixTime]) -> GossipJudge:
    """The gossip validator for offers, which are signed in the domain of the network's directory."""

    def read(data: bytes) -> Hint:
        signed = encoding.decode(SignedOffer, data)
        offer = signed.offer
        return Hint(
            peer=offer.peer,
            signer=offer.signer,
            signature=signed.signature,
            signed=lambda: offer_digest(domain, offer),
            expires_at=offer.expires_at,
        )

    return GossipJudge(read, OFFERS, now)


class OfferBook:
    """What others offer at the moment, as far as it was heard here."""

    def __init__(self, now: Callable[[], UnixTime]) -> None:
        self._now = now
        self._offers: OrderedDict[PeerId, Offer] = OrderedDict()
        self._listening_since: float | None = None

    async def run(self, heard: trio.MemoryReceiveChannel[Message]) -> None:
        """Remember what is heard until cancelled."""
        self._listening_since = trio.current_time()
        async for message in heard:
            offer = encoding.decode(SignedOffer, message.data).offer
            self._offers.pop(offer.peer, None)
            self._offers[offer.peer] = offer
            if len(self._offers) > MAX_OFFERS:
                self._offers.popitem(last=False)

    def current(self) -> tuple[Offer, ...]:
        """Offers that have not expired."""
        return tuple(offer for offer in self._offers.values() if offer.expires_at > self._now())

    def bidders(self, demand: Demand, market: Address) -> frozenset[PeerId]:
        """Who may be expected to bid; nobody before each provider has had the time to renew its offer here."""
        return frozenset(offer.peer for offer in self.fitting(demand, market)) if self.is_settled() else frozenset()

    def is_settled(self) -> bool:
        """Whether everybody who renews an offer has had the time to."""
        since = self._listening_since
        return since is not None and trio.current_time() - since >= SETTLED_S

    def trades_in(self, market: Address) -> bool:
        """Whether anybody was heard to offer in a market."""
        return any(market in offer.markets for offer in self.current())

    def fitting(self, demand: Demand, market: Address) -> tuple[Offer, ...]:
        """Offers in a market with room and hardware for a demand, cheapest core first."""
        needs = demand.resources
        fit = [
            offer
            for offer in self.current()
            if market in offer.markets
            and offer.slots_left > 0
            and offer.cpu_millis_left >= needs.cpu_millis
            and offer.memory_bytes_left >= needs.memory_bytes
            and offer.disk_bytes_left >= needs.disk_bytes
            and offer.gpus_left >= (needs.gpu.count if needs.gpu else 0)
            and offer.floor_wei <= demand.price_cap_wei
            and serves(offer.hardware_class, demand.hardware_class, demand.verification)
        ]
        return tuple(sorted(fit, key=lambda offer: (offer.cpu_hour_wei, offer.peer)))


async def run_offers(
    network: Network,
    topic: str,
    identity: Identity,
    appraisal: Appraisal,
    rates: Rates,
    domain: Domain,
    clock: ChainClock,
    stakes: Stakes,
    is_draining: Callable[[], bool],
) -> None:
    """Renew this provider's offer until cancelled, at once when its stake moves; a draining one lets it lapse."""
    while True:
        if not is_draining():
            markets = await stakes.backed()
            offer = _offer(network.peer_id, identity, markets, appraisal, rates, clock.now())
            signature = identity.signer.sign_digest(offer_digest(domain, offer))
            await network.publish(topic, encoding.encode(SignedOffer(offer, signature)))
        with trio.move_on_after(RENEW_EVERY_S):
            await stakes.moved()


def _offer(
    peer: PeerId,
    identity: Identity,
    markets: tuple[Address, ...],
    appraisal: Appraisal,
    rates: Rates,
    now: UnixTime,
) -> Offer:
    capacity = appraisal.capacity()
    return Offer(
        provider=identity.provider,
        signer=identity.signer.address,
        peer=peer,
        markets=markets,
        hardware_class=identity.hardware_class,
        slots_left=capacity.slots_left,
        cpu_millis_left=capacity.cpu_millis_left,
        memory_bytes_left=capacity.memory_bytes_left,
        disk_bytes_left=capacity.disk_bytes_left,
        gpus_left=len(capacity.gpus_left),
        cpu_hour_wei=rates.cpu_hour_wei,
        gpu_hour_wei=rates.gpu_hour_wei,
        floor_wei=rates.floor_wei,
        expires_at=UnixTime(now + LIFE_S),
    )
