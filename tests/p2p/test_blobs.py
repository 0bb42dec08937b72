"""Blobs between nodes: on the fake for the rules, over libp2p for the bytes."""

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from capanode.node.p2p import blobs
from capanode.node.p2p.blobs import fetch_blob, serve_blobs
from capanode.node.p2p.port import Handler
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.cid import CHUNK_BYTES, cid_of
from capanode.protocol.faults import PeerFault, Refused, Unavailable
from capanode.protocol.ids import Cid, PeerId, UnixTime
from tests.fakes.fake_network import FakeInternet, FakeNetwork
from tests.p2p.nodes import meet, node

LATER = UnixTime(2**40)
BIG = os.urandom(CHUNK_BYTES) * 5 + b"tail"
MOST = 100 * CHUNK_BYTES


def _store(folder: Path, limit_bytes: int = MOST) -> BlobStore:
    return BlobStore(folder, limit_bytes=limit_bytes)


def _anyone(peer: PeerId, cid: Cid) -> bool:
    return True


class Exchange:
    """A fetching node and any number of servers, on the fake."""

    def __init__(self, folder: Path) -> None:
        self.internet = FakeInternet()
        self.folder = folder
        self.client = self.internet.node("client")
        self.store = _store(folder / "client")
        self.progress: list[tuple[int, int]] = []

    def server(self, name: str, *datas: bytes) -> FakeNetwork:
        network = self.internet.node(name)
        store = _store(self.folder / name)
        for data in datas:
            store.put_bytes(data, reason="test", until=LATER)
        serve_blobs(network, store, _anyone)
        self.client.learn(network.addresses()[0])
        return network

    def hostile(self, name: str, handler: Handler) -> FakeNetwork:
        network = self.internet.node(name)
        network.serve(blobs.PROTOCOL, handler, limit_bytes=100)
        self.client.learn(network.addresses()[0])
        return network

    async def fetch(self, data: bytes, *servers: FakeNetwork, max_bytes: int = MOST, timeout_s: float = 100) -> None:
        await fetch_blob(
            self.client,
            [server.peer_id for server in servers],
            cid_of(data),
            self.store,
            max_bytes=max_bytes,
            reason="deal",
            until=LATER,
            timeout_s=timeout_s,
            progress=lambda done, size: self.progress.append((done, size)),
        )

    def has(self, data: bytes) -> bool:
        cid = cid_of(data)
        return self.store.has(cid) and self.store.path(cid).read_bytes() == data


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange(tmp_path)


@pytest.mark.parametrize("data", [b"", b"x", bytes(CHUNK_BYTES), BIG], ids=["empty", "byte", "chunk", "tree"])
async def test_a_blob_arrives_whole_and_pinned(exchange: Exchange, data: bytes) -> None:
    await exchange.fetch(data, exchange.server("server", data))
    assert exchange.has(data)
    assert [pin.reason for pin in exchange.store.pins(cid_of(data))] == ["deal"]
    assert exchange.progress[-1] == (len(data), len(data))
    assert not list((exchange.folder / "client" / "incoming").iterdir())


async def test_what_is_here_is_not_fetched(exchange: Exchange) -> None:
    exchange.store.put_bytes(b"mine", reason="own", until=LATER)
    await exchange.fetch(b"mine")
    assert {pin.reason for pin in exchange.store.pins(cid_of(b"mine"))} == {"own", "deal"}


async def test_the_next_peer_is_asked(exchange: Exchange, patient_clock: MockClock) -> None:
    down = exchange.server("down", BIG)
    down.go_down()
    await exchange.fetch(BIG, down, exchange.server("without"), exchange.server("with", BIG))
    assert exchange.has(BIG)


async def test_a_peer_that_comes_back_is_asked_again(exchange: Exchange, patient_clock: MockClock) -> None:
    server = exchange.server("server", b"data")
    server.go_down()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.fetch, b"data", server)
        await trio.sleep(2)
        server.come_up()
    assert exchange.has(b"data")


async def test_nobody_to_ask_is_unavailable(exchange: Exchange) -> None:
    with pytest.raises(Unavailable, match="No peer"):
        await exchange.fetch(b"data")


async def test_a_stranger_gets_nothing_and_learns_nothing(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path)
    server = exchange.internet.node("server")
    store = _store(tmp_path / "server")
    store.put_bytes(b"private", reason="test", until=LATER)
    serve_blobs(server, store, lambda peer, cid: False)
    exchange.client.learn(server.addresses()[0])
    with pytest.raises(Refused, match="is not here for you") as private:
        await exchange.fetch(b"private", server)
    with pytest.raises(Refused, match="is not here for you") as missing:
        await exchange.fetch(b"missing", server)
    assert str(private.value).replace(cid_of(b"private"), "") == str(missing.value).replace(cid_of(b"missing"), "")


async def test_more_than_allowed_is_refused_before_a_byte(exchange: Exchange) -> None:
    with pytest.raises(Refused, match="at most"):
        await exchange.fetch(BIG, exchange.server("server", BIG), max_bytes=len(BIG) - 1)
    assert exchange.progress == []


async def test_no_room_is_said(exchange: Exchange, patient_clock: MockClock) -> None:
    exchange.store = _store(exchange.folder / "small", limit_bytes=10)
    with pytest.raises(Unavailable, match="full"):
        await exchange.fetch(BIG, exchange.server("server", BIG))


def _head(data: bytes, size: int | None = None) -> bytes:
    import hashlib

    leaves = b"".join(
        hashlib.sha256(data[at : at + CHUNK_BYTES]).digest() for at in range(0, max(1, len(data)), CHUNK_BYTES)
    )
    return (len(data) if size is None else size).to_bytes(8, "big") + leaves


