"""Which version of the market a new job is made in.

The newest one that the escrow covers, of those that nothing advises against. Where offers were heard but none of them
is for that one, an older one that somebody trades in and that the escrow covers comes before it: money that was moved
early must not keep a job from being done.
"""

from collections.abc import Callable

from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.units import tokens
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, Wei


class MarketChoice:
    """Chooses for one requester."""

    def __init__(self, markets: Markets, requester: Address, trades_in: Callable[[Address], bool]) -> None:
        self._markets = markets
        self._requester = requester
        self._trades_in = trades_in

    def of(self, address: Address) -> MarketVersion:
        """The market that a job was made in."""
        return self._markets.of(address)

    async def choose(self, needed_wei: Wei) -> MarketVersion:
        """The market for a job that may cost so much.

        Raises:
            Refused: no market's escrow covers it.
        """
        open_ones = self._markets.for_new_jobs()
        free = {
            version.address: (await version.contract.account(self._requester)).free_wei
            for version in self._markets.active()
        }
        covered = [version for version in open_ones if free[version.address] >= needed_wei]
        if not covered:
            raise Refused(self._why_not(needed_wei, free))
        return next((version for version in covered if self._trades_in(version.address)), covered[0])

    def _why_not(self, needed_wei: Wei, free: dict[Address, Wei]) -> str:
        newest = self._markets.newest()
        here = free.get(newest.address, Wei(0))
        sentence = (
            f"the job may cost {tokens(needed_wei)} tokens and the escrow holds {tokens(here)} free: "
            "deposit more with `capanode wallet deposit`, or lower price_cap"
        )
        elsewhere = sum(free.values()) - here
        if elsewhere:
            sentence += f"; {tokens(elsewhere)} more are in other versions of the market: `capanode wallet migrate`"
        return sentence
