from typing import Any

import pytest

from capanode.proofs import commitment, trace
from capanode.proofs.commitment import Commitment
from capanode.protocol.ids import ZERO_DIGEST, Digest, Wei
from tests.vectors import golden

VECTORS = golden.load("trace")
CASES = [name for name in VECTORS if name != "tags"]


def commitment_of(case: dict[str, Any], amount: int = 1) -> Commitment:
    return Commitment(
        case["result_root"],
        case["delivery_root"],
        case["stdout_root"],
        case["leaves_cid"],
        case["steps"],
        case["exit_code"],
        Wei(amount),
    )


@pytest.mark.parametrize("name", CASES)
def test_commitment_matches_the_vectors(name: str) -> None:
    case = VECTORS[name]
    built = commitment_of(case)
    assert commitment.commitment_digest(built, case["trace_root"]) == case["commitment_digest"]
    ends = commitment.first_and_last_leaf(built, case["deal_id"], case["input_root"], case["first_step"])
    assert ends == (case["leaves"][0], case["leaves"][-1])


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("single")])
def test_single_step_needs_nothing_but_the_result(name: str) -> None:
    case = VECTORS[name]
    built = commitment.commitment_of_single_step(case["result_root"], case["stdout_root"], case["exit_code"], Wei(1))
    assert built == commitment_of(case)
    whole = commitment.trace_of_single_step(built, case["deal_id"], case["input_root"], case["first_step"])
    assert trace.trace_root(whole) == case["trace_root"]
    assert trace.posted(whole) == ()


def test_posted_trace_is_all_leaves_or_root_and_proofs() -> None:
    sixteen, seventeen = (trace.Trace(tuple(VECTORS[name]["leaves"])) for name in ("sixteen", "seventeen"))
    assert trace.posted(sixteen) == sixteen.leaves
    case = VECTORS["seventeen"]
    assert list(trace.posted(seventeen)) == [case["trace_root"], *case["first_proof"], *case["last_proof"]]


def test_several_steps_have_no_single_step_trace() -> None:
    with pytest.raises(ValueError, match="more than one step"):
        commitment.trace_of_single_step(commitment_of(VECTORS["two"]), VECTORS["two"]["deal_id"], ZERO_DIGEST)


@pytest.mark.parametrize(
    "change",
    [
        {"result_root": Digest(b"")},
        {"leaves_cid": Digest(bytes(33))},
        {"step_count": 0},
        {"step_count": 2**32},
        {"status": 256},
        {"status": -1},
        {"amount_wei": Wei(2**96)},
        {"amount_wei": Wei(-1)},
    ],
    ids=str,
)
def test_commitment_out_of_range_is_refused(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "result_root": ZERO_DIGEST,
        "delivery_root": ZERO_DIGEST,
        "stdout_root": ZERO_DIGEST,
        "leaves_cid": ZERO_DIGEST,
        "step_count": 1,
        "status": 0,
        "amount_wei": Wei(0),
    }
    with pytest.raises(ValueError, match=r"range|32 bytes"):
        Commitment(**{**fields, **change})
