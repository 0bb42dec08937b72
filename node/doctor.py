"""Looks at everything that a node needs, one finding each, with the remedy for what is missing. Changes nothing."""

import ipaddress
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import trio

from capanode.node.api.client import NodeClient
from capanode.node.chain.approvals import approved_in
from capanode.node.chain.contracts import Contracts, resolve
from capanode.node.chain.court import Court
from capanode.node.chain.market import Market, MarketAccount
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.token import Token
from capanode.node.chain.versions import Trust
from capanode.node.chain.wire import hexadecimal, read_object, read_quantity
from capanode.node.config import NodeConfig, UpgradePolicy
from capanode.node.config_file import load_config
from capanode.node.data_folder import MIN_FREE_BYTES, DataFolder
from capanode.node.executors.docker_engine import Engine
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.executors.nvidia import nvidia_gpus
from capanode.node.executors.outputs import missing_tools
from capanode.node.journal import open_markets_in
from capanode.node.keys.wallet import wallet_address
from capanode.node.network_profile import NetworkProfile, read_profile
from capanode.node.storage.peek import copy_of
from capanode.node.units import size, tokens
from capanode.protocol.faults import Fault, Unavailable
from capanode.protocol.ids import Address, Wei
from capanode.protocol.judging import class_pool

GAS_FLOOR_WEI: Final = Wei(10**16)
"""0.01 coin: some hundred deals on the chains that this is meant for."""
STAKE_FLOOR_WEI: Final = Wei(10**18)
"""One token: the bonds of one small checkable job."""
PROVIDER_DISK_BYTES: Final = 5 * 2**30
CHAIN_TIMEOUT_S: Final = 15.0

MIGRATE: Final = "`capanode wallet migrate` moves what is in older versions of the market"
"""What to do about money that an upgrade of the network has left behind."""


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"
    """The node cannot work like this, and its operator can change that."""
    DOWN = "down"
    """Something outside does not answer now."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is empty when there is nothing to do."""

    subject: str
    level: Level
    sentence: str
    remedy: str = ""


async def examine(folder: DataFolder) -> AsyncIterator[Finding]:
    """Findings in the order in which they matter; later ones are left out when earlier ones make them pointless."""
    yield _data(folder)
    try:
        config = load_config(folder)
    except Fault as fault:
        yield Finding("config", Level.MISSING, str(fault), "correct the config, then ask again")
        return
    yield Finding("config", Level.OK, f"{folder.config} is valid: {', '.join(sorted(config.roles))}")
    yield _disk(config)
    address = _address(folder)
    yield _wallet(folder, address)
    if config.is_provider:
        yield await trio.to_thread.run_sync(_engine)
        yield _disks()
        yield await trio.to_thread.run_sync(_gpus)
    try:
        profile = read_profile(config.profile_path)
    except Fault as fault:
        yield Finding("network", Level.MISSING, str(fault), "join a network: `capanode network use FILE`")
        return
    yield Finding("network", Level.OK, f"{profile.name}, chain {profile.chain_id}")
    async for finding in _chain(config, profile, address):
        yield finding
    for finding in await _reach(config):
        yield finding


def _data(folder: DataFolder) -> Finding:
    if not folder.root.is_dir():
        return Finding("data folder", Level.MISSING, f"{folder.root} is not there", "make it with `capanode init`")
    if not os.access(folder.root, os.W_OK | os.X_OK):
        return Finding("data folder", Level.MISSING, f"{folder.root} is not writable", "correct its permissions")
    if folder.root.stat().st_mode & 0o077:
        return Finding("data folder", Level.NOTE, f"others may read {folder.root}", f"run `chmod 700 {folder.root}`")
    return Finding("data folder", Level.OK, str(folder.root))


def _disk(config: NodeConfig) -> Finding:
    free = shutil.disk_usage(_existing(config.data_dir)).free
    needed = PROVIDER_DISK_BYTES if config.is_provider else MIN_FREE_BYTES
    if free < needed:
        remedy = f"free {size(needed - free)}, or move the data folder to another disk"
        return Finding("disk", Level.MISSING, f"{size(free)} free of {size(needed)} needed", remedy)
    return Finding("disk", Level.OK, f"{size(free)} free")


