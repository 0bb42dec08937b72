"""The courts of the markets that this node trades on: where they are, who sits in them, and their constants."""

from dataclasses import dataclass

from capanode.node.chain.court import ArbiterPools, Court
from capanode.node.chain.markets import Markets
from capanode.node.chain.rpc import Rpc
from capanode.protocol.due import CourtClocks
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, Wei
from capanode.protocol.tariff import TARIFF


@dataclass(frozen=True, slots=True)
class CourtVersion:
    """One market's court; everything about it is fixed when it is published."""

    market: Address
    court: Court
    pools: ArbiterPools
    clocks: CourtClocks

    def bond_wei(self, arbiter_fee_wei: Wei) -> Wei:
        """What a challenge locks while no other is open against the deal."""
        return Wei(TARIFF.verification_deposit_wei(arbiter_fee_wei) + self.clocks.gas_allowance_wei)


class Courts:
    """What is known of them; one owner learns, everybody reads."""

    def __init__(self, rpc: Rpc, markets: Markets) -> None:
        self._rpc = rpc
        self._markets = markets
        self._by_market: dict[Address, CourtVersion] = {}

    async def learn(self) -> None:
        """Read the constants of courts that are new.

        Raises:
            Unavailable: no endpoint answers.
        """
        for version in self._markets.adopted():
            if version.court is not None and version.address not in self._by_market:
                court = Court(self._rpc, version.court)
                pools = await court.pools()
                self._by_market[version.address] = CourtVersion(version.address, court, pools, await pools.clocks())

    def find(self, market: Address) -> CourtVersion | None:
        """The court of a market, if it has one."""
        return self._by_market.get(market)

    def of(self, market: Address) -> CourtVersion:
        """The court of a market in which something is disputed.

        Raises:
            Refused: it has none.
        """
        found = self._by_market.get(market)
        if found is None:
            raise Refused("this market has no court: its results cannot be challenged")
        return found

    def market_of(self, court: Address) -> Address | None:
        """Whose court it is."""
        return next((one.market for one in self._by_market.values() if one.court.address == court), None)

    def reveal_s(self, market: Address) -> int:
        """How long arbiters may reveal their votes, in seconds; zero where there is no court."""
        found = self._by_market.get(market)
        return found.clocks.reveal_s if found is not None else 0

    def all(self) -> tuple[CourtVersion, ...]:
        """Every court, as its market was taken up."""
        return tuple(self._by_market.values())
