"""Logs from some block on to the newest, in ranges that the endpoint allows: what is asked once and not followed."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.chain.http import ReplyTooLarge
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.logs import DecodedLog, LogFilter, LogReader
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import hexadecimal, quantity, read_quantity
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, Digest

FIRST_RANGE: Final = 10_000
LAST_RANGE: Final = 1_000_000
"""Blocks asked for at once; a quarter when an endpoint refuses, twice as many while it does not."""

Query = tuple[LogReader, list[list[str] | str | None]]
"""Whose logs, and their topics; None for any."""


def query_of(contracts: tuple[Address, ...], events: Iterable[type[bindings.Event]], *indexed: Address | None) -> Query:
    """The contracts' logs of these events, with these addresses where the events name one."""
    topics = tuple(Digest(event.TOPIC) for event in events)
    reader = LogReader(LogFilter(contracts, topics, bindings.decode_log, 0))
    wanted = [None if one is None else hexadecimal(bytes(12) + one) for one in indexed]
    return reader, [[hexadecimal(topic) for topic in topics], *wanted]


async def read_past(rpc: Rpc, queries: Sequence[Query], first_block: int, note: Callable[[DecodedLog], None]) -> None:
    """Hand over every log that the queries ask for, range by range, query by query, in order.

    Raises:
        Unavailable: no endpoint answers, or none gives the logs of a single block.
    """
    last = read_quantity(await rpc.call("eth_blockNumber"))
    at, length = first_block, FIRST_RANGE
    while at <= last:
        upto = min(at + length - 1, last)
        try:
            found = await _range(rpc, queries, at, upto)
        except (RpcError, ReplyTooLarge) as error:
            if length == 1:
                raise Unavailable(f"The logs of block {at} cannot be read ({error}): add another RPC URL.") from error
            length = max(length // 4, 1)
            continue
        for log in found:
            note(log)
        at, length = upto + 1, min(2 * length, LAST_RANGE)


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
