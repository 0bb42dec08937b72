"""The named sets that the courts of a network know: anybody may have told them, and it costs little.

So what is kept of them is bounded, and those that somebody trusts are kept apart from the others.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.chain.logs import DecodedLog
from capanode.node.chain.markets import MarketVersion
from capanode.node.chain.past_logs import query_of, read_past
from capanode.node.chain.pools import Pools
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import BadReply
from capanode.protocol.named_set import NamedSet

Trust = Callable[[NamedSet], bool]
"""Whether somebody trusts a quorum of a set."""

MOST_KEPT: Final = 500
"""Sets of either kind that are kept, the newest."""


@dataclass(frozen=True, slots=True)
class RegisteredSet:
    """A set that a market's court knows, with the least quorum that a deal may want of it."""

    market: MarketVersion
    named: NamedSet


@dataclass(slots=True)
class Registered:
    """Sets in the order in which they were named, those that somebody trusts by themselves; `count` is of all."""

    count: int = 0
    trusted: deque[RegisteredSet] = field(default_factory=lambda: deque[RegisteredSet](maxlen=MOST_KEPT))
    others: deque[RegisteredSet] = field(default_factory=lambda: deque[RegisteredSet](maxlen=MOST_KEPT))

    def add(self, market: MarketVersion, event: bindings.SetNamed, is_trusted: Trust) -> None:
        """Note a set that was made known.

        Raises:
            BadReply: no court has said so.
        """
        try:
            named = NamedSet(event.arbiters, len(event.arbiters) // 2 + 1)
        except ValueError as error:
            raise BadReply(f"The RPC endpoint sent a named set that is none ({error}): check the endpoint.") from error
        if named.pool != event.pool:
            raise BadReply("The RPC endpoint sent a named set under the name of another one: check the endpoint.")
        self.count += 1
        (self.trusted if is_trusted(named) else self.others).append(RegisteredSet(market, named))


async def read_registered(
    rpc: Rpc, markets: Sequence[MarketVersion], first_block: int, is_trusted: Trust
) -> Registered:
    """The named sets of these markets' courts, told apart by whether somebody trusts them.

    Raises:
        Unavailable: no endpoint answers, or none gives the logs of a single block.
        BadReply: the endpoint sends what no court says.
    """
    pools, found = Pools(rpc), Registered()
    judged = {(await pools.court(one.court)).pools: one for one in markets if one.court is not None}

    def note(log: DecodedLog) -> None:
        if isinstance(log.event, bindings.SetNamed):
            found.add(judged[log.address], log.event, is_trusted)

    if judged:
        await read_past(rpc, (query_of(tuple(judged), (bindings.SetNamed,)),), first_block, note)
    return found
