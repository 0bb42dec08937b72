"""A requester's parts."""

import time
from collections import Counter
from functools import partial
from typing import Final

from capanode.node.alerts import Occasion
from capanode.node.announced.judges import Judges
from capanode.node.announced.market_choice import MarketChoice
from capanode.node.announced.offers import OfferBook
from capanode.node.announced.replicas import Replicas
from capanode.node.announced.submission import BuyingTerms, Submission
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.bid.auction import Auction, AuctionTimes, promised_wei
from capanode.node.chain.pools import Pools
from capanode.node.challenged.audits import Audits
from capanode.node.challenged.checking import Checker
from capanode.node.committed.delivery import Collector
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.performer import RequesterParts
from capanode.node.wiring.ground import Ground, line_bytes_per_s
from capanode.protocol.ids import Address, Wei
from capanode.protocol.records import Demand

ASSIGN_S: Final = 120


DEVNET_ASSIGN_S: Final = 30
"""How long an award may be assigned, besides the transfer of image and inputs. Seconds."""


SLACK_S: Final = 300


DEVNET_SLACK_S: Final = 30
"""Time to commit beyond timeout and transfer. Seconds."""


def requester_side(ground: Ground, checker: Checker) -> RequesterParts:
    config, profile = ground.config, ground.profile
    times = AuctionTimes(
        bid_window_s=(config.requester.bid_window_ms or profile.bid_window_ms) / 1000,
        assign_within_s=DEVNET_ASSIGN_S if profile.is_devnet else ASSIGN_S,
        request_s=config.timeouts.peer_request,
    )
    buying = BuyingTerms(
        requester=ground.keys.wallet,
        transfer_bytes_per_s=line_bytes_per_s(profile),
        slack_s=DEVNET_SLACK_S if profile.is_devnet else SLACK_S,
        audit_rate_ppm=config.requester.audit_rate_ppm,
        target_price_wei=config.requester.target_price_wei or Wei(0),
        max_price_wei=config.requester.max_price_wei,
        times=times,
    )
    auction = Auction(
        ground.network,
        ground.markets,
        ground.keys.signer,
        ground.topic("demands"),
        ground.clock,
        times,
        config.requester.avoid,
        lambda market, provider_wallet: promised_wei(ground.agent.open_deals(), market, provider_wallet),
        ground.offers.bidders,
    )
    auction.serve()
    collector = Collector(
        ground.network,
        ProviderPeers(ground.database),
        ground.blobs,
        ground.keys.signer,
        ground.markets,
        config.folder.results,
        config.limits.result,
        config.timeouts.peer_request,
    )
    choice = MarketChoice(ground.markets, ground.keys.wallet, ground.offers.trades_in)
    pools = Pools(ground.rpc)
    judges = Judges(
        pools.can_judge,
        lambda: _classes(ground.offers),
        ground.keys.wallet,
        partial(pools.name_set, ground.sender),
    )
    submission = Submission(buying, choice, judges, ground.network, ground.blobs, ground.clock)
    coin = Audits(
        ground.database,
        checker,
        ground.clock,
        is_on=config.requester.audits,
        accepts_unclear=config.requester.accept_unclear,
    )
    return RequesterParts(submission, auction, collector, coin)


def open_replicas(ground: Ground, buyer: RequesterParts) -> Replicas:
    """The requester's replicated jobs."""

    def providers(demand: Demand, market: Address) -> frozenset[Address]:
        known = frozenset(offer.provider for offer in ground.offers.fitting(demand, market))
        return known - ground.config.requester.avoid

    return Replicas(
        ground.database,
        ground.agent,
        buyer.submission,
        providers,
        ground.offers.is_settled,
        partial(ground.alerts.raise_, Occasion.RESULT_WRONG),
        time.time,
    )


def _classes(offers: OfferBook) -> list[str]:
    """The hardware classes whose arbiters may judge a job: this machine's, then those that were heard of."""
    own = this_cpu_class()
    heard = Counter(offer.hardware_class for offer in offers.current())
    return [own, *(name for name, _ in heard.most_common() if name != own)]
