"""The provider's signed record of one execution, and what can be checked of it without a network.

Roots, leaves, commitment and deal id follow from each other, so a receipt that checks out binds its outputs to
a deal id; that the deal exists and was paid is written on the chain and nowhere else. Times and usage are the
word of the provider's own host.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from capanode.proofs import commitment as commitments
from capanode.proofs import trace, tree
from capanode.proofs.commitment import Commitment
from capanode.proofs.trace import Trace
from capanode.proofs.tree import BadTree, Entry
from capanode.protocol import encoding, typed_data
from capanode.protocol.awards import announced_terms
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import (
    UINT96_MAX,
    ZERO_DIGEST,
    Address,
    Cid,
    DealId,
    Digest,
    SpecDigest,
    TxHash,
    Wei,
)
from capanode.protocol.judging import Rules, steps_word
from capanode.protocol.records import MAX_SIGNATURE_BYTES, Image, Mode, Spec, Terms

MAX_RECEIPT_BYTES: Final = 16 * 1024
"""Longest encoding that is read; a receipt needs less than 2 KiB."""

Recover = Callable[[Digest, bytes], Address | None]
"""The address whose key signed the digest, None when the signature is none."""


@dataclass(frozen=True, slots=True)
class HostUsage:
    """What the provider's host says that the execution used; nobody can prove it, nothing is paid by it."""

    cpu_ns: int
    peak_memory_bytes: int

    def __post_init__(self) -> None:
        _require(0 <= self.cpu_ns < 2**63 and 0 <= self.peak_memory_bytes < 2**63, "a reading is out of range")


@dataclass(frozen=True, slots=True)
class Receipt:
    """One execution of one deal.

    `terms` are those that the contract binds: with the provider and the agreed price. `price_cap_wei` is the announced
    price, equal to the agreed one unless the deal was announced. Without `rules` nobody could dispute it. `manifest` is
    the CID of the encoded entries of the result. Times are Unix milliseconds of the provider's host.
    """

    RECORD: ClassVar[tuple[str, int]] = ("receipt", 1)

    chain_id: int
    market: Address
    deal_id: DealId
    terms: Terms
    price_cap_wei: Wei
    provider: Address
    signer: Address
    spec: SpecDigest
    image: Image
    input_root: Digest
    first_step: int
    step_limit: int
    commitment: Commitment
    trace_root: Digest
    commitment_digest: Digest
    commit_tx: TxHash
    manifest: Cid
    hardware_class: str
    outcome: str
    started_at_ms: int
    finished_at_ms: int
    host_reported: HostUsage
    rules: Rules | None = None

    def __post_init__(self) -> None:
        addresses = (self.market, self.provider, self.signer)
        _require(all(len(address) == 20 for address in addresses), "an address is malformed")
        digests = (self.deal_id, self.spec, self.input_root, self.trace_root, self.commitment_digest)
        _require(all(len(digest) == 32 for digest in (*digests, self.commit_tx)), "a digest is not 32 bytes")
        _require(0 < self.chain_id < 2**63, "the chain id is out of range")
        _require(0 < self.price_cap_wei <= UINT96_MAX, "the price is out of range")
        _require(0 <= self.first_step < self.first_step + self.step_limit < 2**32, "the steps are out of range")
        _require(len(self.manifest) <= 128, "the manifest's CID is malformed")
        _require(len(self.hardware_class) <= 64 and len(self.outcome) <= 64, "a text is too long")
        _require(0 <= self.started_at_ms <= self.finished_at_ms < 2**53, "the execution ends before it starts")


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt and the signature of the provider's wallet or hot key. Source: docs/protocol.md §2, `Receipt`."""

    RECORD: ClassVar[tuple[str, int]] = ("signed-receipt", 1)

    receipt: Receipt
    signature: bytes

    def __post_init__(self) -> None:
        _require(0 < len(self.signature) <= MAX_SIGNATURE_BYTES, "the signature is malformed")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked of a receipt; the sentence says what was found."""

    name: str
    ok: bool
    sentence: str


def digest_to_sign(receipt: Receipt) -> Digest:
    """What the signer's key signs: the EIP-712 digest of `Receipt(provider, recordDigest)`."""
    at = typed_data.domain(receipt.chain_id, receipt.market)
    return typed_data.receipt_digest(at, receipt.provider, encoding.digest(receipt))


def decode(data: bytes) -> SignedReceipt:
    """The signed receipt that `data` encodes; nothing of it is verified yet.

    Raises:
        BadMessage: too long, or not a signed receipt. The sender's fault.
    """
    if len(data) > MAX_RECEIPT_BYTES:
        raise BadMessage(f"the receipt is longer than {MAX_RECEIPT_BYTES} bytes")
    return encoding.decode(SignedReceipt, data)


def verify(
    signed: SignedReceipt,
    recover: Recover,
    *,
    outputs: Sequence[Entry] | None = None,
    spec: Spec | None = None,
    leaves: Sequence[Digest] = (),
) -> list[Check]:
    """Every check that needs no network; the receipt holds when all are `ok`.

    Args:
        recover: reads the signer out of a signature.
        outputs: the entries of the result at hand, if they are to be compared.
        spec: the job at hand, if it is to be compared.
        leaves: the published leaf list, needed for more than one step.
    """
    receipt = signed.receipt
    checks = [
        _check_signature(signed, recover),
        _check_demand(receipt),
        _check_deal(receipt),
        _check_trace(receipt, leaves),
        _check_commitment(receipt),
        _check_amount(receipt),
    ]
    if outputs is not None:
        checks.append(_check_outputs(receipt, outputs))
    if spec is not None:
        checks.append(_check_spec(receipt, spec))
    return checks


