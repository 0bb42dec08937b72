"""Follows a chain block by block, and takes back what the chain takes back.

One step: look at the block after our tip. If its parent is our tip, read its logs by its hash and store all in
one transaction; if not, or if our tip is gone, take our tip back. Stepping back one block at a time walks
to the common ancestor. What the chain has called final is never taken back; below it, ranges are read at once.
While nothing is awaited, what is above it is read in stretches (`capanode.node.chain.stretch`), which cost less.
All that a step reads comes from one endpoint.

`apply` and `unwind` run inside the transaction that stores or removes their block, in the database's thread:
they work on the connection and on nothing else. `apply` is called only for blocks that hold logs of ours, `unwind` for
every block that is taken back: what a node has decided may rest on the time of one that holds none.

**Source**: DESIGN §5; Ethereum JSON-RPC, eth_getLogs by blockHash (EIP-234).
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
import trio

from capanode.node.chain import blocks
from capanode.node.chain.agreement import MAX_LAG_BLOCKS, Tell, final_number, hashes_at, settle, watch_endpoints
from capanode.node.chain.blocks import BlockRef, RawLog, StoredBlock
from capanode.node.chain.endpoint import Endpoint
from capanode.node.chain.head import ChainHead, HeadWatch
from capanode.node.chain.headers import Header, header_call, read_header
from capanode.node.chain.heads import watch_heads
from capanode.node.chain.http import ReplyTooLarge
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.logs import DecodedLog, LogFilter, LogReader
from capanode.node.chain.ranges import CHUNK_BLOCKS, LogRange, Replaced, read_ranges
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.stretch import has_gaps, read_stretch, reads_the_same
from capanode.node.chain.wire import BadReply, hexadecimal, read_object, read_quantity
from capanode.node.storage.database import Database
from capanode.protocol.faults import Misconfigured, Unavailable
from capanode.protocol.ids import Digest, UnixTime

__all__ = ["DecodedLog", "FinalityViolated", "Follower", "FollowerOptions", "LogFilter", "run_follower"]

FINALITY_EVERY_BLOCKS: Final = 16
"""How often the final block is asked for; it bounds how far behind the stored one is."""

FINALITY_IDLE_S: Final = 60.0
"""How long that may take at most while nothing is awaited, however quick the blocks are."""

MAX_MISSED: Final = 6
"""How often an endpoint may deny logs that the block's header tells of, before chance is taken for the reason."""

_FIRST_PAUSE_S: Final = 0.1
_LAST_PAUSE_S: Final = 15.0

