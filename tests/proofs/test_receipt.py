import hashlib
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from capanode.proofs import commitment as commitments
from capanode.proofs import receipt as receipts
from capanode.proofs import trace, tree
from capanode.proofs.receipt import HostUsage, Receipt, SignedReceipt
from capanode.proofs.trace import Leaf
from capanode.proofs.tree import Entry, EntryType
from capanode.protocol import encoding, typed_data
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import (
    ZERO_ADDRESS,
    ZERO_DIGEST,
    Address,
    Cid,
    DealId,
    Digest,
    SpecDigest,
    TxHash,
    UnixTime,
    Wei,
)
from capanode.protocol.judging import steps_word
from capanode.protocol.records import Mode, Spec, Terms
from tests.vectors import golden

KEY = hashlib.sha256(b"provider").digest()
PROVIDER = Address(bytes.fromhex(Account.from_key(KEY).address[2:]))
HOT_KEY = hashlib.sha256(b"hot").digest()
HOT = Address(bytes.fromhex(Account.from_key(HOT_KEY).address[2:]))
CHAIN_ID = 31337
MARKET = Address(b"m" * 20)
AT = typed_data.domain(CHAIN_ID, MARKET)
SPEC = encoding.decode(Spec, golden.load("records")["spec"]["bytes"])
OUTPUTS = tree.decode(golden.load("tree")["outputs"]["bytes"])
CAP = Wei(3 * 10**18)


def recover(digest: Digest, signature: bytes) -> Address | None:
    """An independent reading of the signature, by eth-keys."""
    try:
        parsed = Signature(signature[:64] + bytes([signature[64] - 27]))
        return Address(parsed.recover_public_key_from_msg_hash(digest).to_canonical_address())
    except (BadSignature, ValidationError, ValueError, IndexError):
        return None


def terms(mode: Mode = Mode.LOCK) -> Terms:
    spec = SpecDigest(encoding.digest(SPEC))
    return Terms(
        requester=Address(b"r" * 20),
        provider=PROVIDER,
        demand_digest=typed_data.demand_digest(spec, tree.input_root(SPEC.inputs), steps_word(None, 0, 1)),
        price_wei=Wei(2 * 10**18),
        verification_wei=Wei(0),
        fraud_bond_wei=Wei(0),
        assign_by=UnixTime(1_800_000_000),
        commit_by=UnixTime(1_800_000_600),
        window_s=60,
        mode=mode,
        salt=Digest(b"s" * 32),
    )


def deal_id(of: Terms, cap: Wei) -> DealId:
    if of.mode in (Mode.AWARD, Mode.FIRST):
        announced = replace(of, provider=ZERO_ADDRESS, price_wei=cap)
        return typed_data.announcement_deal_id(AT, announced)
    return DealId(typed_data.award_digest(AT, of))


def receipt_of(mode: Mode = Mode.LOCK, stdout_root: Digest = ZERO_DIGEST) -> Receipt:
    agreed = terms(mode)
    cap = CAP if mode is Mode.AWARD else agreed.price_wei
    deal = deal_id(agreed, cap)
    input_root = tree.input_root(SPEC.inputs)
    stated = commitments.commitment_of_single_step(tree.tree_root(OUTPUTS), stdout_root, 0, Wei(2 * 10**18))
    root = trace.trace_root(commitments.trace_of_single_step(stated, deal, input_root))
    return Receipt(
        chain_id=CHAIN_ID,
        market=MARKET,
        deal_id=deal,
        terms=agreed,
        price_cap_wei=cap,
        provider=PROVIDER,
        signer=PROVIDER,
        spec=SpecDigest(encoding.digest(SPEC)),
        image=SPEC.image,
        input_root=input_root,
        first_step=0,
        step_limit=1,
        commitment=stated,
        trace_root=root,
        commitment_digest=commitments.commitment_digest(stated, root),
        commit_tx=TxHash(b"t" * 32),
        manifest=Cid("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        hardware_class="x86-64-v3",
        outcome="exited",
        started_at_ms=1_799_999_000_000,
        finished_at_ms=1_799_999_001_500,
        host_reported=HostUsage(cpu_ns=10**9, peak_memory_bytes=2**26),
    )


def sign(receipt: Receipt, key: bytes = KEY) -> SignedReceipt:
    signature = Account.unsafe_sign_hash(receipts.digest_to_sign(receipt), key).signature
    return SignedReceipt(receipt, bytes(signature))


def failed(signed: SignedReceipt, **at_hand: Any) -> list[str]:
    return [check.name for check in receipts.verify(signed, recover, **at_hand) if not check.ok]


@pytest.mark.parametrize("mode", Mode)
def test_an_honest_receipt_passes_every_check(mode: Mode) -> None:
    checks = receipts.verify(sign(receipt_of(mode)), recover, outputs=OUTPUTS, spec=SPEC)
    assert [check.name for check in checks] == [
        "signature",
        "demand",
        "deal",
        "trace",
        "commitment",
        "amount",
        "outputs",
        "spec",
    ]
    assert all(check.ok for check in checks), checks
    assert all(check.sentence.endswith(".") for check in checks)


def test_a_receipt_survives_the_way_through_bytes() -> None:
    signed = sign(receipt_of())
    data = encoding.encode(signed)
    assert receipts.decode(data) == signed
    assert len(data) < 2048


def test_a_hot_key_may_sign_and_the_check_says_so() -> None:
    signed = sign(replace(receipt_of(), signer=HOT), HOT_KEY)
    (signature, *_) = receipts.verify(signed, recover)
    assert signature.ok
    assert "written on the chain" in signature.sentence


def test_a_strangers_signature_is_found() -> None:
    assert failed(sign(receipt_of(), HOT_KEY)) == ["signature"]
    assert failed(SignedReceipt(receipt_of(), b"\x00")) == ["signature"]


ALTERATIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "chain": ({"chain_id": 1}, {"deal"}),
    "market": ({"market": Address(b"n" * 20)}, {"deal"}),
    "deal": ({"deal_id": DealId(b"d" * 32)}, {"deal", "trace"}),
    "provider": ({"provider": HOT}, {"deal"}),
    "spec": ({"spec": SpecDigest(b"d" * 32)}, {"demand", "spec"}),
    "inputs": ({"input_root": Digest(b"d" * 32)}, {"demand", "trace", "spec"}),
    "limit": ({"step_limit": 2}, {"demand"}),
    "trace": ({"trace_root": Digest(b"d" * 32)}, {"trace", "commitment"}),
    "digest": ({"commitment_digest": Digest(b"d" * 32)}, {"commitment"}),
    "cap": ({"price_cap_wei": Wei(1)}, {"amount"}),
}


