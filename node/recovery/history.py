"""Everything that a market's logs say of one wallet, from the first block on, in ranges that the endpoint allows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.chain.http import ReplyTooLarge
from capanode.node.chain.intake import deal_event
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.logs import DecodedLog, LogFilter, LogReader
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import hexadecimal, quantity, read_quantity
from capanode.node.paid.settlement import terms_of_abi
from capanode.protocol.events import DealCommitted
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, DealId, Digest, TxHash, UnixTime
from capanode.protocol.records import Terms

FIRST_RANGE: Final = 10_000
LAST_RANGE: Final = 1_000_000
"""Blocks asked for at once; halved when an endpoint refuses, doubled while it does not."""


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
    history, queries = History(), _queries(market, wallet)
    last = read_quantity(await rpc.call("eth_blockNumber"))
    at, length = first_block, FIRST_RANGE
    while at <= last:
        upto = min(at + length - 1, last)
        try:
            for log in await _range(rpc, queries, at, upto):
                _note(history, log, wallet)
        except (RpcError, ReplyTooLarge) as error:
            if length == 1:
                raise Unavailable(f"The logs of block {at} cannot be read ({error}): add another RPC URL.") from error
            length = max(length // 4, 1)
            continue
        at, length = upto + 1, min(2 * length, LAST_RANGE)
    return history


Query = tuple[LogReader, list[list[str] | str | None]]


def _queries(market: Address, wallet: Address) -> Sequence[Query]:
    """Deals as requester, deals as provider, announcements, and the wallet's own standing orders."""
    me = hexadecimal(bytes(12) + wallet)

    def query(events: Iterable[type[bindings.Event]], *parties: str | None) -> Query:
        topics = tuple(Digest(event.TOPIC) for event in events)
        reader = LogReader(LogFilter((market,), topics, bindings.decode_log, 0))
        return reader, [[hexadecimal(topic) for topic in topics], *parties]

    bound = (bindings.DealAssigned, bindings.DealCommitted)
    return (
        query(bound, None, me),
        query(bound, None, None, me),
        query((bindings.DealAnnounced,)),
        query((bindings.Earmarked, bindings.HotKeySet), me),
    )


async def _range(rpc: Rpc, queries: Sequence[Query], first: int, last: int) -> list[DecodedLog]:
    where = {"fromBlock": quantity(first), "toBlock": quantity(last)}
    calls = [Call("eth_getLogs", ({**reader.query(), "topics": topics, **where},)) for reader, topics in queries]
    found: list[DecodedLog] = []
    for (reader, _), reply in zip(queries, await rpc.batch(calls), strict=True):
        if isinstance(reply, RpcError):
            raise reply
        by_number = reader.decoded(reply, first, last)
        found += [log for number in sorted(by_number) for log in by_number[number].logs]
    return found


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
