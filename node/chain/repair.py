"""Watches transactions that were sent, and repairs what the chain or its pool lost.

One look: read the unfinished rows, ask the chain about all of them in one batch, write what changed, send
again what has to be. Rows decide, not memory, so a restart goes on where it was.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from capanode.node.chain.fees import FEE_CALLS, raised, read_fees
from capanode.node.chain.rpc import Call, RpcError
from capanode.node.chain.sender import Sender, is_known_already
from capanode.node.chain.transactions import (
    Attempt,
    Entry,
    Inclusion,
    State,
    set_mined,
    set_next_nonce,
    set_state,
    sign_again_in,
    unfinished,
)
from capanode.node.chain.wire import hexadecimal, quantity, read_digest, read_object, read_quantity
from capanode.node.fault_points import durable
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Digest, TxHash

MAX_AT_ONCE: Final = 200
"""Unfinished transactions looked at together, lowest nonces first, as those hold up the others."""

_log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class View:
    """What the chain said about all unfinished transactions at one moment."""

    mined_count: int
    head_number: int
    final_number: int
    receipts: Mapping[TxHash, Mapping[str, object]]
    in_pool: frozenset[TxHash]
    block_hashes: Mapping[int, Digest]


async def run_sender(sender: Sender, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Look at each new block (`sender.look`) and at least every `poll_s`, until cancelled."""
    first_seen: dict[TxHash, float] = {}
    mined_seen_at = float("-inf")
    head: object = None
    is_pending = True
    task_status.started()
    while True:
        try:
            # Blocks seldom go away, and those above finality are many on a busy chain.
            with_mined = trio.current_time() - mined_seen_at >= sender.options.poll_s
            if with_mined:
                mined_seen_at = trio.current_time()
                before, head = head, await sender.rpc.call("eth_getBlockByNumber", "latest", False)
                with_mined = head != before
            is_pending = await look_once(sender, first_seen, with_mined=with_mined)
        except Unavailable as error:
            _log.warning("transactions_not_checked", reason=str(error))
            head = None
            await trio.sleep(sender.options.poll_s)
        await sender.wait_news(is_pending=is_pending)


async def look_once(sender: Sender, first_seen: dict[TxHash, float], *, with_mined: bool = True) -> bool:
    """Compare every unfinished transaction with the chain once; whether some were not in a block before.

    Args:
        with_mined: also those that are in a block, which a reorganisation may undo.
        first_seen: when this process first saw each attempt wait; kept by the caller between looks.

    Raises:
        Unavailable: no endpoint answers.
    """
    account = sender.account
    entries = await sender.database.read(
        lambda connection: unfinished(connection, account, MAX_AT_ONCE, with_mined=with_mined)
    )
    if not entries:
        return False
    view = await _view(sender, entries)
    changed = False
    for entry in entries:
        changed |= await _advance(sender, entry, view, first_seen)
    waiting = {attempt.hash for entry in entries for attempt in entry.attempts}
    for gone in first_seen.keys() - waiting:
        del first_seen[gone]
    if changed:
        sender.tell()
    return any(entry.inclusion is None for entry in entries)


async def _view(sender: Sender, entries: Sequence[Entry]) -> View:
    hashes = [attempt.hash for entry in entries for attempt in entry.attempts if entry.state is not State.MINED]
    numbers = sorted({entry.inclusion.block_number for entry in entries if entry.inclusion})
    calls = [
        Call("eth_getTransactionCount", (hexadecimal(sender.account.address), "latest")),
        Call("eth_blockNumber"),
        Call("eth_getBlockByNumber", ("finalized", False)),
        *(Call("eth_getBlockByNumber", (quantity(number), False)) for number in numbers),
        *(Call("eth_getTransactionByHash", (hexadecimal(tx_hash),)) for tx_hash in hashes),
        # Receipts last: a transaction mined between two parts of a batch is then seen as mined.
        *(Call("eth_getTransactionReceipt", (hexadecimal(tx_hash),)) for tx_hash in hashes),
    ]
    count, head, final, *rest = await sender.rpc.batch(calls)
    blocks, found, receipts = (
        rest[: len(numbers)],
        rest[len(numbers) : len(numbers) + len(hashes)],
        rest[len(numbers) + len(hashes) :],
    )
    head_number = read_quantity(_required(head))
    return View(
        mined_count=read_quantity(_required(count)),
        head_number=head_number,
        final_number=_final_number(final, head_number - sender.options.final_depth),
        receipts={
            tx_hash: read_object(receipt)
            for tx_hash, receipt in zip(hashes, receipts, strict=True)
            if _required(receipt) is not None
        },
        in_pool=frozenset(tx_hash for tx_hash, tx in zip(hashes, found, strict=True) if _required(tx) is not None),
        block_hashes={
            number: read_digest(read_object(block).get("hash"))
            for number, block in zip(numbers, blocks, strict=True)
            if _required(block) is not None
        },
    )


def _required(reply: object) -> object:
    if isinstance(reply, RpcError):
        raise Unavailable(f"The RPC endpoint failed a plain read ({reply.message}): retrying.")
    return reply


