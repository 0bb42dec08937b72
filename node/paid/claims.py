"""Claims of deals that are due at the same time, gathered into one transaction.

Each deal asks for its own claim and waits for its own end; who sends it does not matter. Nothing is remembered but in
the transactions' rows: the one that carries a deal's claim holds the deal's id in its data, so after a crash the claim
is found where it is and not sent again. One that cannot be paid is left out and told, and the others go.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import structlog
import trio

from capanode.contracts_abi import bindings
from capanode.node.chain.sender import Mined, Pending, Sender, WouldRevert
from capanode.node.chain.transactions import carrying
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, DealId, Wei
from capanode.scheduler.claims import ClaimPolicy, DueClaim, Wait, choose

LOOK_S: Final = 1.0
"""How often those that wait look whether there is still time: a node that is being drained has none."""

HURRIED: Final = ClaimPolicy()
_SELECTORS: Final = (bindings.DEAL_MARKET_CLAIM, bindings.DEAL_MARKET_CLAIM_BATCH)

log = structlog.get_logger()


@dataclass(slots=True)
class _Asked:
    """A claim that a deal waits for; then the key that carries it, or why it cannot be paid now."""

    claim: bindings.Claim
    since_s: float
    key: str | None = None
    refusal: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing has been decided about it."""
        return self.key is None and self.refusal is None


class Claims:
    """The claims of one key in one market; safe to use from any number of tasks."""

    def __init__(
        self,
        sender: Sender,
        market: Address,
        policy: ClaimPolicy,
        gas_price_wei: Callable[[], Wei],
        is_hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sender = sender
        self._market = market
        self._policy = policy
        self._gas_price_wei = gas_price_wei
        self._is_hurried = is_hurried
        self._asked: dict[DealId, _Asked] = {}
        self._turn = trio.Lock()
        self._news = trio.Event()

    @property
    def waiting(self) -> int:
        """Claims that are in no transaction yet."""
        return sum(asked.is_open for asked in self._asked.values())

    async def claim(self, claim: bindings.Claim) -> None:
        """Have a deal paid, with others if there are any; returns once it is mined. Cancel-safe.

        Raises:
            Unavailable: it is not possible yet, or somebody else was faster: ask again.
        """
        key = await self._carrier(claim.deal_id)
        if key is None:
            key = await self._gathered(claim)
        outcome = await self._sender.outcome(key)
        if not isinstance(outcome, Mined):
            raise Unavailable(f"The claim was not carried out ({type(outcome).__name__.lower()}): claiming again.")

    async def _gathered(self, claim: bindings.Claim) -> str:
        """The key of the transaction that carries the claim, once it is signed."""
        mine = self._asked[claim.deal_id] = _Asked(claim, trio.current_time())
        self._news.set()
        try:
            while True:
                if mine.refusal is not None:
                    raise Unavailable(f"The claim is not possible yet: {mine.refusal}")
                if mine.key is not None:
                    return mine.key
                # Whoever has the turn sends for all; when it is called off, the next one goes on.
                async with self._turn:
                    if mine.is_open:
                        await self._send_some()
        finally:
            if self._asked.get(claim.deal_id) is mine:
                del self._asked[claim.deal_id]

    async def _send_some(self) -> None:
        open_claims = {deal: asked for deal, asked in self._asked.items() if asked.is_open}
        due = [DueClaim(deal, Wei(asked.claim.amount), asked.since_s) for deal, asked in open_claims.items()]
        policy = HURRIED if self._is_hurried() else self._policy
        chosen = choose(due, trio.current_time(), self._gas_price_wei(), policy)
        if isinstance(chosen, Wait):
            self._news = trio.Event()
            with trio.move_on_after(min(chosen.seconds, LOOK_S)):
                await self._news.wait()
            return
        await self._send([open_claims[deal] for deal in chosen])

    async def _send(self, batch: Sequence[_Asked]) -> None:
        left: list[_Asked] = []
        for asked in batch:
            # Signed before, where a crash or an endpoint came in between.
            asked.key = await self._carrier(asked.claim.deal_id)
            if asked.key is None:
                left.append(asked)
        while left:
            refusal = await self._signed(left)
            if refusal is None:
                return
            culprit = _culprit(refusal, len(left))
            if culprit is None:
                # The contract does not say which: each one alone, and the others are not held up.
                for asked in left:
                    await self._send_alone(asked)
                return
            left.pop(culprit).refusal = str(refusal)

    async def _send_alone(self, asked: _Asked) -> None:
        refusal = await self._signed([asked])
        if refusal is not None:
            asked.refusal = str(refusal)

    async def _signed(self, batch: Sequence[_Asked]) -> WouldRevert | None:
        claims = [asked.claim for asked in batch]
        one, *more = claims
        data = bindings.encode_deal_market_claim_batch(claims) if more else bindings.encode_deal_market_claim(one)
        key = await self._sender.key_for(_key(claims), after_revert=True)
        try:
            await self._sender.submit(key, self._market, data)
        except WouldRevert as refusal:
            return refusal
        log.info("claimed", deals=len(claims), key=key)
        for asked in batch:
            asked.key = key
        return None

    async def _carrier(self, deal_id: DealId) -> str | None:
        """The key of a transaction that carries the deal's claim, and may still pay it."""
        account, market = self._sender.account, self._market
        keys = await self._sender.database.read(
            lambda connection: carrying(connection, account, market, _SELECTORS, deal_id)
        )
        for key in keys:
            if isinstance(await self._sender.status(key), Pending | Mined):
                return key
        return None


def _key(claims: Sequence[bindings.Claim]) -> str:
    """Names the exact content: these deals and no others."""
    if len(claims) == 1:
        return f"{claims[0].deal_id.hex()}/claim"
    return f"claims/{sha256(b''.join(sorted(claim.deal_id for claim in claims))).hexdigest()}"


def _culprit(refusal: WouldRevert, count: int) -> int | None:
    """Which claim of a batch the contract names."""
    if count == 1:
        return 0
    try:
        error = bindings.decode_error(refusal.data or b"")
    except bindings.UndecodableData:
        return None
    if error is None or error.name != "NotClaimable":
        return None
    index = dict(error.arguments)["index"]
    return index if isinstance(index, int) and 0 <= index < count else None
