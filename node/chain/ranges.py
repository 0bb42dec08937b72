"""Ranges of logs below finality, read ahead of what is stored: what a node catches up with.

A range is a batch of three questions to one endpoint: the block that it stands on, its logs, its last block. A range
that is too much for the endpoint is halved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from capanode.node.chain.blocks import BlockRef
from capanode.node.chain.endpoint import Endpoint
from capanode.node.chain.headers import header_call, read_header
from capanode.node.chain.http import ReplyTooLarge
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.logs import DecodedLog, LogReader, LogsOfBlock
from capanode.node.chain.wire import BadReply, quantity
from capanode.protocol.faults import Unavailable

CHUNK_BLOCKS: Final = 200
"""Blocks in one range of logs; more is slower for its garbage (measured: 100 to 500 is best)."""


@dataclass(frozen=True, slots=True)
class LogRange:
    """What an endpoint says of the blocks after `below` up to `anchor`."""

    below: BlockRef
    anchor: BlockRef
    blocks: tuple[tuple[BlockRef, tuple[DecodedLog, ...]], ...]
    """Those with logs of ours, oldest first."""


class Replaced(Exception):
    """The block that a range was to stand on is no longer there."""


async def read_ranges(
    source: Endpoint,
    logs: LogReader,
    below: BlockRef,
    last: int,
    into: trio.MemorySendChannel[LogRange | Unavailable | Replaced],
) -> None:
    """Send the ranges from `below` to the block `last`, or what went wrong in place of the next one."""
    chunk_blocks = CHUNK_BLOCKS
    async with into:
        while below.number < last:
            try:
                found = await _read_range(source, logs, below, min(below.number + chunk_blocks, last))
            except (RpcError, ReplyTooLarge) as error:
                if chunk_blocks == 1:
                    await into.send(
                        Unavailable(f"The logs of block {below.number + 1} cannot be read ({error}): retrying.")
                    )
                    return
                chunk_blocks = max(chunk_blocks // 2, 1)
                continue
            except (Unavailable, Replaced) as error:
                await into.send(error)
                return
            await into.send(found)
            chunk_blocks = min(2 * chunk_blocks, CHUNK_BLOCKS)
            below = found.anchor


async def _read_range(source: Endpoint, logs: LogReader, below: BlockRef, last: int) -> LogRange:
    query = logs.query(fromBlock=quantity(below.number + 1), toBlock=quantity(last))
    calls = (header_call(below.number), Call("eth_getLogs", (query,)), header_call(last))
    under, found, upper = await source.batch(calls)
    if isinstance(found, RpcError):
        raise found
    foot, anchor = read_header(under, below.chain_id, below.number), read_header(upper, below.chain_id, last)
    if foot is None or foot.block.hash != below.hash:
        raise Replaced
    if anchor is None:
        raise Unavailable(f"Block {last} of chain {below.chain_id} is missing at the endpoint: retrying.")
    by_number = await trio.to_thread.run_sync(logs.decoded, found, below.number + 1, last)
    if last in by_number and by_number[last].hash != anchor.block.hash:
        raise BadReply(f"The RPC endpoint sent logs of another block {last}: retrying.")
    return LogRange(below, anchor.block, await _dated(source, below.chain_id, list(by_number.values())))


async def _dated(
    source: Endpoint, chain_id: int, found: Sequence[LogsOfBlock[DecodedLog]]
) -> tuple[tuple[BlockRef, tuple[DecodedLog, ...]], ...]:
    """The blocks of the logs, asked for where the logs do not tell their time."""
    dated = {of_block.number: of_block.at(chain_id) for of_block in found}
    undated = [of_block for of_block in found if dated[of_block.number] is None]
    replies = await source.batch([header_call(of_block.number) for of_block in undated])
    for of_block, reply in zip(undated, replies, strict=True):
        header = read_header(reply, chain_id, of_block.number)
        if header is None or header.block.hash != of_block.hash:
            raise BadReply(f"The RPC endpoint sent logs of another block {of_block.number}: retrying.")
        dated[of_block.number] = header.block
    ordered = sorted(found, key=lambda of_block: of_block.number)
    return tuple((block, tuple(each.logs)) for each in ordered if (block := dated[each.number]) is not None)
