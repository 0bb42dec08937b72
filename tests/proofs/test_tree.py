import hashlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.proofs import tree
from capanode.proofs.tree import BadTree, Bounds, Entry, EntryType
from capanode.protocol.ids import ZERO_DIGEST, Cid, Digest
from capanode.protocol.records import Input
from tests.vectors import golden

VECTORS = golden.load("tree")

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= tree.MAX_NAME_BYTES
)


def file(path: str, content: bytes = b"", mode: int = 0o644) -> Entry:
    return Entry(path, EntryType.FILE, mode, len(content), Digest(hashlib.sha256(content).digest()))


def directory(path: str) -> Entry:
    return Entry(path, EntryType.DIR, 0o755, 0, ZERO_DIGEST)


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """Entries of some directory, in any order."""
    entries: dict[str, Entry] = {}
    directories = [""]
    for _ in range(draw(st.integers(0, 12))):
        parent = draw(st.sampled_from(directories))
        path = f"{parent}/{draw(NAMES)}".lstrip("/")
        if path in entries or not path:
            continue
        match draw(st.sampled_from(EntryType)):
            case EntryType.DIR:
                entries[path] = directory(path)
                directories.append(path)
            case EntryType.FILE:
                entries[path] = file(path, draw(st.binary(max_size=9)), draw(st.sampled_from([0o644, 0o755])))
            case EntryType.LINK:
                target = draw(st.binary(min_size=1, max_size=9))
                digest = Digest(hashlib.sha256(target).digest())
                entries[path] = Entry(path, EntryType.LINK, 0o777, len(target), digest)
    return draw(st.permutations(list(entries.values())))


@pytest.mark.parametrize("name", VECTORS)
def test_tree_matches_the_vectors(name: str) -> None:
    vector = VECTORS[name]
    entries = tree.decode(vector["bytes"])
    assert tree.encode(entries) == vector["bytes"]
    assert tree.tree_root(entries) == vector["root"]


@given(trees())
def test_root_does_not_depend_on_the_order_of_discovery(entries: list[Entry]) -> None:
    backwards = tree.ordered(reversed(entries))
    assert tree.ordered(entries) == backwards
    tree.check(backwards)
    assert tree.tree_root(tree.ordered(entries)) == tree.tree_root(backwards)


@given(trees())
def test_entries_survive_the_way_through_bytes(entries: list[Entry]) -> None:
    sorted_entries = tree.ordered(entries)
    assert tree.decode(tree.encode(sorted_entries)) == sorted_entries


@given(trees().filter(lambda entries: len(entries) > 1), st.data())
def test_entries_out_of_order_are_refused(entries: list[Entry], data: st.DataObject) -> None:
    right = list(tree.ordered(entries))
    wrong = data.draw(st.permutations(right).filter(lambda some: some != right))
    with pytest.raises(BadTree):
        tree.check(wrong)


@given(trees().filter(bool), st.data())
def test_repeated_entries_are_refused(entries: list[Entry], data: st.DataObject) -> None:
    right = list(tree.ordered(entries))
    again = data.draw(st.integers(0, len(right) - 1))
    with pytest.raises(BadTree, match="repeated"):
        tree.check([*right[: again + 1], right[again], *right[again + 1 :]])


def test_order_is_by_bytes_of_the_whole_path() -> None:
    entries = tree.ordered([directory("a"), file("a/b"), file("a-b"), file("é"), file("z"), file("B")])
    assert [entry.path for entry in entries] == ["B", "a", "a-b", "a/b", "z", "é"]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a/..",
        ".",
        "a/./b",
        "a//b",
        "a/",
        "a\0b",
        "x" * 256,
        "é" * 128,
        "/".join(["abcdefg"] * 513),
        "\ud800",
    ],
)
def test_paths_that_no_directory_has_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        file(path)


@pytest.mark.parametrize("path", ["x" * 255, "a/b", "...", "..a", " ", "a\nb", "\\", "C:\\x"])
def test_odd_paths_are_allowed(path: str) -> None:
    assert file(path).path == path


