"""The courts of a network's markets and their pools of arbiters, as a node reads them before it relies on one."""

from dataclasses import dataclass

from capanode.contracts_abi import bindings
from capanode.node.chain.markets import MarketVersion
from capanode.node.chain.orders import Orders
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.sender import Sender
from capanode.node.chain.view import ContractCall, View, read
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, Digest, Wei
from capanode.protocol.judging import named_pool


@dataclass(frozen=True, slots=True)
class CourtFacts:
    """Which market a court judges, where its arbiters stake, and its times and numbers."""

    market: Address
    pools: Address
    clocks: bindings.CourtClocks


class Pools:
    """The arbiters of every court; what never changes is asked once."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._facts: dict[Address, CourtFacts] = {}

    async def court(self, court: Address) -> CourtFacts:
        """What a court was made with.

        Raises:
            Unavailable: no endpoint answers, or there is no court.
        """
        if court not in self._facts:
            market = View(court, bindings.encode_dispute_court_market(), bindings.decode_dispute_court_market)
            pools = View(court, bindings.encode_dispute_court_pools(), bindings.decode_dispute_court_pools)
            at = await read(self._rpc, pools)
            data = bindings.encode_arbiter_pools_court_clocks()
            clocks = await read(self._rpc, View(at, data, bindings.decode_arbiter_pools_court_clocks))
            self._facts[court] = CourtFacts(await read(self._rpc, market), at, clocks)
        return self._facts[court]

    async def can_judge(self, market: MarketVersion, pool: Digest, quorum: int, at_stake_wei: Wei) -> bool:
        """Whether a deal of the market may rely on a pool; False where the market has no court.

        Raises:
            Unavailable: no endpoint answers.
        """
        if market.court is None:
            return False
        pools = (await self.court(market.court)).pools
        data = bindings.encode_arbiter_pools_can_judge(pool, quorum, at_stake_wei)
        return await read(self._rpc, View(pools, data, bindings.decode_arbiter_pools_can_judge))

    async def name_set(self, sender: Sender, market: MarketVersion, arbiters: tuple[Address, ...]) -> None:
        """Make a named set known to the court of a market, once.

        Raises:
            Refused: the market has no court, or that one refuses it.
            Unavailable: no endpoint answers.
        """
        if market.court is None:
            raise Refused("this market has no court: nobody can be named to judge its results")
        await make_known(Orders(sender, (await self.court(market.court)).pools), arbiters)


async def make_known(orders: Orders, arbiters: tuple[Address, ...]) -> None:
    """As `Pools.name_set`, by orders to the pools."""
    effect = f"named-set/{named_pool(arbiters).hex()}"
    refused = await orders.insist(effect, "name", bindings.encode_arbiter_pools_name_set(arbiters))
    if refused is not None:
        raise Refused(f"the court does not take the named arbiters: {refused.reason}")


def enroll(pools: Address, hardware_class: str, amount_wei: Wei) -> ContractCall:
    """Stake on judging work of a hardware class; the arbiter's call, out of its free balance."""
    return ContractCall(pools, bindings.encode_arbiter_pools_enroll(hardware_class, amount_wei))
