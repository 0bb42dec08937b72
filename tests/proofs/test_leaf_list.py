"""The published leaves of a trace: the reference's bytes, and what is no list of any trace."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.proofs import leaf_list, trace
from capanode.proofs.leaf_list import BadLeafList, LeafList, Row, first_divergence
from capanode.proofs.step import DONE_FILE, is_last
from capanode.proofs.trace import Leaf
from capanode.proofs.tree import Entry, EntryType, decode
from capanode.protocol import encoding
from capanode.protocol.encoding import BadMessage
from capanode.protocol.faults import PeerFault
from capanode.protocol.ids import ZERO_DIGEST, Cid, DealId, Digest
from capanode.protocol.records import MAX_STEPS
from tests.vectors import golden

VECTORS = golden.load("steps")
JOB, LIST = VECTORS["job"], VECTORS["leaf_list"]
STATES = [VECTORS[f"state_{index}"] for index in (1, 2, 3)]
LISTED = leaf_list.decode(LIST["bytes"])
OTHER = Digest(b"\x55" * 32)


def leaf_of(state: dict[str, Any]) -> Leaf:
    return Leaf(state["index"], state["state_root"], state["exit_code"], state["stdout_root"], bool(state["done"]))


LEAVES = (trace.first_leaf(0, JOB["input_root"]), *map(leaf_of, STATES))


def test_the_list_is_the_reference() -> None:
    manifests = (None, *(state["manifest_cid"] for state in STATES))
    listed = leaf_list.listed(JOB["deal_id"], LEAVES, manifests)
    assert encoding.encode(listed) == LIST["bytes"]
    assert listed == LISTED
    assert LISTED.as_leaves() == LEAVES
    assert [LISTED.manifest(position) for position in range(4)] == list(manifests)
    assert (LISTED.step_count, trace.trace_root(leaf_list.trace_of(LISTED))) == (3, LIST["trace_root"])


def test_the_last_step_of_the_reference_says_so_itself() -> None:
    for state in STATES:
        entries = decode(state["tree"])
        assert is_last(entries, 0, state["index"] - 1, JOB["step_limit"]) == bool(state["done"])


def test_the_list_that_was_committed_is_believed() -> None:
    whole = leaf_list.check(LISTED, JOB["deal_id"], 0, 3, LIST["trace_root"])
    assert list(whole.leaves) == LIST["leaves"]


@pytest.mark.parametrize(
    "other",
    [
        {"deal_id": DealId(OTHER)},
        {"first_step": 1},
        {"step_count": 2},
        {"trace_root": OTHER},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_list_is_its_senders_fault(other: dict[str, Any]) -> None:
    right = {"deal_id": JOB["deal_id"], "first_step": 0, "step_count": 3, "trace_root": LIST["trace_root"]}
    with pytest.raises(BadLeafList):
        leaf_list.check(LISTED, **(right | other))
    assert issubclass(BadLeafList, PeerFault)


def test_a_leaf_is_proved_as_the_reference_does() -> None:
    for position in (1, 2):
        proved = leaf_list.proved(LISTED, position)
        assert (proved.position, proved.leaf) == (position, LEAVES[position])
        assert list(proved.siblings) == LIST[f"proof_{position}"]
        hashed = trace.leaf_hash(JOB["deal_id"], proved.leaf)
        assert trace.root_from_proof(hashed, position, proved.siblings) == LIST["trace_root"]


FIRST, SECOND, THIRD, LAST = LISTED.leaves


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param((), id="none"),
        pytest.param((FIRST,), id="no step"),
        pytest.param((FIRST, SECOND, THIRD), id="no end"),
        pytest.param((FIRST, SECOND, LAST, LAST), id="two ends"),
        pytest.param(((*FIRST[:4], LAST[4]), SECOND, LAST), id="a manifest of nothing"),
        pytest.param((FIRST, (*SECOND[:4], None), LAST), id="a state without manifest"),
        pytest.param((FIRST, (*SECOND[:4], Cid("Qm")), LAST), id="a manifest without CID"),
        pytest.param((FIRST, (SECOND[0], 1, *SECOND[2:]), LAST), id="more after a failure"),
        pytest.param(((FIRST[0], 0, OTHER, False, None), SECOND, LAST), id="output before the first step"),
        pytest.param((FIRST, SECOND, (LAST[0], 256, *LAST[2:])), id="no exit code"),
        pytest.param((FIRST, (Digest(b"short"), *SECOND[1:]), LAST), id="a short root"),
        pytest.param((FIRST, (SECOND[0], 0, Digest(b""), *SECOND[3:]), LAST), id="a short output root"),
        pytest.param((FIRST, *(SECOND,) * MAX_STEPS, LAST), id="too many"),
    ],
)
def test_what_is_no_trace_is_refused(rows: tuple[Row, ...]) -> None:
    with pytest.raises(ValueError, match=r"."):
        LeafList(JOB["deal_id"], 0, rows)
    fields = {"deal_id": JOB["deal_id"], "first_step": 0, "leaves": [list(row) for row in rows]}
    with pytest.raises(BadMessage):
        leaf_list.decode(encoding.dump(["leaf-list", 1, fields]))


def test_a_later_trace_begins_with_a_state_that_is_somewhere() -> None:
    begun: Row = (SECOND[0], 0, ZERO_DIGEST, False, SECOND[4])
    assert LeafList(JOB["deal_id"], 7, (begun, THIRD, LAST)).leaf(2).index == 9
    with pytest.raises(ValueError, match="in a manifest"):
        LeafList(JOB["deal_id"], 7, (FIRST, THIRD, LAST))
    with pytest.raises(ValueError, match="the first step"):
        LeafList(JOB["deal_id"], 2**32 - 2, (begun, THIRD, LAST))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        leaf_list.decode(data)


def test_a_list_that_is_too_long_is_not_read() -> None:
    with pytest.raises(BadLeafList, match="longer than"):
        leaf_list.decode(bytes(leaf_list.MAX_LEAF_LIST_BYTES + 1))


def test_the_first_leaf_that_differs_is_found() -> None:
    assert first_divergence(LEAVES, LEAVES) is None
    for position in range(4):
        other = [*LEAVES]
        other[position] = replace(other[position], state_root=OTHER)
        other[3] = replace(other[3], exit_code=9)
        assert first_divergence(LEAVES, other) == position
    early = (*LEAVES[:2], replace(LEAVES[2], done=True))
    assert first_divergence(early, LEAVES) == 2
    assert first_divergence(LEAVES[:2], LEAVES) == 2


def file(path: str, kind: EntryType = EntryType.FILE) -> Entry:
    mode = 0o755 if kind is EntryType.DIR else 0o644
    return Entry(path, kind, mode, 0, ZERO_DIGEST)


@pytest.mark.parametrize(
    ("state", "exit_code", "index", "last"),
    [
        ((), 0, 0, False),
        ((), 0, 18, False),
        ((), 0, 19, True),
        ((), 1, 0, True),
        ((file(DONE_FILE),), 0, 0, True),
        ((file(DONE_FILE, EntryType.DIR),), 0, 0, False),
        ((file("deep", EntryType.DIR), file(f"deep/{DONE_FILE}")), 0, 0, False),
    ],
)
def test_when_a_trace_ends(state: tuple[Entry, ...], exit_code: int, index: int, last: bool) -> None:
    assert is_last(state, exit_code, index, end=20) == last
