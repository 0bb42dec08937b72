"""The follower's view equals the chain's, whatever the chain takes back."""

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from capanode.node.chain import blocks
from capanode.node.chain.anvil import Anvil, AnvilOptions, run_anvil
from capanode.node.chain.blocks import FOLLOWER_SCHEMA, BlockRef, remember_row
from capanode.node.chain.follower import (
    DecodedLog,
    FinalityViolated,
    Follower,
    FollowerOptions,
    LogFilter,
    run_follower,
)
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.wire import Json, hexadecimal, quantity, read_list, read_object, read_quantity
from capanode.node.storage.database import Database, Schema, open_database
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, Digest, UnixTime
from tests.fakes.rpc_proxy import RpcProxy, run_rpc_proxies
from tests.fakes.rpc_trouble import Dice, Trouble

EMITTER = Address(b"\xee" * 20)
EMITTER_CODE = "0x6020360360205f375f35602036035fa100"
"""log1(topic = calldata[0:32], data = calldata[32:])."""

TOPIC = Digest(b"\x01" * 32)
SENDER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
PROJECTION = Schema(
    "projection",
    (
        "CREATE TABLE seen (block BLOB, log_index INTEGER, value INTEGER);"
        "CREATE TABLE total (name TEXT PRIMARY KEY, value INTEGER NOT NULL);",
    ),
)

Row = tuple[bytes, int, int]


def decode(topics: Sequence[bytes], data: bytes) -> object:
    return int.from_bytes(data, "big")


def apply(connection: sqlite3.Connection, block: BlockRef, logs: tuple[DecodedLog, ...]) -> None:
    for log in logs:
        connection.execute("INSERT INTO seen VALUES (?, ?, ?)", (block.hash, log.log_index, log.event))
        remember_row(connection, block, "total", {"name": "sum"})
        connection.execute(
            "INSERT INTO total VALUES ('sum', ?) ON CONFLICT DO UPDATE SET value = value + excluded.value", (log.event,)
        )


def unwind(connection: sqlite3.Connection, block: BlockRef) -> None:
    connection.execute("DELETE FROM seen WHERE block = ?", (block.hash,))


def follower(
    rpc: Rpc, database: Database, confirmations: int = 0, head: HeadWatch | None = None, *, is_busy: bool = True
) -> Follower:
    log_filter = LogFilter((EMITTER,), (TOPIC,), decode, first_block=2)
    options = FollowerOptions(confirmations, lag_patience_s=0)
    return Follower(
        rpc,
        database,
        log_filter,
        options,
        apply,
        unwind,
        lambda: None,
        head or HeadWatch(),
        is_busy=lambda: is_busy,
    )


async def follow(following: Follower) -> None:
    while await following.step():
        pass


async def begin(rpc: Rpc) -> None:
    await rpc.call_once("anvil_setCode", hexadecimal(EMITTER), EMITTER_CODE)
    await rpc.call_once("evm_mine")


def emission(value: int, topic: bytes = TOPIC) -> dict[str, Json]:
    return {"from": SENDER, "to": hexadecimal(EMITTER), "data": hexadecimal(topic + value.to_bytes(32, "big"))}


async def emit(rpc: Rpc, *values: int) -> None:
    for value in values:
        await rpc.call_once("eth_sendTransaction", emission(value))
    await rpc.call_once("evm_mine")


async def height(rpc: Rpc) -> int:
    return read_quantity(await rpc.call("eth_blockNumber"))


async def on_chain(rpc: Rpc, depth: int = 0) -> list[Row]:
    last = await height(rpc) - depth
    if last < 2:
        return []
    query: Json = {
        "address": hexadecimal(EMITTER),
        "topics": [hexadecimal(TOPIC)],
        "fromBlock": "0x2",
        "toBlock": quantity(last),
    }
    logs = [read_object(log) for log in read_list(await rpc.call("eth_getLogs", query))]
    return sorted(
        (
            bytes.fromhex(str(log["blockHash"])[2:]),
            read_quantity(log["logIndex"]),
            int(str(log["data"]), 16),
        )
        for log in logs
    )


async def seen(database: Database) -> tuple[list[Row], int]:
    def read(connection: sqlite3.Connection) -> tuple[list[Row], int]:
        rows = connection.execute("SELECT block, log_index, value FROM seen").fetchall()
        total = connection.execute("SELECT value FROM total").fetchone()
        return sorted(rows), total[0] if total else 0

    return await database.read(read)


async def assert_equal(rpc: Rpc, database: Database, depth: int = 0) -> None:
    truth = await on_chain(rpc, depth)
    assert await seen(database) == (truth, sum(row[2] for row in truth))