def _check_signature(signed: SignedReceipt, recover: Recover) -> Check:
    receipt = signed.receipt
    provider, signer = _hex(receipt.provider), _hex(receipt.signer)
    if recover(digest_to_sign(receipt), signed.signature) != receipt.signer:
        return Check("signature", False, f"The signature is not {signer}'s: do not trust this receipt.")
    if receipt.signer == receipt.provider:
        return Check("signature", True, f"Signed by the provider {provider}.")
    return Check(
        "signature",
        True,
        f"Signed by {signer} for the provider {provider}; that it may sign for it is written on the chain.",
    )


def _check_demand(receipt: Receipt) -> Check:
    steps = steps_word(receipt.rules, receipt.first_step, receipt.step_limit)
    bound = typed_data.demand_digest(receipt.spec, receipt.input_root, steps)
    return _equal(
        "demand",
        bound,
        receipt.terms.demand_digest,
        "The terms bind this spec, these inputs and how they are judged.",
        "The terms are about another spec, other inputs or other rules of judging.",
    )


def _check_deal(receipt: Receipt) -> Check:
    if receipt.terms.provider != receipt.provider:
        return Check("deal", False, f"The terms name the provider {_hex(receipt.terms.provider)}.")
    return _equal(
        "deal",
        _deal_id(receipt),
        receipt.deal_id,
        f"The deal id {_hex(receipt.deal_id)} follows from the terms.",
        f"The deal id {_hex(receipt.deal_id)} does not follow from the terms.",
    )


def _deal_id(receipt: Receipt) -> DealId:
    at = typed_data.domain(receipt.chain_id, receipt.market)
    terms = receipt.terms
    if terms.mode in (Mode.AWARD, Mode.FIRST):
        return typed_data.announcement_deal_id(at, announced_terms(terms, receipt.price_cap_wei))
    return DealId(typed_data.award_digest(at, terms))


def _check_trace(receipt: Receipt, leaves: Sequence[Digest]) -> Check:
    ends = commitments.first_and_last_leaf(receipt.commitment, receipt.deal_id, receipt.input_root, receipt.first_step)
    steps = receipt.commitment.step_count
    whole = ends if steps == 1 else tuple(leaves)
    if steps > receipt.step_limit:
        return Check("trace", False, f"The trace has {steps} steps, the terms allow {receipt.step_limit}.")
    if len(whole) != steps + 1:
        return Check("trace", False, f"To check a trace of {steps} steps, its {steps + 1} leaves are needed.")
    if (whole[0], whole[-1]) != ends:
        return Check("trace", False, "The leaves do not begin with the inputs and end with the result.")
    return _equal(
        "trace",
        trace.trace_root(Trace(whole)),
        receipt.trace_root,
        f"The trace of {steps} step{'s' * (steps != 1)} leads from the inputs to the result.",
        "The trace root does not follow from inputs, result and exit code.",
    )


def _check_commitment(receipt: Receipt) -> Check:
    digest = commitments.commitment_digest(receipt.commitment, receipt.trace_root)
    return _equal(
        "commitment",
        digest,
        receipt.commitment_digest,
        f"The commitment {_hex(digest)} is what transaction {_hex(receipt.commit_tx)} must have posted.",
        "The commitment digest does not follow from the roots.",
    )


def _check_amount(receipt: Receipt) -> Check:
    amount, price = receipt.commitment.amount_wei, receipt.terms.price_wei
    return Check(
        "amount",
        amount <= price <= receipt.price_cap_wei,
        f"Asked {amount} base units of the agreed {price}, announced with at most {receipt.price_cap_wei}.",
    )


def _check_outputs(receipt: Receipt, outputs: Sequence[Entry]) -> Check:
    try:
        tree.check(outputs)
    except BadTree as error:
        return Check("outputs", False, f"The outputs are no valid tree: {error}.")
    return _equal(
        "outputs",
        tree.tree_root(outputs),
        receipt.commitment.result_root,
        f"The outputs at hand ({len(outputs)} entries) are the committed result.",
        "The outputs at hand are not the committed result: they were changed, or are another job's.",
    )


def _check_spec(receipt: Receipt, spec: Spec) -> Check:
    mismatches = [
        name
        for name, same in (
            ("spec", SpecDigest(encoding.digest(spec)) == receipt.spec),
            ("image", spec.image == receipt.image),
            ("inputs", tree.input_root(spec.inputs) == receipt.input_root or receipt.first_step > 0),
            ("stdout", spec.deterministic_stdout or receipt.commitment.stdout_root == ZERO_DIGEST),
        )
        if not same
    ]
    if mismatches:
        return Check("spec", False, f"The receipt is of another job: {', '.join(mismatches)} differ.")
    return Check("spec", True, "The receipt is of exactly this job: image, command, env, inputs and limits.")


def _equal(name: str, found: bytes, stated: bytes, yes: str, no: str) -> Check:
    return Check(name, found == stated, yes if found == stated else no)


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
