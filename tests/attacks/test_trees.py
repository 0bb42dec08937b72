"""Attack 7: two spellings of one directory, or one spelling of two."""

import hashlib
import io
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.storage.tree_walk import Tree, Unfit, materialise_here, walk_here
from capanode.proofs import tree
from capanode.proofs.tree import BadTree, Bounds, Entry, EntryType
from capanode.protocol import encoding
from capanode.protocol.ids import ZERO_DIGEST, Digest


def file(path: str, content: bytes = b"") -> Entry:
    return Entry(path, EntryType.FILE, 0o644, len(content), Digest(hashlib.sha256(content).digest()))


def link(path: str, target: bytes) -> Entry:
    return Entry(path, EntryType.LINK, 0o777, len(target), Digest(hashlib.sha256(target).digest()))


def root_of(folder: Path) -> Digest:
    found = walk_here(folder)
    assert isinstance(found, Tree)
    return found.root


def test_attack_07_times_and_order_of_writing_change_nothing(tmp_path: Path) -> None:
    for name, order, when in (("one", "ab", 1), ("other", "ba", 2_000_000_000)):
        (tmp_path / name).mkdir()
        for letter in order:
            path = tmp_path / name / letter
            path.write_text(letter)
            os.utime(path, (when, when))
    assert root_of(tmp_path / "one") == root_of(tmp_path / "other")


@pytest.mark.parametrize(
    "paths", [("b", "a"), ("a", "a"), ("dir/a",), ("B", "a", "A")], ids=["order", "repeated", "no directory", "case"]
)
def test_attack_07_second_spelling_is_refused(paths: tuple[str, ...]) -> None:
    entries = [file(path) for path in paths]
    with pytest.raises(BadTree):
        tree.check(entries)
    with pytest.raises(BadTree):
        tree.decode(tree.encode(entries))


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "./a", "a//b", "a/", "a\0b", "a/."])
def test_attack_07_path_that_leads_elsewhere_is_no_entry(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        file(path)


def test_attack_07_names_that_look_alike_are_different_files() -> None:
    composed = unicodedata.normalize("NFC", "é")
    decomposed = unicodedata.normalize("NFD", "é")
    assert tree.tree_root([file(composed)]) != tree.tree_root([file(decomposed)])
    assert tree.tree_root([file("A")]) != tree.tree_root([file("a")])


def test_attack_07_link_is_its_text_and_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"of the host")
    outputs, copy = tmp_path / "outputs", tmp_path / "copy"
    outputs.mkdir()
    (outputs / "way-out").symlink_to("../secret")
    found = walk_here(outputs)
    assert isinstance(found, Tree)
    assert found.entries == (link("way-out", b"../secret"),)
    written = materialise_here(found.entries, lambda _: io.BytesIO(b"../secret"), copy)
    assert written.skipped_links == ("way-out",)
    assert os.listdir(copy) == []


def test_attack_07_hard_links_are_files_of_their_own(tmp_path: Path) -> None:
    linked, apart = tmp_path / "linked", tmp_path / "apart"
    for folder in (linked, apart):
        folder.mkdir()
        (folder / "a").write_bytes(b"same")
    os.link(linked / "a", linked / "b")
    (apart / "b").write_bytes(b"same")
    assert root_of(linked) == root_of(apart)


def test_attack_07_sparse_file_is_counted_at_its_size_and_not_read(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as holes:
        holes.truncate(2**40)
    found = walk_here(tmp_path, Bounds(content_bytes=2**30))
    assert isinstance(found, Unfit)


def test_attack_07_devices_and_pipes_have_no_form(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(walk_here(tmp_path), Unfit)


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True, min_size=2), st.data())
def test_attack_07_bytes_of_a_tree_are_unique(names: list[str], data: st.DataObject) -> None:
    """No other bytes decode to the same entries: neither longer numbers nor another order of them."""
    entries = tree.ordered(file(name) for name in names)
    assert tree.encode(tree.decode(tree.encode(entries))) == tree.encode(entries)
    shuffled = data.draw(st.permutations(list(entries)).filter(lambda some: tuple(some) != entries))
    with pytest.raises(BadTree):
        tree.decode(encoding.dump([[e.path, e.type.value, e.mode, e.size, e.content] for e in shuffled]))


def test_attack_07_directory_holds_no_bytes_of_its_own() -> None:
    with pytest.raises(ValueError, match="directory"):
        Entry("d", EntryType.DIR, 0o755, 1, ZERO_DIGEST)
