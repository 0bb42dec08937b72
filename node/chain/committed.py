"""Finding the commitment of a deal that is not ours: its log names the parties, the market's slot binds the rest."""

from capanode.contracts_abi import bindings
from capanode.node.chain.http import ReplyTooLarge
from capanode.node.chain.jsonrpc import RpcError
from capanode.node.chain.logs import LogFilter, LogReader
from capanode.node.chain.past_logs import FIRST_RANGE, LAST_RANGE
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import hexadecimal, quantity, read_quantity
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, DealId, Digest


async def find_committed(rpc: Rpc, market: Address, deal_id: DealId, first_block: int) -> bindings.DealCommitted | None:
    """What the market logged when the deal was committed, looked for from the newest block back.

    Raises:
        Unavailable: no endpoint answers, or none gives the logs of a single block.
    """
    topic = Digest(bindings.DealCommitted.TOPIC)
    reader = LogReader(LogFilter((market,), (topic,), bindings.decode_log, 0))
    topics = [[hexadecimal(topic)], hexadecimal(deal_id)]
    upto, length = read_quantity(await rpc.call("eth_blockNumber")), FIRST_RANGE
    while upto >= first_block:
        at = max(upto - length + 1, first_block)
        where = {"fromBlock": quantity(at), "toBlock": quantity(upto)}
        try:
            reply = await rpc.call("eth_getLogs", {**reader.query(), "topics": topics, **where})
        except (RpcError, ReplyTooLarge) as error:
            if length == 1:
                raise Unavailable(f"The logs of block {at} cannot be read ({error}): add another RPC URL.") from error
            length = max(length // 4, 1)
            continue
        for of_block in reader.decoded(reply, at, upto).values():
            for log in of_block.logs:
                if isinstance(log.event, bindings.DealCommitted) and log.event.deal_id == deal_id:
                    return log.event
        upto, length = at - 1, min(2 * length, LAST_RANGE)
    return None