@pytest.fixture
async def projected(tmp_path: Path) -> AsyncGenerator[Database]:
    async with open_database(tmp_path / "follower.sqlite", [FOLLOWER_SCHEMA, PROJECTION]) as database:
        yield database


async def test_shorter_chain_is_followed(manual_rpc: Rpc, projected: Database) -> None:
    await begin(manual_rpc)
    following = follower(manual_rpc, projected)
    snapshot = await manual_rpc.call_once("evm_snapshot")
    await emit(manual_rpc, 1, 2)
    await emit(manual_rpc, 3)
    await follow(following)
    assert (await seen(projected))[1] == 6

    await manual_rpc.call_once("evm_revert", str(snapshot))
    await follow(following)

    assert await seen(projected) == ([], 0)


async def test_shorter_chain_is_believed_only_after_patience(
    manual_rpc: Rpc, projected: Database, mock_clock: trio.testing.MockClock
) -> None:
    await begin(manual_rpc)
    log_filter = LogFilter((EMITTER,), (TOPIC,), decode, first_block=2)
    options = FollowerOptions(0, lag_patience_s=10)
    following = Follower(manual_rpc, projected, log_filter, options, apply, unwind, lambda: None, HeadWatch())
    await emit(manual_rpc, 1)
    await follow(following)

    await manual_rpc.call_once("anvil_rollback", 1)
    await follow(following)
    assert (await seen(projected))[1] == 1

    mock_clock.jump(11)
    await follow(following)
    assert (await seen(projected))[1] == 0


async def test_logs_wait_for_their_confirmations(manual_rpc: Rpc, projected: Database) -> None:
    await begin(manual_rpc)
    following = follower(manual_rpc, projected, confirmations=2)
    await emit(manual_rpc, 5)
    await manual_rpc.call_once("evm_mine")
    await follow(following)
    assert (await seen(projected))[1] == 0

    await manual_rpc.call_once("evm_mine")
    await follow(following)
    assert (await seen(projected))[1] == 5


async def test_logs_that_an_endpoint_does_not_have_yet_are_waited_for(
    manual_anvil: Anvil, manual_rpc: Rpc, projected: Database
) -> None:
    proxy = RpcProxy(manual_anvil.rpc_url, Dice(seed=2, rate=0.0, kinds={Trouble.NO_LOGS}))
    await begin(manual_rpc)
    async with run_rpc_proxies([proxy]) as urls, open_rpc(urls, manual_anvil.chain_id) as rpc:
        following = follower(rpc, projected)
        await follow(following)
        proxy.dice.rate = 0.5
        for value in range(1, 13):
            await emit(manual_rpc, value)
            while await height(manual_rpc) != (await seen_tip(projected)):
                with suppress(Unavailable):
                    await following.step()
        assert proxy.dice.counts[Trouble.NO_LOGS] > 3
        await assert_equal(manual_rpc, projected)


async def seen_tip(database: Database) -> int:
    stored = await database.read(lambda connection: blocks.tip(connection, 31_337))
    assert stored is not None
    return stored.block.number


async def calls_of(rpc: Rpc, following: Follower) -> int:
    before = rpc.endpoints[0].requests
    await follow(following)
    return rpc.endpoints[0].requests - before


async def kept(database: Database) -> list[int]:
    rows = await database.read(lambda connection: connection.execute("SELECT number FROM chain_blocks").fetchall())
    return [number for (number,) in rows]


async def test_idle_look_costs_few_calls_however_many_blocks_there_are(manual_rpc: Rpc, projected: Database) -> None:
    await begin(manual_rpc)
    head = HeadWatch()
    following = follower(manual_rpc, projected, head=head, is_busy=False)
    await follow(following)
    await manual_rpc.call_once("anvil_mine", quantity(12))

    # The newest block (and the pending one, asked for on development chains), its end and logs; then that it is done.
    assert await calls_of(manual_rpc, following) == 2 + 2 + 2
    assert head.head is not None
    assert head.head.block.number == await height(manual_rpc)

    await emit(manual_rpc, 3, 4)
    await manual_rpc.call_once("anvil_mine", quantity(5))
    assert await calls_of(manual_rpc, following) == 2 + 2 + 2 + 2
    await assert_equal(manual_rpc, projected)
    assert len(await kept(projected)) == 4


async def test_stretch_that_is_replaced_is_taken_back(manual_rpc: Rpc, projected: Database) -> None:
    await begin(manual_rpc)
    following = follower(manual_rpc, projected, is_busy=False)
    await follow(following)
    await emit(manual_rpc, 1)
    await manual_rpc.call_once("anvil_mine", quantity(3))
    await emit(manual_rpc, 2)
    await manual_rpc.call_once("anvil_mine", quantity(3))
    await follow(following)
    assert (await seen(projected))[1] == 3

    await manual_rpc.call_once("anvil_reorg", 5, [])
    await follow(following)
    assert (await seen(projected))[1] == 1
    await assert_equal(manual_rpc, projected)


