"""Transactions are carried out once, on a real development chain."""

import shutil
import sqlite3
from pathlib import Path

import pytest
import trio

from capanode.node.chain.anvil import Anvil
from capanode.node.chain.fees import GWEI, FeePolicy
from capanode.node.chain.jsonrpc import RpcError
from capanode.node.chain.repair import Watch, look_once, run_sender
from capanode.node.chain.replacement import cancel, speed_up
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.sender import (
    Cancelled,
    Mined,
    Pending,
    Replaced,
    Reverted,
    Sender,
    SenderOptions,
    WalletTooPoor,
    WouldRevert,
    open_sender,
)
from capanode.node.chain.transaction import Transaction, transaction_hash
from capanode.node.chain.transactions import TRANSACTIONS_SCHEMA, State, next_nonce
from capanode.node.chain.wire import Json, hexadecimal, quantity, read_quantity
from capanode.node.keys.signer import LocalSigner
from capanode.node.storage.database import Database, Schema, open_database
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Address, TxHash, Wei

TO = Address(b"\x77" * 20)
REVERTER = Address(b"\x99" * 20)


async def balance(rpc: Rpc, address: Address) -> int:
    return read_quantity(await rpc.call("eth_getBalance", hexadecimal(address), "latest"))


async def mine(rpc: Rpc) -> None:
    await rpc.call_once("evm_mine")


async def look(sender: Sender) -> None:
    await look_once(sender, Watch())


async def settled(sender: Sender, key: str) -> object:
    """Look until the transaction is in a block; automining makes it some moments after the sending."""
    with trio.fail_after(10):
        while isinstance(outcome := await sender.status(key), Pending):
            await look(sender)
    return outcome


