"""Networks for tests: real ones over loopback, with data folders that are gone afterwards."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from capanode.node.keys.peer_key import open_peer_key
from capanode.node.p2p.config import NetworkConfig
from capanode.node.p2p.network import open_network
from capanode.node.p2p.port import Message, Network, Verdict
from capanode.protocol.ids import PeerId

TOPIC = "/capanode/31337-test/demands/1"
PATIENCE_S = 15.0
"""Longest wait for what should take milliseconds; only a failing test waits so long."""


def config(data_dir: Path, **changes: Any) -> NetworkConfig:
    """A small network on loopback without discovery."""
    defaults: dict[str, Any] = {
        "network": "31337-test",
        "listen": ("/ip4/127.0.0.1/tcp/0",),
        "dht": False,
        "target_peers": 0,
    }
    return NetworkConfig(key=open_peer_key(data_dir / "peer.key"), data_dir=data_dir, **{**defaults, **changes})


@asynccontextmanager
async def node(**changes: Any) -> AsyncIterator[Network]:
    """One real network."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_network(config(Path(folder), **changes)) as network:
            yield network


def accept(topic: str, source: PeerId, data: bytes) -> Verdict:
    """A validator that takes everything."""
    del topic, source, data
    return Verdict.ACCEPT


async def echo(peer: PeerId, payload: bytes) -> bytes:
    """A handler."""
    del peer
    return payload


async def meet(a: Network, b: Network) -> None:
    """Connect two networks and wait until both see it."""
    await a.connect(b.addresses()[0])
    await until(lambda: b.peer_id in a.peers() and a.peer_id in b.peers())


async def until(condition: Any) -> None:
    """Wait for a condition that other tasks bring about."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the condition is the library's, without an event
            await trio.sleep(0.01)


async def gossip_reaches(
    sender: Network, messages: trio.MemoryReceiveChannel[Message], *, topic: str = TOPIC, tag: bytes = b""
) -> Message:
    """Publish until one arrives: the mesh forms within a heartbeat or two. Returns the message."""
    with trio.fail_after(PATIENCE_S):
        attempt = 0
        while True:
            attempt += 1
            await sender.publish(topic, b"hello %s %d" % (tag, attempt))
            with trio.move_on_after(0.2):
                while True:
                    message = await messages.receive()
                    if message.source == sender.peer_id and message.data.startswith(b"hello %s " % tag):
                        return message
