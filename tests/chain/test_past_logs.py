"""Reading logs of the past: every block once, in whatever ranges the endpoint allows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest
import trio

from capanode.contracts_abi import bindings
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.logs import DecodedLog
from capanode.node.chain.past_logs import query_of, read_past
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import hexadecimal
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address
from capanode.protocol.judging import named_pool

POOLS = Address(b"\x05" * 20)
LAST = 2_000_000


@dataclass(slots=True)
class Endpoint:
    """A chain with a log in some blocks, that gives the logs of so many blocks at most."""

    most: int
    blocks: tuple[int, ...]
    asked: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    async def call(self, method: str) -> str:
        await trio.lowlevel.checkpoint()
        assert method == "eth_blockNumber"
        return hex(LAST)

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        await trio.lowlevel.checkpoint()
        ((query,),) = (call.params for call in calls)
        assert isinstance(query, dict)
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if last - first >= self.most:
            return [RpcError("eth_getLogs", -32005, "too many blocks", None)]
        self.asked.append((first, last))
        return [[self.log(block) for block in self.blocks if first <= block <= last]]

    def log(self, block: int) -> dict[str, object]:
        arbiter = Address(block.to_bytes(20, "big"))
        data = b"".join(value.to_bytes(32, "big") for value in (32, 1, block))
        return {
            "address": hexadecimal(POOLS),
            "topics": [hexadecimal(bindings.SetNamed.TOPIC), hexadecimal(named_pool((arbiter,)))],
            "data": hexadecimal(data),
            "blockNumber": hex(block),
            "blockHash": hexadecimal(block.to_bytes(32, "big")),
            "transactionHash": hexadecimal(bytes(32)),
            "logIndex": "0x0",
        }


async def read(endpoint: Endpoint) -> list[int]:
    """The blocks whose logs were handed over."""
    found: list[DecodedLog] = []
    await read_past(cast(Rpc, endpoint), (query_of((POOLS,), (bindings.SetNamed,)),), 7, found.append)
    events = [log.event for log in found if isinstance(log.event, bindings.SetNamed)]
    return [int.from_bytes(event.arbiters[0], "big") for event in events]


@pytest.mark.parametrize("most", [2**40, 100_000, 5_000])
async def test_every_block_is_asked_for_once_and_in_order(most: int) -> None:
    endpoint = Endpoint(most, (7, 10_006, 10_007, 1_234_567, LAST))
    assert await read(endpoint) == list(endpoint.blocks)
    ends = [7, *(last + 1 for _, last in endpoint.asked)]
    assert [first for first, _ in endpoint.asked] == ends[:-1]
    assert ends[-1] == LAST + 1


async def test_an_endpoint_that_gives_no_logs_at_all_is_told() -> None:
    with pytest.raises(Unavailable, match=r"The logs of block 7 cannot be read .* add another RPC URL"):
        await read(Endpoint(0, ()))