def _honest_part(data: bytes, request: bytes) -> bytes:
    offset, length = int.from_bytes(request[37:45], "big"), int.from_bytes(request[45:], "big")
    return data[offset : offset + length]


async def _wrong_bytes(peer: PeerId, request: bytes) -> bytes:
    if request[0] == 0:
        return _head(BIG)
    part = bytearray(_honest_part(BIG, request))
    part[-1] ^= 1
    return bytes(part)


async def _endless(peer: PeerId, request: bytes) -> bytes:
    return _head(BIG) if request[0] == 0 else _honest_part(BIG, request) + bytes(1)


async def _short(peer: PeerId, request: bytes) -> bytes:
    return _head(BIG) if request[0] == 0 else _honest_part(BIG, request)[:-1]


async def _wrong_size(peer: PeerId, request: bytes) -> bytes:
    return _head(BIG, size=len(BIG) + 1)


async def _wrong_head(peer: PeerId, request: bytes) -> bytes:
    return _head(BIG[1:])


async def _no_head(peer: PeerId, request: bytes) -> bytes:
    return b""


async def _huge_head(peer: PeerId, request: bytes) -> bytes:
    return bytes(3 * 1024 * 1024)


_HOSTILE = [_wrong_bytes, _endless, _short, _wrong_size, _wrong_head, _no_head, _huge_head]


@pytest.mark.parametrize("handler", _HOSTILE, ids=lambda handler: handler.__name__.strip("_"))
async def test_a_hostile_server_is_charged_and_passed_over(exchange: Exchange, handler: Handler) -> None:
    hostile = exchange.hostile("hostile", handler)
    with pytest.raises(PeerFault):
        await exchange.fetch(BIG, hostile)
    assert exchange.client._faults[hostile.peer_id] >= 1
    await exchange.fetch(BIG, hostile, exchange.server("honest", BIG))
    assert exchange.has(BIG)


@pytest.mark.parametrize("data", [b"x" * 100, b""], ids=["small", "empty"])
async def test_a_hostile_server_of_a_single_chunk_is_found_out(exchange: Exchange, data: bytes) -> None:
    async def hostile(peer: PeerId, request: bytes) -> bytes:
        return _head(data, size=7) if request[0] == 0 else b"7 bytes"

    with pytest.raises(PeerFault):
        await exchange.fetch(data, exchange.hostile("hostile", hostile))


async def test_a_slow_server_is_given_up_in_time(exchange: Exchange, patient_clock: MockClock) -> None:
    async def slow(peer: PeerId, request: bytes) -> bytes:
        await trio.sleep(15)
        return _head(BIG) if request[0] == 0 else _honest_part(BIG, request)

    with pytest.raises(Unavailable, match="parts are kept"):
        await exchange.fetch(BIG, exchange.hostile("slow", slow), timeout_s=40)
    assert exchange.progress[-1] == (4 * CHUNK_BYTES, len(BIG))
    await exchange.fetch(BIG, exchange.server("quick", BIG))
    assert exchange.progress[2] == (4 * CHUNK_BYTES, len(BIG))
    assert exchange.has(BIG)


@pytest.mark.parametrize(
    "request_bytes",
    [b"", bytes(48), bytes(49), b"\x02" + bytes(48), bytes(50), b"\xff" * 49],
    ids=["empty", "short", "no cid", "operation", "long", "ones"],
)
async def test_a_malformed_request_is_the_peers_fault(exchange: Exchange, request_bytes: bytes) -> None:
    server = exchange.server("server", BIG)
    with pytest.raises((Refused, Unavailable)):
        await exchange.client.request(server.peer_id, blobs.PROTOCOL, request_bytes, limit_bytes=100, timeout_s=5)
    assert server._faults[exchange.client.peer_id] == 1


async def test_a_range_that_is_not_whole_chunks_is_the_peers_fault(exchange: Exchange) -> None:
    from capanode.node.storage.cid import to_binary

    server = exchange.server("server", BIG)
    head = b"\x01" + to_binary(cid_of(BIG))
    for tail in ((1).to_bytes(8, "big") + (1).to_bytes(4, "big"), bytes(8) + (2**22 + 1).to_bytes(4, "big")):
        with pytest.raises(Refused):
            await exchange.client.request(server.peer_id, blobs.PROTOCOL, head + tail, limit_bytes=9, timeout_s=5)


async def test_a_blob_crosses_libp2p_and_resumes_after_a_break(tmp_path: Path) -> None:
    data = os.urandom(CHUNK_BYTES) * 24 + b"end"
    cid = cid_of(data)
    async with node() as client:
        store = _store(tmp_path / "client")
        done: list[int] = []
        async with node() as first:
            origin = _store(tmp_path / "first")
            origin.put_bytes(data, reason="test", until=LATER)
            serve_blobs(first, origin, _anyone)
            await meet(client, first)
            with trio.CancelScope() as broken:

                def break_off(received: int, size: int) -> None:
                    done.append(received)
                    if received >= 8 * CHUNK_BYTES:
                        broken.cancel()

                await fetch_blob(
                    client, [first.peer_id], cid, store, max_bytes=MOST, reason="d", until=LATER, progress=break_off
                )
        assert not store.has(cid)
        async with node() as second:
            serve_blobs(second, origin, _anyone)
            await meet(client, second)
            resumed: list[int] = []
            await fetch_blob(
                client,
                [first.peer_id, second.peer_id],
                cid,
                store,
                max_bytes=MOST,
                reason="d",
                until=LATER,
                progress=lambda received, size: resumed.append(received),
            )
        assert resumed[0] >= 8 * CHUNK_BYTES
        assert store.path(cid).read_bytes() == data
