"""The blob store: whole or not at all, bounded, and nothing that is needed goes."""

import errno
import os
from pathlib import Path

import pytest

from capanode.node.storage.blobs import BlobStore, Pin
from capanode.node.storage.cid import CHUNK_BYTES, cid_of
from capanode.protocol.faults import InvariantViolated, Misconfigured, PeerFault, Refused, Unavailable
from capanode.protocol.ids import Cid, UnixTime

NOW = UnixTime(1_000_000)
LATER = UnixTime(2_000_000)
BIG = os.urandom(CHUNK_BYTES * 2) + b"tail"


def _store(folder: Path, limit_bytes: int = 100 * CHUNK_BYTES) -> BlobStore:
    return BlobStore(folder / "store", limit_bytes=limit_bytes, clock=lambda: float(NOW))


@pytest.mark.parametrize("data", [b"", b"x", bytes(CHUNK_BYTES), BIG], ids=["empty", "byte", "chunk", "tree"])
def test_what_is_put_can_be_had(tmp_path: Path, data: bytes) -> None:
    store = _store(tmp_path)
    cid = store.put_bytes(data, reason="test", until=LATER)
    assert cid == cid_of(data)
    source = tmp_path / "source"
    source.write_bytes(data)
    assert store.put_file(source, reason="again", until=LATER) == cid
    for opened in (store, _store(tmp_path)):
        assert opened.has(cid)
        assert opened.size(cid) == len(data)
        assert opened.path(cid).read_bytes() == data
        assert opened.read(cid, 0, 5) == data[:5]
        assert opened.tree(cid).cid == cid
        assert set(opened.pins(cid)) == {Pin("test", LATER), Pin("again", LATER)}
        with opened.open(cid) as file:
            assert file.read() == data


def test_what_was_not_put_is_unavailable(tmp_path: Path) -> None:
    store = _store(tmp_path)
    missing = cid_of(b"missing")
    for ask in (store.size, store.path, store.open, store.tree):
        with pytest.raises(Unavailable, match="not on this node"):
            ask(missing)
    assert not store.has(missing)


def test_a_file_that_somebody_has_removed_is_unavailable_until_it_is_put_back(tmp_path: Path) -> None:
    store = _store(tmp_path)
    for data in (b"small", BIG):
        cid = store.put_bytes(data, reason="test", until=LATER)
        files = sorted(store.path(cid).parent.glob(f"{cid}*"))
        for file in files:
            file.rename(tmp_path / file.name)
        for ask in (store.path, store.open, store.whole, *((store.tree,) if len(files) > 1 else ())):
            with pytest.raises(Unavailable, match="cannot be read"):
                ask(cid)
        for file in files:
            (tmp_path / file.name).rename(file)
        assert store.whole(cid) == data


def test_only_what_nobody_needs_is_collected(tmp_path: Path) -> None:
    store = _store(tmp_path)
    needed = store.put_bytes(b"needed", reason="deal:1", until=LATER)
    expired = store.put_bytes(BIG, reason="deal:2", until=NOW)
    released = store.put_bytes(b"released", reason="deal:3", until=LATER)
    store.pin(released, reason="deal:4", until=LATER)
    store.unpin(released, reason="deal:3")
    assert store.collect(NOW) == len(BIG)
    assert (store.has(needed), store.has(expired), store.has(released)) == (True, False, True)
    store.unpin(released, reason="deal:4")
    store.unpin(released, reason="deal:4")
    assert store.collect(NOW) == len(b"released")
    again = _store(tmp_path)
    assert (again.has(needed), again.has(expired), again.has(released)) == (True, False, False)
    assert not list((tmp_path / "store" / "blobs").rglob("*.leaves"))


