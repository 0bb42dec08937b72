"""A stretch of blocks above finality, read at once while nothing is awaited of the chain.

Kept are its last block and those that hold logs of ours; none of the blocks between two that are kept holds any. As
the kept ones are watched like any others, a reorganisation takes back whole stretches and needs nothing of its own.

Three questions are asked instead of one a block: the newest block, then, together, the block that the stretch stands
on and the logs above it. Each block with logs, and the last one, is then asked for by itself and must be the one that
the logs name. That nothing was left out shows only in a block's own header, which is not read here; so a stretch is
read again before it counts as final.

**Source**: docs/adr/0007-stretches.md.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import trio

from capanode.node.chain.blocks import BlockRef, StoredBlock
from capanode.node.chain.endpoint import Endpoint
from capanode.node.chain.headers import Header, header_call, read_header
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.logs import DecodedLog, LogReader
from capanode.node.chain.ranges import LogRange, Replaced, read_ranges
from capanode.node.chain.wire import quantity
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Digest


async def read_stretch(source: Endpoint, logs: LogReader, below: BlockRef, last: Header) -> tuple[StoredBlock, ...]:
    """What is to be kept of the blocks after `below` up to `last`, oldest first.

    Raises:
        RpcError, ReplyTooLarge: the stretch is too long for the endpoint.
        Replaced: `below` is no longer there.
        Unavailable: the endpoint does not answer, or the chain moved meanwhile.
    """
    end = last.block
    query = logs.query(fromBlock=quantity(below.number + 1), toBlock=quantity(end.number))
    under, reply = await source.batch((header_call(below.number), Call("eth_getLogs", (query,))))
    if isinstance(reply, RpcError):
        raise reply
    foot = read_header(under, below.chain_id, below.number)
    if foot is None or foot.block.hash != below.hash:
        raise Replaced
    found = logs.raw(reply, below.number + 1, end.number)
    if not found:
        # Should the end be replaced at this very moment, the next look finds it gone.
        return (StoredBlock(end, (), is_delivered=False),)
    named = {number: of_block.hash for number, of_block in found.items()} | {end.number: end.hash}
    if end.number in found and found[end.number].hash != end.hash:
        raise _moved(end)
    kept: list[StoredBlock] = []
    numbers = sorted(named)
    for number, reply in zip(numbers, await source.batch([header_call(each) for each in numbers]), strict=True):
        header = read_header(reply, end.chain_id, number)
        if header is None or header.block.hash != named[number]:
            raise _moved(end)
        raw = tuple(found[number].logs) if number in found else ()
        kept.append(StoredBlock(header.block, raw, is_delivered=False))
    return tuple(kept)


def has_gaps(kept: Sequence[StoredBlock]) -> bool:
    """Whether blocks were left out between these, so that their own headers were never looked at."""
    return any(upper.block.parent != lower.block.hash for lower, upper in pairwise(kept))


async def reads_the_same(source: Endpoint, logs: LogReader, kept: Sequence[StoredBlock]) -> bool:
    """Whether what lies above the first of these blocks, up to the last, is still what was kept of it.

    Raises:
        Replaced: the first one is no longer there.
        Unavailable: the endpoint does not answer.
    """
    base, *above = kept
    send, receive = trio.open_memory_channel[LogRange | Unavailable | Replaced](inf)
    await read_ranges(source, logs, base.block, above[-1].block.number, send)
    found: dict[Digest, tuple[DecodedLog, ...]] = {}
    end = base.block.hash
    async for item in receive:
        if not isinstance(item, LogRange):
            raise item
        found |= {block.hash: of_block for block, of_block in item.blocks}
        end = item.anchor.hash
    known = {each.block.hash: tuple(map(logs.decode, each.logs)) for each in above if each.logs}
    return end == above[-1].block.hash and found == known


def _moved(end: BlockRef) -> Unavailable:
    return Unavailable(f"The blocks up to {end.number} of chain {end.chain_id} moved while they were read: retrying.")
