"""Whatever the contracts and their libraries refuse with, the operator reads a sentence."""

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from capanode.contracts_abi import artifacts
from capanode.node.chain.revert import explain

CONTRACTS = ("DealMarket", "Directory", "ProviderRegistry", "TestToken")
SAMPLES = {"address": "0x" + "11" * 20, "bool": True, "string": "text", "bytes": b"data"}


def errors() -> dict[str, bytes]:
    """Revert data of every custom error in the contracts' interfaces."""
    found: dict[str, bytes] = {}
    for contract in CONTRACTS:
        for item in artifacts.load(contract).abi:
            if item["type"] == "error":
                types = [part["type"] for part in item["inputs"]]
                values = [SAMPLES.get(kind, b"\1" * 32 if kind.startswith("bytes") else 7) for kind in types]
                selector = keccak(f"{item['name']}({','.join(types)})".encode())[:4]
                found[item["name"]] = selector + encode(types, values)
    return found


ERRORS = errors()


def test_the_contracts_have_errors() -> None:
    assert {"NotClaimable", "InsufficientFree", "ERC20InsufficientBalance"} <= ERRORS.keys()


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_is_a_sentence_for_people(name: str) -> None:
    sentence = explain(ERRORS[name])
    assert sentence is not None
    assert sentence.endswith(f"[{name}].")
    assert " " in sentence.removesuffix(f" [{name}].")
    assert "reverted with" not in sentence


def test_reasons_and_panics_are_sentences_too() -> None:
    assert explain(bytes.fromhex("08c379a0") + encode(("string",), ("no",))) == "The contract refuses: no."
    panic = explain(bytes.fromhex("4e487b71") + encode(("uint256",), (0x11,)))
    assert panic == "The contract panicked (code 0x11): report this, it is a bug."


@given(st.binary(max_size=300), st.sampled_from([b"", *(data[:4] for data in ERRORS.values())]))
def test_any_data_is_a_sentence_or_nothing(data: bytes, selector: bytes) -> None:
    sentence = explain(selector + data)
    assert sentence is None or sentence.endswith(".")
