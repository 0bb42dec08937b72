"""CIDs equal those that IPFS tools make."""

import contextlib
import hashlib
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.storage import cid as cids
from capanode.node.storage.cid import CHUNK_BYTES, BlobTree, TreeHasher, cid_of, tree_of
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Cid

_VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "cid.json").read_text())["files"]
_PATTERN = bytes((31 * i + 7) & 255 for i in range(CHUNK_BYTES))


def _tree(size: int) -> BlobTree:
    """The vector's tree; whole chunks are all alike, so one digest serves for them."""
    whole, rest = divmod(size, CHUNK_BYTES)
    leaves = hashlib.sha256(_PATTERN).digest() * whole
    if rest or not whole:
        leaves += hashlib.sha256(_PATTERN[:rest]).digest()
    return tree_of(leaves, size)


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: str(vector["size"]))
def test_a_cid_equals_the_importers(vector: dict[str, object]) -> None:
    assert _tree(int(str(vector["size"]))).cid == vector["cid"]


@given(st.lists(st.integers(0, 3 * CHUNK_BYTES // 2), max_size=4))
def test_how_a_file_is_cut_when_it_is_fed_does_not_matter(cuts: list[int]) -> None:
    data = _PATTERN * 2 + _PATTERN[:123]
    hasher = TreeHasher()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        hasher.update(data[start:end])
    assert hasher.finish() == _tree(len(data))


def test_text_and_binary_forms_agree() -> None:
    for vector in _VECTORS:
        binary = cids.to_binary(Cid(vector["cid"]))
        assert len(binary) == 36
        assert cids.to_text(binary) == vector["cid"]
        assert cids.is_single_chunk(vector["cid"]) == (vector["size"] <= CHUNK_BYTES)
        single = cids.is_single_chunk(vector["cid"])
        assert cids.from_digest(cids.digest_of(vector["cid"]), single_chunk=single) == vector["cid"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bafk",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        cid_of(b"x").upper(),
        "z" + cid_of(b"x")[1:],
        cid_of(b"x")[:-1] + "7",
        cid_of(b"x") + "a",
        "../../../../etc/passwd".ljust(59, "a"),
        "b" + "1" * 58,
        "b" + "é" * 58,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        cids.to_binary(Cid(text))


@given(st.binary(max_size=40))
def test_no_binary_crashes_the_reader(binary: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert cids.to_binary(cids.to_text(binary)) == binary


@pytest.mark.parametrize(("leaves", "size"), [(b"", 0), (bytes(31), 1), (bytes(64), 1), (bytes(32), 2**20 + 1)])
def test_digests_that_do_not_fit_the_size_are_refused(leaves: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="do not belong"):
        tree_of(leaves, size)
