"""Transactions that a deal wants carried out, each once by its key: now or never, or as soon as the chain takes it.

What the chain refuses now is either final (`TransactionRefused`) or a matter of time (`Unavailable`).
"""

from collections.abc import Iterable
from typing import Final

import trio

from capanode.node.chain.sender import Cancelled, Mined, Replaced, Reverted, Sender, WouldRevert
from capanode.protocol.events import TransactionRefused
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address

DOUBTS_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Pauses after which a refusal is asked for again before it is believed.

An endpoint that is some blocks behind, or on a branch of its own, refuses what is right; and a provider that believed
it would give up a deal and pay for that.
"""


class Orders:
    """Sends from one key to one contract."""

    def __init__(self, sender: Sender, to: Address, doubts_s: Iterable[float] = DOUBTS_S) -> None:
        self._sender = sender
        self._to = to
        self._doubts_s = doubts_s  # as it is: it may have no end

    async def insist(self, effect: str, verb: str, data: bytes) -> TransactionRefused | None:
        """Send; what is refused each time is refused for good, and told. None once it is mined: its log says the rest.

        What was mined without effect is tried anew: after a reorganisation it may have come before what it needs.
        """
        refused = await self._once(effect, verb, data, after_revert=False)
        for pause_s in self._doubts_s:
            if refused is None:
                return None
            await trio.sleep(pause_s)
            refused = await self._once(effect, verb, data, after_revert=True)
        return refused

    async def eventually(self, effect: str, verb: str, data: bytes) -> None:
        """Send; a refusal is a matter of time (a clock not yet over, or somebody else was faster): ask again.

        One that was mined without effect is sent anew too: a reorganisation may have put it into an earlier block.

        Raises:
            Unavailable: not now.
        """
        refused = await self._once(effect, verb, data, after_revert=True)
        if refused is not None:
            raise Unavailable(f"The {verb} is not possible yet: {refused.reason}")

    async def _once(self, effect: str, verb: str, data: bytes, *, after_revert: bool) -> TransactionRefused | None:
        key = await self._sender.key_for(f"{effect}/{verb}", after_revert=after_revert)
        try:
            await self._sender.submit(key, self._to, data)
        except WouldRevert as refusal:
            return TransactionRefused(verb, str(refusal))
        match await self._sender.outcome(key):
            case Mined():
                return None
            case Reverted(reason=reason):
                return TransactionRefused(verb, reason)
            case Cancelled() | Replaced():
                # The deal still wants it: whether it is still possible, the next simulation tells.
                raise Unavailable(f"The {verb} transaction's nonce was used by another one: sending it again.")
