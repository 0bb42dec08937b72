"""Watches transactions that were sent, and repairs what the chain or its pool lost.

One look: read the rows that wait, ask the chain about all of them in one batch, write what changed, send
again what has to be. Rows decide, not memory, so a restart goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from capanode.node.chain.finality import check_blocks
from capanode.node.chain.jsonrpc import Call
from capanode.node.chain.pool_answers import SENTENCES, PoolAnswer
from capanode.node.chain.replacement import WAITING, offer, reprice
from capanode.node.chain.sender import Sender, plain
from capanode.node.chain.transactions import (
    Attempt,
    Entry,
    Inclusion,
    State,
    fill_in,
    find_nonce,
    nothing,
    set_mined,
    set_replaced,
    set_state,
    waiting,
)
from capanode.node.chain.wire import hexadecimal, quantity, read_digest, read_object, read_quantity
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import TxHash

MAX_AT_ONCE: Final = 200
"""Waiting transactions looked at together, lowest nonces first, as those hold up the others."""

_log = structlog.stdlib.get_logger()


def _nobody(sentence: str) -> None:
    """Somebody who need not be told."""


@dataclass(slots=True)
class Watch:
    """What this process saw of the waiting transactions; losing it costs patience, nothing else."""

    since: dict[TxHash, float] = field(default_factory=dict[TxHash, float])
    """When each attempt was first seen to wait."""

    told: dict[TxHash, str] = field(default_factory=dict[TxHash, str])
    """What the operator was told of each attempt already."""

    stuck: Callable[[str], None] = _nobody
    """Told once of each attempt that the operator's fee cap holds up."""

    gap_since: float | None = None

    def keep(self, hashes: set[TxHash]) -> None:
        """Forget all others."""
        for gone in self.since.keys() - hashes:
            del self.since[gone]
        for gone in self.told.keys() - hashes:
            del self.told[gone]


@dataclass(frozen=True, slots=True)
class View:
    """What the chain said about all waiting transactions at one moment."""

    mined_count: int
    receipts: Mapping[TxHash, Mapping[str, object]]
    in_pool: frozenset[TxHash]


