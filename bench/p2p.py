"""The network: does every message arrive, and what does our gossip cost beside bare py-libp2p?

`python -m bench.p2p` measures; `python -m bench.p2p peer ours|bare` is one of the processes that it starts.
Ten processes of each kind stand by; the kinds gossip in turn, so that both meet the same machine. Both use
the same keys, ciphers, gossip parameters and links. CPU time is that of the processes themselves; it moves
less with foreign load than wall-clock time does.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from bench import report
from capanode.node.keys.peer_key import open_peer_key
from capanode.node.p2p.config import NetworkConfig
from capanode.node.p2p.network import open_network
from capanode.node.p2p.port import Message, Network, Verdict
from capanode.protocol.ids import PeerId

TOPIC: Final = "/capanode/bench/demands/1"
PEERS: Final = 10
LINKS: Final = 3
"""Links that each process dials, so that each has about six."""
ROUNDS: Final = 3
MESSAGES: Final = 20
"""Of each process in a round."""
PERIOD_S: Final = 1.0
"""Each of ten sends one message in this time: ten a second in all."""
MESSAGE_BYTES: Final = 1024
SETTLE_S: Final = 5.0
START_S: Final = 3.0
DRAIN_S: Final = 4.0
LEAVES: Final = 20
INBOUND: Final = 300
SHUTDOWNS: Final = 3


# -- The processes ------------------------------------------------------------------------------------------------


async def peer(kind: str) -> None:
    """One gossiping process: obeys lines of JSON on its input, answers each with one."""
    with tempfile.TemporaryDirectory() as folder:
        opened = _open_ours(Path(folder)) if kind == "ours" else _open_bare(Path(folder))
        async with opened as (address, connect, publish, received):
            _say(address)
            while order := await trio.to_thread.run_sync(sys.stdin.readline):
                match json.loads(order):
                    case ["connect", *addresses]:
                        for other in addresses:
                            await connect(other)
                        _say(True)
                    case ["gossip", int(number), int(round_), float(start_at)]:
                        _say(await _gossip(number, round_, start_at, publish))
                    case ["count", int(round_)]:
                        _say(len({data for data in received if data.startswith(b"%d " % round_)}))
                    case other:
                        raise ValueError(f"unknown order {other}")


Opened = tuple[str, Callable[[str], Awaitable[object]], Callable[[bytes], Awaitable[None]], list[bytes]]


@asynccontextmanager
async def _open_ours(folder: Path) -> AsyncIterator[Opened]:
    async with open_network(_config(folder)) as network, trio.open_nursery() as nursery:
        received: list[bytes] = []
        nursery.start_soon(_collect, network.subscribe(TOPIC, _accept), received)

        async def publish(data: bytes) -> None:
            await network.publish(TOPIC, data)

        yield network.addresses()[0], network.connect, publish, received
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_bare(folder: Path) -> AsyncIterator[Opened]:
    """Stock py-libp2p with the parameters that ours has, and none of its own code."""
    from libp2p import new_host
    from libp2p.crypto.secp256k1 import create_new_key_pair
    from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from libp2p.pubsub.gossipsub import GossipSub
    from libp2p.pubsub.pubsub import Pubsub
    from libp2p.security.noise.transport import PROTOCOL_ID, Transport
    from libp2p.tools.anyio_service import background_trio_service

    from capanode.node.p2p.library_types import Multiaddr

    del folder
    keys = create_new_key_pair()
    noise = Transport(keys, noise_privkey=create_x25519_key_pair().private_key)
    host: Any = new_host(key_pair=keys, sec_opt={PROTOCOL_ID: noise}, muxer_preference="YAMUX")
    router: Any = GossipSub(
        protocols=["/meshsub/1.1.0", "/meshsub/1.0.0"],  # type: ignore[list-item]  # names of one str type
        degree=6,
        degree_low=4,
        degree_high=12,
        heartbeat_interval=1,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
    )
    pubsub: Any = Pubsub(host, router, strict_signing=True)
    async with (
        host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]),
        background_trio_service(pubsub),
        background_trio_service(router),
        trio.open_nursery() as nursery,
    ):
        await pubsub.wait_until_ready()
        subscription = await pubsub.subscribe(TOPIC)
        received: list[bytes] = []

        async def collect() -> None:
            while True:
                message = await subscription.get()
                if message.from_id != host.get_id().to_bytes():
                    received.append(bytes(message.data))

        async def connect(address: str) -> None:
            await host.connect(info_from_p2p_addr(Multiaddr(address)))

        async def publish(data: bytes) -> None:
            await pubsub.publish(TOPIC, data)

        nursery.start_soon(collect)
        yield str(host.get_addrs()[0]), connect, publish, received
        nursery.cancel_scope.cancel()


async def _gossip(
    number: int, round_: int, start_at: float, publish: Callable[[bytes], Awaitable[None]]
) -> dict[str, float]:
    """Send a message in each period, from the time that all processes were given."""
    await trio.sleep(start_at - time.time())
    cpu = time.process_time()
    start = trio.current_time() + PERIOD_S * number / PEERS
    for sent in range(MESSAGES):
        await trio.sleep_until(start + sent * PERIOD_S)
        await publish(b"%d %d %d " % (round_, number, sent) + bytes(MESSAGE_BYTES))
    await trio.sleep(start_at + MESSAGES * PERIOD_S + DRAIN_S - time.time())
    return {"cpu_s": time.process_time() - cpu}


async def _collect(messages: trio.MemoryReceiveChannel[Message], received: list[bytes]) -> None:
    async for message in messages:
        received.append(message.data)


def _accept(topic: str, source: PeerId, data: bytes) -> Verdict:
    del topic, source, data
    return Verdict.ACCEPT


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


def _config(folder: Path, *, hub: bool = False) -> NetworkConfig:
    return NetworkConfig(
        key=open_peer_key(folder / "peer.key"),
        data_dir=folder,
        network="bench",
        listen=("/ip4/127.0.0.1/tcp/0",),
        dht=False,
        target_peers=0,
        hub=hub,
    )


# -- The ten against the ten --------------------------------------------------------------------------------------


class Crowd:
    """Ten processes of one kind, linked."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "bench.p2p", "peer", kind]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PEERS)
        ]

    def link(self) -> None:
        """Wait for the processes and connect each to the next few."""
        addresses = [self._hear(number) for number in range(PEERS)]
        for number in range(PEERS):
            others = [addresses[(number + step) % PEERS] for step in range(1, LINKS + 1)]
            self._order(number, ["connect", *others])
            self._hear(number)

    def gossip(self, round_: int) -> tuple[float, float]:
        """One round: share of messages that arrived, and CPU milliseconds a delivery."""
        start_at = time.time() + START_S
        for number in range(PEERS):
            self._order(number, ["gossip", number, round_, start_at])
        cpu_s = sum(self._hear(number)["cpu_s"] for number in range(PEERS))
        for number in range(PEERS):
            self._order(number, ["count", round_])
        arrived = sum(self._hear(number) for number in range(PEERS))
        return arrived / (PEERS * (PEERS - 1) * MESSAGES), 1000 * cpu_s / max(1, arrived)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def _order(self, number: int, order: list[Any]) -> None:
        stdin = self._processes[number].stdin
        assert stdin is not None
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()

    def _hear(self, number: int) -> Any:
        stdout = self._processes[number].stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            raise RuntimeError("a peer process has ended; its error is above")
        return json.loads(line)


