"""A whole network on one machine: a development chain, the contracts, and provider nodes as processes of their own.

Every start makes a new network: the chain lives in memory, so what nodes remember of an older one is worthless.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import trio

from capanode.node.api.client import NodeClient
from capanode.node.chain.anvil import AnvilOptions, run_anvil
from capanode.node.data_folder import DataFolder, holder, locked, private_folder
from capanode.node.devnet_leftovers import clear_away, end_leftovers, environment
from capanode.node.devnet_parties import (
    PROVIDER_GRANT,
    REQUESTER_GRANT,
    Grant,
    Party,
    deployed,
    fund,
    join,
    make_party,
)
from capanode.node.fault_points import durable
from capanode.node.network_profile import NetworkProfile
from capanode.node.storage.whole_file import write_whole
from capanode.protocol.faults import Misconfigured, Unavailable

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 15.0
"""A node writes what it has to and closes its streams; then it is killed."""
POLL_S: Final = 0.05
STATE_FILE: Final = "devnet.json"

_CHEATER: Final = "capanode.node.devnet_cheater"
_CHEAP: Final = '[provider.pricing]\nfloor_tokens = "0.005"\nmargin_ppm = 0\nload_ppm = 0\n'
"""Whoever does not do the work can do it for less."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DevnetPlan:
    """What to start under `root`."""

    root: Path
    providers: int = 3
    cheater: bool = False
    """Add a provider that asks less than all others, and cheats."""

    cheater_config: str = ""
    """More TOML for its config."""

    watcher: bool = False
    """Add a node that looks at what others have committed to, and has money for challenges."""

    watcher_config: str = "sample_ppm = 1_000_000\n"
    """Its `challenger` section."""

    block_time_s: int | None = None
    idle_block_s: int | None = None
    """Besides a block for each transaction, one every so often: a court's draws wait for blocks. Seconds."""

    provider_config: Sequence[str] = ()
    """More TOML for each provider's config, in order; the last one serves the rest."""

    audits: bool = False
    """Have the requester audit results by its coin."""

    requester_config: str = ""
    """More TOML for the requester's config, beginning in its own section."""

    requester_runs: bool = False
    """Start the requester's node too; else commands start one when they need it."""

    provider_grant: Grant = PROVIDER_GRANT
    cheater_grant: Grant | None = None
    """The same as the other providers', unless said otherwise."""

    requester_grant: Grant = REQUESTER_GRANT
    directory_delay_s: int = 0
    """Seconds from publishing a new version of a contract to its activity."""


@dataclass(frozen=True, slots=True)
class Devnet:
    """A running devnet; `requester` has a funded data folder, and a process only if the plan says so."""

    root: Path
    rpc_url: str
    profile: NetworkProfile
    providers: tuple[Party, ...]
    """The one that cheats, where there is one, last."""

    requester: Party
    watcher: Party | None
    processes: Mapping[str, trio.Process] = field(default_factory=dict[str, trio.Process])


def run_devnet(plan: DevnetPlan, report: Report, is_up: Callable[[dict[str, Any]], None]) -> None:
    """Start a devnet and keep it until Ctrl-C, SIGTERM or `devnet down`; `is_up` gets what `devnet_status` knows."""
    trio.run(_keep, plan, report, is_up)


def stop_devnet(root: Path) -> bool:
    """Stop the devnet that runs under `root`; False when none does.

    Raises:
        Unavailable: it does not end.
    """
    pid = holder(DataFolder(root))
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 2 * STOP_TIMEOUT_S
    while holder(DataFolder(root)) is not None:
        if time.monotonic() > deadline:
            raise Unavailable(f"the devnet (process {pid}) does not end: look at its terminal.")
        time.sleep(POLL_S)
    return True


