"""Starting a node: its config, its log, its signals, its end."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from capanode.node.cli.exits import Exit
from capanode.node.cli.output import emit, note
from capanode.node.config import NodeConfig
from capanode.node.config_file import load_config
from capanode.node.data_folder import DataFolder
from capanode.node.stopping import Stop

Node = Callable[..., Awaitable[None]]
"""What `run_node` is."""

_CONFIG: Final = """\
# What this node does. Every setting and its reason: docs/cli.md, "Config". Amounts are in tokens.
roles = [{roles}]

[wallet]
{password_file}

[p2p]
# A fixed port, open from outside, lets others reach this node; 0 is any.
port = 0

[provider]
slots = 2
# cpu = 4            # all cores but reserved_cpu, unless set
# memory = "8GiB"
# disk = "50GiB"
# max_fraud_bond_tokens = 1000

[requester]
# The first bid at or under this ends the bidding.
# target_price_tokens = 0.05
"""


def config_text(provider: bool, requester: bool, password_file: Path | None) -> str:
    """A config for a new data folder."""
    roles = [name for name, wanted in (("provider", provider), ("requester", requester)) if wanted]
    secret = (
        f'password_file = "{password_file.absolute()}"'
        if password_file
        else '# password_file = "/path/to/a/private/file"'
    )
    return _CONFIG.format(roles=", ".join(f'"{role}"' for role in roles), password_file=secret)


def overridden(
    folder: DataFolder,
    *,
    roles: list[str] | None,
    network: str | None,
    until_idle_s: float | None,
    port: int | None,
    password_file: Path | None,
) -> NodeConfig:
    """The config of the folder, with what the command line says over it."""
    over: dict[str, Any] = {"roles": roles, "network": network, "until_idle_s": until_idle_s}
    over = {name: value for name, value in over.items() if value is not None}
    if port is not None:
        over["p2p"] = {"port": port}
    if password_file is not None:
        over["wallet"] = {"password_file": password_file}
    return load_config(folder, overrides=over)


def started(config: NodeConfig, password: str | None, as_json: bool, node: Node | None = None) -> None:
    """Run the node, or another one in its place, on its data folder until it ends by itself or is told to."""
    from capanode.node.data_folder import held
    from capanode.node.logs import open_log

    open_log(config.log)
    with held(config.folder):
        trio.run(_run, node, config, password, as_json)


@dataclass(slots=True)
class _Starting:
    """A node that is not up yet has nothing to end in order."""

    scope: trio.CancelScope
    is_over: bool = False


async def _run(node: Node | None, config: NodeConfig, password: str | None, as_json: bool) -> None:
    stop = Stop(cut_short=lambda: os._exit(Exit.CUT_SHORT))
    async with trio.open_nursery() as signals:
        starting = _Starting(trio.CancelScope())
        await signals.start(_signals, stop, starting)
        await _until_ended(node, config, password, as_json, stop, starting)
        stop.over()
        signals.cancel_scope.cancel()


async def _until_ended(
    node: Node | None, config: NodeConfig, password: str | None, as_json: bool, stop: Stop, starting: _Starting
) -> None:
    from capanode.node.wiring.run import run_node

    with starting.scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(node or run_node, config, password=_prompt(password), stop=stop))
            starting.is_over = True
            note(f"capanode: the node is up on {config.folder.root}; Ctrl-C ends it")
            if as_json:
                emit({"data": str(config.folder.root), "socket": str(config.folder.socket)})


async def _signals(stop: Stop, starting: _Starting, *, task_status: trio.TaskStatus[None]) -> None:
    """The first Ctrl-C or SIGTERM ends the node in order; the second one at once, which loses nothing either."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if stop.requested.is_set():
                note("capanode: cut short; what was open goes on at the next start")
                os._exit(Exit.INTERRUPTED)
            note("capanode: ending; once more ends it at once")
            stop.ask()
            if not starting.is_over:
                starting.scope.cancel()


def _prompt(password: str | None) -> Callable[[], str] | None:
    if password is not None:
        return lambda: password
    if sys.stdin.isatty():
        from capanode.node.cli.passwords import asked

        return lambda: asked("wallet password: ")
    return None
