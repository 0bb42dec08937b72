"""A provider's parts."""

import time
from dataclasses import dataclass
from typing import Final

import trio

from capanode.node.assigned.preparation import Preparation, PreparationLimits
from capanode.node.assigned.registration import ensure_registered
from capanode.node.bid.accept_rules import parse_rules
from capanode.node.bid.appraisal import Appraisal, Terrain
from capanode.node.bid.bidding import Bidding, Identity
from capanode.node.bid.gas_price import GasPrice
from capanode.node.bid.offered import offered_capacity
from capanode.node.chain.pools import Pools
from capanode.node.chain.registry import Registry
from capanode.node.challenged.evidence_desk import OwnEvidence
from capanode.node.committed.delivery import ResultDesk
from capanode.node.executed import checkpoints
from capanode.node.executed.execution import Execution
from capanode.node.executed.results import Results
from capanode.node.executed.upkeep import Upkeep
from capanode.node.executors.docker import run_docker_executor
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.executors.port import Executor
from capanode.node.journal import Journal
from capanode.node.performer import ProviderParts
from capanode.node.wiring.ground import Ground, asking_rates, docker_settings, line_bytes_per_s
from capanode.protocol import provider
from capanode.scheduler.capacity import Gpu
from capanode.scheduler.rules import Rules

DEAL_GAS: Final = 120_000
"""Gas of a provider's three transactions of a LOCK deal, for its price. Source: docs/performance.md."""


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


async def provider_side(ground: Ground, gas_price: GasPrice, deals: trio.Nursery) -> Seller:
    config, signer, wallet = ground.config, ground.keys.signer, ground.keys.wallet
    executor = ground.disguise(await deals.start(run_docker_executor, docker_settings(ground)))
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
        named_arbiters=config.provider.named_arbiters,
    )
    terrain = Terrain(
        provider=wallet,
        signer=signer.address,
        hardware_class=hardware,
        whole=whole,
        rules=parse_rules(config.provider.accept, base),
        rates=asking_rates(config),
        transfer_bytes_per_s=line_bytes_per_s(ground.profile),
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
