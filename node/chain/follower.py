"""Follows a chain block by block, and takes back what the chain takes back.

One step: look at the block after our tip. If its parent is our tip, read its logs by its hash and store all in
one transaction; if not, or if our tip is gone, take our tip back. Stepping back one block at a time walks
to the common ancestor. What the chain has called final is never taken back; below it, ranges are read at once.

`apply` and `unwind` run inside the transaction that stores or removes their block, in the database's thread:
they work on the connection and on nothing else. `apply` is called only for blocks that hold logs of ours, `unwind` for
every block that is taken back: what a node has decided may rest on the time of one that holds none.

**Source**: DESIGN §5; Ethereum JSON-RPC, eth_getLogs by blockHash (EIP-234).
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from capanode.node.chain import blocks
from capanode.node.chain.blocks import BlockRef, RawLog, StoredBlock
from capanode.node.chain.head import ChainHead, HeadWatch
from capanode.node.chain.heads import watch_heads
from capanode.node.chain.http import ReplyTooLarge
from capanode.node.chain.rpc import Call, Rpc, RpcError
from capanode.node.chain.wire import (
    BadReply,
    hexadecimal,
    quantity,
    read_address,
    read_bytes,
    read_digest,
    read_list,
    read_object,
    read_quantity,
)
from capanode.node.storage.database import Database
from capanode.protocol.faults import Misconfigured, PeerFault, Unavailable
from capanode.protocol.ids import Address, Digest, TxHash, UnixTime

CHUNK_BLOCKS: Final = 500
"""Blocks in one range of logs; more is slower for its garbage (measured: 100 to 500 is best)."""

FINALITY_EVERY_BLOCKS: Final = 16
"""How often the final block is asked for; it bounds how far behind the stored one is."""

_FIRST_PAUSE_S: Final = 0.5
_LAST_PAUSE_S: Final = 15.0

_log = structlog.stdlib.get_logger()

Decode = Callable[[Sequence[bytes], bytes], object | None]
"""Topics and data to an event; None for an event of no interest."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which logs are ours."""

    addresses: tuple[Address, ...]
    topics: tuple[Digest, ...]
    """First topics; constructors and tokens emit more than what anyone decodes."""

    decode: Decode
    first_block: int
    """The block of the contracts' deployment; nothing before it is read."""

    more: Callable[[], tuple[Address, ...]] = tuple
    """Addresses that became known later; asked before each question, so that a running follower takes them up."""

    def watched(self) -> tuple[Address, ...]:
        """Every address whose logs are ours now."""
        return tuple(dict.fromkeys((*self.addresses, *self.more())))


@dataclass(frozen=True, slots=True)
class DecodedLog:
    """An event of one of our contracts; (chain, block hash, log index) names it."""

    event: object
    address: Address
    tx_hash: TxHash
    log_index: int


@dataclass(frozen=True, slots=True)
class LogsOfBlock:
    """What an endpoint says that one block holds of ours."""

    block_hash: Digest
    logs: list[RawLog]


Apply = Callable[[sqlite3.Connection, BlockRef, tuple[DecodedLog, ...]], None]
Unwind = Callable[[sqlite3.Connection, BlockRef], None]


class FinalityViolated(Misconfigured):
    """The chain replaced a block that it had called final; nothing that was built on it can be trusted."""


@dataclass(frozen=True, slots=True)
class FollowerOptions:
    """How a chain is followed."""

    confirmations: int
    """Blocks on top of a block before its logs are applied; zero applies them at once."""

    poll_s: float = 1.0
    """How often to look when no subscription wakes us."""

    lag_patience_s: float = 10.0
    """How long an endpoint may not know our tip before we believe that the chain became shorter.

    Nodes behind one address differ by some blocks; a development chain is one node and may say zero.
    """

    final_depth: int = 64
    """What is final on a chain without a `finalized` tag."""

    ws_urls: tuple[str, ...] = ()


