"""The wordings of the clients' pools, as they are met in the wild."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.chain.pool_answers import SENTENCES, PoolAnswer, pool_answer

ACCOUNT = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
WORDINGS = (
    ("geth", "already known", PoolAnswer.KNOWN),
    ("geth before 1.10", f"known transaction: {'ab' * 32}", PoolAnswer.KNOWN),
    ("nethermind", "AlreadyKnown", PoolAnswer.KNOWN),
    ("erigon", "INTERNAL_ERROR: existing tx with same hash", PoolAnswer.KNOWN),
    ("erigon", "ALREADY_EXISTS: already known", PoolAnswer.KNOWN),
    ("besu", "Known transaction", PoolAnswer.KNOWN),
    ("anvil", "transaction already imported", PoolAnswer.KNOWN),
    ("frontier", "submit transaction to pool failed: Pool(AlreadyImported)", PoolAnswer.KNOWN),
    ("openethereum", "Transaction with the same hash was already imported.", PoolAnswer.KNOWN),
    ("zksync", "known transaction. transaction with hash 0xab is already in the system", PoolAnswer.KNOWN),
    ("geth", f"nonce too low: address {ACCOUNT}, tx: 3 state: 5", PoolAnswer.NONCE_USED),
    ("geth", "nonce too low: next nonce 82, tx nonce 81", PoolAnswer.NONCE_USED),
    ("nethermind", "OldNonce, Current nonce: 22, nonce of rejected tx: 17", PoolAnswer.NONCE_USED),
    ("erigon", "INTERNAL_ERROR: nonce too low", PoolAnswer.NONCE_USED),
    ("besu", "Nonce too low", PoolAnswer.NONCE_USED),
    ("anvil", "nonce too low", PoolAnswer.NONCE_USED),
    ("frontier", "submit transaction to pool failed: Pool(Stale)", PoolAnswer.NONCE_USED),
    ("openethereum", "Transaction nonce is too low. Try incrementing the nonce.", PoolAnswer.NONCE_USED),
    ("arbitrum classic", "invalid transaction nonce", PoolAnswer.NONCE_USED),
    ("nethermind", "NonceGap, Future nonce. Expected nonce: 10", PoolAnswer.NONCE_GAP),
    ("geth", f"nonce too high: address {ACCOUNT}, tx: 16 state: 14", PoolAnswer.NONCE_GAP),
    ("geth", "future transaction tries to replace pending", PoolAnswer.NONCE_GAP),
    ("besu", "Transaction nonce is too distant from current sender nonce: nonce too distant", PoolAnswer.NONCE_GAP),
    ("geth", "gapped-nonce tx from delegated accounts", PoolAnswer.NONCE_GAP),
    ("geth", "replacement transaction underpriced", PoolAnswer.TOO_CHEAP),
    ("geth", "transaction underpriced: tip needed 1000000000, tip permitted 1", PoolAnswer.TOO_CHEAP),
    ("geth", "transaction gas price below minimum: gas tip cap 1, minimum needed 25000000000", PoolAnswer.TOO_CHEAP),
    (
        "geth",
        f"max fee per gas less than block base fee: address {ACCOUNT}, maxFeePerGas: 1, baseFee: 7",
        PoolAnswer.TOO_CHEAP,
    ),
    ("nethermind", "FeeTooLowToCompete", PoolAnswer.TOO_CHEAP),
    ("nethermind", "FeeTooLow, EffectivePriorityFeePerGas too low 10 < 20, BaseFee: 30", PoolAnswer.TOO_CHEAP),
    ("nethermind", "ReplacementNotAllowed", PoolAnswer.TOO_CHEAP),
    ("erigon", "fee too low", PoolAnswer.TOO_CHEAP),
    ("erigon", "could not replace existing tx", PoolAnswer.TOO_CHEAP),
    ("besu", "Gas price below configured minimum gas price", PoolAnswer.TOO_CHEAP),
    ("besu", "Replacement transaction underpriced", PoolAnswer.TOO_CHEAP),
    (
        "openethereum",
        "Transaction gas price 1wei is too low. There is another transaction with same nonce in the queue",
        PoolAnswer.TOO_CHEAP,
    ),
    ("arbitrum classic", "gas price too low", PoolAnswer.TOO_CHEAP),
    ("metis", "gas price too low: 1 wei, use at least tx.gasPrice = 2 wei", PoolAnswer.TOO_CHEAP),
    ("geth", "insufficient funds for gas * price + value: balance 1, tx cost 2, overshot 1", PoolAnswer.NO_FUNDS),
    ("nethermind", "InsufficientFunds, Account balance: 4, cumulative cost: 5", PoolAnswer.NO_FUNDS),
    ("besu", "Upfront cost exceeds account balance", PoolAnswer.NO_FUNDS),
    ("anvil", "Insufficient funds for gas * price + value", PoolAnswer.NO_FUNDS),
    ("arbitrum classic", "not enough funds for gas", PoolAnswer.NO_FUNDS),
    ("geth", "txpool is full", PoolAnswer.FULL),
    ("erigon", "pending sub-pool is full", PoolAnswer.FULL),
    ("arbitrum", "sequencer pending tx pool full, please try again", PoolAnswer.FULL),
    ("geth", "account limit exceeded", PoolAnswer.FULL),
    ("geth", "address already reserved", PoolAnswer.FULL),
    ("geth", "in-flight transaction limit reached for delegated accounts", PoolAnswer.FULL),
    ("openethereum", "There are too many transactions in the queue.", PoolAnswer.FULL),
    ("geth", "exceeds block gas limit", PoolAnswer.REFUSED),
    ("geth", "intrinsic gas too low: gas 1, minimum needed 21000", PoolAnswer.REFUSED),
    ("geth", "tx fee (2.10 ether) exceeds the configured cap (1.00 ether)", PoolAnswer.REFUSED),
    ("nethermind", "GasLimitExceeded, Gas limit: 30000000, gas limit of rejected tx: 30000001", PoolAnswer.REFUSED),
    ("besu", "Transaction fee cap exceeded", PoolAnswer.REFUSED),
    ("erigon", "RLPTooLong", PoolAnswer.REFUSED),
    ("geth", "invalid sender", PoolAnswer.REFUSED),
    ("geth", "unknown transaction type", PoolAnswer.OTHER),
    ("a proxy", "502 Bad Gateway", PoolAnswer.OTHER),
    ("any", "Internal error", PoolAnswer.OTHER),
    ("any", "", PoolAnswer.OTHER),
)


@pytest.mark.parametrize(("client", "message", "meaning"), WORDINGS)
def test_wording_is_understood(client: str, message: str, meaning: PoolAnswer) -> None:
    assert pool_answer(message) is meaning, client
    assert pool_answer(f"err: {message.upper()}.") is meaning, f"{client}, wrapped by a proxy"


def test_every_meaning_is_met_and_has_a_sentence() -> None:
    assert {meaning for _, _, meaning in WORDINGS} == set(PoolAnswer) == set(SENTENCES)


@given(st.text(max_size=500))
def test_any_text_has_a_meaning(message: str) -> None:
    assert pool_answer(message) in PoolAnswer