def test_the_total_size_is_bounded(tmp_path: Path) -> None:
    store = _store(tmp_path, limit_bytes=1000)
    store.put_bytes(bytes(600), reason="old", until=NOW)
    kept = store.put_bytes(b"k" * 600, reason="deal", until=LATER)
    assert store.used_bytes == 600
    with pytest.raises(Unavailable, match="full"):
        store.put_bytes(b"n" * 401, reason="deal", until=LATER)
    assert store.has(kept)
    store.put_bytes(b"n" * 400, reason="deal", until=LATER)
    assert not list((tmp_path / "store" / "incoming").iterdir())


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "missing"])
def test_only_regular_files_are_stored(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    match kind:
        case "link":
            path.symlink_to("/etc/passwd")
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case _:
            pass
    with pytest.raises((Refused, Unavailable)):
        _store(tmp_path).put_file(path, reason="test", until=LATER)


def test_leftovers_of_a_crash_are_not_blobs(tmp_path: Path) -> None:
    store = _store(tmp_path)
    cid = store.put_bytes(BIG, reason="test", until=LATER)
    (tmp_path / "store" / "incoming" / "new-0123").write_bytes(b"half")
    # Renamed before the crash, but its list of digests never was.
    lonely = tmp_path / "store" / "blobs" / cid[-2:] / cid
    lonely.with_name(cid + ".leaves").unlink()
    (tmp_path / "store" / "blobs" / cid[-2:] / "notes.txt").write_text("not ours")
    again = _store(tmp_path)
    assert not again.has(cid)
    assert not (tmp_path / "store" / "incoming" / "new-0123").exists()


def test_a_damaged_pin_file_is_said_at_start(tmp_path: Path) -> None:
    _store(tmp_path)
    (tmp_path / "store" / "pins.json").write_text("{")
    with pytest.raises(Misconfigured, match="damaged"):
        _store(tmp_path)


def test_a_folder_that_cannot_be_used_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(Misconfigured, match="cannot be used"):
        _store(tmp_path)


def test_a_transfer_keeps_right_chunks_only_and_resumes(tmp_path: Path) -> None:
    origin = _store(tmp_path / "a")
    cid = origin.put_bytes(BIG, reason="test", until=LATER)
    tree = origin.tree(cid)
    store = _store(tmp_path / "b")
    with store.receive(tree) as incoming:
        incoming.append(BIG[:CHUNK_BYTES])
        with pytest.raises(PeerFault, match="wrong bytes"):
            incoming.append(bytes(CHUNK_BYTES))
        with pytest.raises(PeerFault, match="wrong bytes"):
            incoming.append(BIG[CHUNK_BYTES : CHUNK_BYTES + 10])
        with pytest.raises(InvariantViolated):
            store.finish(incoming, reason="test", until=LATER)
        with pytest.raises(Unavailable, match="already"), store.receive(tree):
            pass
    with _store(tmp_path / "b").receive(tree) as incoming:
        assert incoming.received_bytes == CHUNK_BYTES
        incoming.append(BIG[CHUNK_BYTES:])
        with pytest.raises(PeerFault, match="More bytes"):
            incoming.append(b"x")
        assert incoming.is_complete
        store.finish(incoming, reason="test", until=LATER)
    assert store.path(cid).read_bytes() == BIG


def test_a_partial_file_that_was_altered_is_fetched_again(tmp_path: Path) -> None:
    store = _store(tmp_path)
    origin = _store(tmp_path / "a")
    tree = origin.tree(origin.put_bytes(BIG, reason="t", until=LATER))
    with store.receive(tree) as incoming:
        incoming.append(BIG)
    part = tmp_path / "store" / "incoming" / f"{tree.cid}.part"
    part.write_bytes(BIG[:CHUNK_BYTES] + b"x" + BIG[CHUNK_BYTES + 1 :])
    with store.receive(tree) as incoming:
        assert incoming.received_bytes == CHUNK_BYTES
    part.write_bytes(BIG + b"more")
    with store.receive(tree) as incoming:
        assert incoming.is_complete
        store.finish(incoming, reason="t", until=LATER)
    assert store.path(tree.cid).read_bytes() == BIG


def test_abandoned_transfers_are_collected(tmp_path: Path) -> None:
    store = _store(tmp_path)
    part = tmp_path / "store" / "incoming" / f"{cid_of(b'x')}.part"
    part.write_bytes(b"")
    os.utime(part, (NOW, NOW))
    store.collect(NOW)
    assert part.exists()
    store.collect(UnixTime(NOW + 4 * 86_400))
    assert not part.exists()


def test_a_name_from_outside_never_leaves_the_folder(tmp_path: Path) -> None:
    store = _store(tmp_path)
    with pytest.raises(Unavailable):
        store.path(Cid("../../secret"))


class FullDisk:
    """Takes the disk's room away from what writes by `os.fsync`, as a full disk tells it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        really = os.fsync

        def fsync(descriptor: int) -> None:
            if self.is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            really(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_is_told_everywhere_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    store = BlobStore(tmp_path, limit_bytes=2**30)
    kept = store.put_bytes(b"kept", reason="deal:1", until=UnixTime(2**40))
    old = store.put_bytes(b"old", reason="deal:2", until=UnixTime(5))
    disk.is_full = True
    with pytest.raises(Unavailable, match="free disk space"):
        store.put_bytes(b"more", reason="deal:1", until=UnixTime(2**40))
    with pytest.raises(Unavailable):
        store.pin(kept, reason="deal:3", until=UnixTime(2**40))
    with pytest.raises(Unavailable):
        store.collect(UnixTime(6))
    assert not store.has(old), "a full disk is made emptier although the pins cannot be written"
    assert store.read(kept, 0, 4) == b"kept"
    disk.is_full = False
    assert not list((tmp_path / "incoming").iterdir())
    again = store.put_bytes(b"more", reason="deal:1", until=UnixTime(2**40))
    reopened = BlobStore(tmp_path, limit_bytes=2**30)
    assert reopened.has(again)
    assert reopened.has(kept)
    assert {pin.reason for pin in reopened.pins(kept)} == {"deal:1", "deal:3"}