async def run_follower(
    rpc: Rpc,
    database: Database,
    filter: LogFilter,
    options: FollowerOptions,
    apply: Apply,
    unwind: Unwind,
    *,
    wake: Callable[[], None],
    head: HeadWatch,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Follow the chain until cancelled; started once the head is reached.

    Args:
        wake: called after each commit that applied or took back logs.
        head: told of every new head.

    Raises:
        FinalityViolated: the chain replaced what it had called final.
    """
    follower = Follower(rpc, database, filter, options, apply, unwind, wake, head)
    news = trio.Event()

    def poke() -> None:
        news.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_heads, options.ws_urls, poke)
        pause_s = _FIRST_PAUSE_S
        while True:
            news = trio.Event()
            try:
                while await follower.step():
                    pass
            except Unavailable as error:
                _log.warning("chain_unavailable", chain_id=rpc.chain_id, reason=str(error))
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            with trio.move_on_after(options.poll_s):
                await news.wait()


class Follower:
    """The steps of `run_follower`; public so that tests can take them one at a time."""

    def __init__(
        self,
        rpc: Rpc,
        database: Database,
        filter: LogFilter,
        options: FollowerOptions,
        apply: Apply,
        unwind: Unwind,
        wake: Callable[[], None],
        head: HeadWatch,
    ) -> None:
        self._rpc = rpc
        self._database = database
        self._filter = filter
        self._options = options
        self._apply = apply
        self._unwind = unwind
        self._wake = wake
        self._head = head
        self._chunk_blocks = CHUNK_BLOCKS
        self._final_checked_at: int | None = None
        self._known_tip: BlockRef | None = None
        self._tip_missing_since: float | None = None

    async def step(self) -> bool:
        """Go one block forward or back, or a range forward; False when there is nothing to do.

        Raises:
            Unavailable: the endpoint does not answer, or answers nonsense; nothing has changed.
            FinalityViolated: as `run_follower`.
        """
        tip = await self._tip()
        if self._is_finality_due(tip) and await self._catch_up(tip):
            return True
        upper, same, pending = await self._rpc.batch(
            (
                _block_call(quantity(tip.number + 1)),
                _block_call(quantity(tip.number)),
                _block_call("pending"),
            )
        )
        next_block = _read_block(upper, tip.chain_id, tip.number + 1)
        if next_block is not None:
            self._tip_missing_since = None
            if next_block.parent == tip.hash:
                return await self._forward(next_block, pending)
            await self._back(tip)
            return True
        same_block = _read_block(same, tip.chain_id, tip.number)
        if same_block is None:
            return await self._maybe_shorter(tip)
        self._tip_missing_since = None
        if same_block.hash != tip.hash:
            await self._back(tip)
            return True
        self._show(tip, pending)
        return False

    async def _tip(self) -> BlockRef:
        if self._known_tip is None:
            self._known_tip = await self._stored_tip()
        return self._known_tip

    async def _stored_tip(self) -> BlockRef:
        chain_id = self._rpc.chain_id
        stored = await self._database.read(lambda connection: blocks.tip(connection, chain_id))
        if stored is not None:
            return stored.block
        number = max(self._filter.first_block - 1, 0)
        block = _read_block(await self._rpc.call("eth_getBlockByNumber", quantity(number), False), chain_id, number)
        if block is None:
            raise Unavailable(
                f"Chain {chain_id} has no block {number} yet, where its contracts begin: "
                "waiting; check the network profile if it stays so."
            )
        await self._database.write("chain.begin", lambda connection: blocks.replace_all(connection, block))
        return block

    async def _forward(self, block: BlockRef, pending: object) -> bool:
        found = await self._rpc.batch((Call("eth_getLogs", (self._log_query(blockHash=hexadecimal(block.hash)),)),))
        if isinstance(found[0], RpcError):
            # The block went away between the two questions; the next look sees what came in its place.
            raise Unavailable(f"The logs of block {block.number} cannot be read ({found[0].message}): retrying.")
        logs = self._read_logs(found[0], block.number, block.number)
        stored = StoredBlock(block, _logs_in(block, logs), is_delivered=False)
        changed = await self._database.write("chain.block", lambda connection: self._store(connection, stored))
        self._known_tip = block
        self._show(block, pending)
        if changed:
            self._wake()
        return True

    def _store(self, connection: sqlite3.Connection, stored: StoredBlock) -> bool:
        blocks.add(connection, stored)
        return self._deliver(connection, stored.block.number - self._options.confirmations)

    def _deliver(self, connection: sqlite3.Connection, up_to: int) -> bool:
        changed = False
        for ready in blocks.undelivered(connection, self._rpc.chain_id, up_to):
            changed |= self._apply_logs(connection, ready.block, ready.logs)
            blocks.set_delivered(connection, ready.block)
        return changed

    def _apply_logs(self, connection: sqlite3.Connection, block: BlockRef, logs: Sequence[RawLog]) -> bool:
        decoded = tuple(log for log in map(self._decoded, logs) if log is not None)
        if decoded:
            self._apply(connection, block, decoded)
        return bool(decoded)

    def _decoded(self, log: RawLog) -> DecodedLog | None:
        try:
            event = self._filter.decode(log.topics, log.data)
        except PeerFault as error:
            raise BadReply(f"The RPC endpoint sent a log that is not our contracts' ({error}): retrying.") from error
        return None if event is None else DecodedLog(event, log.address, log.tx_hash, log.log_index)

    async def _back(self, tip: BlockRef) -> None:
        self._known_tip = None
        await self._database.write("chain.block-back", lambda connection: self._take_back(connection, tip))
        _log.info("block_taken_back", chain_id=tip.chain_id, number=tip.number, hash=tip.hash.hex())
        self._wake()

    def _take_back(self, connection: sqlite3.Connection, tip: BlockRef) -> None:
        stored = blocks.tip(connection, tip.chain_id)
        assert stored is not None
        is_last = not connection.execute(
            "SELECT 1 FROM chain_blocks WHERE chain_id = ? AND number < ?", (tip.chain_id, tip.number)
        ).fetchone()
        if is_last or tip.number <= blocks.final_number(connection, tip.chain_id):
            raise FinalityViolated(
                f"Chain {tip.chain_id} replaced block {tip.number}, which it had called final: check the RPC "
                "endpoints; if the chain was restarted, begin with a new data folder."
            )
        self._unwind(connection, tip)
        blocks.remove(connection, tip)

    async def _maybe_shorter(self, tip: BlockRef) -> bool:
        now = trio.current_time()
        if self._tip_missing_since is None:
            self._tip_missing_since = now
        if now - self._tip_missing_since < self._options.lag_patience_s:
            return False
        await self._back(tip)
        return True

    def _is_finality_due(self, tip: BlockRef) -> bool:
        checked = self._final_checked_at
        return checked is None or abs(tip.number - checked) >= FINALITY_EVERY_BLOCKS

    async def _catch_up(self, tip: BlockRef) -> bool:
        """Ask what is final, and read a range below it if we are behind; whether a range was read."""
        latest, final = await self._rpc.batch((Call("eth_blockNumber"), _block_call("finalized")))
        if isinstance(latest, RpcError):
            raise Unavailable(f"Chain {tip.chain_id} does not say its height ({latest.message}): retrying.")
        head_number = read_quantity(latest)
        final_number = min(self._read_final(final, head_number), head_number)
        last = min(final_number, head_number - self._options.confirmations, tip.number + self._chunk_blocks)
        if last <= tip.number:
            # Only what we follow too can be final for us: a range that is behind is not looked at twice.
            await self._database.write(
                "chain.final",
                lambda connection: blocks.set_final(connection, tip.chain_id, min(final_number, tip.number)),
            )
            self._final_checked_at = tip.number
            return False
        await self._read_range(tip, last)
        return True

    def _read_final(self, reply: object, head_number: int) -> int:
        if reply is None or isinstance(reply, RpcError):
            return max(head_number - self._options.final_depth, 0)
        return read_quantity(read_object(reply).get("number"))

    async def _read_range(self, tip: BlockRef, last: int) -> None:
        query = self._log_query(fromBlock=quantity(tip.number + 1), toBlock=quantity(last))
        try:
            found = await self._rpc.call("eth_getLogs", query)
        except (RpcError, ReplyTooLarge) as error:
            if last == tip.number + 1:
                raise Unavailable(f"The logs of block {last} cannot be read ({error}): retrying.") from error
            self._chunk_blocks = max(1, self._chunk_blocks // 2)
            return
        logs = self._read_logs(found, tip.number + 1, last)
        numbers = sorted({*logs, last, tip.number})
        replies = await self._rpc.batch([_block_call(quantity(number)) for number in numbers])
        found_blocks = {
            number: _read_block(reply, tip.chain_id, number) for number, reply in zip(numbers, replies, strict=True)
        }
        anchor, below = found_blocks[last], found_blocks.pop(tip.number)
        if below is None or below.hash != tip.hash:
            await self._back(tip)
            return
        if anchor is None:
            raise Unavailable(f"Block {last} of chain {tip.chain_id} is missing at the endpoint: retrying.")
        ranged = tuple((block, _logs_in(block, logs)) for block in found_blocks.values() if block is not None)
        changed = await self._database.write(
            "chain.range", lambda connection: self._store_range(connection, tip, anchor, ranged)
        )
        self._known_tip = anchor
        if changed:
            self._wake()

    def _store_range(
        self,
        connection: sqlite3.Connection,
        tip: BlockRef,
        anchor: BlockRef,
        ranged: tuple[tuple[BlockRef, tuple[RawLog, ...]], ...],
    ) -> bool:
        changed = self._deliver(connection, tip.number)
        for block, logs in ranged:
            changed |= self._apply_logs(connection, block, logs)
        blocks.replace_all(connection, anchor)
        blocks.set_final(connection, anchor.chain_id, anchor.number)
        return changed

    def _log_query(self, **where: str) -> Mapping[str, str | list[str] | list[list[str]]]:
        return {
            "address": [hexadecimal(address) for address in self._filter.watched()],
            "topics": [[hexadecimal(topic) for topic in self._filter.topics]],
            **where,
        }

    def _read_logs(self, reply: object, first: int, last: int) -> dict[int, LogsOfBlock]:
        """Logs by block number, each checked against what was asked for."""
        by_number: dict[int, LogsOfBlock] = {}
        watched = self._filter.watched()
        for item in read_list(reply):
            fields = read_object(item)
            number, log = read_quantity(fields.get("blockNumber")), _read_log(fields)
            found = by_number.setdefault(number, LogsOfBlock(read_digest(fields.get("blockHash")), []))
            is_ours = log.address in watched and log.topics and log.topics[0] in self._filter.topics
            is_due = first <= number <= last and read_digest(fields.get("blockHash")) == found.block_hash
            if not is_ours or not is_due or fields.get("removed") is True:
                raise BadReply("The RPC endpoint sent a log that was not asked for: check the endpoint.")
            found.logs.append(log)
        for found in by_number.values():
            found.logs.sort(key=lambda log: log.log_index)
        return by_number

    def _show(self, tip: BlockRef, pending: object) -> None:
        next_time = tip.time
        if pending is not None and not isinstance(pending, RpcError):
            next_time = UnixTime(max(tip.time, read_quantity(read_object(pending).get("timestamp"))))
        self._head.set(ChainHead(tip, next_time))


def _block_call(tag: str) -> Call:
    return Call("eth_getBlockByNumber", (tag, False))


def _read_block(reply: object, chain_id: int, number: int) -> BlockRef | None:
    if reply is None:
        return None
    if isinstance(reply, RpcError):
        raise Unavailable(f"Block {number} of chain {chain_id} cannot be read ({reply.message}): retrying.")
    fields = read_object(reply)
    if read_quantity(fields.get("number")) != number:
        raise BadReply(f"The RPC endpoint sent another block than {number}: check the endpoint.")
    return BlockRef(
        chain_id=chain_id,
        number=number,
        hash=read_digest(fields.get("hash")),
        parent=read_digest(fields.get("parentHash")),
        time=UnixTime(read_quantity(fields.get("timestamp"))),
    )


def _logs_in(block: BlockRef, found: Mapping[int, LogsOfBlock]) -> tuple[RawLog, ...]:
    of_block = found.get(block.number)
    if of_block is None:
        return ()
    if of_block.block_hash != block.hash:
        raise BadReply(f"The RPC endpoint sent logs of another block {block.number}: retrying.")
    return tuple(of_block.logs)


def _read_log(fields: Mapping[str, object]) -> RawLog:
    return RawLog(
        address=read_address(fields.get("address")),
        topics=tuple(read_digest(topic) for topic in read_list(fields.get("topics"))),
        data=read_bytes(fields.get("data")),
        tx_hash=TxHash(read_digest(fields.get("transactionHash"))),
        log_index=read_quantity(fields.get("logIndex")),
    )
