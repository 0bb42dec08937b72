"""What this provider has and asks at this moment: the facts that the pure scheduler decides on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from capanode.node.agent import Agent
from capanode.node.announced.judges import CanJudge
from capanode.node.chain.markets import MarketVersion
from capanode.protocol import provider
from capanode.protocol.ids import Address, DealId, UnixTime, Wei
from capanode.protocol.money import ARBITER_FEE_WEI
from capanode.protocol.records import Demand, Spec
from capanode.scheduler import capacity as capacities
from capanode.scheduler import rules as operator
from capanode.scheduler.capacity import Capacity, Placed
from capanode.scheduler.feasibility import Host, Market, Offer, appraise
from capanode.scheduler.judges import at_stake_wei
from capanode.scheduler.pricing import Gas, Rates
from capanode.scheduler.refusal import Refusal
from capanode.scheduler.rules import Rules


@dataclass(frozen=True, slots=True)
class Terrain:
    """What does not change while the node runs."""

    provider: Address
    signer: Address
    hardware_class: str
    whole: Capacity
    rules: Rules
    rates: Rates
    transfer_bytes_per_s: int
    gas_units: int
    utc_offset_s: int


class Appraisal:
    """Answers "can we, may we, for how much" from the journal's open deals and the chain's view of our stake."""

    def __init__(self, terrain: Terrain, agent: Agent, gas_price: Callable[[], Wei], can_judge: CanJudge) -> None:
        self._terrain = terrain
        self._can_judge = can_judge
        self._agent = agent
        self._gas_price = gas_price

    async def of_demand(self, demand: Demand, market: MarketVersion, now: UnixTime) -> Offer | tuple[Refusal, ...]:
        """The offer for a demand in a market, or every reason against one."""
        terrain = self._terrain
        standing = await market.contract.standing(terrain.provider, terrain.signer)
        host = Host(
            wallet=terrain.provider,
            hardware_class=terrain.hardware_class,
            capacity=self.capacity(),
            unlocked_stake_wei=standing.unlocked_wei,
            exposure_wei=self._exposure(),
            utc_offset_s=terrain.utc_offset_s,
        )
        gas = Gas(terrain.gas_units, self._gas_price())
        setting = Market(
            has_court=market.is_disputable,
            window_floor_s=market.clocks.window_floor_s,
            arbiter_fee_wei=ARBITER_FEE_WEI,
            transfer_bytes_per_s=terrain.transfer_bytes_per_s,
            can_judge=await self._may_be_judged(demand, market),
        )
        return appraise(demand, host, terrain.rules, setting, terrain.rates, gas, now)

    async def _may_be_judged(self, demand: Demand, market: MarketVersion) -> bool:
        rules = demand.rules
        if rules is None or market.court is None:
            return False
        at_stake = at_stake_wei(demand.price_cap_wei, demand.audit_rate_ppm, rules.arbiter_fee_wei)
        return await self._can_judge(market, rules.pool, rules.quorum, at_stake)

    def of_spec(self, spec: Spec) -> tuple[Refusal, ...]:
        """What the operator has against a job now that its content is known."""
        return operator.against_image(self._terrain.rules, spec.image)

    def capacity(self) -> Capacity:
        """The machine, less what open deals hold."""
        whole = self._terrain.whole
        for stored in self._agent.open_deals():
            if isinstance(stored.state, provider.Deal) and provider.holds_capacity(stored.state):
                whole = _with(whole, stored.state.work)
        return whole

    def has_room_for(self, deal_id: DealId, spec: Spec) -> bool:
        """Whether the deal still fits beside the open ones."""
        return isinstance(capacities.reserve(self.capacity(), deal_id, spec.resources), Placed)

    def _exposure(self) -> Wei:
        unpaid = (
            stored.state.work.terms.price_wei
            for stored in self._agent.open_deals()
            if isinstance(stored.state, provider.Deal) and not isinstance(stored.state, provider.Retaining)
        )
        return Wei(sum(unpaid))


def _with(whole: Capacity, work: provider.Work) -> Capacity:
    placed = capacities.reserve(whole, work.deal_id, work.spec.resources)
    if isinstance(placed, Placed):
        return placed.capacity
    # The operator has made the offer smaller than what is already running: nothing is left.
    return replace(whole, slots=len(whole.held))
