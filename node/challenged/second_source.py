"""What every endpoint says of a deal, before money is put on it: one that lies, or is stale, must not cost a bond."""

from capanode.contracts_abi import bindings
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import hexadecimal
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, DealId


async def agreeing_endpoints(rpc: Rpc, market: Address, deal_id: DealId) -> int:
    """How many endpoints answer, all with the same slot of the deal.

    Raises:
        Unavailable: none answers, or two disagree.
    """
    call = {"to": hexadecimal(market), "data": hexadecimal(bindings.encode_deal_market_slot(deal_id))}
    answers: dict[str, object] = {}
    for endpoint in rpc.endpoints:
        try:
            answers[endpoint.name] = await endpoint.call("eth_call", call, "latest")
        except Unavailable:
            continue
    if not answers:
        raise Unavailable("No endpoint says anything about the deal: waiting.")
    if len(set(answers.values())) > 1:
        raise Unavailable(f"The endpoints {', '.join(answers)} disagree about the deal: nothing is staked on it.")
    return len(answers)
