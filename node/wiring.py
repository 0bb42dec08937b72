"""The one place where a node is put together. The nesting of the blocks is the order of shutdown.

Outermost what everything rests on (database, chain), then deals, then intake: a stop closes the intake first, lets
the deals write what they have to, and lets go of the chain last.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import structlog
import trio

from capanode.contracts_abi import bindings
from capanode.node import drain, journal
from capanode.node.agent import Agent
from capanode.node.alerts import Alerts, Occasion
from capanode.node.announced.demand_filter import demand_filter
from capanode.node.announced.judges import Judges
from capanode.node.announced.market_choice import MarketChoice
from capanode.node.announced.offers import OfferBook, offer_filter, run_offers
from capanode.node.announced.submission import BuyingTerms, Submission
from capanode.node.api.answers import Answers, Facts
from capanode.node.api.checks import Checks
from capanode.node.api.disputes import DisputeDesk
from capanode.node.api.server import serve_api
from capanode.node.api.service import Service
from capanode.node.assigned import provider_peers
from capanode.node.assigned.preparation import Preparation, PreparationLimits
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.assigned.registration import ensure_registered
from capanode.node.bid.accept_rules import parse_rules
from capanode.node.bid.appraisal import Appraisal, Terrain
from capanode.node.bid.auction import Auction, AuctionTimes, promised_wei
from capanode.node.bid.bidding import Announced, Bidding, Identity
from capanode.node.bid.gas_price import GasPrice, run_gas_price
from capanode.node.bid.offered import offered_capacity
from capanode.node.bid.stakes import Stakes
from capanode.node.chain import approvals, blocks, case_log, transactions
from capanode.node.chain.approvals import Approvals
from capanode.node.chain.blocks import BlockRef
from capanode.node.chain.budget import RequestBudget
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.committed import find_committed
from capanode.node.chain.contracts import Contracts, log_filter, resolve
from capanode.node.chain.court import COURT_LOGS
from capanode.node.chain.courts import Courts
from capanode.node.chain.follower import FinalityViolated, Follower, FollowerOptions, run_follower
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.intake import ChainIntake
from capanode.node.chain.logs import DecodedLog
from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.chain.pools import Pools
from capanode.node.chain.registry import Registry
from capanode.node.chain.repair import run_sender
from capanode.node.chain.revert import explain
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.sender import Sender, open_sender
from capanode.node.chain.token import Token
from capanode.node.chain.upgrades import Upgrades
from capanode.node.chain.versions import Trust
from capanode.node.challenged import audits, kept_evidence
from capanode.node.challenged.audits import Audits
from capanode.node.challenged.checking import Checker
from capanode.node.challenged.commits import Commits
from capanode.node.challenged.committed_trace import States
from capanode.node.challenged.disputes import DEVNET_TURN_S, TURN_S, Disputes, Place, appetite_of
from capanode.node.challenged.engine_on_demand import EngineOnDemand
from capanode.node.challenged.evidence import EvidenceFinder
from capanode.node.challenged.evidence_desk import EvidenceDesk, OwnEvidence
from capanode.node.challenged.kept_evidence import KeptEvidence
from capanode.node.challenged.leeway import Leeway
from capanode.node.challenged.reexecution import Bench, Reexecution
from capanode.node.challenged.watching import Costs
from capanode.node.committed.blob_access import BlobAccess
from capanode.node.committed.delivery import Collector, ResultDesk
from capanode.node.conditions import DealEnds, watch_gas
from capanode.node.config import NodeConfig, UpgradePolicy
from capanode.node.drain import Drain, Forecast, open_drain, run_drain
from capanode.node.executed import checkpoints
from capanode.node.executed.clearing import run_clearing
from capanode.node.executed.execution import Execution
from capanode.node.executed.provider_watch import ProviderWatch
from capanode.node.executed.results import Results
from capanode.node.executed.upkeep import Upkeep
from capanode.node.executors.docker import DockerSettings, executor_name, run_docker_executor
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.executors.port import Executor
from capanode.node.journal import Journal
from capanode.node.keys.key_file import read_private_file
from capanode.node.keys.peer_key import PeerKey, open_peer_key
from capanode.node.keys.signer import LocalSigner, Signer
from capanode.node.keys.wallet import find_password, unlock_wallet, wallet_address
from capanode.node.network_profile import NetworkProfile, read_profile
from capanode.node.p2p.blobs import serve_blobs
from capanode.node.p2p.config import NetworkConfig
from capanode.node.p2p.network import open_network
from capanode.node.p2p.port import Message, Network
from capanode.node.paid import migration
from capanode.node.paid.claims import Claims
from capanode.node.paid.exits import run_exits
from capanode.node.paid.migration import Migration, undrawn_wei
from capanode.node.paid.purse import Purse
from capanode.node.paid.settlement import Settlement
from capanode.node.paid.wishes import claim_policy, sender_options
from capanode.node.performer import NodePerformer, ProviderParts, RequesterParts
from capanode.node.stopping import Stop
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.database import Database, open_database
from capanode.node.storage.room import Room
from capanode.proofs.evidence import Evidence
from capanode.protocol import provider
from capanode.protocol.ids import Address, DealId, Wei
from capanode.protocol.messages import topic
from capanode.protocol.typed_data import Domain, domain
from capanode.scheduler.capacity import Gpu
from capanode.scheduler.pricing import Rates
from capanode.scheduler.rules import Rules

SCHEMAS: Final = (
    journal.SCHEMA,
    drain.SCHEMA,
    transactions.TRANSACTIONS_SCHEMA,
    blocks.FOLLOWER_SCHEMA,
    provider_peers.SCHEMA,
    approvals.SCHEMA,
    migration.SCHEMA,
    checkpoints.SCHEMA,
    kept_evidence.SCHEMA,
    audits.SCHEMA,
    case_log.SCHEMA,
)
"""Every table of the node's file."""