async def test_submitted_transfer_is_mined_once(rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    async with open_sender(rpc, database, signer) as sender, trio.open_nursery() as nursery:
        await nursery.start(run_sender, sender)
        first = await sender.submit("pay-1", TO, b"", Wei(5))
        again = await sender.submit("pay-1", TO, b"", Wei(5))
        outcome = await sender.outcome("pay-1")
        nursery.cancel_scope.cancel()

    assert first == again
    assert isinstance(outcome, Mined)
    assert outcome.inclusion.tx_hash == first
    assert await balance(rpc, TO) == 5


async def test_concurrent_orders_get_their_own_nonces(rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    async with open_sender(rpc, database, signer) as sender, trio.open_nursery() as nursery:
        await nursery.start(run_sender, sender)
        async with trio.open_nursery() as orders:
            for number in range(20):
                orders.start_soon(sender.submit, f"pay-{number}", TO, b"", Wei(1))
        for number in range(20):
            assert isinstance(await sender.outcome(f"pay-{number}"), Mined)
        nursery.cancel_scope.cancel()
    assert await balance(rpc, TO) == 20


async def test_same_key_from_two_tasks_is_one_transaction(rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    hashes: set[TxHash] = set()
    async with open_sender(rpc, database, signer) as sender:

        async def submit() -> None:
            hashes.add(await sender.submit("pay", TO, b"", Wei(1)))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(submit)
    assert len(hashes) == 1


async def test_stored_before_a_crash_is_sent_after_it(anvil: Anvil, tmp_path: Path, signer: LocalSigner) -> None:
    path = tmp_path / "crash.sqlite"
    async with (
        open_rpc([anvil.rpc_url], anvil.chain_id) as rpc,
        open_database(path, [TRANSACTIONS_SCHEMA]) as database,
        open_sender(rpc, database, signer) as sender,
    ):
        prepared = await sender.prepare("pay", TO, b"", Wei(7))
        stored = await database.write("test", lambda connection: sender.store_in(connection, prepared))
        # The process dies here, between its commit and its broadcast.

    async with (
        open_rpc([anvil.rpc_url], anvil.chain_id) as rpc,
        open_database(path, [TRANSACTIONS_SCHEMA]) as database,
        open_sender(rpc, database, signer) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(run_sender, sender)
        outcome = await sender.outcome("pay")
        assert isinstance(outcome, Mined)
        assert outcome.inclusion.tx_hash == stored.hash
        assert await sender.submit("pay", TO, b"", Wei(7)) == stored.hash
        assert await balance(rpc, TO) == 7
        nursery.cancel_scope.cancel()


async def test_reorged_transaction_is_sent_again_with_the_same_bytes(
    rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    async with open_sender(rpc, database, signer) as sender:
        sent = await sender.submit("pay", TO, b"", Wei(3))
        assert isinstance(await settled(sender, "pay"), Mined)

        await rpc.call_once("anvil_reorg", 1, [])
        assert await balance(rpc, TO) == 0
        await look(sender)
        assert isinstance(await sender.status("pay"), Pending)

        outcome = await settled(sender, "pay")
        assert isinstance(outcome, Mined)
        assert outcome.inclusion.tx_hash == sent
        assert await balance(rpc, TO) == 3


async def test_dropped_transaction_is_sent_again(manual_rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    rpc = manual_rpc
    async with open_sender(rpc, database, signer) as sender:
        sent = await sender.submit("pay", TO, b"", Wei(3))
        await look(sender)
        await rpc.call_once("anvil_dropTransaction", hexadecimal(sent))
        await look(sender)
        await mine(rpc)
        await look(sender)
        assert isinstance(await sender.status("pay"), Mined)


async def test_stuck_transaction_is_replaced_with_higher_fees(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    rpc = manual_rpc
    options = SenderOptions(stuck_s=0)
    async with open_sender(rpc, database, signer, options=options) as sender:
        await sender.submit("pay", TO, b"", Wei(3))
        seen = Watch()
        await look_once(sender, seen)
        await look_once(sender, seen)

        entry = await sender.entry("pay")
        assert entry is not None
        old, new = entry.attempts[0].fees, entry.attempts[-1].fees
        assert new.max_fee_wei * 8 >= old.max_fee_wei * 9
        assert new.tip_wei * 8 >= old.tip_wei * 9

        await mine(rpc)
        await look_once(sender, seen)
        outcome = await sender.status("pay")
        assert isinstance(outcome, Mined)
        assert outcome.inclusion.tx_hash == entry.attempts[-1].hash
        assert await balance(rpc, TO) == 3


async def test_evicted_transaction_is_priced_anew(manual_rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    rpc = manual_rpc
    async with open_sender(rpc, database, signer) as sender:
        await sender.submit("pay", TO, b"", Wei(3))
        await rpc.call_once("anvil_setNextBlockBaseFeePerGas", quantity(50 * GWEI))
        await mine(rpc)
        await look(sender)
        await look(sender)
        await mine(rpc)
        await look(sender)
        assert isinstance(await sender.status("pay"), Mined)


async def test_fees_stop_at_the_cap(manual_rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    options = SenderOptions(fees=FeePolicy(Wei(3 * GWEI)), stuck_s=0)
    async with open_sender(manual_rpc, database, signer, options=options) as sender:
        await sender.submit("pay", TO, b"", Wei(3))
        for _ in range(5):
            await look(sender)
        entry = await sender.entry("pay")
        assert entry is not None
        assert all(attempt.fees.max_fee_wei <= 3 * GWEI for attempt in entry.attempts)

        await manual_rpc.call_once("anvil_setNextBlockBaseFeePerGas", quantity(50 * GWEI))
        await mine(manual_rpc)
        with pytest.raises(Unavailable, match="over the cap"):
            await sender.submit("other", TO, b"", Wei(3))


async def test_nonce_used_elsewhere_is_noticed_and_the_key_can_be_used_again(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    rpc = manual_rpc
    async with open_sender(rpc, database, signer) as sender:
        prepared = await sender.prepare("pay", TO, b"", Wei(3))
        stored = await database.write("test", lambda connection: sender.store_in(connection, prepared))
        await rpc.call_once(
            "eth_sendTransaction",
            {"from": hexadecimal(signer.address), "to": hexadecimal(REVERTER), "value": "0x1"},
        )
        await mine(rpc)
        await look(sender)
        assert await sender.status("pay") == Replaced(stored.hash, is_final=False)
        assert await sender.key_for("pay", after_revert=False) == "pay/2"

        await sender.submit("pay/2", TO, b"", Wei(3))
        await mine(rpc)
        await look(sender)
        assert isinstance(await sender.status("pay/2"), Mined)
        assert await balance(rpc, TO) == 3

        await rpc.call_once("anvil_mine", quantity(70))
        await look(sender)
        assert await sender.status("pay") == Replaced(stored.hash, is_final=True)
        await sender.submit("pay", TO, b"", Wei(4))
        await mine(rpc)
        await look(sender)
        assert isinstance(await sender.status("pay"), Mined)
        assert await balance(rpc, TO) == 7


async def test_what_would_revert_is_not_signed(rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    error = bytes.fromhex("08c379a0") + bytes(31) + b"\x20" + bytes(31) + b"\x02" + b"no" + bytes(30)
    # Returns its own call data as revert data: calldatacopy, revert.
    await rpc.call_once("anvil_setCode", hexadecimal(REVERTER), "0x365f5f37365ffd")
    async with open_sender(rpc, database, signer, explain=lambda data: f"It said {data[-32:-30]!r}.") as sender:
        with pytest.raises(WouldRevert, match=r"It said b'no'\.") as refused:
            await sender.submit("call", REVERTER, error)
        assert refused.value.data == error
        assert await sender.status("call") is None
        await sender.submit("pay", TO, b"", Wei(1))
        assert isinstance(await settled(sender, "pay"), Mined)
        assert await balance(rpc, TO) == 1


async def test_what_reverts_in_its_block_says_why(manual_rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    rpc = manual_rpc
    await rpc.call_once("anvil_setCode", hexadecimal(REVERTER), "0x00")
    async with open_sender(rpc, database, signer) as sender:
        await sender.submit("call", REVERTER, b"\x01")
        await rpc.call_once("anvil_setCode", hexadecimal(REVERTER), "0x5f5ffd")
        await mine(rpc)
        await look(sender)
        outcome = await sender.status("call")
        assert isinstance(outcome, Reverted)
        assert outcome.reason.startswith("The")
        assert not outcome.is_final


async def test_empty_wallet_is_told_before_anything_is_signed(rpc: Rpc, database: Database) -> None:
    async with open_sender(rpc, database, LocalSigner(b"\x05" * 32)) as sender:
        with pytest.raises(WalletTooPoor, match="cannot pay for gas"):
            await sender.submit("pay", TO, b"")
        assert await sender.status("pay") is None


async def test_mined_becomes_final(rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    async with open_sender(rpc, database, signer) as sender:
        await sender.submit("pay", TO, b"", Wei(1))
        await settled(sender, "pay")
        await rpc.call_once("anvil_mine", quantity(70))
        await look(sender)
        outcome = await sender.status("pay")
        assert isinstance(outcome, Mined)
        assert outcome.is_final


async def test_chain_that_goes_away_keeps_the_transaction(
    manual_rpc: Rpc, database: Database, signer: LocalSigner, anvil: Anvil
) -> None:
    async with open_sender(manual_rpc, database, signer) as sender:
        prepared = await sender.prepare("pay", TO, b"", Wei(1))
        attempt = await database.write("test", lambda connection: sender.store_in(connection, prepared))
        async with open_rpc([anvil.rpc_url], anvil.chain_id) as other:
            moved = Sender(other, database, signer, SenderOptions(), lambda data: None)
            await moved.broadcast(attempt)
            assert isinstance(await settled(moved, "pay"), Mined)


async def test_signed_is_pending_until_it_is_mined(manual_rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    async with open_sender(manual_rpc, database, signer) as sender:
        sent = await sender.submit("pay", TO, b"", Wei(1))
        assert await sender.status("pay") == Pending(sent, State.SIGNED)
        await look(sender)
        assert await sender.status("pay") == Pending(sent, State.SENT)


# ---- replacement ----------------------------------------------------------------------------------------------------


async def test_cancelled_transaction_has_no_effect_and_frees_those_behind(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    async with open_sender(manual_rpc, database, signer) as sender:
        await sender.submit("pay", TO, b"", Wei(3))
        await sender.submit("next", TO, b"", Wei(4))
        attempt = await cancel(sender, "pay")
        assert attempt.is_cancel
        assert await cancel(sender, "0") == attempt, "asked twice it is one cancellation"
        await mine(manual_rpc)
        await look(sender)
        outcome = await sender.status("pay")
        assert isinstance(outcome, Cancelled)
        assert outcome.inclusion.tx_hash == attempt.hash
        assert isinstance(await sender.status("next"), Mined)
        assert await balance(manual_rpc, TO) == 4
        assert await sender.key_for("pay", after_revert=False) == "pay/2"
        with pytest.raises(Refused, match="does not wait any more: it is mined"):
            await cancel(sender, "pay")
        with pytest.raises(Refused, match="No transaction has the key or nonce '9'"):
            await speed_up(sender, "9")


async def test_cancellation_that_comes_too_late_is_none(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    async with open_sender(manual_rpc, database, signer) as sender:
        sent = await sender.submit("pay", TO, b"", Wei(3))
        await mine(manual_rpc)
        # The sender has not looked, so it believes that the transaction waits.
        await cancel(sender, "pay")
        await look(sender)
        outcome = await sender.status("pay")
        assert isinstance(outcome, Mined)
        assert outcome.inclusion.tx_hash == sent


async def test_speeding_up_raises_both_fees(manual_rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    async with open_sender(manual_rpc, database, signer) as sender:
        await sender.submit("pay", TO, b"", Wei(3))
        await speed_up(sender, "pay")
        entry = await sender.entry("pay")
        assert entry is not None
        old, new = entry.attempts
        assert new.fees.max_fee_wei * 8 >= old.fees.max_fee_wei * 9
        assert new.fees.tip_wei * 8 >= old.fees.tip_wei * 9
        assert new.signed_at >= old.signed_at > 0


async def test_what_the_chain_would_refuse_by_now_is_cancelled_rather_than_paid_more_for(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    rpc, options = manual_rpc, SenderOptions(stuck_s=0)
    await rpc.call_once("anvil_setCode", hexadecimal(REVERTER), "0x00")
    async with open_sender(rpc, database, signer, options=options) as sender:
        await sender.submit("call", REVERTER, b"\x01")
        await sender.submit("next", TO, b"", Wei(4))
        await rpc.call_once("anvil_setCode", hexadecimal(REVERTER), "0x5f5ffd")
        watch = Watch()
        for _ in range(3):
            await look_once(sender, watch)
        await mine(rpc)
        await look_once(sender, watch)
        assert isinstance(await sender.status("call"), Cancelled)
        following = await sender.entry("next")
        assert following is not None
        assert len(following.attempts) == 1, "who only waits for another is not paid more for"


async def test_fees_rise_no_further_than_a_few_times_the_market(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    async with open_sender(manual_rpc, database, signer, options=SenderOptions(stuck_s=0)) as sender:
        await sender.submit("pay", TO, b"", Wei(3))
        watch = Watch()
        for _ in range(40):
            await look_once(sender, watch)
        entry = await sender.entry("pay")
        assert entry is not None
        assert len(entry.attempts) < 20
        assert entry.newest.fees.max_fee_wei < 5 * entry.attempts[0].fees.max_fee_wei


async def test_operator_is_told_once_of_a_transaction_that_the_cap_holds_up(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    told: list[str] = []
    options = SenderOptions(fees=FeePolicy(Wei(3 * GWEI)), stuck_s=0)
    async with open_sender(manual_rpc, database, signer, options=options) as sender:
        await sender.submit("first", TO, b"", Wei(3))
        await sender.submit("second", TO, b"", Wei(3))
        await manual_rpc.call_once("anvil_setNextBlockBaseFeePerGas", quantity(50 * GWEI))
        await mine(manual_rpc)
        watch = Watch(stuck=told.append)
        for _ in range(3):
            await look_once(sender, watch)
        assert len(told) == 2
        assert told[0].startswith("The transaction with nonce 0 waits: Gas costs ")


# ---- the same key elsewhere -----------------------------------------------------------------------------------------


async def pay_from_elsewhere(rpc: Rpc, signer: LocalSigner, nonce: int) -> TxHash:
    fee = Wei(20 * GWEI)
    raw = signer.sign_transaction(Transaction(rpc.chain_id, nonce, REVERTER, b"", Wei(1), 21_000, fee, fee))
    await rpc.call("eth_sendRawTransaction", hexadecimal(raw))
    return transaction_hash(raw)


async def test_ours_go_behind_what_the_wallet_sends_from_elsewhere(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    async with open_sender(manual_rpc, database, signer) as sender:
        for nonce in range(2):
            await pay_from_elsewhere(manual_rpc, signer, nonce)
        await sender.submit("pay", TO, b"", Wei(3))
        await mine(manual_rpc)
        await look(sender)
        assert isinstance(await sender.status("pay"), Mined)
        assert await sender.mined_count() == 3


async def test_nonce_that_was_lost_elsewhere_is_filled(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    async with open_sender(manual_rpc, database, signer, options=SenderOptions(stuck_s=0)) as sender:
        foreign = [await pay_from_elsewhere(manual_rpc, signer, nonce) for nonce in range(2)]
        await sender.submit("pay", TO, b"", Wei(3))
        for tx_hash in foreign:
            await manual_rpc.call_once("anvil_dropTransaction", hexadecimal(tx_hash))
        watch = Watch()
        for _ in range(4):
            await look_once(sender, watch)
            await mine(manual_rpc)
        await look_once(sender, watch)
        assert isinstance(await sender.status("pay"), Mined)
        assert isinstance(await sender.status("gap/0"), Mined)
        assert await sender.mined_count() == 3


async def test_a_doubt_about_a_block_is_looked_into_at_once(rpc: Rpc, database: Database, signer: LocalSigner) -> None:
    """The next look at mined transactions by itself would be long after the test."""
    options = SenderOptions(poll_s=3600, mined_poll_s=3600)
    async with open_sender(rpc, database, signer, options=options) as sender, trio.open_nursery() as nursery:
        await nursery.start(run_sender, sender)
        await sender.submit("pay", TO, b"", Wei(3))
        await sender.outcome("pay")
        await rpc.call_once("anvil_reorg", 1, [])
        assert await balance(rpc, TO) == 0
        sender.doubt()
        with trio.fail_after(20):
            while not await balance(rpc, TO):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_what_another_replaced_comes_back_when_that_one_is_reorganised_away(
    manual_rpc: Rpc, database: Database, signer: LocalSigner
) -> None:
    rpc = manual_rpc
    async with open_sender(rpc, database, signer) as sender:
        prepared = await sender.prepare("pay", TO, b"", Wei(3))
        await database.write("test", lambda connection: sender.store_in(connection, prepared))
        await mine(rpc)
        await pay_from_elsewhere(rpc, signer, 0)
        await mine(rpc)
        await look(sender)
        assert isinstance(await sender.status("pay"), Replaced)
        await rpc.call_once("anvil_reorg", 1, [])
        await look(sender)
        assert isinstance(await sender.status("pay"), Pending)
        await mine(rpc)
        await look(sender)
        assert isinstance(await sender.status("pay"), Mined)
        assert await balance(rpc, TO) == 3


async def test_old_database_that_was_restored_goes_on_after_what_it_has_forgotten(
    rpc: Rpc, tmp_path: Path, signer: LocalSigner
) -> None:
    async def pay(path: Path, *keys: str) -> None:
        async with (
            open_database(path, [TRANSACTIONS_SCHEMA]) as database,
            open_sender(rpc, database, signer) as sender,
        ):
            for key in keys:
                await sender.submit(key, TO, b"", Wei(1))
                assert isinstance(await settled(sender, key), Mined)

    path, backup = tmp_path / "node.sqlite", tmp_path / "backup.sqlite"
    await pay(path, "first")
    shutil.copy(path, backup)
    await pay(path, "second", "third")
    await pay(backup, "first", "fourth")
    assert await balance(rpc, TO) == 4


async def test_sent_but_reported_failed_is_sent_once(
    manual_rpc: Rpc, database: Database, signer: LocalSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = manual_rpc.call

    async def liar(method: str, *params: Json) -> object:
        reply = await call(method, *params)
        if method == "eth_sendRawTransaction":
            raise RpcError(method, -32000, "Internal error", None)
        return reply

    monkeypatch.setattr(manual_rpc, "call", liar)
    async with open_sender(manual_rpc, database, signer) as sender:
        await sender.submit("pay", TO, b"", Wei(3))
        await look(sender)
        assert isinstance(await sender.status("pay"), Pending)
        await mine(manual_rpc)
        await look(sender)
        assert isinstance(await sender.status("pay"), Mined)
        assert await balance(manual_rpc, TO) == 3


async def test_rows_of_the_first_release_are_taken_over(tmp_path: Path, rpc: Rpc, signer: LocalSigner) -> None:
    path = tmp_path / "old.sqlite"
    first = Schema(TRANSACTIONS_SCHEMA.name, TRANSACTIONS_SCHEMA.steps[:1])
    row = "INSERT INTO chain_transactions VALUES (?, ?, ?, ?, ?, ?, '0', 21000, ?, ?, ?, ?, ?, NULL)"
    nothing = (None, None, None, None)

    def write(connection: sqlite3.Connection) -> None:
        for nonce, (key, state, mined_in) in enumerate(
            (("gone", "replaced", nothing), ("done", "final", (b"\1" * 32, 1, b"\2" * 32, 21_000)))
        ):
            values = (rpc.chain_id, signer.address, key, nonce, TO, b"", state, *mined_in)
            connection.execute(row, values)
            connection.execute(
                "INSERT INTO chain_attempts VALUES (?, ?, ?, ?, ?, '1', '1', ?)",
                (bytes((nonce + 1,)) * 32, rpc.chain_id, signer.address, key, nonce, b"raw"),
            )

    async with open_database(path, [first]) as database:
        await database.write("test", write)
    async with open_database(path, [TRANSACTIONS_SCHEMA]) as database, open_sender(rpc, database, signer) as sender:
        assert await sender.status("gone") == Replaced(TxHash(b"\1" * 32), is_final=True)
        done = await sender.status("done")
        assert isinstance(done, Mined)
        assert done.is_final
        assert await database.read(lambda connection: next_nonce(connection, sender.account)) == 2
