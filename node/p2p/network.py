"""Opens the node's network: `open_network` is the only entry that the rest of the node uses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from capanode.node.p2p.config import NetworkConfig
from capanode.node.p2p.groups import errors_inside
from capanode.node.p2p.port import Network
from capanode.protocol.faults import Misconfigured


@asynccontextmanager
async def open_network(config: NetworkConfig) -> AsyncIterator[Network]:
    """Run a node's network while the block runs; listening when it is entered.

    The block's own cancellation does not reach the network at once: it is closed in order (own tasks,
    connections, gossip, host) within about 3 s, whatever the peers do.

    Raises:
        Misconfigured: the port is taken, an address is malformed, the key cannot be used, or libp2p has
            another version.
    """
    from capanode.node.p2p.libp2p_network import Libp2pNetwork

    network = Libp2pNetwork(config)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(network.run)
            yield network
        except Exception as error:  # leaves the nursery without a group around it
            failure = _sentence_of(error)
        finally:
            network.stop()
    if failure is not None:
        raise failure


def _sentence_of(error: Exception) -> Exception:
    """The operator's sentence alone, if the error is a failed start's."""
    inside = errors_inside(error)
    return inside[0] if len(inside) == 1 and isinstance(inside[0], Misconfigured) else error
