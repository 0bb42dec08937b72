"""The generated bindings against eth_abi and the ABI itself; what they decode comes from strangers."""

from collections.abc import Sequence
from contextlib import suppress

import pytest
from eth_abi.abi import decode, encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from capanode.contracts_abi import artifacts, bindings
from capanode.protocol.ids import ZERO_ADDRESS, Address, DealId, DemandDigest, Digest, SpecDigest

ALICE, BOB = Address(b"\xaa" * 20), Address(b"\xbb" * 20)
DEAL = DealId(bytes(range(32)))
TERMS = bindings.Terms(
    requester=ALICE,
    provider=BOB,
    demand_digest=DemandDigest(b"\x11" * 32),
    price=10**18,
    verification=3,
    fraud_bond=5 * 10**18,
    assign_by=1_800_000_000,
    commit_by=1_800_000_900,
    window=60,
    mode=1,
    salt=7,
)


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def test_calldata_is_selector_and_arguments() -> None:
    signature = b"\x01" * 65
    data = bindings.encode_deal_market_assign(TERMS, signature)
    assert data[:4] == keccak(f"assign({bindings.Terms.ABI},bytes)".encode())[:4]
    terms, passed = decode((bindings.Terms.ABI, "bytes"), data[4:])
    assert bindings.Terms.from_abi(terms) == TERMS
    assert passed == signature


def test_structs_in_structs_and_in_arrays() -> None:
    claim = bindings.Claim(TERMS, ZERO_ADDRESS, 9, Digest(b"\x22" * 32), DEAL)
    (claims,) = decode((bindings.Claim.ABI + "[]",), bindings.encode_deal_market_claim_batch([claim, claim])[4:])
    assert [bindings.Claim.from_abi(each) for each in claims] == [claim, claim]


def test_static_events_are_sliced() -> None:
    topics = [bindings.DealAssigned.TOPIC, DEAL, bytes(12) + ALICE, bytes(12) + BOB]
    data = word(5) + bytes(32)
    event = bindings.decode_log(topics, data)
    assert event == bindings.DealAssigned(DEAL, ALICE, BOB, price=5, locked_by=ZERO_ADDRESS)
    assert bindings.DealAssigned.TOPIC == keccak(b"DealAssigned(bytes32,address,address,uint96,address)")


def test_dynamic_events_go_through_eth_abi() -> None:
    data = encode((bindings.Terms.ABI, "bytes"), (TERMS.to_abi(), b"locator"))
    event = bindings.decode_log([bindings.DealAnnounced.TOPIC, DEAL], data)
    assert event == bindings.DealAnnounced(DEAL, TERMS, b"locator")


def test_other_logs_are_nobodys() -> None:
    assert bindings.decode_log([], b"") is None
    assert bindings.decode_log([bytes(32)], b"") is None


@given(st.sampled_from(sorted(bindings.EVENTS)), st.lists(st.binary(max_size=40), max_size=5), st.binary(max_size=900))
def test_any_log_is_an_event_or_a_fault(topic: bytes, more: Sequence[bytes], data: bytes) -> None:
    with suppress(bindings.UndecodableData):
        assert bindings.decode_log([topic, *more], data) is not None


@given(st.binary(max_size=300))
def test_any_answer_is_a_value_or_a_fault(data: bytes) -> None:
    with suppress(bindings.UndecodableData):
        bindings.decode_deal_market_clocks(data)
        bindings.decode_directory_latest(data)


def test_views_give_named_values() -> None:
    slot = bindings.decode_deal_market_slot(word(3) + word(0) + word(1_800_000_000) + word(99))
    assert slot == bindings.DealMarketSlot(phase=3, open=0, deadline=1_800_000_000, hash=99)
    assert bindings.decode_deal_market_token(bytes(12) + ALICE) == ALICE


def test_errors_are_sentences() -> None:
    selector = keccak(b"InsufficientFree(address,uint256,uint256)")[:4]
    error = bindings.decode_error(selector + bytes(12) + ALICE + word(1) + word(2))
    assert error is not None
    assert error.name == "InsufficientFree"
    assert str(error) == f"The free balance is too small (account 0x{ALICE.hex()}, available 1, needed 2)"
    assert bindings.decode_error(b"") is None
    assert bindings.decode_error(b"\x00\x01\x02\x03") is None
    reason = bindings.decode_error(bytes.fromhex("08c379a0") + encode(("string",), ("no",)))
    assert reason is not None
    assert dict(reason.arguments) == {"reason": "no"}


def test_a_short_error_is_a_fault() -> None:
    with pytest.raises(bindings.UndecodableData):
        bindings.decode_error(keccak(b"InsufficientFree(address,uint256,uint256)")[:4] + bytes(31))


def test_every_error_of_ours_has_a_sentence() -> None:
    for name in ("DealMarket", "Directory", "ProviderRegistry"):
        for item in artifacts.load(name).abi:
            if item["type"] != "error" or any(part["type"] not in _STATIC for part in item["inputs"]):
                continue
            types = ",".join(part["type"] for part in item["inputs"])
            selector = keccak(f"{item['name']}({types})".encode())[:4]
            error = bindings.decode_error(selector + bytes(32 * len(item["inputs"])))
            assert error is not None
            assert error.name == item["name"]
            assert " " in error.notice


_STATIC = {"address", "bool", "bytes32", "uint8", "uint32", "uint40", "uint96", "uint256"}


@pytest.mark.parametrize("name", artifacts.CONTRACTS)
def test_code_is_known_whatever_it_was_constructed_with(name: str) -> None:
    artifact = artifacts.load(name)
    assert artifacts.manifest()["codeHashes"][name] == "0x" + keccak(artifact.deployed_bytecode).hex()
    assert artifact.is_code(artifact.deployed_bytecode)
    code = bytearray(artifact.deployed_bytecode)
    for start, length in artifact.immutables:
        code[start : start + length] = b"\x77" * length
    assert artifact.is_code(bytes(code))
    assert not artifact.is_code(bytes(code) + b"\x00")
    code[0] ^= 1
    assert not artifact.is_code(bytes(code))


def test_code_fits_a_chain() -> None:
    for name in artifacts.CONTRACTS:
        assert len(artifacts.load(name).deployed_bytecode) <= 24_576


def test_core_types_are_as_their_digests_want_them() -> None:
    core = bindings.DemandCore(SpecDigest(b"\x01" * 32), Digest(b"\x02" * 32), steps=1)
    assert encode((bindings.DemandCore.ABI,), (core.to_abi(),)) == b"\x01" * 32 + b"\x02" * 32 + word(1)