def _final_number(block: object, by_depth: int) -> int:
    if block is None or isinstance(block, RpcError):
        return by_depth
    return read_quantity(read_object(block).get("number"))


async def _advance(sender: Sender, entry: Entry, view: View, first_seen: dict[TxHash, float]) -> bool:
    """Move one transaction on; whether anything changed that a waiter may care for."""
    if entry.inclusion is not None:
        return await _advance_mined(sender, entry, entry.inclusion, view)
    for attempt in entry.attempts:
        if (receipt := view.receipts.get(attempt.hash)) is not None:
            inclusion = await _inclusion(sender, entry, attempt.hash, receipt)
            await _set_mined(sender, entry, inclusion)
            return True
    if entry.nonce < view.mined_count:
        return await _confirm_replaced(sender, entry)
    await _advance_waiting(sender, entry, view, first_seen)
    return False


async def _advance_mined(sender: Sender, entry: Entry, inclusion: Inclusion, view: View) -> bool:
    if view.block_hashes.get(inclusion.block_number) != inclusion.block_hash:
        _log.info("transaction_reorged", key=entry.order.key, block_number=inclusion.block_number)
        await _set_state(sender, entry, State.REORGED)
        # The very bytes: where the chain has put them into another block already, it says so and all is well.
        for attempt in entry.attempts:
            if attempt.hash == inclusion.tx_hash:
                await _send(sender, attempt)
        return True
    if inclusion.block_number <= view.final_number:
        await _set_state(sender, entry, State.FINAL)
        return True
    return False


async def _confirm_replaced(sender: Sender, entry: Entry) -> bool:
    """Ask again about a used nonce without a receipt, as the two may be from different moments.

    The nonce counts as used by another transaction only where a block that is there holds it: a node that is just
    storing a block may count its transactions before it has their receipts.
    """
    head = read_quantity(await sender.rpc.call("eth_blockNumber"))
    if await sender.mined_count(head) <= entry.nonce:
        sender.look()
        return False
    calls = [Call("eth_getTransactionReceipt", (hexadecimal(attempt.hash),)) for attempt in entry.attempts]
    receipts = await sender.rpc.batch(calls)
    if any(_required(receipt) is not None for receipt in receipts):
        sender.look()
        return False
    _log.warning("transaction_replaced", key=entry.order.key, nonce=entry.nonce)
    account, count = sender.account, await sender.mined_count()

    def give_up(connection: sqlite3.Connection) -> None:
        set_state(connection, account, entry.order.key, State.REPLACED)
        set_next_nonce(connection, account, count)

    await sender.database.write("transaction.replaced", give_up)
    return True


async def _advance_waiting(sender: Sender, entry: Entry, view: View, first_seen: dict[TxHash, float]) -> None:
    newest = entry.attempts[-1]
    now = trio.current_time()
    since = first_seen.setdefault(newest.hash, now)
    if newest.hash not in view.in_pool:
        if entry.state is State.SENT:
            await _set_state(sender, entry, State.DROPPED)
        refusal = await _send(sender, newest)
        if refusal is None:
            await _set_state(sender, entry, State.SENT)
        elif _is_price(refusal):
            await _raise_fees(sender, entry)
        elif "nonce too low" in refusal.message.lower():
            # It was mined between the question and the sending, or replaced; the next look tells which.
            sender.look()
        else:
            _log.warning("transaction_not_accepted", key=entry.order.key, reason=refusal.message)
    elif entry.state is not State.SENT:
        await _set_state(sender, entry, State.SENT)
    elif now - since >= sender.options.stuck_s:
        await _raise_fees(sender, entry)


async def _raise_fees(sender: Sender, entry: Entry) -> None:
    policy = sender.options.fees
    current = read_fees(await sender.rpc.batch(FEE_CALLS), policy)
    fees = raised(entry.attempts[-1].fees, current, policy)
    if fees is None:
        _log.warning("transaction_stuck_at_fee_cap", key=entry.order.key, cap_wei=policy.max_fee_cap_wei)
        return
    attempt = await sender.database.write(
        "transaction.fees-raised",
        lambda connection: sign_again_in(connection, sender.account, sender.signer, entry, fees),
    )
    _log.info("transaction_fees_raised", key=entry.order.key, max_fee_wei=fees.max_fee_wei, tip_wei=fees.tip_wei)
    await _send(sender, attempt)


async def _send(sender: Sender, attempt: Attempt) -> RpcError | None:
    """Broadcast; what the pool says against it, if anything."""
    try:
        with durable("transaction.rebroadcast"):
            await sender.rpc.call("eth_sendRawTransaction", hexadecimal(attempt.raw))
    except RpcError as error:
        return None if is_known_already(error) else error
    return None


def _is_price(refusal: RpcError) -> bool:
    message = refusal.message.lower()
    return "underpriced" in message or "less than block base fee" in message or "fee too low" in message


async def _inclusion(sender: Sender, entry: Entry, tx_hash: TxHash, receipt: Mapping[str, object]) -> Inclusion:
    number = read_quantity(receipt.get("blockNumber"))
    is_success = read_quantity(receipt.get("status")) == 1
    return Inclusion(
        tx_hash=tx_hash,
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
