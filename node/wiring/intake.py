"""What lets work and questions in: closed first when a node stops."""

from functools import partial

import structlog
import trio

from capanode.node.announced.demand_filter import demand_filter
from capanode.node.announced.offers import offer_filter, run_offers
from capanode.node.api.answers import Answers, Facts
from capanode.node.api.checks import Checks
from capanode.node.api.disputes import DisputeDesk
from capanode.node.api.server import serve_api
from capanode.node.api.service import Service
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain.token import Token
from capanode.node.challenged.checking import Checker
from capanode.node.challenged.disputes import Disputes
from capanode.node.conditions import DealEnds, watch_gas
from capanode.node.drain import Forecast, run_drain
from capanode.node.executed.provider_watch import ProviderWatch
from capanode.node.executors.port import Executor
from capanode.node.journal import Journal
from capanode.node.p2p.port import Message
from capanode.node.paid.exits import run_exits
from capanode.node.paid.migration import Migration, undrawn_wei
from capanode.node.paid.purse import Purse
from capanode.node.performer import RequesterParts
from capanode.node.wiring.buying import open_replicas
from capanode.node.wiring.following import Announcements
from capanode.node.wiring.ground import Ground, asking_rates
from capanode.node.wiring.selling import DEAL_GAS, Seller

log = structlog.get_logger()


async def open_intake(
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
    replicas = open_replicas(ground, buyer) if buyer else None
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
        replicas=replicas,
        checks=Checks(checker, ground.markets, ground.clock),
        notice=watch.notice,
        objection=seller.upkeep.objection if seller else ground.room.objection,
        room=ground.room,
        endpoints=ground.rpc.health,
    )
    async with trio.open_nursery() as intake:
        if buyer is not None:
            intake.start_soon(watch.run)
        if replicas is not None:
            intake.start_soon(replicas.run)
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
                asking_rates(ground.config),
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
