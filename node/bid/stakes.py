"""In which versions of the market this provider has stake: what its standing offer names.

Read from the chain when something has moved it, and not otherwise: an idle provider asks nothing.
"""

import structlog
import trio

from capanode.node.chain.markets import Markets
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address
from capanode.protocol.records import MAX_OFFERED_MARKETS

log = structlog.get_logger()


class Stakes:
    """The markets that this provider's stake backs."""

    def __init__(self, provider: Address, markets: Markets) -> None:
        self._provider = provider
        self._markets = markets
        self._backed: frozenset[Address] | None = None
        self._moved = trio.Event()

    async def backed(self) -> tuple[Address, ...]:
        """Active markets with stake of ours, newest first; what was known last while the chain does not answer."""
        if self._backed is None:
            try:
                self._backed = await self._read()
            except Unavailable as fault:
                log.warning("stakes-unread", reason=str(fault))
                return ()
        backed = tuple(version.address for version in self._markets.active() if version.address in self._backed)
        return backed[:MAX_OFFERED_MARKETS]

    def touch(self) -> None:
        """Say that stake of this provider has moved, or that there is a market more."""
        self._backed = None
        self._moved.set()
        self._moved = trio.Event()

    async def moved(self) -> None:
        """Return when `touch` is called."""
        await self._moved.wait()

    async def _read(self) -> frozenset[Address]:
        backed: set[Address] = set()
        for version in self._markets.adopted():
            if (await version.contract.account(self._provider)).stake_wei > 0:
                backed.add(version.address)
        return frozenset(backed)