LINE_BYTES_PER_S: Final = 4 * 2**20
"""Transfer rate that times are reckoned with: a modest home line."""

DEAL_GAS: Final = 120_000
"""Gas of a provider's three transactions of a LOCK deal, for its price. Source: docs/performance.md."""

CHALLENGE_GAS: Final = 500_000
"""Gas of a challenger's two transactions, for what a challenge would earn. Source: docs/performance.md."""

DEVNET_LINE_BYTES_PER_S: Final = 256 * 2**20
"""The same on one machine."""

ASSIGN_S: Final = 120
DEVNET_ASSIGN_S: Final = 30
"""How long an award may be assigned, besides the transfer of image and inputs. Seconds."""

SLACK_S: Final = 300
DEVNET_SLACK_S: Final = 30
"""Time to commit beyond timeout and transfer. Seconds."""

LAST_WORDS_S: Final = 15.0
"""How long a node that has to stop waits for its alert to be taken."""

PATIENT: Final = (provider.Executing, provider.Committed, provider.Retaining)
"""Phases that last, in which nothing of the chain is awaited within seconds."""

MAX_ANNOUNCED: Final = 256
"""Announcements that may wait for a bid; more are dropped."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Keys:
    """Whom the node acts for, and with what."""

    wallet: Address
    signer: Signer
    peer: PeerKey


@dataclass(frozen=True, slots=True)
class Ground:
    """What every part of the node stands on."""

    config: NodeConfig
    profile: NetworkProfile
    contracts: Contracts
    markets: Markets
    upgrades: Upgrades
    stakes: Stakes
    keys: Keys
    database: Database
    rpc: Rpc
    sender: Sender
    head: HeadWatch
    clock: ChainClock
    network: Network
    offers: OfferBook
    blobs: BlobStore
    agent: Agent
    courts: Courts
    cases: case_log.CaseLog
    commits: Commits
    alerts: Alerts
    drain: Drain
    stop: Stop
    disguise: Callable[[Executor], Executor]
    """What stands in front of a provider's executor: nothing, but in the practice of a devnet."""

    @property
    def room(self) -> Room:
        """The disk that all of this lies on."""
        return Room(self.config.folder.root)

    @property
    def domain(self) -> Domain:
        """What signatures are bound to that are about the network, not about one market."""
        return domain(self.profile.chain_id, self.contracts.directory)

    def topic(self, name: str) -> str:
        """A gossip topic of this network."""
        return topic(self.profile.chain_id, self.contracts.directory, name)