def measure_crowds() -> dict[str, float]:
    """Delivery and CPU of both kinds, in turn; medians of the rounds."""
    figures: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
    crowds: dict[str, Crowd] = {}
    try:
        for kind in figures:  # one after the other, or twenty imports compete
            crowds[kind] = Crowd(kind)
            crowds[kind].link()
        time.sleep(SETTLE_S)
        for round_ in range(ROUNDS):
            for kind, rounds in figures.items():
                rounds.append(crowds[kind].gossip(round_))
    finally:
        for crowd in crowds.values():
            crowd.close()
    ours, bare = (statistics.median(cpu for _, cpu in figures[kind]) for kind in ("ours", "bare"))
    return {
        "delivery_ratio_n10": statistics.median(ratio for ratio, _ in figures["ours"]),
        "delivery_ratio_n10_worst": min(ratio for ratio, _ in figures["ours"]),
        "delivery_ratio_n10_bare": statistics.median(ratio for ratio, _ in figures["bare"]),
        "cpu_ms_per_delivery": ours,
        "cpu_ms_per_delivery_bare": bare,
        "cpu_ratio_vs_bare": ours / bare,
    }


# -- One process --------------------------------------------------------------------------------------------------


async def measure_star() -> dict[str, float]:
    """A hub and its leaves: how many leaves hear the hub and are heard by it and by the other leaves."""
    async with AsyncExitStack() as stack:
        hub = await _enter(stack, hub=True)
        at_hub = hub.subscribe(TOPIC, _accept)
        leaves: list[tuple[Network, trio.MemoryReceiveChannel[Message]]] = []
        for _ in range(LEAVES):
            leaf = await _enter(stack)
            leaves.append((leaf, leaf.subscribe(TOPIC, _accept)))
            await leaf.connect(hub.addresses()[0])
        await trio.sleep(SETTLE_S)
        await hub.publish(TOPIC, b"from the hub")
        down = [await _hears(inbox, b"from the hub") for _, inbox in leaves]
        up = []
        for number, (leaf, _) in enumerate(leaves):
            await leaf.publish(TOPIC, b"from leaf %d" % number)
            up.append(await _hears(at_hub, b"from leaf %d" % number))
        await leaves[0][0].publish(TOPIC, b"across")
        across = [await _hears(inbox, b"across") for _, inbox in leaves[1:]]
    reached = sum(heard and was_heard for heard, was_heard in zip(down, up, strict=True))
    return {"star_reached": reached, "star_across": sum(across), "star_leaves": LEAVES}


