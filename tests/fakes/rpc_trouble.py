"""What may go wrong between a node and an RPC endpoint, and the dice that choose when."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Trouble(StrEnum):
    """One way in which an endpoint misbehaves."""

    HANG = "hang"
    SLOW = "slow"
    RESET = "reset"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    TOO_LONG = "too_long"
    """More bytes than Content-Length says."""
    TOO_SHORT = "too_short"
    """Fewer bytes than Content-Length says, and nothing after them."""
    TOO_MANY_REQUESTS = "http_429"
    SERVER_ERROR = "http_5xx"
    RATE_LIMIT = "rate_limit"
    """An error object of JSON-RPC that asks to slow down."""
    WRONG_ID = "wrong_id"
    """The reply to a request of somebody else."""
    EMPTY_BATCH = "empty_batch"
    PARTIAL_BATCH = "partial_batch"
    STALE = "stale_head"
    FORK = "fork"
    NO_RECEIPT = "null_receipt"
    NO_LOGS = "missing_logs"
    TX_DROPPED = "tx_dropped"
    """Answered with the hash, and never passed on."""
    TX_DOUBLED = "tx_doubled"
    TX_SENT_BUT_FAILED = "tx_sent_but_failed"


EVERY: Final = frozenset(Trouble)

_OF_BATCHES: Final = (Trouble.EMPTY_BATCH, Trouble.PARTIAL_BATCH)
_OF_METHODS: Final[Mapping[Trouble, str]] = {
    Trouble.NO_RECEIPT: "eth_getTransactionReceipt",
    Trouble.NO_LOGS: "eth_getLogs",
    Trouble.TX_DROPPED: "eth_sendRawTransaction",
    Trouble.TX_DOUBLED: "eth_sendRawTransaction",
    Trouble.TX_SENT_BUT_FAILED: "eth_sendRawTransaction",
}

_WEIGHTS: Final[Mapping[Trouble, float]] = {
    # Waits cost a test more time than they find; what only fits few requests is drawn often among those.
    Trouble.HANG: 0.25,
    Trouble.TOO_SHORT: 0.25,
    Trouble.NO_RECEIPT: 12,
    Trouble.NO_LOGS: 12,
    Trouble.TX_DROPPED: 12,
    Trouble.TX_DOUBLED: 12,
    Trouble.TX_SENT_BUT_FAILED: 12,
}


@dataclass(slots=True)
class Dice:
    """Troubles at a set rate, the same ones for the same seed and the same requests; counted as they are drawn."""

    seed: int
    rate: float
    kinds: Collection[Trouble] = EVERY
    counts: Counter[Trouble] = field(default_factory=Counter[Trouble])
    requests: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def draw(self, methods: Sequence[str], *, is_batch: bool) -> Trouble | None:
        """What happens to a request with these calls; None as a rule."""
        self.requests += 1
        if self._random.random() >= self.rate:
            return None
        fitting = [kind for kind in Trouble if kind in self.kinds and _fits(kind, methods, is_batch)]
        if not fitting:
            return None
        weights = [_WEIGHTS.get(kind, 1.0) for kind in fitting]
        return self._random.choices(fitting, weights)[0]

    def count(self, trouble: Trouble) -> None:
        """Note that it was inflicted."""
        self.counts[trouble] += 1

    def number(self, lowest: int, highest: int) -> int:
        """A number for the details of a trouble; both ends included."""
        return self._random.randint(lowest, highest)


def _fits(kind: Trouble, methods: Sequence[str], is_batch: bool) -> bool:
    if kind in _OF_BATCHES:
        return is_batch
    return kind not in _OF_METHODS or _OF_METHODS[kind] in methods
