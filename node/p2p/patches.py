"""Two replacements inside py-libp2p 0.8.1 that have no other handle, and the check of its version.

`env_to_send_in_RPC` rebuilds the signed address record of this host for every message that it sends (16 %
of a sender's time); the record changes only when the host does, so it is kept for a while.
`AutoConnector.maybe_connect` dials any peer in the peerstore, which hostile peers can fill; our own
reconnect loop chooses.
"""

import importlib.metadata
import time
from weakref import WeakKeyDictionary

from libp2p.abc import IHost
from libp2p.network.auto_connector import AutoConnector
from libp2p.peer import peerstore
from libp2p.pubsub import gossipsub, pubsub

from capanode.protocol.faults import Misconfigured

VERSION = "0.8.1"
"""The version that this folder's containment was measured against."""

_RECORD_S = 30.0
_original = peerstore.env_to_send_in_RPC
_records: WeakKeyDictionary[IHost, tuple[float, bytes]] = WeakKeyDictionary()


def apply() -> None:
    """Install both, once.

    Raises:
        Misconfigured: another version of libp2p is installed.
    """
    installed = importlib.metadata.version("libp2p")
    if installed != VERSION:
        raise Misconfigured(
            f"libp2p {installed} is installed but this release needs {VERSION}; install libp2p=={VERSION}."
        )
    setattr(pubsub, "env_to_send_in_RPC", _record_of)  # noqa: B010 - a checked assignment is refused
    setattr(gossipsub, "env_to_send_in_RPC", _record_of)  # noqa: B010
    setattr(AutoConnector, "maybe_connect", _do_not_connect)  # noqa: B010


def _record_of(host: IHost) -> tuple[bytes, bool]:
    now = time.monotonic()
    kept = _records.get(host)
    if kept is not None and now - kept[0] < _RECORD_S:
        return kept[1], False
    record, is_new = _original(host)
    _records[host] = (now, record)
    return record, is_new


async def _do_not_connect(connector: AutoConnector) -> None:
    del connector