def _existing(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _existing(path.parent)


def _address(folder: DataFolder) -> Address | None:
    try:
        return wallet_address(folder.wallet)
    except Fault:
        return None


def _wallet(folder: DataFolder, address: Address | None) -> Finding:
    if not folder.wallet.exists():
        return Finding("wallet", Level.MISSING, "there is none", "make one with `capanode wallet create`")
    if folder.wallet.stat().st_mode & 0o077:
        return Finding("wallet", Level.MISSING, f"others may read {folder.wallet}", f"run `chmod 600 {folder.wallet}`")
    if address is None:
        return Finding("wallet", Level.MISSING, f"{folder.wallet} is no keystore", "restore it from a backup")
    return Finding("wallet", Level.OK, hexadecimal(address))


def _engine() -> Finding:
    try:
        engine = Engine(None)
    except Fault as fault:
        return Finding("docker", Level.DOWN, str(fault), "start the Docker engine")
    try:
        facts = engine.facts()
    except Fault as fault:
        return Finding("docker", Level.DOWN, str(fault), "start the Docker engine")
    finally:
        engine.close()
    if not facts.is_docker:
        return Finding("docker", Level.NOTE, "the engine is not Docker", "jobs may fail: use Docker")
    return Finding("docker", Level.OK, f"version {facts.version}, {facts.cpus} CPUs, {size(facts.memory_bytes)}")


def _disks() -> Finding:
    missing = missing_tools()
    if missing:
        return Finding("output disks", Level.MISSING, f"{', '.join(missing)} cannot be found", "install e2fsprogs")
    if os.geteuid() != 0:
        return Finding("output disks", Level.MISSING, "only root can mount them", "run the provider as root")
    return Finding("output disks", Level.OK, "each job gets a file system of its own")


def _gpus() -> Finding:
    gpus = nvidia_gpus()
    names = ", ".join(f"{gpu.model} ({size(gpu.vram_bytes)})" for gpu in gpus)
    return Finding("gpu", Level.OK, names or "none; CPU jobs only")


async def _chain(config: NodeConfig, profile: NetworkProfile, address: Address | None) -> AsyncIterator[Finding]:
    try:
        with trio.fail_after(CHAIN_TIMEOUT_S):
            async with open_rpc(config.chain.rpc_urls + profile.rpc_urls, profile.chain_id) as rpc:
                contracts = await resolve(rpc, profile, await trio.to_thread.run_sync(_trust, config))
                found = [await _clock(config, rpc), await _court(rpc, contracts)]
                found += await _money(config, rpc, contracts, address)
    except trio.TooSlowError:
        yield Finding("chain", Level.DOWN, f"no answer within {CHAIN_TIMEOUT_S:.0f} s", "add a faster RPC URL")
        return
    except Unavailable as fault:
        yield Finding("chain", Level.DOWN, str(fault), "start it, or add another RPC URL to the network profile")
        return
    except Fault as fault:
        yield Finding("chain", Level.MISSING, str(fault), "correct the network profile")
        return
    yield Finding("chain", Level.OK, f"answers; the market is at {hexadecimal(contracts.market)}")
    for entry in contracts.waiting:
        yield Finding("upgrade", Level.NOTE, entry.reason)
    for finding in found:
        yield finding


async def _court(rpc: Rpc, contracts: Contracts) -> Finding:
    """Whether results can be disputed at all, and by how many arbiters of this machine's class."""
    if contracts.court is None:
        return Finding("court", Level.NOTE, "the market has none: results are not disputable")
    hardware = this_cpu_class()
    pools = await Court(rpc, contracts.court).pools()
    pool, clocks = await pools.pool(class_pool(hardware)), await pools.clocks()
    sentence = f"{pool.active} arbiters of {hardware} with {tokens(pool.stake_wei)} tokens at stake may judge"
    if pool.active < clocks.min_arbiters:
        remedy = (
            "`capanode wallet arbiter enroll` makes this machine one of them; a job may name its arbiters meanwhile"
        )
        return Finding("court", Level.NOTE, f"{sentence}, and {clocks.min_arbiters} are needed", remedy)
    return Finding("court", Level.OK, sentence)


def _trust(config: NodeConfig) -> Trust:
    """What the node takes for good code; a running one has its file locked, so a copy is read."""
    takes_shipped = config.chain.upgrades is UpgradePolicy.ASK
    try:
        with copy_of(config.folder.database) as connection:
            return Trust(approved_in(connection), takes_shipped, open_markets_in(connection))
    except (OSError, sqlite3.Error):
        # It has never run, or its start tells what is wrong with the file.
        return Trust(takes_shipped=takes_shipped)


async def _clock(config: NodeConfig, rpc: Rpc) -> Finding:
    block = read_object(await rpc.call("eth_getBlockByNumber", "latest", False))
    behind = time.time() - read_quantity(block.get("timestamp"))
    # An idle development chain makes no blocks, so only a block from the future tells of a wrong clock.
    if behind < -config.chain.max_clock_skew:
        return Finding("clock", Level.MISSING, f"the chain is {-behind:.0f} s ahead of this machine", "set the clock")
    return Finding("clock", Level.OK, f"the newest block is {max(behind, 0):.0f} s old")


async def _money(config: NodeConfig, rpc: Rpc, contracts: Contracts, address: Address | None) -> list[Finding]:
    if address is None:
        return []
    coins = read_quantity(await rpc.call("eth_getBalance", hexadecimal(address), "latest"))
    held = await Token(rpc, contracts.token).balance(address)
    account = await Market(rpc, contracts.market).account(address)
    older = [version.contract for version in contracts.markets if version.address != contracts.market]
    is_elsewhere = any([_has_money(await market.account(address)) for market in older])
    symbol = contracts.token_details.symbol
    gas = "gas", coins, GAS_FLOOR_WEI, "coins", f"send some to {hexadecimal(address)}"
    found = [_amount(*gas)]
    if config.is_provider:
        remedy = "`capanode wallet deposit`, then `capanode wallet stake`"
        if is_elsewhere:
            remedy = MIGRATE
        elif held < STAKE_FLOOR_WEI:
            remedy = f"send {symbol} to {hexadecimal(address)}, then {remedy}"
        found.append(_amount("stake", account.unlocked_wei, STAKE_FLOOR_WEI, symbol, remedy))
    if config.is_requester:
        remedy = "`capanode wallet deposit`" if held else f"send {symbol} to {hexadecimal(address)} and deposit it"
        if is_elsewhere:
            remedy = MIGRATE
        found.append(_amount("escrow", account.free_wei, Wei(1), symbol, remedy))
    return found


def _has_money(account: MarketAccount) -> bool:
    return account.free_wei > 0 or account.stake_wei > 0


def _amount(subject: str, have: int, need: int, unit: str, remedy: str) -> Finding:
    if have >= need:
        return Finding(subject, Level.OK, f"{tokens(have)} {unit}")
    return Finding(subject, Level.MISSING, f"{tokens(have)} {unit}, at least {tokens(need)} are needed", remedy)


async def _reach(config: NodeConfig) -> list[Finding]:
    """What can be said about being dialled from outside, without another party's help."""
    status = await trio.to_thread.run_sync(_status, config.folder)
    if status is None:
        return [await trio.to_thread.run_sync(_port, config)]
    peers = status.get("peers", 0)
    count = peers if isinstance(peers, int) else len(peers)
    seen = Finding("peers", Level.OK if count else Level.DOWN, f"connected to {count}", "" if count else _NO_PEERS)
    return [seen, _addresses(config, [str(address) for address in status.get("addresses", ())])]


_NO_PEERS: Final = "check the network profile's bootstrap addresses and this machine's network"


def _status(folder: DataFolder) -> dict[str, Any] | None:
    try:
        return NodeClient(folder.socket).status()
    except Fault:
        return None


def _port(config: NodeConfig) -> Finding:
    port = config.p2p.port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.p2p.host, port))
        except OSError as error:
            remedy = "stop what uses it, or set another port in [p2p]"
            return Finding("port", Level.MISSING, f"{config.p2p.host}:{port} cannot be had ({error.strerror})", remedy)
    if port == 0 and config.is_provider:
        remedy = "set port in [p2p], and let it through the firewall"
        return Finding("port", Level.NOTE, "a new one at every start: nobody outside can be let in", remedy)
    return Finding("port", Level.OK, f"{port or 'any'} is free; start the node to see what peers see of it")


def _addresses(config: NodeConfig, addresses: list[str]) -> Finding:
    if not config.is_provider:
        return Finding("reachability", Level.OK, "not needed: a requester dials, nobody has to dial it")
    public = [address for address in addresses if _is_public(address)]
    if not public:
        remedy = "set announce in [p2p] to the address that your router forwards"
        return Finding("reachability", Level.NOTE, "only private addresses: others cannot dial this node", remedy)
    sentence = f"announced as {public[0]}; whether a firewall is in the way only somebody outside can tell"
    return Finding("reachability", Level.NOTE, sentence, "try from another network: `nc -vz HOST PORT`")


def _is_public(multiaddr: str) -> bool:
    parts = multiaddr.split("/")
    if len(parts) > 2 and parts[1] in ("dns", "dns4", "dns6"):
        return True
    try:
        return ipaddress.ip_address(parts[2]).is_global
    except (ValueError, IndexError):
        return False