async def test_stretch_waits_for_its_confirmations(manual_rpc: Rpc, projected: Database) -> None:
    await begin(manual_rpc)
    following = follower(manual_rpc, projected, confirmations=4, is_busy=False)
    await follow(following)
    await emit(manual_rpc, 1)
    await manual_rpc.call_once("anvil_mine", quantity(2))
    await emit(manual_rpc, 2)
    await manual_rpc.call_once("anvil_mine", quantity(2))
    await follow(following)
    await assert_equal(manual_rpc, projected, depth=4)
    assert (await seen(projected))[1] == 1


async def test_logs_left_out_of_a_stretch_are_found_before_it_is_final(
    manual_rpc: Rpc, projected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(manual_rpc)
    following = follower(manual_rpc, projected, is_busy=False)
    await follow(following)
    for value in range(3):
        await emit(manual_rpc, 1 + value)
        await manual_rpc.call_once("anvil_mine", quantity(4))
    (endpoint,) = manual_rpc.endpoints
    whole = endpoint.batch

    async def without_logs(calls: Sequence[Call]) -> tuple[object, ...]:
        replies = await whole(calls)
        return tuple([] if call.method == "eth_getLogs" else got for call, got in zip(calls, replies, strict=True))

    with monkeypatch.context() as late:
        late.setattr(endpoint, "batch", without_logs)
        await follow(following)
    assert (await seen(projected))[1] == 0

    # Only what is final is read again, by a node that has just started or as time goes by.
    await manual_rpc.call_once("anvil_mine", quantity(40))
    await follow(follower(manual_rpc, projected, is_busy=False))
    assert (await seen(projected))[1] == 0
    await manual_rpc.call_once("anvil_mine", quantity(64))
    await follow(follower(manual_rpc, projected, is_busy=False))
    await assert_equal(manual_rpc, projected)
    assert (await seen(projected))[1] == 6


async def test_stretch_that_is_read_again_as_it_was_is_final(manual_rpc: Rpc, projected: Database) -> None:
    await begin(manual_rpc)
    following = follower(manual_rpc, projected, is_busy=False)
    await follow(following)
    for value in range(12):
        await emit(manual_rpc, value)
        await manual_rpc.call_once("anvil_mine", quantity(9))
        await follow(following)
    # A new one asks what is final, whatever the time.
    await follow(follower(manual_rpc, projected, is_busy=False))
    await assert_equal(manual_rpc, projected)
    final = await projected.read(lambda connection: blocks.final_number(connection, manual_rpc.chain_id))
    assert final > 30
    assert min(await kept(projected)) == final


async def test_stretch_is_as_long_as_the_endpoint_allows(
    manual_rpc: Rpc, projected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(manual_rpc)
    following = follower(manual_rpc, projected, is_busy=False)
    await follow(following)
    await emit(manual_rpc, 1)
    await manual_rpc.call_once("anvil_mine", quantity(40))
    (endpoint,) = manual_rpc.endpoints
    whole, lengths = endpoint.batch, list[int]()

    async def at_most_ten(calls: Sequence[Call]) -> tuple[object, ...]:
        for call in calls:
            if call.method == "eth_getLogs":
                query = read_object(call.params[0])
                lengths.append(read_quantity(query["toBlock"]) - read_quantity(query["fromBlock"]) + 1)
                if lengths[-1] > 10:
                    return (None, RpcError(call.method, -32600, "up to a 10 block range", None))
        return await whole(calls)

    monkeypatch.setattr(endpoint, "batch", at_most_ten)
    await follow(following)
    await assert_equal(manual_rpc, projected)
    assert sum(length for length in lengths if length <= 10) == 41


async def test_busy_node_looks_at_each_block(manual_rpc: Rpc, projected: Database) -> None:
    await begin(manual_rpc)
    following = follower(manual_rpc, projected)
    await manual_rpc.call_once("anvil_mine", quantity(12))
    await follow(following)
    assert await kept(projected) == list(range(1, 14))


async def test_other_topics_are_not_delivered(manual_rpc: Rpc, projected: Database) -> None:
    await begin(manual_rpc)
    await manual_rpc.call_once("eth_sendTransaction", emission(9, topic=b"\x02" * 32))
    await emit(manual_rpc, 1)
    await follow(follower(manual_rpc, projected))
    assert (await seen(projected))[1] == 1


async def test_catch_up_reads_ranges_below_finality(
    manual_rpc: Rpc, projected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capanode.node.chain.ranges.CHUNK_BLOCKS", 40)
    await begin(manual_rpc)
    for value in range(20):
        await emit(manual_rpc, value, value)
        await manual_rpc.call_once("anvil_mine", quantity(7))

    following = follower(manual_rpc, projected)
    await follow(following)

    await assert_equal(manual_rpc, projected)
    kept = await projected.read(lambda connection: connection.execute("SELECT COUNT(*) FROM chain_blocks").fetchone())
    assert kept[0] <= 66
    # A reorganisation above finality is still taken back.
    await manual_rpc.call_once("anvil_reorg", 20, [])
    await follow(following)
    await assert_equal(manual_rpc, projected)


async def test_reorganisation_below_finality_stops_the_follower(tmp_path: Path) -> None:
    async with (
        run_anvil(AnvilOptions(is_mining=False, slots_in_an_epoch=1)) as chain,
        open_rpc([chain.rpc_url], chain.chain_id) as rpc,
        open_database(tmp_path / "node.sqlite", [FOLLOWER_SCHEMA, PROJECTION]) as database,
    ):
        await begin(rpc)
        for value in range(20):
            await emit(rpc, value)
        following = follower(rpc, database)
        await follow(following)

        await rpc.call_once("anvil_reorg", 10, [])
        with pytest.raises(FinalityViolated, match="called final"):
            await follow(following)


async def test_another_chain_under_the_same_data_folder_is_refused(tmp_path: Path) -> None:
    async with open_database(tmp_path / "node.sqlite", [FOLLOWER_SCHEMA, PROJECTION]) as database:
        for number in range(2):
            async with (
                run_anvil(AnvilOptions(is_mining=False)) as chain,
                open_rpc([chain.rpc_url], chain.chain_id) as rpc,
            ):
                await begin(rpc)
                await emit(rpc, number)
                if number == 0:
                    await follow(follower(rpc, database))
                else:
                    await rpc.call_once("evm_increaseTime", 1000)
                    await rpc.call_once("anvil_reorg", 2, [])
                    with pytest.raises(FinalityViolated):
                        await follow(follower(rpc, database))


async def test_subscription_wakes_the_follower(anvil: Anvil, rpc: Rpc, projected: Database) -> None:
    await begin(rpc)
    woken = trio.Event()
    head = HeadWatch()
    options = FollowerOptions(0, poll_s=60, ws_urls=("ws://127.0.0.1:1", anvil.ws_url))
    log_filter = LogFilter((EMITTER,), (TOPIC,), decode, first_block=2)
    async with trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[Follower]) -> None:
            await run_follower(
                rpc,
                projected,
                log_filter,
                options,
                apply,
                unwind,
                wake=woken.set,
                head=head,
                task_status=task_status,
            )

        await nursery.start(start)
        with trio.fail_after(20):
            # The subscription may begin a little after the first look; each block is another chance.
            while not woken.is_set():
                await rpc.call_once("eth_sendTransaction", emission(4))
                with trio.move_on_after(0.2):
                    await woken.wait()
        nursery.cancel_scope.cancel()
    assert (await seen(projected))[1] >= 4


async def test_head_time_moves_on_an_idle_chain(rpc: Rpc, projected: Database) -> None:
    await begin(rpc)
    head = HeadWatch()
    following = follower(rpc, projected, head=head)
    await follow(following)
    assert head.head is not None
    before = head.head

    await rpc.call_once("evm_increaseTime", 3600)
    await follow(following)

    await head.wait_until(UnixTime(before.block.time + 3599))
    assert head.head.block == before.block
    assert head.head.next_time >= before.next_time + 3600


def test_undo_rows_restore_changes_insertions_and_deletions() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(FOLLOWER_SCHEMA.steps[0])
    connection.execute("CREATE TABLE deals (id BLOB PRIMARY KEY, phase TEXT, price INTEGER)")
    connection.execute("INSERT INTO deals VALUES (x'01', 'assigned', 5), (x'02', 'assigned', NULL)")
    before = connection.execute("SELECT * FROM deals ORDER BY id").fetchall()
    block = BlockRef(1, 7, Digest(b"\x07" * 32), Digest(b"\x06" * 32), UnixTime(0))
    blocks.add(connection, blocks.StoredBlock(block, (), is_delivered=True))

    for change in ("UPDATE deals SET phase = 'committed'", "DELETE FROM deals"):
        for row in (b"\x01", b"\x02"):
            remember_row(connection, block, "deals", {"id": row})
        connection.execute(change)
    remember_row(connection, block, "deals", {"id": b"\x03"})
    connection.execute("INSERT INTO deals VALUES (x'03', 'announced', 1)")
    blocks.remove(connection, block)

    assert connection.execute("SELECT * FROM deals ORDER BY id").fetchall() == before
    with pytest.raises(ValueError, match="no table"):
        remember_row(connection, block, "deals; DROP TABLE deals", {"id": b""})
    connection.close()
