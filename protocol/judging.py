"""What a deal says about judging: the rules under which its result may be disputed, and how its terms bind them.

A deal of class `none` has no rules and cannot be disputed.

**Source**: docs/protocol.md §2, "Rules"; `contracts/src/types/Rules.sol`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from eth_hash.auto import keccak

from capanode.protocol.ids import UINT96_MAX, ZERO_DIGEST, Address, Digest, Ppm, Wei


class VerificationClass(StrEnum):
    """How a result may be judged. Source: docs/protocol.md §7."""

    EXACT = "exact"
    TOLERANCE = "tolerance"
    REPLICATED = "replicated"
    NONE = "none"


CLASS_NUMBERS: Final = {
    VerificationClass.NONE: 0,
    VerificationClass.EXACT: 1,
    VerificationClass.TOLERANCE: 2,
    VerificationClass.REPLICATED: 3,
}
"""`Rules.class_` on chain."""

JUDGED: Final = frozenset({VerificationClass.EXACT, VerificationClass.TOLERANCE})
"""Classes whose results one party can recompute and arbiters judge; in the others there is no bond against fraud."""

RULES_DIGEST_BITS: Final = 192


@dataclass(frozen=True, slots=True)
class Rules:
    """Who judges a disputed step, how, and at what bounds and fee; in ABI order.

    `quorum` zero draws arbiters by stake from everybody enrolled in `pool`; a positive one makes `pool` a named set,
    of which so many must agree. `comparator` is the digest of the comparator's record, zero for `exact`. A step's state
    has at most `max_state_bytes`, one execution of it takes at most `step_s` seconds.
    """

    verification: VerificationClass
    sealed: bool
    quorum: int
    pool: Digest
    comparator: Digest
    max_state_bytes: int
    step_s: int
    arbiter_fee_wei: Wei
    audit_rate_ppm: Ppm

    def __post_init__(self) -> None:
        _require(self.verification is not VerificationClass.NONE, "a deal of class none has no rules of judging")
        _require(0 <= self.quorum < 2**8, "the quorum is out of range")
        _require(len(self.pool) == 32 and len(self.comparator) == 32, "a digest is not 32 bytes")
        compared = self.comparator != ZERO_DIGEST
        _require(not compared or self.verification is not VerificationClass.EXACT, "exact results need no comparator")
        _require(compared or self.verification is not VerificationClass.TOLERANCE, "a tolerance needs a comparator")
        _require(0 < self.max_state_bytes < 2**64, "the size of a state is out of range")
        _require(0 < self.step_s < 2**32, "the time for a step is out of range")
        _require(0 <= self.arbiter_fee_wei <= UINT96_MAX, "the arbiter's fee is out of range")
        _require(0 < self.audit_rate_ppm <= 1_000_000, "the audit rate is out of range")


def rules_digest(rules: Rules | None) -> int:
    """The low 192 bits of keccak256(abi.encode(rules)); zero where nothing can be disputed."""
    if rules is None:
        return 0
    words = b"".join(
        (
            _word(CLASS_NUMBERS[rules.verification]),
            _word(rules.sealed),
            _word(rules.quorum),
            rules.pool,
            rules.comparator,
            _word(rules.max_state_bytes),
            _word(rules.step_s),
            _word(rules.arbiter_fee_wei),
            _word(rules.audit_rate_ppm),
        )
    )
    return int.from_bytes(keccak(words), "big") % (1 << RULES_DIGEST_BITS)


def steps_word(rules: Rules | None, first_step: int, step_limit: int) -> int:
    """The third word of what a deal is about: rulesDigest << 64 | firstStep << 32 | stepLimit."""
    return rules_digest(rules) << 64 | first_step << 32 | step_limit


def class_pool(hardware_class: str) -> Digest:
    """The pool of everybody who judges work of this hardware class."""
    return Digest(keccak(hardware_class.encode()))


def named_pool(arbiters: Collection[Address]) -> Digest:
    """The pool of a named set of arbiters: keccak256(abi.encode(addresses)), in ascending order."""
    chosen = sorted(set(arbiters))
    return Digest(keccak(_word(32) + _word(len(chosen)) + b"".join(bytes(12) + address for address in chosen)))


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
