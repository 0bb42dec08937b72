"""The versions of the market that this node trades on, the same ones to all its parts.

A deal belongs to one version from its first moment to its end, so whoever has a deal asks for its market by address.
New deals ask which versions are active. Versions are only ever added: an old one drains, it is never taken away.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import trio

from capanode.node.chain.market import Market, MarketClocks
from capanode.protocol.faults import InvariantViolated
from capanode.protocol.ids import Address, Digest, UnixTime
from capanode.protocol.typed_data import Domain


@dataclass(frozen=True, slots=True)
class MarketVersion:
    """One version of the market; everything but `is_deprecated` is fixed when it is published."""

    number: int
    """Counted from zero, in the directory's order."""

    contract: Market
    chain_id: int
    active_from: UnixTime
    is_deprecated: bool
    clocks: MarketClocks
    token: Address
    court: Address | None
    """Who judges disputed results; None where none can be disputed."""

    domain: Domain
    """What the signatures of its deals are bound to."""

    @property
    def address(self) -> Address:
        """The address that deals, demands and receipts name it by."""
        return self.contract.address

    @property
    def is_disputable(self) -> bool:
        """Whether a result can be disputed at all."""
        return self.court is not None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A published version that this node does not trade on; `reason` is a sentence for its operator."""

    number: int
    address: Address
    code_hash: Digest
    active_from: UnixTime
    reason: str


class Markets:
    """What this node knows of its network's market; one owner adds to it, everybody reads."""

    def __init__(
        self, adopted: Iterable[MarketVersion], now: Callable[[], UnixTime], waiting: tuple[Waiting, ...] = ()
    ) -> None:
        self._adopted = {version.address: version for version in adopted}
        self._now = now
        self._changed = trio.Event()
        self.waiting = waiting

    def find(self, address: Address) -> MarketVersion | None:
        """The version at an address, if this node trades on it."""
        return self._adopted.get(address)

    def of(self, address: Address) -> MarketVersion:
        """The market of a deal of this node."""
        version = self._adopted.get(address)
        if version is None:
            raise InvariantViolated(f"there is a deal in the market 0x{address.hex()}, which this node does not know")
        return version

    def grace_s(self, address: Address) -> int:
        """The grace of a deal's market, in seconds."""
        return self.of(address).clocks.grace_s

    def adopted(self) -> tuple[MarketVersion, ...]:
        """All versions that this node trades on, newest first, active or not yet."""
        return tuple(sorted(self._adopted.values(), key=lambda version: version.number, reverse=True))

    def addresses(self) -> tuple[Address, ...]:
        """Where the logs of deals come from."""
        return tuple(self._adopted)

    def active(self) -> tuple[MarketVersion, ...]:
        """The versions in which deals can be made now, newest first."""
        now = self._now()
        return tuple(version for version in self.adopted() if version.active_from <= now)

    def for_new_jobs(self) -> tuple[MarketVersion, ...]:
        """The active versions that nothing advises against, newest first; all active ones where that leaves none."""
        active = self.active()
        return tuple(version for version in active if not version.is_deprecated) or active

    def newest(self) -> MarketVersion:
        """The version that new money goes to."""
        return (*self.for_new_jobs(), *self.adopted())[0]

    def learn(self, adopted: Iterable[MarketVersion], waiting: tuple[Waiting, ...]) -> tuple[MarketVersion, ...]:
        """Take in what the directory says now; the versions that are new here."""
        found = tuple(adopted)
        fresh = tuple(version for version in found if version.address not in self._adopted)
        self._adopted |= {version.address: version for version in found}
        self.waiting = waiting
        self._changed.set()
        self._changed = trio.Event()
        return fresh

    async def wait_change(self) -> None:
        """Return when something was learnt."""
        await self._changed.wait()


def deprecated(version: MarketVersion, is_deprecated: bool) -> MarketVersion:
    """The version as the directory advises on it now."""
    return version if version.is_deprecated == is_deprecated else replace(version, is_deprecated=is_deprecated)
