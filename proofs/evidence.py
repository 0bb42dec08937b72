"""What a stranger needs to recompute a deal's result, and whether it is what the chain has bound.

The chain keeps one hash of a committed deal. Terms, commitment, demand and spec are the preimages behind it, so they
may come from anybody; the bytes that the CIDs name are checked against those when they are fetched.

**Source**: docs/protocol.md §2, §3, §8.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from eth_hash.auto import keccak

from capanode.proofs import tree
from capanode.proofs.commitment import Commitment, commitment_digest, trace_of_single_step
from capanode.proofs.trace import trace_root
from capanode.protocol.comparator import comparator_digest
from capanode.protocol.encoding import BadMessage
from capanode.protocol.ids import ZERO_DIGEST, Address, Cid, DealId, Digest
from capanode.protocol.judging import Rules, class_pool, steps_word
from capanode.protocol.records import MAX_INPUTS, Spec, Terms, VerificationClass
from capanode.protocol.typed_data import demand_digest, encoded_terms, spec_digest

SLOT_HASH_BITS: Final = 200
"""Of the hash that a deal's slot keeps. Source: `DealSlot`."""

MAX_CID_CHARS: Final = 128
MAX_CLASS_CHARS: Final = 64


class BadEvidence(BadMessage):
    """Evidence that is not of the deal, or not what the chain has bound. The sender's fault."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A committed deal with its content; `inputs` are the blobs of the spec's inputs, in their order.

    `manifest` is the blob that lists the result, `leaf_list` that of all states where there were several steps.
    `hardware_class` is the one on whose machines it is judged, where rules or spec bind one, else its provider's own.
    """

    RECORD: ClassVar[tuple[str, int]] = ("evidence", 1)

    deal_id: DealId
    market: Address
    terms: Terms
    locked_by: Address
    trace_root: Digest
    commitment: Commitment
    input_root: Digest
    first_step: int
    step_limit: int
    rules: Rules | None
    hardware_class: str
    spec: Spec
    inputs: tuple[Cid, ...]
    manifest: Cid
    leaf_list: Cid | None

    def __post_init__(self) -> None:
        _require(len(self.deal_id) == 32 and len(self.trace_root) == 32, "a digest is not 32 bytes")
        _require(len(self.input_root) == 32, "a digest is not 32 bytes")
        _require(len(self.market) == 20 and len(self.locked_by) == 20, "an address is malformed")
        _require(0 <= self.first_step < self.first_step + self.step_limit < 2**32, "the steps are out of range")
        _require(len(self.hardware_class) <= MAX_CLASS_CHARS, "the hardware class is too long")
        _require(len(self.inputs) <= MAX_INPUTS, "there are too many inputs")
        cids = (*self.inputs, self.manifest, *((self.leaf_list,) if self.leaf_list is not None else ()))
        _require(all(0 < len(cid) <= MAX_CID_CHARS for cid in cids), "a CID is malformed")

    @property
    def is_class_bound(self) -> bool:
        """Whether the terms bind the hardware class; else it is the provider's word."""
        return self.rules is not None and (self.rules.quorum == 0 or self.spec.hardware_class is not None)

    @property
    def step_count(self) -> int:
        """How many steps were committed."""
        return self.commitment.step_count


def why_private(spec: Spec, rules: Rules | None) -> str:
    """Why nobody but the parties may see a job, in a clause; empty where a committed one is anybody's to check."""
    if spec.verification is VerificationClass.NONE:
        return "it is of class none, which nobody can judge"
    if spec.verification is VerificationClass.REPLICATED:
        # What one provider has committed would be all that another one needs to claim that it did the work.
        return "it is of class replicated, whose providers must not see each other's results"
    if rules is not None and rules.sealed:
        return "it is sealed"
    return ""


def slot_hash(evidence: Evidence) -> int:
    """What the deal's slot keeps from its commit on: low bits of keccak256(terms ‖ lockedBy ‖ amount ‖ commitment)."""
    commitment = evidence.commitment
    words = (
        encoded_terms(evidence.terms)
        + bytes(12)
        + evidence.locked_by
        + commitment.amount_wei.to_bytes(32, "big")
        + commitment_digest(commitment, evidence.trace_root)
    )
    return int.from_bytes(keccak(words), "big") % (1 << SLOT_HASH_BITS)


def verify(evidence: Evidence, deal_id: DealId, bound_hash: int) -> None:
    """Refuse evidence that is not exactly of this deal, whose slot on chain keeps `bound_hash`.

    Raises:
        BadEvidence: with what differs.
    """
    _hold(evidence.deal_id == deal_id, "it is of another deal")
    _hold(slot_hash(evidence) == bound_hash, "its terms or its commitment are not those on chain")
    steps = steps_word(evidence.rules, evidence.first_step, evidence.step_limit)
    bound = demand_digest(spec_digest(evidence.spec), evidence.input_root, steps)
    _hold(bound == evidence.terms.demand_digest, "its spec, inputs or rules are not those that the terms bind")
    compared = evidence.rules is None or evidence.rules.comparator == comparator_digest(evidence.spec.comparator)
    _hold(compared, "its rules bind another comparator than its spec has")
    if evidence.rules is not None and evidence.rules.quorum == 0:
        _hold(class_pool(evidence.hardware_class) == evidence.rules.pool, "its rules bind another hardware class")
    elif evidence.spec.hardware_class is not None:
        _hold(evidence.hardware_class == evidence.spec.hardware_class, "its spec binds another hardware class")
    why = why_private(evidence.spec, evidence.rules)
    _hold(not why, f"the job is not for everybody: {why}")
    _hold(len(evidence.inputs) == len(evidence.spec.inputs), "it does not name each input")
    _verify_trace(evidence, deal_id)


def _verify_trace(evidence: Evidence, deal_id: DealId) -> None:
    """One step: the leaves follow from what is here. More: the leaf list is checked when it is fetched."""
    commitment = evidence.commitment
    if evidence.first_step == 0:
        _hold(evidence.input_root == tree.input_root(evidence.spec.inputs), "its inputs are not those of its spec")
    _hold(commitment.step_count <= evidence.step_limit, "it has more steps than were agreed")
    _hold((evidence.leaf_list is None) == (commitment.leaves_cid == ZERO_DIGEST), "its list of leaves is missing")
    if commitment.step_count == 1:
        trace = trace_of_single_step(commitment, deal_id, evidence.input_root, evidence.first_step)
        _hold(trace_root(trace) == evidence.trace_root, "its leaves are not those that were committed")


def _hold(condition: bool, what: str) -> None:
    if not condition:
        raise BadEvidence(f"the evidence does not hold: {what}")


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
