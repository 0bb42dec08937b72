import errno
import hashlib
import os
import socket
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest
import trio

from capanode.node.storage import tree_walk
from capanode.node.storage.tree_walk import BadContent, Tree, Unfit, Written
from capanode.proofs import tree
from capanode.proofs.tree import BadTree, Bounds, Entry, EntryType
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import ZERO_DIGEST, Digest


def sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).digest())


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A small, ordinary result."""
    root = tmp_path / "out"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "model.bin").write_bytes(b"weights")
    (root / "deep" / "er" / "é.txt").write_bytes(b"text")
    (root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "run.sh").chmod(0o4755)
    (root / "latest").symlink_to("deep/er")
    return root


def fit(outcome: Tree | Unfit) -> Tree:
    assert isinstance(outcome, Tree), outcome
    return outcome


def problems(outcome: Tree | Unfit) -> str:
    assert isinstance(outcome, Unfit), outcome
    return "\n".join(outcome.problems)


def contents_of(root: Path) -> tree_walk.Content:
    def open_content(entry: Entry) -> BinaryIO:
        place = root / entry.path
        if entry.type is EntryType.LINK:
            return BytesIO(os.fsencode(os.readlink(place)))
        return place.open("rb")

    return open_content


def nothing(entry: Entry) -> BinaryIO:
    raise AssertionError(entry)


async def test_walk_reads_a_directory_in_canonical_form(outputs: Path) -> None:
    found = fit(await tree_walk.walk(outputs))
    assert found.entries == (
        Entry("deep", EntryType.DIR, 0o755, 0, ZERO_DIGEST),
        Entry("deep/er", EntryType.DIR, 0o755, 0, ZERO_DIGEST),
        Entry("deep/er/é.txt", EntryType.FILE, 0o644, 4, sha256(b"text")),
        Entry("empty", EntryType.DIR, 0o755, 0, ZERO_DIGEST),
        Entry("latest", EntryType.LINK, 0o777, 7, sha256(b"deep/er")),
        Entry("model.bin", EntryType.FILE, 0o644, 7, sha256(b"weights")),
        Entry("run.sh", EntryType.FILE, 0o755, 10, sha256(b"#!/bin/sh\n")),
    )
    assert found.root == tree.tree_root(found.entries)


def test_root_does_not_depend_on_times_owners_or_modes_that_mean_nothing(outputs: Path) -> None:
    before = fit(tree_walk.walk_here(outputs)).root
    for place in (outputs / "model.bin", outputs / "deep"):
        os.utime(place, (1, 1))
    (outputs / "model.bin").chmod(0o666)
    (outputs / "deep").chmod(0o700)
    assert fit(tree_walk.walk_here(outputs)).root == before
    (outputs / "model.bin").chmod(0o744)
    assert fit(tree_walk.walk_here(outputs)).root != before


def test_an_empty_directory_has_the_empty_tree(tmp_path: Path) -> None:
    assert fit(tree_walk.walk_here(tmp_path)).entries == ()


def test_hard_links_are_separate_files(outputs: Path) -> None:
    os.link(outputs / "model.bin", outputs / "again.bin")
    paths = [entry.path for entry in fit(tree_walk.walk_here(outputs)).entries]
    assert {"again.bin", "model.bin"} <= set(paths)


def test_links_out_are_kept_as_text_and_never_followed(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (outputs / "up").symlink_to("../secret")
    (outputs / "etc").symlink_to("/etc")
    (outputs / "self").symlink_to("self")
    found = {entry.path: entry for entry in fit(tree_walk.walk_here(outputs)).entries}
    assert found["up"].content == sha256(b"../secret")
    assert found["etc"].type is EntryType.LINK
    assert not any(path.startswith(("etc/", "self/")) for path in found)


def test_a_link_as_root_is_not_followed(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(outputs)
    with pytest.raises(Unavailable):
        tree_walk.walk_here(tmp_path / "link")


def test_everything_else_makes_the_tree_unfit_with_all_its_names(outputs: Path) -> None:
    os.mkfifo(outputs / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(outputs / "socket"))
    (outputs / "deep" / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    said = problems(tree_walk.walk_here(outputs))
    assert "'pipe' is a named pipe" in said
    assert "'socket' is a socket" in said
    assert "is not UTF-8" in said


def test_a_device_is_refused_unopened(outputs: Path) -> None:
    try:
        os.mknod(outputs / "disk", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        outputs = Path("/dev")
    said = problems(tree_walk.walk_here(outputs, Bounds(entries=10_000)))
    assert "is a device" in said


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        (Bounds(entries=6), "more than 6 files and folders"),
        (Bounds(content_bytes=27), "more than 27 bytes"),
        (Bounds(depth=2), "lies too deep"),
    ],
)
def test_bounds_hold(outputs: Path, bounds: Bounds, sentence: str) -> None:
    assert sentence in problems(tree_walk.walk_here(outputs, bounds))


def test_bounds_are_inclusive(outputs: Path) -> None:
    fit(tree_walk.walk_here(outputs, Bounds(entries=7, content_bytes=28, depth=3)))


def test_a_sparse_file_is_refused_unread(outputs: Path) -> None:
    with (outputs / "sparse").open("wb") as file:
        file.truncate(2**40)
    assert "'sparse'" in problems(tree_walk.walk_here(outputs, Bounds(content_bytes=2**30)))


def test_too_many_files_stop_the_walk_early(outputs: Path) -> None:
    for index in range(300):
        (outputs / "empty" / str(index)).touch()
    looked_at = 0

    def tick() -> None:
        nonlocal looked_at
        looked_at += 1

    problems(tree_walk.walk_here(outputs, Bounds(entries=20), tick))
    assert looked_at < 40


def test_a_list_of_problems_is_bounded(outputs: Path) -> None:
    for index in range(2 * tree_walk.MAX_PROBLEMS):
        os.mkfifo(outputs / f"pipe{index}")
    assert problems(tree_walk.walk_here(outputs)).count("\n") == tree_walk.MAX_PROBLEMS - 1


def test_names_cannot_write_on_the_terminal(outputs: Path) -> None:
    os.mkfifo(outputs / "\x1b[2Jgone")
    assert "\x1b" not in problems(tree_walk.walk_here(outputs))


def test_a_file_that_grows_while_it_is_read_is_refused(outputs: Path) -> None:
    growing = outputs / "model.bin"

    def tick() -> None:
        with growing.open("ab") as file:
            file.write(b"x" * 100)

    assert "changed while it was read" in problems(tree_walk.walk_here(outputs, tick=tick))


def test_a_name_swapped_for_a_link_is_not_followed(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    real_open = os.open

    def swapping_open(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = real_open(path, flags, mode, dir_fd=dir_fd)
        if path == b"model.bin":
            (outputs / "model.bin").unlink()
            (outputs / "model.bin").symlink_to(tmp_path / "secret")
        return descriptor

    monkeypatch.setattr(os, "open", swapping_open)
    found = {entry.path: entry.content for entry in fit(tree_walk.walk_here(outputs)).entries}
    assert found["model.bin"] == sha256(b"weights")


def test_a_missing_directory_is_our_disks_fault(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        tree_walk.walk_here(tmp_path / "absent")


async def test_walk_can_be_cancelled(outputs: Path) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await tree_walk.walk(outputs)
    assert scope.cancelled_caught


def test_no_descriptor_is_left_open(outputs: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    tree_walk.walk_here(outputs)
    os.mkfifo(outputs / "deep" / "pipe")
    tree_walk.walk_here(outputs, Bounds(entries=2))
    assert len(os.listdir("/proc/self/fd")) == before


# ---- writing


async def test_a_tree_survives_the_way_to_another_disk(outputs: Path, tmp_path: Path) -> None:
    found = fit(tree_walk.walk_here(outputs))
    copy = tmp_path / "copy"
    written = await tree_walk.materialise(found.entries, contents_of(outputs), copy)
    assert written == Written(())
    assert fit(tree_walk.walk_here(copy)) == found
    assert sorted(os.listdir(tmp_path)) == ["copy", "out"]


def test_an_empty_folder_may_be_filled(outputs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    tree_walk.materialise_here(fit(tree_walk.walk_here(outputs)).entries, contents_of(outputs), copy)
    assert (copy / "model.bin").read_bytes() == b"weights"


def test_a_folder_with_something_in_it_stays_as_it_is(outputs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "mine").write_bytes(b"mine")
    entries = fit(tree_walk.walk_here(outputs)).entries
    with pytest.raises(Refused, match="not an empty folder"):
        tree_walk.materialise_here(entries, contents_of(outputs), copy)
    assert [place.name for place in copy.iterdir()] == ["mine"]
    assert sorted(place.name for place in tmp_path.iterdir()) == ["copy", "out"]


def test_links_that_lead_out_are_left_out_and_named(tmp_path: Path) -> None:
    targets = {"abs": b"/etc/passwd", "sub/up": b"../../x", "sub/in": b"../abs"}
    entries = tree.ordered(
        [
            Entry("sub", EntryType.DIR, 0o755, 0, ZERO_DIGEST),
            *(Entry(path, EntryType.LINK, 0o777, len(t), sha256(t)) for path, t in targets.items()),
        ]
    )
    written = tree_walk.materialise_here(entries, lambda entry: BytesIO(targets[entry.path]), tmp_path / "copy")
    assert written.skipped_links == ("abs", "sub/up")
    assert os.readlink(tmp_path / "copy" / "sub" / "in") == "../abs"


TYPES = {
    "d": EntryType.DIR,
    "d/e": EntryType.DIR,
    "f": EntryType.FILE,
    "l": EntryType.LINK,
}


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        ("x", b"f", False),
        ("x", b"./d/e/../../f", False),
        ("x", b"l", False),
        ("x", b"nowhere", False),
        ("d/x", b"..", False),
        ("d/x", b"../f", False),
        ("x", b"d/", False),
        ("x", b"..", True),
        ("d/x", b"../..", True),
        ("x", b"/f", True),
        ("x", b"l/f", True),
        ("x", b"l/../f", True),
        ("x", b"f/..", True),
        ("x", b"nowhere/../f", True),
        ("x", b"d/e/../../../f", True),
        ("x", b"\xff/f", True),
    ],
)
def test_leads_out(path: str, target: bytes, out: bool) -> None:
    assert tree_walk.leads_out(path, target, TYPES) is out


@pytest.mark.parametrize("sent", [b"", b"weight", b"weights!", b"WEIGHTS"])
def test_wrong_bytes_leave_nothing_behind(tmp_path: Path, sent: bytes) -> None:
    entry = Entry("model.bin", EntryType.FILE, 0o644, 7, sha256(b"weights"))
    with pytest.raises(BadContent, match="model"):
        tree_walk.materialise_here([entry], lambda _: BytesIO(sent), tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sent", [b"", b"elsewhere", b"place\0", b"PLACE"])
def test_wrong_link_targets_are_refused(tmp_path: Path, sent: bytes) -> None:
    entry = Entry("link", EntryType.LINK, 0o777, 5, sha256(b"place"))
    with pytest.raises(BadContent, match="link"):
        tree_walk.materialise_here([entry], lambda _: BytesIO(sent), tmp_path / "copy")


def test_a_list_that_is_no_tree_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    entries = [Entry("link", EntryType.LINK, 0o777, 1, sha256(b".")), *[_file("link/x")]]
    with pytest.raises(BadTree):
        tree_walk.materialise_here(entries, nothing, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(outputs: Path, tmp_path: Path) -> None:
    entries = fit(tree_walk.walk_here(outputs)).entries

    def failing(entry: Entry) -> BinaryIO:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(Unavailable, match="No space left"):
        tree_walk.materialise_here(entries, failing, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_leftovers_of_a_crash_are_replaced(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / ".copy.partial").mkdir()
    (tmp_path / ".copy.partial" / "model.bin").write_bytes(b"half")
    found = fit(tree_walk.walk_here(outputs))
    tree_walk.materialise_here(found.entries, contents_of(outputs), tmp_path / "copy")
    assert fit(tree_walk.walk_here(tmp_path / "copy")) == found


def test_files_become_executable_or_not(tmp_path: Path) -> None:
    entries = [_file("plain"), _file("run", 0o755)]
    tree_walk.materialise_here(entries, lambda _: BytesIO(b""), tmp_path / "copy")
    assert os.access(tmp_path / "copy" / "run", os.X_OK)
    assert (tmp_path / "copy" / "plain").stat().st_mode & 0o777 == 0o644


def _file(path: str, mode: int = 0o644) -> Entry:
    return Entry(path, EntryType.FILE, mode, 0, sha256(b""))