@pytest.mark.parametrize(("change", "expected"), ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_a_false_statement_is_found_even_when_signed(change: dict[str, Any], expected: set[str]) -> None:
    altered = replace(receipt_of(), **change)
    assert set(failed(sign(altered), outputs=OUTPUTS, spec=SPEC)) == expected
    assert "signature" in failed(SignedReceipt(altered, sign(receipt_of()).signature))


@pytest.mark.parametrize("field", ["result_root", "delivery_root", "stdout_root", "leaves_cid"])
def test_an_altered_commitment_is_found(field: str) -> None:
    honest = receipt_of()
    change: dict[str, Any] = {field: Digest(b"d" * 32)}
    altered = replace(honest, commitment=replace(honest.commitment, **change))
    assert failed(sign(altered), outputs=OUTPUTS, spec=SPEC)


def test_more_than_the_price_is_found() -> None:
    honest = receipt_of()
    greedy = replace(honest.commitment, amount_wei=Wei(honest.terms.price_wei + 1))
    assert failed(sign(replace(honest, commitment=greedy))) == ["amount"]


def test_other_outputs_are_found() -> None:
    changed = (
        *OUTPUTS[:-1],
        Entry("run.sh", EntryType.FILE, 0o644, OUTPUTS[-1].size, OUTPUTS[-1].content),
    )
    signed = sign(receipt_of())
    assert failed(signed, outputs=changed) == ["outputs"]
    assert failed(signed, outputs=OUTPUTS[::-1]) == ["outputs"]
    assert failed(signed, outputs=()) == ["outputs"]


def test_another_spec_is_found() -> None:
    assert failed(sign(receipt_of()), spec=replace(SPEC, argv=("other",))) == ["spec"]


def test_undeclared_stdout_is_found() -> None:
    signed = sign(receipt_of(stdout_root=Digest(b"o" * 32)))
    assert failed(signed, spec=SPEC) == []
    quiet = replace(SPEC, deterministic_stdout=False)
    (check,) = (c for c in receipts.verify(signed, recover, spec=quiet) if c.name == "spec")
    assert "stdout" in check.sentence


def test_a_trace_of_many_steps_needs_its_leaves() -> None:
    honest = receipt_of()
    about = typed_data.demand_digest(honest.spec, honest.input_root, steps_word(None, 0, 3))
    agreed = replace(honest.terms, demand_digest=about)
    deal = deal_id(agreed, honest.price_cap_wei)
    stated = replace(honest.commitment, step_count=3, leaves_cid=Digest(b"l" * 32))
    first, last = commitments.first_and_last_leaf(stated, deal, honest.input_root, 0)
    inner = [trace.leaf_hash(deal, Leaf(i, Digest(bytes([i]) * 32), 0, ZERO_DIGEST, done=False)) for i in (1, 2)]
    leaves = [first, *inner, last]
    root = trace.trace_root(trace.Trace(tuple(leaves)))
    receipt = replace(
        honest,
        terms=agreed,
        deal_id=deal,
        step_limit=3,
        commitment=stated,
        trace_root=root,
        commitment_digest=commitments.commitment_digest(stated, root),
    )
    signed = sign(receipt)
    assert failed(signed, leaves=leaves) == []
    assert failed(signed) == ["trace"]
    assert failed(signed, leaves=[first, inner[1], inner[0], last]) == ["trace"]
    assert failed(signed, leaves=[*leaves[:-1], first]) == ["trace"]
    assert "trace" in failed(sign(replace(receipt, step_limit=2)), leaves=leaves)


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": 0},
        {"market": Address(b"")},
        {"deal_id": DealId(b"")},
        {"started_at_ms": 2_000_000_000_000},
        {"step_limit": 0},
        {"price_cap_wei": Wei(0)},
        {"outcome": "x" * 65},
        {"manifest": Cid("b" * 129)},
    ],
    ids=str,
)
def test_malformed_receipts_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(receipt_of(), **change)


def test_long_bytes_are_refused_unread() -> None:
    with pytest.raises(BadMessage, match="longer"):
        receipts.decode(b"\x81" * (receipts.MAX_RECEIPT_BYTES + 1))
