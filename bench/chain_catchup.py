"""Catching up with 20,000 blocks and 200,000 events: the real follower, next to web3.py and to bare reading.

Follower: the node's own, from an empty database to the head; every event is decoded and written with its block's hash,
in durable transactions with full sync. With `node_`: what a node makes of the same events, of which a tenth belong to
deals of its own and go into its inbox. web3.py: block by block, `get_block` and the decoded logs of the block, on a
part of the chain. Floor: the follower's requests once more over one connection, read and thrown away.
All in turn, `ROUNDS` times; figures and ratios are medians of the rounds.
"""

import http.client
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from bench import report
from bench.long_chain import BLOCKS, CHAIN_ID, EVENTS, EVENTS_PER_BLOCK, MARKET, ask, long_chain
from capanode.contracts_abi import artifacts, bindings
from capanode.node import journal
from capanode.node.assigned import provider_peers
from capanode.node.chain import case_log
from capanode.node.chain.blocks import FOLLOWER_SCHEMA, BlockRef
from capanode.node.chain.follower import Apply, DecodedLog, Follower, FollowerOptions, LogFilter
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.headers import header_call
from capanode.node.chain.intake import ChainIntake
from capanode.node.chain.jsonrpc import Call, batched
from capanode.node.chain.logs import LogReader
from capanode.node.chain.ranges import CHUNK_BLOCKS
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.wire import quantity
from capanode.node.storage.database import Schema, open_database
from capanode.protocol.ids import Digest

ROUNDS: Final = 3
WEB3_BLOCKS: Final = 300
"""Each block costs the same: enough of them to time."""

OURS_EVERY: Final = 10
FILTER: Final = LogFilter((MARKET,), (Digest(bindings.DealFinalized.TOPIC),), bindings.decode_log, first_block=1)
EVENT_TABLE: Final = Schema(
    "event_table",
    ("CREATE TABLE finalized (block BLOB, log_index INTEGER, deal_id BLOB, provider BLOB, paid BLOB, returned BLOB);",),
)


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    rounds: list[dict[str, float]] = []
    with long_chain() as port:
        for number in range(ROUNDS):
            print(f"[bench] round {number + 1} of {ROUNDS}", file=sys.stderr)
            floor_s, floor_bytes = _floor(port)
            ours = EVENTS / trio.run(_followed_s, port, _write_all, "finalized", EVENTS)
            node = EVENTS / trio.run(_followed_s, port, ChainIntake(_ignore).apply, "inbox", EVENTS // OURS_EVERY)
            web3 = _web3_per_s(port)
            rounds.append(
                {
                    "events_per_s": ours,
                    "ratio_vs_web3_loop": ours / web3,
                    "ratio_vs_floor": ours * floor_s / EVENTS,
                    "node_events_per_s": node,
                    "node_ratio_vs_floor": node * floor_s / EVENTS,
                    "web3_loop_events_per_s": web3,
                    "floor_events_per_s": EVENTS / floor_s,
                    "bytes_per_event": floor_bytes / EVENTS,
                }
            )
    medians: dict[str, report.Figure] = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    report.write("chain_catchup", {**medians, "blocks": BLOCKS, "events": EVENTS, "chunk_blocks": CHUNK_BLOCKS})


async def _followed_s(port: int, apply: Apply, table: str, expected: int) -> float:
    """Seconds from an empty database to the chain's head."""
    schemas = [FOLLOWER_SCHEMA, journal.SCHEMA, provider_peers.SCHEMA, case_log.SCHEMA, EVENT_TABLE]
    with tempfile.TemporaryDirectory(prefix="capanode-bench-") as folder:
        async with (
            open_rpc([f"http://127.0.0.1:{port}"], CHAIN_ID) as rpc,
            open_database(Path(folder) / "node.db", schemas) as database,
        ):
            await database.write("bench.own-deals", _own_deals)
            options = FollowerOptions(0, with_pending=False)
            follower = Follower(rpc, database, FILTER, options, apply, _keep, lambda: None, HeadWatch())
            began = time.monotonic()
            while await follower.step():
                pass
            took_s = time.monotonic() - began
            count = await database.read(lambda connection: _count(connection, table))
    if count != expected:
        raise RuntimeError(f"{count} events were followed, of {expected}")
    return took_s


def _write_all(connection: sqlite3.Connection, block: BlockRef, logs: Sequence[DecodedLog]) -> None:
    events: Any = [(log.log_index, log.event) for log in logs]
    connection.executemany(
        "INSERT INTO finalized VALUES (?, ?, ?, ?, ?, ?)",
        [(block.hash, index, each.deal_id, each.provider, each.paid, each.returned) for index, each in events],
    )


def _own_deals(connection: sqlite3.Connection) -> None:
    """One deal in the journal that has borne the ids of a tenth of the chain's deals."""
    connection.execute(
        "INSERT INTO deal (key, side, phase, ended, state, created_at, updated_at, market) "
        "VALUES ('own', 'provider', '', 0, x'', 0, 0, ?)",
        (MARKET,),
    )
    ids = ((number.to_bytes(32, "big"),) for number in range(0, EVENTS, OURS_EVERY))
    connection.executemany("INSERT INTO deal_name VALUES ('own', ?)", ids)


def _count(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    return int(count)


def _ignore(log: DecodedLog) -> None:
    """Nothing in this chain is news."""


def _keep(connection: sqlite3.Connection, block: BlockRef) -> None:
    raise RuntimeError(f"block {block.number} was taken back")


def _floor(port: int) -> tuple[float, int]:
    """Seconds and bytes of reading what the follower reads."""
    reader, size = LogReader(FILTER), 0
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.monotonic()
    for below in range(0, BLOCKS, CHUNK_BLOCKS):
        last = min(below + CHUNK_BLOCKS, BLOCKS)
        query = reader.query(fromBlock=quantity(below + 1), toBlock=quantity(last))
        calls = (header_call(below), Call("eth_getLogs", (query,)), header_call(last))
        size += len(ask(connection, batched(calls).body))
    return time.monotonic() - began, size


def _web3_per_s(port: int) -> float:
    """Events per second of the loop that web3.py's own documentation leads to."""
    from web3 import HTTPProvider, Web3

    web3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}"))
    contract: Any = web3.eth.contract(address=web3.to_checksum_address(MARKET), abi=artifacts.load("DealMarket").abi)
    event, count = contract.events.DealFinalized(), 0
    began = time.monotonic()
    for number in range(1, WEB3_BLOCKS + 1):
        block = web3.eth.get_block(number)
        count += len(event.get_logs(from_block=block["number"], to_block=block["number"]))
    took_s = time.monotonic() - began
    if count != WEB3_BLOCKS * EVENTS_PER_BLOCK:
        raise RuntimeError(f"web3.py found {count} events")
    return count / took_s


if __name__ == "__main__":
    main()