def devnet_status(root: Path) -> dict[str, Any]:
    """The processes of the devnet under `root`.

    Raises:
        Unavailable: none runs there.
    """
    if holder(DataFolder(root)) is None:
        raise Unavailable(f"no devnet runs under {root}: start one with `capanode devnet up`.")
    try:
        state: dict[str, Any] = json.loads((root / STATE_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        raise Unavailable("the devnet is still starting: ask again in a moment.") from None
    return {**state, "nodes": [{**node, **_node_state(Path(node["data"]))} for node in state["nodes"]]}


@asynccontextmanager
async def open_devnet(plan: DevnetPlan, report: Report) -> AsyncGenerator[Devnet]:
    """A devnet for the length of the block: everything is up and peered at its start, and gone after its end.

    Raises:
        Misconfigured, Unavailable: what is missing, as the part that misses it says it.
    """
    folder = DataFolder(plan.root)
    _check_ours(plan.root)
    with locked(folder):
        await end_leftovers(plan.root)
        _forget(plan.root)
        report("starting the chain")
        options = AnvilOptions(
            block_time_s=plan.block_time_s, idle_block_s=plan.idle_block_s, environment=environment(plan.root)
        )
        async with run_anvil(options) as chain:
            report("deploying the contracts")
            profile = await deployed(plan.root, chain.rpc_url, chain.ws_url, chain.chain_id, plan.directory_delay_s)
            report(f"making {plan.providers} providers and a requester, with keys and money")
            if plan.cheater:
                report("making a provider more, which cheats")
            providers, requester, watcher = await _parties(plan)
            visitors = (requester,) if watcher is None else (requester, watcher)
            profile = replace(profile, bootstrap=tuple(p.multiaddr("127.0.0.1") for p in providers))
            for party in (*providers, *visitors):
                join(party.folder, profile)
            await fund(plan.root, profile, _grants(plan, providers, visitors))
            report("starting the nodes")
            running = (*providers, *(party for party in visitors if plan.requester_runs or party is watcher))
            async with _running(running) as processes:
                devnet = Devnet(plan.root, chain.rpc_url, profile, providers, requester, watcher, processes)
                for party in running:
                    await until_up(party, processes[party.name], len(running) - 1)
                write_whole("devnet.state", plan.root / STATE_FILE, json.dumps(_state(devnet), indent=2))
                try:
                    yield devnet
                finally:
                    report("stopping")
                    with trio.CancelScope(shield=True):
                        if not plan.requester_runs:
                            await _end_visitor(requester)


async def _keep(plan: DevnetPlan, report: Report, is_up: Callable[[dict[str, Any]], None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at, signals, nursery.cancel_scope)
            async with open_devnet(plan, report) as devnet:
                for sentence in _next_steps(devnet):
                    report(sentence)
                is_up(_state(devnet))
                for party in devnet.providers:
                    nursery.start_soon(_watch, party, devnet.processes[party.name], report)
                await trio.sleep_forever()


async def _cancel_at(signals: Any, scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def _watch(party: Party, process: trio.Process, report: Report) -> None:
    """Say loudly when a node ends that nobody asked to; the others go on."""
    code = await process.wait()
    report(f"{party.name} ended with the exit code {code}: {_said(party.folder) or party.folder.log}")


def _next_steps(devnet: Devnet) -> tuple[str, ...]:
    return (
        f"the devnet is up: chain {devnet.rpc_url}, {len(devnet.providers)} providers, {devnet.root}",
        "buy something in another terminal:",
        f"  export CAPANODE_DATA={devnet.requester.folder.root}",
        "  capanode wallet balance",
        "  capanode job submit examples/wordcount/job.yaml --wait",
        f"join it with another node: capanode network use {devnet.requester.folder.networks / 'devnet.toml'}",
        "Ctrl-C stops everything.",
    )


def _grants(plan: DevnetPlan, providers: Sequence[Party], visitors: Sequence[Party]) -> list[tuple[Party, Grant]]:
    cheats = plan.cheater_grant or plan.provider_grant
    return [
        *((party, cheats if party.program == _CHEATER else plan.provider_grant) for party in providers),
        *((party, plan.requester_grant) for party in visitors),
    ]


async def _parties(plan: DevnetPlan) -> tuple[tuple[Party, ...], Party, Party | None]:
    extras = list(plan.provider_config) or [""]
    extras += [extras[-1]] * (plan.providers - len(extras))
    nodes = plan.root / "nodes"
    providers = [
        await make_party(nodes, f"provider-{n}", "provider", listen="127.0.0.1", port=None, extra=extras[n - 1])
        for n in range(1, plan.providers + 1)
    ]
    if plan.cheater:
        providers.append(
            await make_party(
                nodes,
                "cheater",
                "provider",
                listen="127.0.0.1",
                port=None,
                extra=_CHEAP + plan.cheater_config,
                program=_CHEATER,
            )
        )
    requester = await make_party(
        nodes, "requester", "requester", listen="127.0.0.1", port=None, extra=plan.requester_config, audits=plan.audits
    )
    watcher = None
    if plan.watcher:
        extra = f"[challenger]\n{plan.watcher_config}"
        watcher = await make_party(nodes, "watcher", "challenger", listen="127.0.0.1", port=None, extra=extra)
    return tuple(providers), requester, watcher


@asynccontextmanager
async def _running(parties: Sequence[Party]) -> AsyncGenerator[Mapping[str, trio.Process]]:
    """The nodes' processes, in sessions of their own, so that a Ctrl-C reaches them through us and in order."""
    processes: dict[str, trio.Process] = {}
    try:
        for party in parties:
            processes[party.name] = await start_node(party)
        yield processes
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for process in processes.values():
                    nursery.start_soon(end, process)
            for party in parties:
                if party.role == "provider":
                    await clear_away(party.peer_id, party.folder)


async def _end_visitor(party: Party) -> None:
    """End the node that a command has started on a folder of ours: its chain goes now."""
    pid = holder(party.folder)
    if pid is None or pid == os.getpid():
        return
    os.kill(pid, signal.SIGTERM)
    with trio.move_on_after(STOP_TIMEOUT_S):
        while holder(party.folder) == pid:  # noqa: ASYNC110  # another process wakes nobody here
            await trio.sleep(POLL_S)


async def start_node(party: Party) -> trio.Process:
    """Start the node of a party; its log goes to its data folder."""
    command = [sys.executable, "-m", party.program, "start", "--data", str(party.folder.root)]
    with party.folder.log.open("ab") as log, durable("devnet.start-node"):
        return await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment(party.folder.root.parents[1]),
        )


async def end(process: trio.Process) -> None:
    """Ask a node to end, and kill it when it does not; not to be cancelled."""
    if process.poll() is None:
        process.terminate()
    with trio.move_on_after(STOP_TIMEOUT_S):
        await process.wait()
        return
    process.kill()
    await process.wait()


async def until_up(party: Party, process: trio.Process, peers: int) -> None:
    """Wait until a node answers and is connected to so many others.

    Raises:
        Unavailable: it ended, or it is not there in time.
    """
    with trio.move_on_after(START_TIMEOUT_S):
        while not await _has_peers(party, peers):
            if process.poll() is not None:
                said = _said(party.folder) or f"see {party.folder.log}"
                raise Unavailable(f"{party.name} could not start: {said}")
            await trio.sleep(POLL_S)
        return
    raise Unavailable(f"{party.name} found no peers within {START_TIMEOUT_S:.0f} s: see {party.folder.log}.")


async def _has_peers(party: Party, wanted: int) -> bool:
    try:
        status = await trio.to_thread.run_sync(NodeClient(party.folder.socket).status)
    except Unavailable:
        return False
    return peers_in(status) >= wanted


def peers_in(status: Mapping[str, Any]) -> int:
    """How many peers a node's status counts."""
    peers = status.get("peers", 0)
    return peers if isinstance(peers, int) else len(peers)


def _node_state(data: Path) -> dict[str, Any]:
    try:
        status = NodeClient(DataFolder(data).socket).status()
    except Unavailable:
        return {"state": "down", "peers": None}
    return {"state": "up", "peers": peers_in(status)}


def _state(devnet: Devnet) -> dict[str, Any]:
    nodes = [
        {"name": p.name, "data": str(p.folder.root), "wallet": f"0x{p.address.hex()}", "peer_id": p.peer_id}
        for p in devnet.providers
    ]
    return {
        "rpc_url": devnet.rpc_url,
        "profile": str(devnet.requester.folder.networks / "devnet.toml"),
        "requester": str(devnet.requester.folder.root),
        "nodes": nodes,
    }


def _said(folder: DataFolder) -> str:
    """The last sentence that a node said for people."""
    try:
        lines = folder.log.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("capanode: ") for line in reversed(lines) if line.startswith("capanode: ")), "")


def _check_ours(root: Path) -> None:
    """Nothing is removed from a folder that is not a devnet's."""
    if root.exists() and any(root.iterdir()) and not (root / "nodes").is_dir():
        raise Misconfigured(f"{root} holds other things than a devnet: name an empty folder with --data.")
    private_folder(root)
    private_folder(root / "nodes")


def _forget(root: Path) -> None:
    with durable("devnet.forget"):
        shutil.rmtree(root / "nodes", ignore_errors=True)
        for stale in (*root.glob("deployer.db*"), root / STATE_FILE):
            stale.unlink(missing_ok=True)
        (root / "nodes").mkdir()
