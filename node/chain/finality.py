"""Watches the blocks that our transactions are in until they are final, and takes back what a reorganisation undoes."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.sender import Sender, plain
from capanode.node.chain.transactions import Resting, resting, set_final, set_reorged
from capanode.node.chain.wire import quantity, read_digest, read_object, read_quantity
from capanode.protocol.ids import Digest

AT_ONCE: Final = 8
"""Newest blocks compared at each look: where they stand, those below have not moved either.

Each block is compared once more before it counts as final, so that the few exceptions cost time and nothing else.
"""

_log = structlog.stdlib.get_logger()


async def check_blocks(sender: Sender) -> bool:
    """Compare the blocks that transactions rest on with the chain once; whether anything moved.

    Raises:
        Unavailable: no endpoint answers.
    """
    account = sender.account
    blocks = await sender.database.read(lambda connection: resting(connection, account))
    if not blocks:
        return False
    final_number = await _final_number(sender)
    due = [block for block in blocks if block.number <= final_number][:100]
    gone = await _gone(sender, blocks)
    stands = await _hashes(sender, due)
    gone |= {block for block in due if stands.get(block.number) != block.hash}
    settled = set(due) - gone
    if not gone and not settled:
        return False

    def write(connection: sqlite3.Connection) -> int:
        for block in settled:
            set_final(connection, account, block)
        return sum(set_reorged(connection, account, block) for block in gone)

    reorged = await sender.database.write("transaction.reorged" if gone else "transaction.final", write)
    if reorged:
        _log.info("transactions_reorged", count=reorged)
    return True


async def _gone(sender: Sender, blocks: Sequence[Resting]) -> set[Resting]:
    """The blocks that the chain has replaced, from the newest down to the first that stand."""
    gone: set[Resting] = set()
    for start in range(0, len(blocks), AT_ONCE):
        part = blocks[start : start + AT_ONCE]
        hashes = await _hashes(sender, part)
        replaced = {block for block in part if hashes.get(block.number) != block.hash}
        gone |= replaced
        if not replaced:
            break
    return gone


async def _hashes(sender: Sender, blocks: Sequence[Resting]) -> Mapping[int, Digest]:
    numbers = [block.number for block in blocks]
    if not numbers:
        return {}
    replies = await sender.rpc.batch([Call("eth_getBlockByNumber", (quantity(number), False)) for number in numbers])
    return {
        number: read_digest(read_object(block).get("hash"))
        for number, block in zip(numbers, replies, strict=True)
        if plain(block) is not None
    }


async def _final_number(sender: Sender) -> int:
    head, final = await sender.rpc.batch((Call("eth_blockNumber"), Call("eth_getBlockByNumber", ("finalized", False))))
    if final is None or isinstance(final, RpcError):
        return read_quantity(plain(head)) - sender.options.final_depth
    return read_quantity(read_object(final).get("number"))
