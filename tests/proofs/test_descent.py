"""From the root of a withheld trace down to the first leaf that is not as computed here."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capanode.proofs import trace
from capanode.proofs.descent import retraced, turning
from capanode.proofs.trace import Leaf, Trace
from capanode.protocol.cases import LEVELS
from capanode.protocol.ids import ZERO_DIGEST, DealId, Digest

DEAL = DealId(b"\x07" * 32)
counts = st.integers(17, 80)


def leaves_of(count: int, wrong: int | None = None) -> list[Leaf]:
    """A trace of so many steps; from leaf `wrong` on, its states are others."""
    return [
        Leaf(at, Digest(bytes([at, 1 if wrong is not None and at >= wrong else 0]) * 16), 0, ZERO_DIGEST, at == count)
        for at in range(count + 1)
    ]


def walked(ours: Trace, theirs: Trace) -> tuple[int, tuple[Digest, ...]] | None:
    """The position that the way down ends at, with its proof; None where it ends before."""
    height, index = theirs.step_count.bit_length(), 0
    proof: tuple[Digest, ...] = ()
    while True:
        levels = min(height, LEVELS)
        found = turning(ours, height, index, trace.nodes_below(theirs, height, index, levels))
        if found is None:
            return None
        proof = (*found.siblings, *proof)
        if found.position is not None:
            return found.position, proof
        height, index = height - levels, (index << levels) + found.child


@settings(max_examples=12)
@given(counts, st.data())
def test_the_way_ends_at_the_first_leaf_that_differs_with_its_proof(count: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(1, count))
    theirs = trace.trace_of(DEAL, leaves_of(count, wrong))
    ours = retraced(DEAL, leaves_of(count), count)
    found = walked(ours, theirs)
    assert found is not None
    position, proof = found
    assert position == wrong
    assert proof == trace.proof(theirs, position)
    assert trace.root_from_proof(theirs.leaves[position], position, proof) == trace.trace_root(theirs)


@settings(max_examples=12)
@given(counts)
def test_of_an_honest_trace_nothing_can_be_named(count: int) -> None:
    theirs = trace.trace_of(DEAL, leaves_of(count))
    assert walked(retraced(DEAL, leaves_of(count), count), theirs) is None


@settings(max_examples=12)
@given(counts, st.data())
def test_a_job_that_ends_elsewhere_differs_where_the_shorter_one_ends(count: int, data: st.DataObject) -> None:
    theirs = trace.trace_of(DEAL, leaves_of(count))
    ended = data.draw(st.integers(1, count - 1))
    found = walked(retraced(DEAL, leaves_of(ended), count), theirs)
    assert found is not None
    assert found[0] == ended
    longer = retraced(DEAL, leaves_of(count + 3), count)
    found = walked(longer, theirs)
    assert found is not None
    assert found[0] == count


@pytest.mark.parametrize("count", [17, 32, 40, 62])
def test_what_is_forged_beyond_the_last_leaf_leads_to_the_last_leaf(count: int) -> None:
    """Else a provider could take the bond of whoever asks, with leaves that are all right and a root that is not."""
    honest = [trace.leaf_hash(DEAL, leaf) for leaf in leaves_of(count)]
    if (width := 1 << count.bit_length()) == count + 1:
        pytest.fail(f"a tree of {width} leaves has no place beyond them")
    forged = [*honest, *[trace.EMPTY] * (width - count - 2), Digest(b"\x66" * 32)]
    ours, height, index = retraced(DEAL, leaves_of(count), count), count.bit_length(), 0
    while True:
        levels = min(height, LEVELS)
        nodes = trace.nodes_below(Trace(tuple(forged)), height, index, levels)
        found = turning(ours, height, index, nodes)
        assert found is not None
        if found.position is not None:
            assert 1 <= found.position <= count
            return
        height, index = height - levels, (index << levels) + found.child
