"""Transactions have the bytes that eth-account gives them."""

from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.chain.transaction import Transaction, transaction_hash, with_signature
from capanode.node.keys.signer import LocalSigner
from capanode.protocol.ids import Address, Wei

WEI = st.integers(0, 2**96).map(Wei)


@given(
    key=st.binary(min_size=32, max_size=32).filter(lambda key: 0 < int.from_bytes(key, "big") < 2**255),
    to=st.none() | st.binary(min_size=20, max_size=20).map(Address),
    data=st.binary(max_size=400),
    chain_id=st.integers(1, 2**40),
    nonce=st.integers(0, 2**32),
    gas=st.integers(21_000, 30_000_000),
    value_wei=WEI,
    max_fee_wei=WEI,
    tip_wei=WEI,
)
def test_signed_transaction_equals_eth_accounts(
    key: bytes,
    to: Address | None,
    data: bytes,
    chain_id: int,
    nonce: int,
    gas: int,
    value_wei: Wei,
    max_fee_wei: Wei,
    tip_wei: Wei,
) -> None:
    ours = Transaction(chain_id, nonce, to, data, value_wei, gas, max_fee_wei, tip_wei)
    fields = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "data": data,
        "value": value_wei,
        "gas": gas,
        "maxFeePerGas": max_fee_wei,
        "maxPriorityFeePerGas": tip_wei,
    }
    theirs = Account.sign_transaction(fields | ({"to": to} if to else {}), key)

    raw = LocalSigner(key).sign_transaction(ours)

    assert raw == bytes(theirs.raw_transaction)
    assert transaction_hash(raw) == bytes(theirs.hash)


def test_signature_is_part_of_the_bytes() -> None:
    empty = Transaction(1, 0, None, b"", Wei(0), 21_000, Wei(1), Wei(1))
    first = with_signature(empty, bytes(31) + b"\x01" + bytes(31) + b"\x01" + b"\x1b")
    second = with_signature(empty, bytes(31) + b"\x01" + bytes(31) + b"\x01" + b"\x1c")
    assert first != second
