"""The pools of arbiters as a node reads them: whether one may be relied on."""

from typing import Final

from eth_hash.auto import keccak

from capanode.node.chain.markets import MarketVersion
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.view import View, read
from capanode.protocol.ids import Digest, Wei

_CAN_JUDGE: Final = keccak(b"canJudge(bytes32,uint8,uint256)")[:4]


class Pools:
    """The arbiters of every court of a network's markets."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def can_judge(self, market: MarketVersion, pool: Digest, quorum: int, at_stake_wei: Wei) -> bool:
        """Whether a deal of the market may rely on a pool; False where the market has no court.

        Raises:
            Unavailable: no endpoint answers.
        """
        if market.court is None:
            return False
        data = _CAN_JUDGE + pool + quorum.to_bytes(32, "big") + at_stake_wei.to_bytes(32, "big")
        return await read(self._rpc, View(market.court, data, lambda reply: any(reply)))
