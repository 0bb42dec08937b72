"""The one place where a node is put together. The nesting of the blocks is the order of shutdown.

Outermost what everything rests on (database, chain), then deals, then intake: a stop closes the intake first, lets
the deals write what they have to, and lets go of the chain last.
"""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import cache, partial

import trio

from capanode.node.agent import Agent
from capanode.node.alerts import Alerts, Occasion
from capanode.node.announced.offers import OfferBook
from capanode.node.bid.gas_price import GasPrice, run_gas_price
from capanode.node.bid.stakes import Stakes
from capanode.node.chain import case_log
from capanode.node.chain.approvals import Approvals
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.contracts import resolve
from capanode.node.chain.courts import Courts
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.markets import Markets
from capanode.node.chain.repair import run_sender
from capanode.node.chain.revert import explain
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.sender import open_sender
from capanode.node.chain.upgrades import Upgrades
from capanode.node.chain.versions import Trust
from capanode.node.challenged.commits import Commits
from capanode.node.challenged.named_sets import NamedSets
from capanode.node.committed.blob_access import BlobAccess
from capanode.node.config import NodeConfig, UpgradePolicy
from capanode.node.drain import open_drain
from capanode.node.executed.clearing import run_clearing
from capanode.node.executors.port import Executor
from capanode.node.journal import Journal
from capanode.node.network_profile import read_profile
from capanode.node.p2p.blobs import serve_blobs
from capanode.node.p2p.network import open_network
from capanode.node.paid.claims import Claims
from capanode.node.paid.settlement import Settlement
from capanode.node.paid.wishes import claim_policy, sender_options
from capanode.node.performer import NodePerformer
from capanode.node.stopping import Stop
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.database import open_database
from capanode.node.wiring.buying import requester_side
from capanode.node.wiring.following import announcements, follow_chain
from capanode.node.wiring.ground import Ground, confirmations, network_config, open_keys, request_budget
from capanode.node.wiring.intake import open_intake
from capanode.node.wiring.schemas import SCHEMAS
from capanode.node.wiring.selling import provider_side
from capanode.node.wiring.verifying import open_checker, open_disputes, open_evidence_desk
from capanode.protocol.ids import Address


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
    keys = await open_keys(config, password)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(config.folder.database, SCHEMAS))
        rpc_urls = config.chain.rpc_urls + profile.rpc_urls
        rpc = await stack.enter_async_context(open_rpc(rpc_urls, profile.chain_id, request_budget(config, profile)))
        deals, approved = Journal(database), Approvals(database)
        takes_shipped = config.chain.upgrades is UpgradePolicy.ASK
        trust = Trust(await approved.all(), takes_shipped, await deals.markets())
        contracts = await resolve(rpc, profile, trust)
        await deals.place(contracts.markets[0].address)
        sender = await stack.enter_async_context(
            open_sender(rpc, database, keys.signer, options=sender_options(config.chain), explain=explain)
        )
        network = await stack.enter_async_context(open_network(network_config(config, profile, keys.peer)))
        clock = ChainClock(machine=time.time)
        alerts = Alerts(config.alerts, node=network.peer_id, network=profile.name)
        markets = Markets(contracts.markets, clock.now, contracts.waiting)
        courts = Courts(rpc, markets)
        await courts.learn()
        named_sets = NamedSets(database)
        await named_sets.load()
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
            head=HeadWatch(confirmations(config, profile), is_idle_chain=profile.is_devnet),
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
                serves=named_sets.serves,
            ),
            courts=courts,
            cases=case_log.CaseLog(database),
            commits=Commits(),
            named_sets=named_sets,
            alerts=alerts,
            drain=await open_drain(database),
            stop=stop or Stop(),
            disguise=disguise,
        )
        await _run(ground, task_status)


async def _run(ground: Ground, task_status: trio.TaskStatus[None]) -> None:
    announced, hear = announcements(ground)
    async with trio.open_nursery() as chain:
        await chain.start(ground.alerts.run)
        await chain.start(run_sender, ground.sender, partial(ground.alerts.raise_, Occasion.TRANSACTION_STUCK))
        await follow_chain(ground, hear, chain)
        await chain.start(ground.upgrades.run)
        gas_price = GasPrice()
        await chain.start(run_gas_price, ground.rpc, gas_price)
        async with trio.open_nursery() as deals:
            seller = await provider_side(ground, gas_price, deals) if ground.config.is_provider else None
            checker = open_checker(ground, seller, deals)
            buyer = requester_side(ground, checker) if ground.config.is_requester else None
            disputes = open_disputes(ground, checker, gas_price)
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
            evidence = open_evidence_desk(ground, seller)
            evidence.serve()
            access = BlobAccess(
                ground.agent,
                buyer.auction if buyer else None,
                seller.desk if seller else None,
                evidence.is_public,
            )
            serve_blobs(ground.network, ground.blobs, access.may_fetch)
            deals.start_soon(disputes.run)
            await open_intake(ground, buyer, seller, checker, disputes, announced, task_status)
            deals.cancel_scope.cancel()
        chain.cancel_scope.cancel()


def _settlements(ground: Ground, gas_price: GasPrice) -> Callable[[Address], Settlement]:
    """One for each market, as claims of one market go together."""

    @cache
    def settlement(market: Address) -> Settlement:
        policy = claim_policy(ground.config.claims)
        claims = Claims(ground.sender, market, policy, gas_price, lambda: ground.drain.is_on)
        return Settlement(ground.sender, market, claims=claims)

    return settlement
