"""`capanode alert`: tries the receivers of alerts, without a node."""

import time

import trio

from capanode.node.alerts import Alert, Occasion, Send, message, receivers
from capanode.node.config_file import load_config
from capanode.node.data_folder import DataFolder
from capanode.protocol.faults import Misconfigured, Unavailable

SENTENCE = "This is a test: alerts of this node arrive."


def tried(folder: DataFolder) -> dict[str, str]:
    """What each receiver said to a test alert; empty for one that took it.

    Raises:
        Misconfigured: the config names no receiver.
    """
    found = receivers(load_config(folder).alerts)
    if not found:
        raise Misconfigured(f"no receiver is set: add webhook or command to [alerts] in {folder.config}.")
    body = message(Alert(Occasion.TEST, SENTENCE, {}, time.time()), {"node": "", "network": ""})
    return trio.run(_all, found, body)


async def _all(found: dict[str, Send], body: bytes) -> dict[str, str]:
    return {name: await _fault(send, body) for name, send in found.items()}


async def _fault(send: Send, body: bytes) -> str:
    try:
        await send(body)
    except (Unavailable, Misconfigured) as fault:
        return str(fault)
    return ""
