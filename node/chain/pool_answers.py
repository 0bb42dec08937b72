"""What a transaction pool means when it does not take a transaction: one table for all clients' wordings.

There is no standard for these errors: codes differ and are shared, only the words tell. A wording that is not in the
table counts as `OTHER`, after which nothing is lost: the transaction is looked for and offered again.

**Source**: go-ethereum core/error.go and core/txpool/errors.go; Nethermind AcceptTxResult; Erigon txpoolcfg
DiscardReason; Besu RpcErrorType; reth RpcPoolError; foundry anvil; Arbitrum, zkSync, Frontier as their users meet them.
"""

import re
from enum import StrEnum
from typing import Final


class PoolAnswer(StrEnum):
    """Why a pool did not take a transaction."""

    KNOWN = "known"
    """It has these very bytes: as good as taken."""

    NONCE_USED = "nonce-used"
    """The chain has a transaction with this nonce: ours or another, which its receipt tells."""

    NONCE_GAP = "nonce-gap"
    """It keeps no transaction for later, and an earlier one is missing at this endpoint."""

    TOO_CHEAP = "too-cheap"
    """Under the base fee, under its minimum, or not enough above what it holds for this nonce."""

    NO_FUNDS = "no-funds"
    """The account cannot pay for it."""

    FULL = "full"
    """It takes nothing more at present, from this account or from anybody."""

    REFUSED = "refused"
    """Never in this form: over a limit of the endpoint or of the chain's blocks."""

    OTHER = "other"
    """Words that we do not know, the endpoint's own troubles among them."""


_TABLE: Final[tuple[tuple[PoolAnswer, str], ...]] = (
    (
        PoolAnswer.KNOWN,
        # geth, reth, Besu | Nethermind | older geth, Besu, zkSync | anvil, Frontier | Erigon | OpenEthereum
        r"already known|alreadyknown|\bknown transaction|already imported|alreadyimported"
        r"|existing tx with same hash|same hash was already imported|already in (the )?(mempool|pool)|already exists",
    ),
    (
        PoolAnswer.NONCE_USED,
        # geth, Erigon, reth, Besu, anvil | Nethermind | OpenEthereum | older Arbitrum | Frontier | Harmony
        r"nonce too low|oldnonce|nonce is too low|invalid transaction nonce|pool\(stale\)|already finalized"
        r"|nonce has already been used|transaction is outdated",
    ),
    (
        PoolAnswer.NONCE_GAP,
        # geth, Nethermind, zkSync | older Nethermind | Besu | geth, which lets no queued one push out a pending one
        r"nonce too high|noncegap|nonce too distant|nonce too far|future transaction tries to replace pending"
        r"|gapped[- ]nonce",
    ),
    (
        PoolAnswer.NO_FUNDS,
        # geth, Erigon, reth, anvil, zkSync | Nethermind | Besu | Arbitrum | geth, for all of an account's together
        r"insufficient funds|insufficientfunds|insufficient balance|upfront cost exceeds|not enough funds"
        r"|would cause overdraft|overshot",
    ),
    (
        PoolAnswer.REFUSED,
        # the fee caps of geth and Besu, which count the whole transaction | limits of blocks and of sizes
        r"exceeds the configured cap|fee ?cap exceeded|intrinsic ?gas|exceeds block gas limit|gas limit reached"
        r"|gaslimitexceeded|exceeds gas limit|gas limit too high|oversized data|rlptoolong|initcode"
        r"|max code size|invalid sender|failedtoresolvesender|not an eoa|senderiscontract|invalid chain id"
        r"|transaction type not supported|not activated yet|gas ?uint",
    ),
    (
        PoolAnswer.TOO_CHEAP,
        # geth, Erigon, reth, Besu | all, under the base fee | Nethermind, older and newer | OpenEthereum | Erigon
        r"underpriced|less than block base fee|fee ?too ?low|replacementnotallowed|gas price .*(too low|below)"
        r"|maxfeepergas too low|could not replace existing|below configured minimum|gas price below minimum"
        r"|(fee cap|gas price) less than|minimum floor|fee per gas too low|higher gas price|priority is too low",
    ),
    (
        PoolAnswer.FULL,
        # geth | Erigon's sub-pools | Arbitrum | OpenEthereum | geth: blobs of this account wait; delegated accounts
        r"(tx ?pool|pool|queue) (is )?full|too many transactions|account limit exceeded|already reserved"
        r"|in-flight transaction limit|discarded|temporarily banned|spammer",
    ),
)  # fmt: skip
_COMPILED: Final = tuple((answer, re.compile(words)) for answer, words in _TABLE)


def pool_answer(message: str) -> PoolAnswer:
    """What the message of a JSON-RPC error to `eth_sendRawTransaction` means."""
    lowered = message.lower()
    return next((answer for answer, words in _COMPILED if words.search(lowered)), PoolAnswer.OTHER)


SENTENCES: Final[dict[PoolAnswer, str]] = {
    PoolAnswer.KNOWN: "The pool has it already.",
    PoolAnswer.NONCE_USED: "The chain has a transaction with this nonce already: checking whose it is.",
    PoolAnswer.NONCE_GAP: "The pool takes it only after those before it: they are sent first.",
    PoolAnswer.TOO_CHEAP: "The pool wants higher fees: raising them, up to the cap.",
    PoolAnswer.NO_FUNDS: "The wallet cannot pay for the gas: send it some of the chain's coin.",
    PoolAnswer.FULL: "The pool is full: trying again.",
    PoolAnswer.REFUSED: "The endpoint never takes it in this form: use another endpoint, or cancel the transaction.",
    PoolAnswer.OTHER: "The endpoint did not take it, for a reason of its own: trying again.",
}