async def _hears(inbox: trio.MemoryReceiveChannel[Message], data: bytes) -> bool:
    with trio.move_on_after(5):
        while (await inbox.receive()).data != data:
            pass
        return True
    return False


async def measure_inbound() -> dict[str, float]:
    """Peers that come and go, one after the other, at a node with the default limits."""
    from libp2p import new_host
    from libp2p.crypto.secp256k1 import create_new_key_pair

    from capanode.node.p2p.library_types import Multiaddr

    accepted = 0
    async with AsyncExitStack() as stack:
        node = await _enter(stack)
        address, _, peer_id = node.addresses()[0].partition("/p2p/")
        for _ in range(INBOUND):
            host: Any = new_host(key_pair=create_new_key_pair())
            own_id = host.get_id().to_base58()
            async with host.run([]):
                with trio.move_on_after(10):
                    swarm = host.get_network()
                    try:
                        await swarm.dial_addr(Multiaddr(address), type(host.get_id()).from_base58(peer_id))
                    except Exception as error:
                        print(f"refused after {accepted}: {error}", file=sys.stderr)
                    else:
                        accepted += await _sees(node, PeerId(own_id))
                with trio.move_on_after(2):
                    await host.close()
    return {"inbound_300_accepted": accepted}


async def _sees(node: Network, peer_id: PeerId) -> bool:
    with trio.move_on_after(5):
        while peer_id not in node.peers():  # noqa: ASYNC110 - the port has no event for it
            await trio.sleep(0.005)
        return True
    return False


async def measure_shutdown() -> dict[str, float]:
    """Close a node with ten links while all of them gossip; the slowest of three."""
    times: list[float] = []
    async with AsyncExitStack() as stack:
        others = [await _enter(stack) for _ in range(PEERS)]
        nursery = await stack.enter_async_context(trio.open_nursery())
        for number, other in enumerate(others):
            other.subscribe(TOPIC, _accept)
            nursery.start_soon(_chatter, other, number)
        for _ in range(SHUTDOWNS):
            with tempfile.TemporaryDirectory() as folder:
                async with open_network(_config(Path(folder))) as node:
                    inbox = node.subscribe(TOPIC, _accept)
                    for other in others:
                        await node.connect(other.addresses()[0])
                    await inbox.receive()
                    await trio.sleep(SETTLE_S)
                    began = trio.current_time()
                times.append(trio.current_time() - began)
        nursery.cancel_scope.cancel()
    return {"shutdown_s": max(times), "shutdown_median_s": statistics.median(times)}


async def _chatter(network: Network, number: int) -> None:
    count = 0
    while True:
        count += 1
        await network.publish(TOPIC, b"%d %d" % (number, count))
        await trio.sleep(0.2)


async def _enter(stack: AsyncExitStack, *, hub: bool = False) -> Network:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    return await stack.enter_async_context(open_network(_config(Path(folder), hub=hub)))


def main() -> None:
    """Measure all and write bench/out/p2p.json."""
    figures: dict[str, report.Figure] = {}
    for measure in (measure_star, measure_inbound, measure_shutdown):
        figures |= trio.run(measure)
    figures |= measure_crowds()
    report.write("p2p", figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peer"]:
        trio.run(peer, sys.argv[2])
    else:
        main()
