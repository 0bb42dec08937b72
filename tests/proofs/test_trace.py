from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.proofs import trace
from capanode.proofs.trace import Leaf, Trace
from capanode.protocol.ids import ZERO_DIGEST, DealId, Digest
from tests.vectors import golden

VECTORS = golden.load("trace")
CASES = [name for name in VECTORS if name != "tags"]
digests = st.binary(min_size=32, max_size=32).map(Digest)


def leaves_of(case: dict[str, Any]) -> list[Leaf]:
    steps, first = case["steps"], case["first_step"]
    return [
        Leaf(
            first + i,
            case["states"][i],
            case["exit_code"] if i == steps else 0,
            case["stdout_roots"][i],
            done=i == steps,
        )
        for i in range(steps + 1)
    ]


def test_tags_match_the_vectors() -> None:
    tags = VECTORS["tags"]
    assert (tags["leaf"], tags["node"], tags["empty"]) == (trace.LEAF_TAG, trace.NODE_TAG, trace.EMPTY)


@pytest.mark.parametrize("name", CASES)
def test_trace_matches_the_vectors(name: str) -> None:
    case = VECTORS[name]
    built = trace.trace_of(case["deal_id"], leaves_of(case))
    assert list(built.leaves) == case["leaves"]
    assert trace.trace_root(built) == case["trace_root"]
    assert list(trace.proof(built, 0)) == case["first_proof"]
    assert list(trace.proof(built, built.step_count)) == case["last_proof"]
    assert case["commitment_digest"] == trace.commitment_digest(
        case["trace_root"],
        case["result_root"],
        case["delivery_root"],
        case["leaves_cid"],
        case["steps"],
        case["exit_code"],
    )


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("single")])
def test_single_step_matches_the_vectors(name: str) -> None:
    case = VECTORS[name]
    built = trace.trace_for_single_step(
        case["deal_id"],
        case["input_root"],
        case["result_root"],
        case["exit_code"],
        case["stdout_root"],
        case["first_step"],
    )
    assert list(built.leaves) == case["leaves"]


@given(st.lists(digests, min_size=2, max_size=70), st.data())
def test_every_leaf_proves_the_root_and_no_other_position(leaves: list[Digest], data: st.DataObject) -> None:
    built = Trace(tuple(leaves))
    root = trace.trace_root(built)
    position = data.draw(st.integers(0, len(leaves) - 1))
    siblings = trace.proof(built, position)
    assert trace.root_from_proof(leaves[position], position, siblings) == root
    assert trace.root_from_proof(Digest(bytes([1]) * 32), position, siblings) != root
    other = position ^ 1
    if other < len(leaves) and leaves[other] != leaves[position]:
        assert trace.root_from_proof(leaves[position], other, siblings) != root


@given(st.lists(digests, min_size=2, max_size=40))
def test_root_binds_the_number_of_leaves(leaves: list[Digest]) -> None:
    longer = Trace((*leaves, ZERO_DIGEST))
    assert trace.trace_root(longer) != trace.trace_root(Trace(tuple(leaves)))


def test_leaf_binds_each_of_its_fields() -> None:
    deal = DealId(bytes(32))
    plain = Leaf(1, Digest(b"s" * 32), 0, ZERO_DIGEST, done=True)
    others = [
        Leaf(2, plain.state_root, 0, ZERO_DIGEST, done=True),
        Leaf(1, Digest(b"t" * 32), 0, ZERO_DIGEST, done=True),
        Leaf(1, plain.state_root, 1, ZERO_DIGEST, done=True),
        Leaf(1, plain.state_root, 0, Digest(b"o" * 32), done=True),
        Leaf(1, plain.state_root, 0, ZERO_DIGEST, done=False),
    ]
    hashes = {trace.leaf_hash(deal, leaf) for leaf in (plain, *others)}
    assert len(hashes | {trace.leaf_hash(DealId(b"d" * 32), plain)}) == 7


@pytest.mark.parametrize("exit_code", [-1, 256])
def test_leaf_refuses_an_exit_code_out_of_range(exit_code: int) -> None:
    with pytest.raises(ValueError, match="exit code"):
        Leaf(1, ZERO_DIGEST, exit_code, ZERO_DIGEST, done=True)


def test_trace_refuses_gaps_and_a_wrong_end() -> None:
    deal = DealId(bytes(32))
    start = trace.first_leaf(0, ZERO_DIGEST)
    with pytest.raises(ValueError, match="numbered"):
        trace.trace_of(deal, (start, Leaf(2, ZERO_DIGEST, 0, ZERO_DIGEST, done=True)))
    with pytest.raises(ValueError, match="done"):
        trace.trace_of(deal, (start, Leaf(1, ZERO_DIGEST, 0, ZERO_DIGEST, done=False)))
    with pytest.raises(ValueError, match="at least one step"):
        trace.trace_of(deal, (Leaf(0, ZERO_DIGEST, 0, ZERO_DIGEST, done=True),))
    with pytest.raises(ValueError, match="position"):
        trace.proof(Trace((ZERO_DIGEST, ZERO_DIGEST)), 2)
