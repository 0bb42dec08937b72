"""A node in a process of its own, for tests that kill or freeze it: `python child.py <folder> <port>`.

Prints its address when it listens; gossips a counter and echoes requests until it is killed.
"""

import sys
from pathlib import Path

import trio

from capanode.node.keys.peer_key import open_peer_key
from capanode.node.p2p.config import NetworkConfig
from capanode.node.p2p.network import open_network
from capanode.node.p2p.port import Verdict

TOPIC = "/capanode/31337-test/demands/1"


async def main(folder: str, port: str) -> None:
    """Run until killed."""
    config = NetworkConfig(
        key=open_peer_key(Path(folder) / "peer.key"),
        data_dir=Path(folder),
        network="31337-test",
        listen=(f"/ip4/127.0.0.1/tcp/{port}",),
        dht=False,
        target_peers=0,
    )
    async with open_network(config) as network:
        network.subscribe(TOPIC, lambda topic, source, data: Verdict.ACCEPT)
        print(network.addresses()[0], flush=True)
        count = 0
        while True:
            count += 1
            await network.publish(TOPIC, b"child %d" % count)
            await trio.sleep(0.2)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