@pytest.mark.parametrize(
    ("kind", "mode", "size", "content"),
    [
        (EntryType.FILE, 0o600, 0, bytes(32)),
        (EntryType.FILE, 0o4755, 0, bytes(32)),
        (EntryType.FILE, 0o644, -1, bytes(32)),
        (EntryType.FILE, 0o644, 2**50, bytes(32)),
        (EntryType.FILE, 0o644, 0, bytes(31)),
        (EntryType.DIR, 0o755, 1, bytes(32)),
        (EntryType.DIR, 0o755, 0, b"x" * 32),
        (EntryType.DIR, 0o777, 0, bytes(32)),
        (EntryType.LINK, 0o644, 3, bytes(32)),
        (EntryType.LINK, 0o777, 0, bytes(32)),
        (EntryType.LINK, 0o777, 4096, bytes(32)),
    ],
)
def test_malformed_entries_are_refused(kind: EntryType, mode: int, size: int, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"mode|size|digest|directory|target"):
        Entry("x", kind, mode, size, Digest(content))


@pytest.mark.parametrize(
    "entries",
    [
        [file("a/b")],
        [file("a"), file("a/b")],
        [directory("a"), file("a/b/c")],
        [Entry("a", EntryType.LINK, 0o777, 1, ZERO_DIGEST), file("a/b")],
    ],
    ids=["no parent", "parent is a file", "no inner parent", "parent is a link"],
)
def test_entries_without_their_directory_are_refused(entries: list[Entry]) -> None:
    with pytest.raises(BadTree, match="no directory"):
        tree.check(entries)


def test_bounds_hold() -> None:
    entries = [directory("a"), directory("a/b"), file("a/b/c", b"12345")]
    tree.check(entries, Bounds(entries=3, content_bytes=5, depth=3))
    for bounds in (Bounds(2, 5, 3), Bounds(3, 4, 3), Bounds(3, 5, 2)):
        with pytest.raises(BadTree):
            tree.check(entries, bounds)


def test_encoded_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = tree.encode([file("a")])
    monkeypatch.setattr(tree, "MAX_ENCODED_BYTES", len(encoded) - 1)
    with pytest.raises(BadTree, match="longer"):
        tree.decode(encoded)


HASH = bytes(32)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "x",
        [1],
        [[]],
        [["a", "file", 0o644, 0]],
        [["a", "file", 0o644, 0, HASH, 0]],
        [["a", "socket", 0o644, 0, HASH]],
        [["a", "file", True, 0, HASH]],
        [["a", "file", 0o644, False, HASH]],
        [["a", "file", 0o644, 0.0, HASH]],
        [[b"a", "file", 0o644, 0, HASH]],
        [["a", "file", 0o644, 0, "x" * 32]],
        [["../a", "file", 0o644, 0, HASH]],
        {"a": ["a", "file", 0o644, 0, HASH]},
    ],
    ids=repr,
)
def test_strangers_lists_are_refused(value: object) -> None:
    with pytest.raises(BadTree):
        tree.decode(cbor2.dumps(value, canonical=True))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_refused(data: bytes) -> None:
    try:
        entries = tree.decode(data)
    except BadTree:
        return
    assert tree.encode(entries) == data


@given(trees().filter(bool), st.data())
def test_a_changed_byte_is_another_tree_or_none(entries: list[Entry], data: st.DataObject) -> None:
    encoded = tree.encode(tree.ordered(entries))
    place = data.draw(st.integers(0, len(encoded) - 1))
    changed = bytearray(encoded)
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        other = tree.decode(bytes(changed))
    except BadTree:
        return
    assert tree.tree_root(other) != tree.root_of_encoded(encoded)


def test_input_tree_is_the_flat_folder_of_the_inputs() -> None:
    digest = Digest(hashlib.sha256(b"data").digest())
    cid = Cid("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
    inputs = [Input("b.csv", digest, 4, cid, None), Input("B.csv", digest, 4, None, "https://example.org/b")]
    entries = tree.input_tree(inputs)
    assert [(entry.path, entry.mode, entry.size) for entry in entries] == [
        ("B.csv", 0o644, 4),
        ("b.csv", 0o644, 4),
    ]
    tree.check(entries)
    assert tree.input_root(inputs) == tree.tree_root(entries)
    assert tree.input_root([]) == VECTORS["empty"]["root"]
