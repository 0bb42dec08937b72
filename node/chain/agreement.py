"""Whether the endpoints of a chain tell the same story, and which of them are late.

All are asked for their heads, and for one old block that each must have. Those with another hash than the most are
not asked again until they agree; one that is behind waits in the second row. A tie goes to the longer chain.

**Source**: docs/adr/0006-endpoints.md.
"""

from collections.abc import Callable, Mapping
from typing import Final

import structlog
import trio

from capanode.node.chain.endpoint import Endpoint, EndpointState
from capanode.node.chain.headers import header_call, read_header
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import read_quantity
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Digest

COMPARE_EVERY_S: Final = 30.0
COMPARE_DEPTH: Final = 16
"""How far below the lowest head the block lies that is compared: below what a chain takes back from day to day."""

MAX_LAG_BLOCKS: Final = 4
"""Endpoints differ by some blocks at any moment; further behind, one is not asked for the head."""

_log = structlog.stdlib.get_logger()

Tell = Callable[[str], None]
"""Takes a sentence for the operator."""


async def watch_endpoints(rpc: Rpc, tell: Tell) -> None:
    """Compare the endpoints for ever, where there are several."""
    while len(rpc.endpoints) > 1:
        await compare(rpc, tell)
        await trio.sleep(COMPARE_EVERY_S)
        await rpc.budget.turn()


async def compare(rpc: Rpc, tell: Tell) -> None:
    """Ask all endpoints once, and put those aside that are late or that disagree."""
    heads = await _ask_all(rpc, Call("eth_blockNumber"))
    for endpoint in rpc.endpoints:
        if endpoint in heads:
            endpoint.head = read_quantity(heads[endpoint])
    agreeing = [endpoint.head for endpoint in heads if not endpoint.disagrees and endpoint.head is not None]
    if not agreeing:
        return
    for endpoint in heads:
        endpoint.is_behind = endpoint.head is not None and endpoint.head < max(agreeing) - MAX_LAG_BLOCKS
    number = max(min(agreeing) - COMPARE_DEPTH, 0)
    votes = await hashes_at(rpc, number)
    if len(votes) > 1:
        settle(rpc, number, votes, _winner(rpc, votes), tell)


async def hashes_at(rpc: Rpc, number: int) -> dict[Endpoint, Digest]:
    """What each endpoint has as block `number`; those that have none, or do not answer, are left out."""
    votes: dict[Endpoint, Digest] = {}
    for endpoint, reply in (await _ask_all(rpc, header_call(number))).items():
        try:
            header = read_header(reply, rpc.chain_id, number)
        except Unavailable as error:
            endpoint.blame(error)
            continue
        if header is not None:
            votes[endpoint] = header.block.hash
    return votes


def settle(rpc: Rpc, number: int, votes: Mapping[Endpoint, Digest], right: Digest, tell: Tell) -> None:
    """Put the endpoints with another hash than `right` aside, and tell of those that were not aside yet."""
    agreeing = [endpoint for endpoint in rpc.endpoints if votes.get(endpoint) == right]
    for endpoint, found in votes.items():
        is_new = found != right and not endpoint.disagrees
        endpoint.disagrees = found != right
        if is_new and agreeing:
            _log.warning("rpc_endpoints_disagree", number=number, followed=agreeing[0].name, left=endpoint.name)
            tell(
                f"The RPC endpoints {agreeing[0].name} and {endpoint.name} have different blocks {number} of chain "
                f"{rpc.chain_id}: the first one's, which {len(agreeing)} of {len(votes)} have, is followed; "
                "check the second one, or remove it."
            )


async def final_number(rpc: Rpc, source: Endpoint, head_number: int, depth: int) -> int:
    """What is final, as the middle one of the endpoints sees it, so that none alone can say too much or too little.

    Where an endpoint knows no `finalized` block, it is the one `depth` below the head.
    """
    asked = [source] + [each for each in rpc.endpoints if each is not source and each.state is EndpointState.GOOD]
    replies = await _ask(asked, header_call("finalized"))
    found = sorted(_final(rpc, reply, max(head_number - depth, 0)) for reply in replies.values())
    if not found:
        raise Unavailable(f"The final block of chain {rpc.chain_id} cannot be read: retrying.")
    return min(found[(len(found) - 1) // 2], head_number)


def _final(rpc: Rpc, reply: object, by_depth: int) -> int:
    header = None if isinstance(reply, RpcError) else read_header(reply, rpc.chain_id)
    return by_depth if header is None else header.block.number


def _winner(rpc: Rpc, votes: Mapping[Endpoint, Digest]) -> Digest:
    def weight(candidate: Digest) -> tuple[int, int, int]:
        voters = [endpoint for endpoint, found in votes.items() if found == candidate]
        longest = max(endpoint.head or 0 for endpoint in voters)
        return len(voters), longest, -min(rpc.endpoints.index(endpoint) for endpoint in voters)

    return max(votes.values(), key=weight)


async def _ask_all(rpc: Rpc, call: Call) -> dict[Endpoint, object]:
    return await _ask([each for each in rpc.endpoints if each.state is not EndpointState.WRONG_CHAIN], call)


async def _ask(endpoints: list[Endpoint], call: Call) -> dict[Endpoint, object]:
    """The replies of those that answer."""
    replies: dict[Endpoint, object] = {}

    async def one(endpoint: Endpoint) -> None:
        try:
            (replies[endpoint],) = await endpoint.batch((call,))
        except Unavailable:
            _log.debug("rpc_endpoint_not_compared", endpoint=endpoint.name)

    async with trio.open_nursery() as nursery:
        for endpoint in endpoints:
            nursery.start_soon(one, endpoint)
    return replies