_log = structlog.stdlib.get_logger()

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
    """How often to look when no subscription wakes us and something is awaited."""

    idle_poll_s: float = 8.0
    """The same when nothing is."""

    lag_patience_s: float = 10.0
    """How long an endpoint may not know our tip before we believe that the chain became shorter.

    Nodes behind one address differ by some blocks; a development chain is one node and may say zero.
    """

    final_depth: int = 64
    """What is final on a chain without a `finalized` tag."""

    with_pending: bool = True
    """Whether the next block's time is asked for, which moves on an idle chain only where tests move it."""

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
    is_busy: Callable[[], bool] = lambda: True,
    tell: Tell = lambda sentence: None,
    task_status: "trio.TaskStatus[Follower]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Follow the chain until cancelled; started, with the follower, once the head is reached.

    Args:
        wake: called after each commit that applied or took back logs.
        head: told of every new head.
        is_busy: whether something is awaited of the chain; else it is looked at seldom, and within the budget.
        tell: takes a sentence for the operator about endpoints that disagree.

    Raises:
        FinalityViolated: the chain replaced what it had called final.
    """
    follower = Follower(rpc, database, filter, options, apply, unwind, wake, head, tell, is_busy)
    violated: FinalityViolated | None = None
    async with trio.open_nursery() as nursery:
        bell = Bell()
        nursery.start_soon(watch_heads, options.ws_urls, bell.ring)
        nursery.start_soon(watch_endpoints, rpc, tell)
        try:
            await _follow(follower, rpc, options, bell, is_busy, task_status)
        except FinalityViolated as error:
            violated = error
        nursery.cancel_scope.cancel()
    # Raised out here, as the nursery would wrap it in a group.
    if violated is not None:
        raise violated


async def _follow(
    follower: "Follower",
    rpc: Rpc,
    options: FollowerOptions,
    bell: "Bell",
    is_busy: Callable[[], bool],
    task_status: "trio.TaskStatus[Follower]",
) -> None:
    pause_s = _FIRST_PAUSE_S
    while True:
        bell.reset()
        try:
            while await follower.step():
                pause_s = _FIRST_PAUSE_S
        except Unavailable as error:
            _log.warning("chain_unavailable", chain_id=rpc.chain_id, reason=str(error))
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            continue
        pause_s = _FIRST_PAUSE_S
        task_status.started(follower)
        task_status = trio.TASK_STATUS_IGNORED
        await bell.wait(options, rpc, is_busy)


class Bell:
    """When to look at the chain again."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        """Something may have happened."""
        self._rung.set()

    def reset(self) -> None:
        """Forget what rang before a look begins."""
        self._rung = trio.Event()

    async def wait(self, options: FollowerOptions, rpc: Rpc, is_busy: Callable[[], bool]) -> None:
        """Until it rings or the time is up; an idle node waits for its request budget too."""
        allowed_at = trio.current_time() + rpc.budget.wait_s()
        due_at = max(allowed_at, trio.current_time() + options.idle_poll_s)
        while not is_busy():
            wait_s = (allowed_at if self._rung.is_set() else due_at) - trio.current_time()
            if wait_s <= 0:
                return
            # In short naps: it may become busy at any moment.
            await self._nap(min(wait_s, options.poll_s))
        if not self._rung.is_set():
            await self._nap(options.poll_s)

    async def _nap(self, longest_s: float) -> None:
        if self._rung.is_set():
            await trio.sleep(longest_s)
            return
        with trio.move_on_after(longest_s):
            await self._rung.wait()


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
        tell: Tell = lambda sentence: None,
        is_busy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._rpc = rpc
        self._database = database
        self._logs = LogReader(filter)
        self._options = options
        self._apply = apply
        self._unwind = unwind
        self._wake = wake
        self._head = head
        self._tell = tell
        self._is_busy = is_busy
        self._longest_stretch = CHUNK_BLOCKS
        self._final_checked_at: int | None = None
        self._final_checked_s = float("-inf")
        self._known_tip: BlockRef | None = None
        self._seen_head = -1
        self._missed: tuple[Digest | None, int] = (None, 0)
        self._tip_missing_since: float | None = None

    def watch(self, filter: LogFilter) -> None:
        """Follow other logs from the next block on."""
        self._logs = LogReader(filter)

    async def step(self) -> bool:
        """Go one block forward or back, or a stretch or ranges forward; False when there is nothing to do.

        Raises:
            Unavailable: the endpoint does not answer, or answers nonsense; nothing has changed.
            FinalityViolated: as `run_follower`.
        """
        source = self._rpc.best()
        try:
            return await self._step(source)
        except BadReply as error:
            source.blame(error)
            raise

    async def _step(self, source: Endpoint) -> bool:
        tip = await self._tip(source)
        if self._is_finality_due(tip) and await self._catch_up(source, tip):
            return True
        is_busy = self._is_busy()
        if is_busy and tip.number < self._seen_head:
            return await self._move(source, tip)
        calls = (header_call("latest"), header_call("pending"))
        reply, *pending = await source.batch(calls[: 1 + self._options.with_pending])
        newest = read_header(reply, tip.chain_id)
        if newest is None:
            raise BadReply(f"The RPC endpoint {source.name} knows no block of chain {tip.chain_id}: check it.")
        self._seen_head = newest.block.number
        if newest.block.hash == tip.hash:
            self._tip_missing_since = None
            _require_shown(source, tip)
            self._show(tip, *pending)
            return False
        if newest.block.parent == tip.hash:
            return await self._forward(source, newest, *pending)
        if not is_busy and min(newest.block.number - tip.number, self._longest_stretch) > 1:
            return await self._stretch(source, tip, newest)
        return await self._move(source, tip)

    async def _stretch(self, source: Endpoint, tip: BlockRef, newest: Header) -> bool:
        """Go towards the newest block in one stride."""
        last = await self._end_of_stretch(source, tip, newest)
        try:
            kept = await read_stretch(source, self._logs, tip, last)
        except (RpcError, ReplyTooLarge):
            self._longest_stretch //= 2
            return True
        except Replaced:
            return await self._move(source, tip)
        if not kept[-1].logs and self._logs.are_told_of(last):
            self._miss_logs(source, last.block)
        await self._keep(kept)
        return True

    async def _end_of_stretch(self, source: Endpoint, tip: BlockRef, newest: Header) -> Header:
        number = tip.number + self._longest_stretch
        if newest.block.number <= number:
            return newest
        (reply,) = await source.batch((header_call(number),))
        header = read_header(reply, tip.chain_id, number)
        if header is None:
            raise Unavailable(f"Block {number} of chain {tip.chain_id} is missing at the endpoint: retrying.")
        return header

    async def _move(self, source: Endpoint, tip: BlockRef) -> bool:
        """Go one block towards a newest block that is not the next one."""
        # One call for each block that is behind us; what became of our tip matters only where the next does not follow.
        (upper,) = await source.batch((header_call(tip.number + 1),))
        above = read_header(upper, tip.chain_id, tip.number + 1)
        if above is not None and above.block.parent == tip.hash:
            return await self._forward(source, above)
        (same,) = await source.batch((header_call(tip.number),))
        here = read_header(same, tip.chain_id, tip.number)
        if above is not None or (here is not None and here.block.hash != tip.hash):
            return await self._back(source, tip)
        if here is None:
            return await self._maybe_shorter(source, tip)
        self._tip_missing_since = None
        _require_shown(source, tip)
        self._seen_head = tip.number
        return False

    async def _tip(self, source: Endpoint) -> BlockRef:
        if self._known_tip is None:
            self._known_tip = await self._stored_tip(source)
        return self._known_tip

    async def _stored_tip(self, source: Endpoint) -> BlockRef:
        chain_id = self._rpc.chain_id
        stored = await self._database.read(lambda connection: blocks.tip(connection, chain_id))
        if stored is not None:
            return stored.block
        number = max(self._logs.filter.first_block - 1, 0)
        (reply,) = await source.batch((header_call(number),))
        header = read_header(reply, chain_id, number)
        if header is None:
            raise Unavailable(
                f"Chain {chain_id} has no block {number} yet, where its contracts begin: "
                "waiting; check the network profile if it stays so."
            )
        await self._database.write("chain.begin", lambda connection: blocks.replace_all(connection, header.block))
        return header.block

    async def _forward(self, source: Endpoint, header: Header, pending: object = None) -> bool:
        stored = StoredBlock(header.block, await self._logs_in(source, header), is_delivered=False)
        await self._keep((stored,), pending)
        return True

    async def _keep(self, kept: Sequence[StoredBlock], pending: object = None) -> None:
        changed = await self._database.write("chain.block", lambda connection: self._store(connection, kept))
        self._known_tip, self._tip_missing_since = kept[-1].block, None
        self._show(kept[-1].block, pending)
        if changed:
            self._wake()

    async def _logs_in(self, source: Endpoint, header: Header) -> tuple[RawLog, ...]:
        block = header.block
        if not self._logs.may_be_in(header):
            return ()
        (found,) = await source.batch((Call("eth_getLogs", (self._logs.query(blockHash=hexadecimal(block.hash)),)),))
        if isinstance(found, RpcError):
            # The block went away between the two questions; the next look sees what came in its place.
            raise Unavailable(f"The logs of block {block.number} cannot be read ({found.message}): retrying.")
        of_block = self._logs.raw(found, block.number, block.number).get(block.number)
        if of_block is None:
            if self._logs.are_told_of(header):
                self._miss_logs(source, block)
            return ()
        if of_block.hash != block.hash:
            raise BadReply(f"The RPC endpoint sent logs of another block {block.number}: retrying.")
        return tuple(of_block.logs)

    def _miss_logs(self, source: Endpoint, block: BlockRef) -> None:
        """Look again for logs that a block's own header tells of: an endpoint may have a block before its logs."""
        missed = self._missed[1] + 1 if self._missed[0] == block.hash else 1
        self._missed = (block.hash, missed)
        if missed < MAX_MISSED:
            raise BadReply(f"The RPC endpoint {source.name} does not have the logs of its block {block.number} yet.")

    def _store(self, connection: sqlite3.Connection, kept: Sequence[StoredBlock]) -> bool:
        for stored in kept:
            blocks.add(connection, stored)
        return self._deliver(connection, kept[-1].block.number - self._options.confirmations)

    def _deliver(self, connection: sqlite3.Connection, up_to: int) -> bool:
        changed = False
        for ready in blocks.undelivered(connection, self._rpc.chain_id, up_to):
            changed |= self._apply_logs(connection, ready.block, tuple(map(self._logs.decode, ready.logs)))
            blocks.set_delivered(connection, ready.block)
        return changed

    def _apply_logs(self, connection: sqlite3.Connection, block: BlockRef, logs: Sequence[DecodedLog]) -> bool:
        known = tuple(log for log in logs if log.event is not None)
        if known:
            self._apply(connection, block, known)
        return bool(known)

    async def _back(self, source: Endpoint, tip: BlockRef) -> bool:
        """Take the tip back, or put the endpoint aside that does not have it although it is final."""
        bottom = await self._database.read(lambda connection: blocks.bottom(connection, tip.chain_id))
        if tip.number <= bottom:
            await self._doubt(source, tip)
            return True
        await self._take_back((tip,))
        return True

    async def _take_back(self, gone: Sequence[BlockRef]) -> None:
        """Take blocks back in one transaction, newest first."""

        def write(connection: sqlite3.Connection) -> None:
            for block in gone:
                self._unwind(connection, block)
                blocks.remove(connection, block)

        self._known_tip = None
        await self._database.write("chain.block-back", write)
        for block in gone:
            _log.info("block_taken_back", chain_id=block.chain_id, number=block.number, hash=block.hash.hex())
        self._wake()

    async def _doubt(self, source: Endpoint, tip: BlockRef) -> None:
        """An endpoint has another block in the place of a final one: is it the endpoint, or the chain?

        Raises:
            FinalityViolated: more endpoints have another block there than still have ours.
        BadReply: none has a block there.
        """
        votes = await hashes_at(self._rpc, tip.number)
        ours = sum(found == tip.hash for found in votes.values())
        if not votes:
            raise BadReply(
                f"The RPC endpoint {source.name} does not know block {tip.number} of chain {tip.chain_id}, which was "
                "final: waiting until it has caught up; if the chain was restarted, begin with a new data folder."
            )
        if 2 * ours < len(votes):
            raise FinalityViolated(
                f"Chain {tip.chain_id} replaced block {tip.number}, which it had called final: check the RPC "
                "endpoints; if the chain was restarted, begin with a new data folder."
            )
        settle(self._rpc, tip.number, votes, tip.hash, self._tell)

    async def _maybe_shorter(self, source: Endpoint, tip: BlockRef) -> bool:
        now = trio.current_time()
        if self._tip_missing_since is None:
            self._tip_missing_since = now
        if now - self._tip_missing_since < self._options.lag_patience_s:
            return False
        return await self._back(source, tip)

    def _is_finality_due(self, tip: BlockRef) -> bool:
        checked = self._final_checked_at
        if checked is None:
            return True
        is_old = self._is_busy() or trio.current_time() >= self._final_checked_s + FINALITY_IDLE_S
        return is_old and abs(tip.number - checked) >= FINALITY_EVERY_BLOCKS

    async def _catch_up(self, source: Endpoint, tip: BlockRef) -> bool:
        """Ask what is final, and read what is below it if we are behind; whether anything was read."""
        head_number = read_quantity(await source.call("eth_blockNumber"))
        final = await final_number(self._rpc, source, head_number, self._options.final_depth)
        # Only what we follow too can be final for us: a range that is behind is not looked at twice.
        if not await self._settle(source, tip, min(final, tip.number)):
            return True
        last = min(final, head_number - self._options.confirmations)
        if last <= tip.number:
            self._final_checked_at, self._final_checked_s = tip.number, trio.current_time()
            return False
        await self._read_up_to(source, tip, last)
        return True

    async def _settle(self, source: Endpoint, tip: BlockRef, final: int) -> bool:
        """Call the stored blocks up to `final` so, where stretches among them read the same again; whether they do."""
        chain_id = tip.chain_id
        known = await self._database.read(lambda connection: blocks.kept_up_to(connection, chain_id, final))
        try:
            if has_gaps(known) and not await reads_the_same(source, self._logs, known):
                await self._take_back_to(tip, known[0].block)
                return False
        except Replaced:
            await self._back(source, tip)
            return False
        if known:
            number = known[-1].block.number
            await self._database.write("chain.final", lambda connection: blocks.set_final(connection, chain_id, number))
        return True

    async def _take_back_to(self, tip: BlockRef, base: BlockRef) -> None:
        _log.warning("stretch_read_otherwise", chain_id=tip.chain_id, above=base.number)
        known = await self._database.read(lambda connection: blocks.kept_up_to(connection, tip.chain_id, tip.number))
        await self._take_back([each.block for each in reversed(known) if each.block.number > base.number])

    async def _read_up_to(self, source: Endpoint, tip: BlockRef, last: int) -> None:
        send, receive = trio.open_memory_channel[LogRange | Unavailable | Replaced](1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_ranges, source, self._logs, tip, last, send)
            failure = await self._store_ranges(receive)
            nursery.cancel_scope.cancel()
        if isinstance(failure, Replaced):
            await self._back(source, self._known_tip or tip)
        elif failure is not None:
            raise failure

    async def _store_ranges(
        self, ranges: trio.MemoryReceiveChannel[LogRange | Unavailable | Replaced]
    ) -> Unavailable | Replaced | None:
        logs = self._logs
        async for found in ranges:
            if not isinstance(found, LogRange):
                return found
            if self._logs is not logs:
                # Other logs are asked for meanwhile, from the stored tip on.
                return None
            changed = await self._database.write("chain.range", partial(self._store_range, found))
            self._known_tip = found.anchor
            if changed:
                self._wake()
        return None

    def _store_range(self, found: LogRange, connection: sqlite3.Connection) -> bool:
        changed = self._deliver(connection, found.below.number)
        for block, logs in found.blocks:
            changed |= self._apply_logs(connection, block, logs)
        blocks.replace_all(connection, found.anchor)
        blocks.set_final(connection, found.anchor.chain_id, found.anchor.number)
        return changed

    def _show(self, tip: BlockRef, pending: object = None) -> None:
        next_time = tip.time
        if pending is not None and not isinstance(pending, RpcError):
            next_time = UnixTime(max(tip.time, read_quantity(read_object(pending).get("timestamp"))))
        self._head.set(ChainHead(tip, next_time))


def _require_shown(source: Endpoint, tip: BlockRef) -> None:
    """See that an endpoint with nothing above our tip does not claim much more elsewhere, and so keep us from others.

    Raises:
        BadReply: it does.
    """
    if source.head is not None and source.head > tip.number + MAX_LAG_BLOCKS:
        raise BadReply(f"The RPC endpoint {source.name} has no block {tip.number + 1} of its {source.head}: check it.")
