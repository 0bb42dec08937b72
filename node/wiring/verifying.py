"""What looks into the results of others, and into disputes."""

from functools import partial
from typing import Final

import trio

from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.bid.gas_price import GasPrice
from capanode.node.chain.committed import find_committed
from capanode.node.chain.markets import MarketVersion
from capanode.node.challenged.checking import Checker
from capanode.node.challenged.committed_trace import States
from capanode.node.challenged.disputes import DEVNET_TURN_S, TURN_S, Disputes, Place, appetite_of, policy_of
from capanode.node.challenged.engine_on_demand import EngineOnDemand
from capanode.node.challenged.evidence import EvidenceFinder
from capanode.node.challenged.evidence_desk import EvidenceDesk
from capanode.node.challenged.kept_evidence import KeptEvidence
from capanode.node.challenged.leeway import Leeway
from capanode.node.challenged.own_traces import OwnTraces
from capanode.node.challenged.reexecution import Bench, Reexecution
from capanode.node.challenged.retracing import Retracing
from capanode.node.challenged.watching import Costs
from capanode.node.config import NodeConfig
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.executors.port import Executor
from capanode.node.wiring.ground import Ground, asking_rates, docker_settings
from capanode.node.wiring.selling import Seller
from capanode.proofs.evidence import Evidence
from capanode.protocol.ids import Address, DealId, Wei

CHALLENGE_GAS: Final = 500_000
"""Gas of a challenger's two transactions, for what a challenge would earn. Source: docs/performance.md."""


def open_evidence_desk(ground: Ground, seller: Seller | None) -> EvidenceDesk:
    return EvidenceDesk(
        ground.network,
        ground.blobs,
        KeptEvidence(ground.database),
        seller.evidence if seller else None,
        ground.clock.now,
    )


def open_checker(ground: Ground, seller: Seller | None, deals: trio.Nursery) -> Checker:
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
    reexecution = Reexecution(_bench(ground, seller, deals), finder, states)
    retracing = Retracing(finder, reexecution, OwnTraces(ground.database), ground.clock)
    return Checker(finder, states, reexecution, retracing)


def open_disputes(ground: Ground, checker: Checker, gas_price: GasPrice) -> Disputes:
    config, profile = ground.config, ground.profile
    place = Place(
        agent=ground.agent,
        cases=ground.cases,
        commits=ground.commits,
        named_sets=ground.named_sets,
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
    return Disputes(
        place, checker, _costs(config, gas_price), appetite_of(config, profile), policy_of(config), config.roles
    )


def _costs(config: NodeConfig, gas_price: GasPrice) -> Costs:
    """What looking at results takes, at the prices that this node asks for its own work."""
    rates = asking_rates(config)
    coin = 10**18
    return Costs(
        gas_wei=lambda: Wei(CHALLENGE_GAS * gas_price() * rates.tokens_per_coin_wei // coin),
        cpu_s_wei=lambda seconds, millis: Wei(int(seconds * millis) * rates.cpu_hour_wei // 3_600_000),
        pull_byte_wei=lambda count: Wei(count * rates.transfer_gib_wei // 2**30),
    )


def _bench(ground: Ground, seller: Seller | None, deals: trio.Nursery) -> Bench:
    hardware = this_cpu_class()
    if seller is None:
        engine = EngineOnDemand(docker_settings(ground), deals, ground.disguise)
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
