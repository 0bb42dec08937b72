"""Starting, closing, losing and finding peers."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from capanode.node.p2p import address_book
from capanode.node.p2p.libp2p_network import Libp2pNetwork
from capanode.node.p2p.network import open_network
from capanode.node.p2p.port import Message, Network, PeerLost, PeerReturned
from capanode.protocol.faults import Misconfigured, Unavailable
from capanode.protocol.ids import PeerId
from tests.p2p import child
from tests.p2p.nodes import TOPIC, accept, config, echo, gossip_reaches, meet, node, until

ECHO = "/capanode/echo/1"


async def test_the_peer_id_survives_a_restart(tmp_path: Path) -> None:
    async with open_network(config(tmp_path)) as network:
        first = network.peer_id
    async with open_network(config(tmp_path)) as network:
        assert network.peer_id == first


async def test_known_peers_survive_a_restart(tmp_path: Path) -> None:
    async with node() as other:
        async with open_network(config(tmp_path)) as network:
            await network.connect(other.addresses()[0])
        async with open_network(config(tmp_path, target_peers=1)) as network:
            await until(lambda: other.peer_id in network.peers())


async def test_a_taken_port_is_said_at_start(tmp_path: Path) -> None:
    async with node() as other:
        taken = other.addresses()[0].split("/p2p/")[0]
        with pytest.raises(Misconfigured, match="taken"):
            async with open_network(config(tmp_path, listen=(taken,))):
                pass


@pytest.mark.parametrize("listen", ["nonsense", "/ip4/127.0.0.1/udp/1", "/ip4/203.0.113.7/tcp/0"])
async def test_an_address_that_cannot_be_listened_on_is_said_at_start(tmp_path: Path, listen: str) -> None:
    with pytest.raises(Misconfigured, match="listen"):
        async with open_network(config(tmp_path, listen=(listen,))):
            pass


async def test_the_bodys_error_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="mine"):
        async with open_network(config(tmp_path)):
            raise Unavailable("mine")


async def test_cancelling_the_body_closes_in_order(tmp_path: Path) -> None:
    async with node() as other:
        with trio.move_on_after(1):
            async with open_network(config(tmp_path)) as network:
                await meet(network, other)
                await trio.sleep_forever()
        await until(lambda: not other.peers())


async def test_closing_under_traffic_is_quick_and_quiet() -> None:
    async with node() as other:
        other.subscribe(TOPIC, accept)
        async with trio.open_nursery() as nursery:
            async with node() as network:
                inbox = network.subscribe(TOPIC, accept)
                await meet(network, other)
                await gossip_reaches(other, inbox)
                nursery.start_soon(_chatter, other)
                await gossip_reaches(other, inbox, tag=b"chatter")
                began = trio.current_time()
            assert trio.current_time() - began < 3
            nursery.cancel_scope.cancel()
        assert other.statistics().host_rebuilds == 0


async def _chatter(network: Network) -> None:
    count = 0
    while True:
        count += 1
        await network.publish(TOPIC, b"hello chatter %d" % count)


async def test_missing_links_are_dialled_again() -> None:
    async with node() as hub, node(target_peers=1, bootstrap=(hub.addresses()[0],)) as leaf:
        await until(lambda: hub.peer_id in leaf.peers())


async def test_a_node_finds_others_through_one_it_knows() -> None:
    async with node(dht=True) as meeting_point:
        known = (meeting_point.addresses()[0],)
        async with (
            node(dht=True, target_peers=6, bootstrap=known) as a,
            node(dht=True, target_peers=6, bootstrap=known) as b,
        ):
            await until(lambda: b.peer_id in a.peers())


async def test_nodes_find_each_other_on_the_local_network() -> None:
    listen = ("/ip4/0.0.0.0/tcp/0",)
    async with (
        node(mdns=True, listen=listen, target_peers=1) as a,
        node(mdns=True, listen=listen, target_peers=1) as b,
    ):
        await until(lambda: b.peer_id in a.peers())


async def test_listening_everywhere_is_announced_by_the_interfaces_addresses() -> None:
    async with node(listen=("/ip4/0.0.0.0/tcp/0",)) as network, node() as other:
        addresses = network.addresses()
        assert addresses
        assert not any("0.0.0.0" in address for address in addresses)
        assert await other.connect(addresses[0]) == network.peer_id


async def test_what_the_operator_announces_is_announced() -> None:
    async with node(announce=("/ip4/203.0.113.9/tcp/4001",)) as network:
        assert network.addresses() == (f"/ip4/203.0.113.9/tcp/4001/p2p/{network.peer_id}",)


@asynccontextmanager
async def _child(folder: str, port: int) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    environment = dict(os.environ, PYTHONWARNINGS="ignore")
    process = subprocess.Popen(  # noqa: ASYNC220 - it starts at once, and is waited for in a thread
        [sys.executable, child.__file__, folder, str(port)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        line = await trio.to_thread.run_sync(process.stdout.readline)
        yield process, line.strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _hear_child(inbox: trio.MemoryReceiveChannel[Message], peer: PeerId) -> None:
    while inbox.statistics().current_buffer_used:
        inbox.receive_nowait()
    with trio.fail_after(15):
        while (await inbox.receive()).source != peer:
            pass


async def test_a_killed_peer_is_noticed_and_one_that_returns_is_back_in_gossip() -> None:
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        async with node() as watcher:
            inbox = watcher.subscribe(TOPIC, accept)
            async with _child(folder, port) as (process, address):
                peer = await watcher.connect(address)
                watcher.watch_peer(peer)
                await _hear_child(inbox, peer)
                process.send_signal(signal.SIGKILL)
                with trio.fail_after(3):
                    assert await watcher.liveness.receive() == PeerLost(peer)
            async with _child(folder, port) as (_, address):
                with trio.fail_after(10):
                    assert await watcher.liveness.receive() == PeerReturned(peer)
                await _hear_child(inbox, peer)


async def test_a_connection_that_cannot_be_closed_in_time_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async with node() as a, node() as b:
        await meet(a, b)
        assert isinstance(a, Libp2pNetwork)
        session = a._session.live
        assert session is not None
        for connection in session.parts.swarm.get_connections():
            monkeypatch.setattr(connection.muxed_conn, "close", trio.sleep_forever)
        told = a._links.ended(b.peer_id)
        await a._disconnect(b.peer_id)
        assert b.peer_id not in a.peers()
        assert told.is_set()
        await until(lambda: a.peer_id not in b.peers())
        await meet(a, b)


async def test_a_frozen_peer_is_noticed_and_does_not_hold_up_closing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with _child(folder, _free_port()) as (process, address):
            async with node() as watcher, node() as other:
                at_other = other.subscribe(TOPIC, accept)
                watcher.subscribe(TOPIC, accept)
                watcher.serve(ECHO, echo, limit_bytes=10)
                peer = await watcher.connect(address)
                await other.connect(address)
                await meet(other, watcher)
                watcher.watch_peer(peer)
                await gossip_reaches(watcher, at_other)
                process.send_signal(signal.SIGSTOP)
                with trio.fail_after(10):
                    assert await watcher.liveness.receive() == PeerLost(peer)
                await gossip_reaches(watcher, at_other, tag=b"still")
                reply = await other.request(watcher.peer_id, ECHO, b"x", limit_bytes=9, timeout_s=5)
                assert reply == b"x"
                process.send_signal(signal.SIGCONT)
                with trio.fail_after(15):
                    assert await watcher.liveness.receive() == PeerReturned(peer)
                process.send_signal(signal.SIGSTOP)
                began = trio.current_time()
            assert trio.current_time() - began < 5


def test_a_damaged_address_book_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    for content in (b"", b"{", b'{"peers": 5}', b'{"peers": [["x"]]}', bytes(2_000_000)):
        path.write_bytes(content)
        assert address_book.load(path).peers() == ()


def test_the_address_book_is_bounded_and_keeps_the_useful(tmp_path: Path) -> None:
    book = address_book.AddressBook()
    for number in range(300):
        book.add(PeerId(f"peer{number}"), [f"/ip4/10.0.0.1/tcp/{port}" for port in range(9)])
        book.add(PeerId("useful"), ["/ip4/10.0.0.2/tcp/1"])
    assert len(book.peers()) == address_book.PEERS
    assert len(book.of(PeerId("peer299"))) == address_book.ADDRESSES
    path = tmp_path / "peers.json"
    address_book.save(path, book.dump())
    assert address_book.load(path).peers() == book.peers()
    assert book.peers()[0] == "useful"