async def run_sender(
    sender: Sender,
    stuck: Callable[[str], None] = _nobody,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Look at each new block (`sender.look`) and at least every `poll_s`, until cancelled; `stuck` as in `Watch`."""
    watch = Watch(stuck=stuck)
    mined_seen_at = float("-inf")
    is_pending = True
    task_status.started()
    while True:
        try:
            # Blocks seldom go away, and those above finality are many on a busy chain.
            if sender.take_doubt():
                mined_seen_at = float("-inf")
            began = trio.current_time()
            with_mined = began - mined_seen_at >= sender.options.mined_poll_s
            is_pending = await look_once(sender, watch, with_mined=with_mined)
            if with_mined:
                mined_seen_at = began
        except Unavailable as error:
            _log.warning("transactions_not_checked", reason=str(error))
            await trio.sleep(sender.options.poll_s)
        await sender.wait_news(is_pending=is_pending)


async def look_once(sender: Sender, watch: Watch, *, with_mined: bool = True) -> bool:
    """Compare every unfinished transaction with the chain once; whether some were not in a block before.

    Args:
        with_mined: also those that rest on a block, which a reorganisation may undo.
        watch: kept by the caller between looks.

    Raises:
        Unavailable: no endpoint answers.
    """
    changed = await check_blocks(sender) if with_mined else False
    account = sender.account
    entries = await sender.database.read(lambda connection: waiting(connection, account, MAX_AT_ONCE))
    entries = tuple(entry for entry in entries if with_mined or entry.state in WAITING)
    watch.keep({entry.newest.hash for entry in entries})
    if entries:
        view = await _view(sender, entries)
        for entry in entries:
            changed |= await _advance(sender, entry, view, watch)
        await _fill_gap(sender, entries, view, watch)
    if changed:
        sender.tell()
    return any(entry.state in WAITING for entry in entries)


async def _view(sender: Sender, entries: Sequence[Entry]) -> View:
    offered = [entry.newest.hash for entry in entries if entry.state in WAITING]
    count, *found = await sender.rpc.batch(
        (
            Call("eth_getTransactionCount", (hexadecimal(sender.account.address), "latest")),
            *(Call("eth_getTransactionByHash", (hexadecimal(tx_hash),)) for tx_hash in offered),
        )
    )
    mined_count = read_quantity(plain(count))
    # Receipts are asked for after the count, so that what was mined in between is not taken for replaced.
    used = [attempt.hash for entry in entries if entry.nonce < mined_count for attempt in entry.attempts]
    receipts = await _receipts(sender, used)
    in_pool = frozenset(tx_hash for tx_hash, tx in zip(offered, found, strict=True) if plain(tx) is not None)
    return View(mined_count, receipts, in_pool)


async def _receipts(sender: Sender, hashes: Sequence[TxHash]) -> Mapping[TxHash, Mapping[str, object]]:
    if not hashes:
        return {}
    replies = await sender.rpc.batch([Call("eth_getTransactionReceipt", (hexadecimal(one),)) for one in hashes])
    return {
        tx_hash: read_object(receipt)
        for tx_hash, receipt in zip(hashes, replies, strict=True)
        if plain(receipt) is not None
    }


async def _advance(sender: Sender, entry: Entry, view: View, watch: Watch) -> bool:
    """Move one transaction on; whether anything changed that a waiter may care for."""
    for attempt in entry.attempts:
        if (receipt := view.receipts.get(attempt.hash)) is not None:
            await _set_mined(sender, entry, await _inclusion(sender, entry, attempt, receipt))
            return True
    if entry.state is State.REPLACED:
        return False
    if entry.nonce < view.mined_count:
        return await _confirm_replaced(sender, entry)
    await _advance_waiting(sender, entry, view, watch)
    return False


async def _confirm_replaced(sender: Sender, entry: Entry) -> bool:
    """Ask again about a used nonce without a receipt, as the two may be from different moments.

    The nonce counts as used by another transaction only where a block that is there holds it: a node that is just
    storing a block may count its transactions before it has their receipts.
    """
    head = read_object(await sender.rpc.call("eth_getBlockByNumber", "latest", False))
    number, block = read_quantity(head.get("number")), read_digest(head.get("hash"))
    # In one exchange: two could be answered by endpoints, or at moments, that know the chain up to different blocks.
    count, *traces = await sender.rpc.batch(
        (
            Call("eth_getTransactionCount", (hexadecimal(sender.account.address), quantity(number))),
            *(
                Call(method, (hexadecimal(attempt.hash),))
                # Some have a transaction before its receipt.
                for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt")
                for attempt in entry.attempts
            ),
        )
    )
    if read_quantity(plain(count)) <= entry.nonce or any(plain(trace) is not None for trace in traces):
        sender.look()
        return False
    _log.warning("transaction_replaced", key=entry.order.key, nonce=entry.nonce)
    account, key = sender.account, entry.order.key
    await sender.database.write(
        "transaction.replaced", lambda connection: set_replaced(connection, account, key, number, block)
    )
    return True


async def _advance_waiting(sender: Sender, entry: Entry, view: View, watch: Watch) -> None:
    newest, now = entry.newest, trio.current_time()
    since = watch.since.setdefault(newest.hash, now)
    is_next = entry.nonce == view.mined_count
    if newest.hash not in view.in_pool:
        if entry.state is State.SENT:
            await _set_state(sender, entry, State.DROPPED)
        await _offer_again(sender, entry, watch, is_next=is_next)
    elif entry.state is not State.SENT:
        await _set_state(sender, entry, State.SENT)
    elif is_next and now - since >= sender.options.stuck_s:
        # Those behind it wait for it, whatever they pay.
        await _reprice(sender, entry, watch, is_next=True)


async def _offer_again(sender: Sender, entry: Entry, watch: Watch, *, is_next: bool) -> None:
    answer = await offer(sender, entry.newest)
    match answer:
        case None:
            await _set_state(sender, entry, State.SENT)
        case PoolAnswer.TOO_CHEAP:
            await _reprice(sender, entry, watch, is_next=is_next)
        case PoolAnswer.NONCE_USED:
            # It was mined between the question and the sending, or replaced; the next look tells which.
            sender.look()
        case _:
            if watch.told.get(entry.newest.hash) != answer:
                watch.told[entry.newest.hash] = answer
                _log.warning("transaction_waits", key=entry.order.key, nonce=entry.nonce, reason=SENTENCES[answer])


async def _reprice(sender: Sender, entry: Entry, watch: Watch, *, is_next: bool) -> None:
    sentence = await reprice(sender, entry, is_next=is_next)
    if sentence is not None and watch.told.get(entry.newest.hash) != "stuck":
        watch.told[entry.newest.hash] = "stuck"
        _log.warning("transaction_stuck_at_fee_cap", key=entry.order.key, nonce=entry.nonce, reason=sentence)
        watch.stuck(sentence)


async def _fill_gap(sender: Sender, entries: Sequence[Entry], view: View, watch: Watch) -> None:
    """Use a nonce that nobody has, where our own transactions wait behind it.

    One of this account was sent from elsewhere and was lost, with ours behind it. It may come back, so we are patient.
    """
    first = min((entry.nonce for entry in entries if entry.state in WAITING), default=view.mined_count)
    if first <= view.mined_count:
        watch.gap_since = None
        return
    account = sender.account
    count = await sender.rpc.call("eth_getTransactionCount", hexadecimal(account.address), "pending")
    missing = read_quantity(count)
    holder = await sender.database.read(lambda connection: find_nonce(connection, account, missing))
    if holder is not None or not view.mined_count <= missing < first:
        watch.gap_since = None
        return
    now = trio.current_time()
    watch.gap_since = watch.gap_since if watch.gap_since is not None else now
    if now - watch.gap_since < sender.options.stuck_s:
        return
    order = nothing(account, f"gap/{missing}")
    prepared = await sender.prepare(order.key, order.to, order.data)
    attempt = await sender.database.write(
        "transaction.gap-filled",
        lambda connection: fill_in(connection, account, sender.signer, prepared, missing),
    )
    if attempt is not None:
        _log.warning("nonce_filled", nonce=missing)
        await offer(sender, attempt)


async def _inclusion(sender: Sender, entry: Entry, attempt: Attempt, receipt: Mapping[str, object]) -> Inclusion:
    number = read_quantity(receipt.get("blockNumber"))
    is_success = read_quantity(receipt.get("status")) == 1
    return Inclusion(
        tx_hash=attempt.hash,
        block_number=number,
        block_hash=read_digest(receipt.get("blockHash")),
        gas_used=read_quantity(receipt.get("gasUsed")),
        failure=None if is_success else await sender.reason(entry, number),
    )


async def _set_mined(sender: Sender, entry: Entry, inclusion: Inclusion) -> None:
    account, key = sender.account, entry.order.key
    await sender.database.write("transaction.mined", lambda connection: set_mined(connection, account, key, inclusion))


async def _set_state(sender: Sender, entry: Entry, state: State) -> None:
    account, key = sender.account, entry.order.key
    await sender.database.write(f"transaction.{state}", lambda connection: set_state(connection, account, key, state))
