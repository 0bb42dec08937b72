"""Everything that a market's logs say of one wallet, from the first block on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from capanode.contracts_abi import bindings
from capanode.node.chain.intake import deal_event
from capanode.node.chain.logs import DecodedLog
from capanode.node.chain.past_logs import Query, query_of, read_past
from capanode.node.chain.rpc import Rpc
from capanode.node.paid.settlement import terms_of_abi
from capanode.protocol.events import DealCommitted
from capanode.protocol.ids import Address, DealId, TxHash, UnixTime
from capanode.protocol.records import Terms


@dataclass(slots=True)
class Trace:
    """What logs say of one deal."""

    deal_id: DealId
    announced: Terms | None = None
    assigned: bindings.DealAssigned | None = None
    committed: DealCommitted | None = None
    requester: Address | None = None
    provider: Address | None = None
    bound_in: TxHash | None = None
    """The transaction whose calldata holds the terms."""


@dataclass(slots=True)
class History:
    """What logs say of one wallet in one market."""

    deals: dict[DealId, Trace] = field(default_factory=dict[DealId, Trace])
    earmarked: set[Address] = field(default_factory=set[Address])
    """Providers that something was ever set aside for."""

    hot_keys: set[Address] = field(default_factory=set[Address])

    def of(self, deal_id: DealId) -> Trace:
        """The deal's trace."""
        return self.deals.setdefault(deal_id, Trace(deal_id))


async def read_history(rpc: Rpc, market: Address, wallet: Address, first_block: int) -> History:
    """Read all logs of the market that name the wallet, and all announcements, which cannot be asked for by name.

    Raises:
        Unavailable: no endpoint answers, or none gives the logs of a single block.
    """
    history = History()
    await read_past(rpc, _queries(market, wallet), first_block, lambda log: _note(history, log, wallet))
    return history


def _queries(market: Address, wallet: Address) -> Sequence[Query]:
    """Deals as requester, deals as provider, announcements, and the wallet's own standing orders."""
    bound = (bindings.DealAssigned, bindings.DealCommitted)
    return (
        query_of((market,), bound, None, wallet),
        query_of((market,), bound, None, None, wallet),
        query_of((market,), (bindings.DealAnnounced,)),
        query_of((market,), (bindings.Earmarked, bindings.HotKeySet), wallet),
    )


def _note(history: History, log: DecodedLog, wallet: Address) -> None:
    match log.event:
        case bindings.DealAnnounced() as event if event.terms.requester == wallet:
            trace = history.of(event.deal_id)
            trace.announced, trace.requester = _terms(event.terms), wallet
        case bindings.DealAssigned() as event:
            trace = history.of(event.deal_id)
            trace.assigned, trace.bound_in = event, log.tx_hash
            trace.requester, trace.provider = event.requester, event.provider
        case bindings.DealCommitted() as event:
            trace = history.of(event.deal_id)
            found = deal_event(event, log.tx_hash, UnixTime(0))
            assert isinstance(found, DealCommitted)
            trace.committed, trace.bound_in = found, trace.bound_in or log.tx_hash
            trace.requester, trace.provider = event.requester, event.provider
        case bindings.Earmarked() as event:
            history.earmarked.add(event.provider)
        case bindings.HotKeySet() as event:
            history.hot_keys.add(event.key)
        case _:
            return


def _terms(terms: bindings.Terms) -> Terms | None:
    try:
        return terms_of_abi(terms)
    except ValueError:
        return None