async def run_node(
    config: NodeConfig,
    *,
    password: Callable[[], str] | None = None,
    stop: Stop | None = None,
    disguise: Callable[[Executor], Executor] = lambda executor: executor,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one node until it is told to stop or cancelled; started once it can be asked.

    Raises:
        Misconfigured: something that the operator has to change.
        Unavailable: chain or engine do not answer at the start.
    """
    profile = read_profile(config.profile_path)
    keys = await _open_keys(config, password)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(config.folder.database, SCHEMAS))
        rpc_urls = config.chain.rpc_urls + profile.rpc_urls
        rpc = await stack.enter_async_context(open_rpc(rpc_urls, profile.chain_id, _budget(config, profile)))
        deals, approved = Journal(database), Approvals(database)
        takes_shipped = config.chain.upgrades is UpgradePolicy.ASK
        trust = Trust(await approved.all(), takes_shipped, await deals.markets())
        contracts = await resolve(rpc, profile, trust)
        await deals.place(contracts.markets[0].address)
        sender = await stack.enter_async_context(
            open_sender(rpc, database, keys.signer, options=sender_options(config.chain), explain=explain)
        )
        network = await stack.enter_async_context(open_network(_network_config(config, profile, keys.peer)))
        clock = ChainClock(machine=time.time)
        alerts = Alerts(config.alerts, node=network.peer_id, network=profile.name)
        markets = Markets(contracts.markets, clock.now, contracts.waiting)
        courts = Courts(rpc, markets)
        await courts.learn()
        ground = Ground(
            config=config,
            profile=profile,
            contracts=contracts,
            markets=markets,
            upgrades=Upgrades(rpc, profile, markets, approved, alerts, takes_shipped=takes_shipped),
            stakes=Stakes(keys.wallet, markets),
            keys=keys,
            database=database,
            rpc=rpc,
            sender=sender,
            head=HeadWatch(_confirmations(config, profile), is_idle_chain=profile.is_devnet),
            clock=clock,
            network=network,
            offers=OfferBook(clock.now),
            blobs=BlobStore(config.folder.blobs, limit_bytes=config.limits.store),
            agent=Agent(
                deals,
                keys.signer.address,
                markets.grace_s,
                reveal_s=courts.reveal_s,
                wallet=keys.wallet if config.is_arbiter else None,
            ),
            courts=courts,
            cases=case_log.CaseLog(database),
            commits=Commits(),
            alerts=alerts,
            drain=await open_drain(database),
            stop=stop or Stop(),
            disguise=disguise,
        )
        await _run(ground, task_status)


async def _run(ground: Ground, task_status: trio.TaskStatus[None]) -> None:
    announced, hear = _announcements(ground)
    async with trio.open_nursery() as chain:
        await chain.start(ground.alerts.run)
        await chain.start(run_sender, ground.sender, partial(ground.alerts.raise_, Occasion.TRANSACTION_STUCK))
        await _follow(ground, hear, chain)
        await chain.start(ground.upgrades.run)
        gas_price = GasPrice()
        await chain.start(run_gas_price, ground.rpc, gas_price)
        async with trio.open_nursery() as deals:
            seller = await _provider(ground, gas_price, deals) if ground.config.is_provider else None
            checker = _checker(ground, seller, deals)
            buyer = _requester(ground, checker) if ground.config.is_requester else None
            disputes = _disputes(ground, checker, gas_price)
            performer = NodePerformer(
                _settlements(ground, gas_price),
                ground.head,
                requester_side=buyer,
                provider_side=seller.parts if seller else None,
                challenges=disputes.contests,
                duties=disputes.judging,
            )
            if seller is not None:
                await deals.start(run_clearing, ground.agent, seller.parts.execution)
            await deals.start(ground.agent.run, performer)
            evidence = _evidence_desk(ground, seller)
            evidence.serve()
            access = BlobAccess(
                ground.agent,
                buyer.auction if buyer else None,
                seller.desk if seller else None,
                evidence.is_public,
            )
            serve_blobs(ground.network, ground.blobs, access.may_fetch)
            deals.start_soon(disputes.run)
            await _open_intake(ground, buyer, seller, checker, disputes, announced, task_status)
            deals.cancel_scope.cancel()
        chain.cancel_scope.cancel()


def _evidence_desk(ground: Ground, seller: "Seller | None") -> EvidenceDesk:
    return EvidenceDesk(
        ground.network,
        ground.blobs,
        KeptEvidence(ground.database),
        seller.evidence if seller else None,
        ground.clock.now,
    )


def _checker(ground: Ground, seller: "Seller | None", deals: trio.Nursery) -> Checker:
    """What recomputes the results of others: on the provider's engine, else on one that is opened for it."""
    kept = KeptEvidence(ground.database)
    finder = EvidenceFinder(
        ground.network,
        ProviderPeers(ground.database),
        ground.markets,
        ground.blobs,
        kept,
        ground.clock,
        provider_of=partial(_provider_of, ground),
        own=seller.evidence.find if seller else _nothing_own,
        downloads=ground.config.folder.blobs / "https",
        request_s=ground.config.timeouts.peer_request,
    )
    states = States(finder, ground.blobs)
    return Checker(finder, states, Reexecution(_bench(ground, seller, deals), finder, states))


def _disputes(ground: Ground, checker: Checker, gas_price: GasPrice) -> Disputes:
    config, profile = ground.config, ground.profile
    place = Place(
        agent=ground.agent,
        cases=ground.cases,
        commits=ground.commits,
        markets=ground.markets,
        courts=ground.courts,
        rpc=ground.rpc,
        sender=ground.sender,
        head=ground.head,
        clock=ground.clock,
        wallet=ground.keys.wallet,
        hardware_class=this_cpu_class(),
        turn_s=DEVNET_TURN_S if profile.is_devnet else TURN_S,
    )
    return Disputes(place, checker, _costs(config, gas_price), appetite_of(config, profile), config.roles)


def _costs(config: NodeConfig, gas_price: GasPrice) -> Costs:
    """What looking at results takes, at the prices that this node asks for its own work."""
    rates = _rates(config)
    coin = 10**18
    return Costs(
        gas_wei=lambda: Wei(CHALLENGE_GAS * gas_price() * rates.tokens_per_coin_wei // coin),
        cpu_s_wei=lambda seconds, millis: Wei(int(seconds * millis) * rates.cpu_hour_wei // 3_600_000),
        pull_byte_wei=lambda count: Wei(count * rates.transfer_gib_wei // 2**30),
    )


def _bench(ground: Ground, seller: "Seller | None", deals: trio.Nursery) -> Bench:
    hardware = this_cpu_class()
    if seller is None:
        engine = EngineOnDemand(_docker_settings(ground), deals)
        deals.start_soon(engine.clear)
        return Bench(engine.executor, hardware, (), Leeway(ground.agent, None).until)
    executor = seller.executor

    async def ours() -> Executor:
        await trio.lowlevel.checkpoint()
        return executor

    return Bench(ours, hardware, seller.gpus, Leeway(ground.agent, seller.appraisal.capacity).until)


async def _provider_of(ground: Ground, market: MarketVersion, deal_id: DealId) -> Address | None:
    found = await find_committed(ground.rpc, market.address, deal_id, ground.profile.first_block)
    return found.provider if found is not None else None


async def _nothing_own(_: DealId) -> Evidence | None:
    await trio.lowlevel.checkpoint()
    return None


def _docker_settings(ground: Ground) -> DockerSettings:
    return DockerSettings(
        node=executor_name(ground.network.peer_id),
        state=ground.config.folder.executions,
        patience_s=ground.config.timeouts.engine if ground.config.is_provider else 0.0,
    )


def _settlements(ground: Ground, gas_price: GasPrice) -> Callable[[Address], Settlement]:
    """One for each market, as claims of one market go together."""

    @cache
    def settlement(market: Address) -> Settlement:
        policy = claim_policy(ground.config.claims)
        claims = Claims(ground.sender, market, policy, gas_price, lambda: ground.drain.is_on)
        return Settlement(ground.sender, market, claims=claims)

    return settlement


async def _open_keys(config: NodeConfig, password: Callable[[], str] | None) -> Keys:
    """The wallet, or the hot key where this machine has one in its place."""
    folder = config.folder
    peer = open_peer_key(folder.p2p / "peer.key")
    if folder.hot_key.exists():
        hot = LocalSigner(read_private_file(folder.hot_key, 32))
        return Keys(wallet_address(folder.wallet), hot, peer)
    secret = find_password(config.wallet.password_file, password)
    signer = await unlock_wallet(folder.wallet, secret)
    return Keys(signer.address, signer, peer)


def _network_config(config: NodeConfig, profile: NetworkProfile, key: PeerKey) -> NetworkConfig:
    return NetworkConfig(
        key=key,
        data_dir=config.folder.p2p,
        network=f"{profile.chain_id}-{profile.directory.hex()}",
        listen=(f"/ip4/{config.p2p.host}/tcp/{config.p2p.port}",),
        announce=config.p2p.announce,
        bootstrap=config.p2p.bootstrap + profile.bootstrap,
        hub=config.p2p.hub,
        dht=config.p2p.dht,
        mdns=config.p2p.mdns,
    )


Announcements = trio.MemoryReceiveChannel[Announced]


def _announcements(ground: Ground) -> tuple[Announcements, Callable[[DecodedLog], None]]:
    """A channel of announcements that can still be assigned, and what the chain's intake tells the node by."""
    send, receive = trio.open_memory_channel[Announced](MAX_ANNOUNCED)

    def offer(announced: Announced) -> None:
        if announced.event.terms.assign_by > ground.clock.now():
            try:
                send.send_nowait(announced)
            except trio.WouldBlock:
                log.info("announcement-dropped", deal=announced.event.deal_id.hex())

    def hear(heard: DecodedLog) -> None:
        # The intake works in the database's thread.
        match heard.event:
            case bindings.DealAnnounced() as event:
                trio.from_thread.run_sync(offer, Announced(heard.address, event))
            case bindings.Published() | bindings.Deprecated():
                trio.from_thread.run_sync(ground.upgrades.hear)
            case bindings.DealCommitted(deal_id=deal_id):
                trio.from_thread.run_sync(ground.commits.tell, deal_id)
            case event if isinstance(event, COURT_LOGS):
                trio.from_thread.run_sync(ground.cases.touch)
            case bindings.Staked(provider=owner) | bindings.Unstaked(provider=owner) if owner == ground.keys.wallet:
                trio.from_thread.run_sync(ground.stakes.touch)
            case _:
                return

    return receive, hear


async def _follow(ground: Ground, hear: Callable[[DecodedLog], None], chain: trio.Nursery) -> None:
    options = FollowerOptions(
        confirmations=_confirmations(ground.config, ground.profile),
        ws_urls=ground.profile.ws_urls,
        lag_patience_s=0.0 if ground.profile.is_devnet else 10.0,
        idle_poll_s=1.0 if ground.profile.is_devnet else 8.0,
        with_pending=ground.profile.is_devnet,
    )
    wallet = ground.keys.wallet if ground.config.is_arbiter else None
    intake = ChainIntake(hear, ground.courts.market_of, wallet)

    def wake() -> None:
        ground.agent.chain_moved()
        ground.sender.look()

    def unwind(connection: sqlite3.Connection, block: BlockRef) -> None:
        intake.unwind(connection, block)
        # In the database's thread, as the intake.
        trio.from_thread.run_sync(ground.sender.doubt)

    follow = partial(
        run_follower,
        ground.rpc,
        ground.database,
        log_filter(ground.contracts, ground.profile),
        options,
        intake.apply,
        unwind,
        wake=wake,
        head=ground.head,
        is_busy=lambda: any(not isinstance(deal.state, PATIENT) for deal in ground.agent.open_deals()),
        tell=partial(ground.alerts.raise_, Occasion.ENDPOINTS_DISAGREE),
    )
    chain.start_soon(_keep_time, ground.head, ground.clock)
    chain.start_soon(_watch_more, ground, await chain.start(_with_last_words, ground.alerts, follow))


async def _with_last_words(
    alerts: Alerts,
    follow: Callable[..., Awaitable[None]],
    *,
    task_status: trio.TaskStatus[Follower] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Follow the chain; where that has to stop for good, the operator hears of it before the node ends."""
    try:
        await follow(task_status=task_status)
    except FinalityViolated as error:
        alerts.raise_(Occasion.FINALITY_VIOLATED, str(error))
        with trio.move_on_after(LAST_WORDS_S):
            await alerts.settle()
        raise


def _budget(config: NodeConfig, profile: NetworkProfile) -> RequestBudget:
    return RequestBudget(None if profile.is_devnet else config.chain.requests_per_minute or None)


async def _watch_more(ground: Ground, follower: Follower) -> None:
    """Have the follower take up each market that the node takes up."""
    while True:
        await ground.markets.wait_change()
        await ground.courts.learn()
        follower.watch(log_filter(ground.contracts, ground.profile, ground.markets.adopted()))
        ground.stakes.touch()


async def _keep_time(head: HeadWatch, clock: ChainClock) -> None:
    if head.head is not None:
        clock.saw_head(head.head.next_time)
    while True:
        clock.saw_head((await head.wait_change()).next_time)


def _requester(ground: Ground, checker: Checker) -> RequesterParts:
    config, profile = ground.config, ground.profile
    times = AuctionTimes(
        bid_window_s=(config.requester.bid_window_ms or profile.bid_window_ms) / 1000,
        assign_within_s=DEVNET_ASSIGN_S if profile.is_devnet else ASSIGN_S,
        request_s=config.timeouts.peer_request,
    )
    buying = BuyingTerms(
        requester=ground.keys.wallet,
        transfer_bytes_per_s=_line(profile),
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
    judges = Judges(Pools(ground.rpc).can_judge, lambda: _classes(ground.offers))
    submission = Submission(buying, choice, judges, ground.network, ground.blobs, ground.clock)
    coin = Audits(ground.database, checker, ground.clock, is_on=config.requester.audits)
    return RequesterParts(submission, auction, collector, coin)


def _classes(offers: OfferBook) -> list[str]:
    """The hardware classes whose arbiters may judge a job: this machine's, then those that were heard of."""
    own = this_cpu_class()
    heard = Counter(offer.hardware_class for offer in offers.current())
    return [own, *(name for name, _ in heard.most_common() if name != own)]


@dataclass(frozen=True, slots=True)
class Seller:
    """A provider's parts that more than the performer needs."""

    parts: ProviderParts
    executor: Executor
    identity: Identity
    bidding: Bidding
    desk: ResultDesk
    evidence: OwnEvidence
    gpus: tuple[Gpu, ...]
    appraisal: Appraisal
    upkeep: Upkeep


async def _provider(ground: Ground, gas_price: GasPrice, deals: trio.Nursery) -> Seller:
    config, signer, wallet = ground.config, ground.keys.signer, ground.keys.wallet
    executor = ground.disguise(await deals.start(run_docker_executor, _docker_settings(ground)))
    hardware = this_cpu_class()
    registry = Registry(ground.rpc, ground.contracts.registry)
    await ensure_registered(registry, ground.sender, ground.keys.peer, wallet, hardware)
    whole = offered_capacity(await executor.capacity(), config.provider)
    limits = PreparationLimits(config.provider.max_image, config.provider.max_input, config.timeouts.image)
    preparation = Preparation(executor, ground.network, ground.blobs, config.folder.blobs / "https", limits)
    done = checkpoints.Checkpoints(ground.database)
    execution = Execution(executor, preparation, Results(ground.blobs), done, whole.gpus)
    base = Rules(
        max_image_bytes=config.provider.max_image,
        max_input_bytes=config.provider.max_input,
        max_fraud_bond_wei=config.provider.max_fraud_bond_wei,
    )
    terrain = Terrain(
        provider=wallet,
        signer=signer.address,
        hardware_class=hardware,
        whole=whole,
        rules=parse_rules(config.provider.accept, base),
        rates=_rates(config),
        transfer_bytes_per_s=_line(ground.profile),
        gas_units=DEAL_GAS,
        utc_offset_s=time.localtime().tm_gmtoff,
    )
    upkeep = Upkeep(
        executor=executor,
        room=ground.room,
        agent=ground.agent,
        preparation=preparation,
        execution=execution,
        blobs=ground.blobs,
        now=ground.clock.now,
        slots=config.provider.slots,
        alerts=ground.alerts,
    )
    appraisal = Appraisal(terrain, ground.agent, gas_price, Pools(ground.rpc).can_judge)
    identity = Identity(wallet, signer, hardware)
    bidding = Bidding(
        identity,
        ground.agent,
        ground.network,
        ground.markets,
        appraisal,
        ground.clock,
        config.timeouts.peer_request,
        upkeep.objection,
    )
    desk = ResultDesk(ground.agent, ground.network, execution, ground.blobs, signer, ground.markets, hardware)
    await execution.take_over(await _open_work(ground))
    await executor.warm(config.provider.slots)
    return Seller(
        parts=ProviderParts(preparation, execution),
        executor=executor,
        identity=identity,
        bidding=bidding,
        desk=desk,
        gpus=whole.gpus,
        evidence=OwnEvidence(ground.agent, execution, preparation, ground.blobs, hardware),
        appraisal=appraisal,
        upkeep=upkeep,
    )


async def _open_work(ground: Ground) -> list[provider.Deal]:
    """The open deals of this provider, as the journal has them."""
    stored, _ = await Journal(ground.database).open_deals()
    return [deal.state for deal in stored if isinstance(deal.state, provider.Deal)]


async def _open_intake(
    ground: Ground,
    buyer: RequesterParts | None,
    seller: Seller | None,
    checker: Checker,
    disputes: Disputes,
    announced: Announcements,
    task_status: trio.TaskStatus[None],
) -> None:
    """Let work and questions in, until the node is told to stop."""
    peers = ProviderPeers(ground.database)
    watch = ProviderWatch(ground.agent, ground.network, peers, ground.clock, ground.markets.grace_s)
    forecast = Forecast(ground.agent, Journal(ground.database), ground.markets.grace_s, ground.clock.now)
    purse = Purse(
        ground.rpc,
        ground.contracts,
        ground.markets,
        ground.sender,
        ground.keys.wallet,
        ground.keys.signer,
        ground.clock,
        peers,
        Migration(
            ground.rpc,
            ground.database,
            ground.sender,
            ground.keys.signer,
            ground.markets,
            Token(ground.rpc, ground.contracts.token),
            peers,
            ground.clock,
            lambda market: undrawn_wei(ground.agent.open_deals(), market),
        ),
    )
    answers = Answers(
        Facts(
            network=ground.profile.name,
            chain_id=ground.profile.chain_id,
            roles=tuple(sorted(role.value for role in ground.config.roles)),
            results=ground.config.folder.results,
            max_open_jobs=ground.config.limits.open_jobs,
        ),
        ground.agent,
        Journal(ground.database),
        ground.network,
        ground.head,
        purse,
        markets=ground.markets,
        upgrades=ground.upgrades,
        offers=ground.offers,
        submission=buyer.submission if buyer else None,
        collector=buyer.collector if buyer else None,
        bidding=seller.bidding if seller else None,
        stop=ground.stop.ask,
        capacity=seller.appraisal.capacity if seller else None,
        disputes=DisputeDesk(disputes, ground.agent, Journal(ground.database), ground.cases, ground.commits),
        service=Service(ground.drain, forecast, ground.clock, ground.alerts),
        checks=Checks(checker, ground.markets, ground.clock),
        notice=watch.notice,
        objection=seller.upkeep.objection if seller else ground.room.objection,
        room=ground.room,
        endpoints=ground.rpc.health,
    )
    async with trio.open_nursery() as intake:
        if buyer is not None:
            intake.start_soon(watch.run)
        intake.start_soon(run_drain, ground.drain, forecast, ground.alerts)
        if ground.keys.signer.address == ground.keys.wallet:
            intake.start_soon(run_exits, purse, ground.clock)
        intake.start_soon(DealEnds(ground.agent, ground.alerts).run)
        if seller is not None:
            intake.start_soon(watch_gas, ground.rpc, ground.keys.signer.address, DEAL_GAS, ground.alerts)
        if seller is not None:
            seller.bidding.is_draining = ground.drain.is_on
            seller.bidding.serve()
            seller.desk.serve()
            demands = ground.network.subscribe(
                ground.topic("demands"), demand_filter(ground.profile.chain_id, ground.clock.now)
            )
            intake.start_soon(seller.bidding.run, demands)
            intake.start_soon(_leave_at_stop, seller.executor)
            intake.start_soon(
                run_offers,
                ground.network,
                ground.topic("offers"),
                seller.identity,
                seller.appraisal,
                _rates(ground.config),
                ground.domain,
                ground.clock,
                ground.stakes,
                lambda: seller.bidding.is_draining or bool(seller.upkeep.objection()),
            )
            intake.start_soon(seller.upkeep.run)
            intake.start_soon(seller.bidding.run_announced, announced)
        elif buyer is not None:
            # A requester takes part in the mesh too: it forwards what it hears and keeps nothing.
            heard = ground.network.subscribe(
                ground.topic("demands"), demand_filter(ground.profile.chain_id, ground.clock.now)
            )
            intake.start_soon(_drop_all, heard)
        offers_heard = ground.network.subscribe(ground.topic("offers"), offer_filter(ground.domain, ground.clock.now))
        intake.start_soon(ground.offers.run, offers_heard)
        serve = partial(serve_api, max_connections=ground.config.limits.api_connections)
        await intake.start(serve, answers, ground.config.folder.socket)
        if ground.config.until_idle_s is not None:
            intake.start_soon(_stop_when_idle, ground, answers, ground.config.until_idle_s)
        task_status.started()
        log.info("up", peer=ground.network.peer_id, addresses=ground.network.addresses())
        await ground.stop.requested.wait()
        intake.cancel_scope.cancel()


async def _leave_at_stop(executor: Executor) -> None:
    """Running containers outlive a stop of the node: the next start takes them up where they are."""
    try:
        await trio.sleep_forever()
    finally:
        executor.leave()


async def _drop_all(heard: trio.MemoryReceiveChannel[Message]) -> None:
    async for _ in heard:
        pass


async def _stop_when_idle(ground: Ground, answers: Answers, idle_s: float) -> None:
    """Stop a short-lived node once no open job needs it for so long."""
    quiet_since = trio.current_time()
    while trio.current_time() - quiet_since < idle_s:
        if ground.agent.open_deals() or answers.callers:
            quiet_since = trio.current_time()
        await trio.sleep(min(idle_s / 4, 1.0))
    ground.stop.ask()


def _rates(config: NodeConfig) -> Rates:
    pricing = config.provider.pricing
    return Rates(
        cpu_hour_wei=pricing.cpu_hour_wei,
        memory_gib_hour_wei=pricing.memory_gib_hour_wei,
        disk_gib_hour_wei=pricing.disk_gib_hour_wei,
        gpu_hour_wei=pricing.gpu_hour_wei,
        floor_wei=pricing.floor_wei,
        tokens_per_coin_wei=pricing.tokens_per_coin_wei,
        margin_ppm=pricing.margin_ppm,
        load_ppm=pricing.load_ppm,
        transfer_gib_wei=pricing.transfer_gib_wei,
    )


def _confirmations(config: NodeConfig, profile: NetworkProfile) -> int:
    wanted = config.chain.confirmations
    return profile.confirmations if wanted is None else wanted


def _line(profile: NetworkProfile) -> int:
    return DEVNET_LINE_BYTES_PER_S if profile.is_devnet else LINE_BYTES_PER_S
