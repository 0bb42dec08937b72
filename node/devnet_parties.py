"""The parties of a devnet: their keys, data folders and money."""

import json
import secrets
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from capanode.contracts_abi.bindings import CourtClocks
from capanode.node.chain import wallet_calls
from capanode.node.chain.anvil import development_key
from capanode.node.chain.contracts import Contracts, resolve
from capanode.node.chain.deploy import DEVNET_COURT_CLOCKS, DeployPlan, deploy, mint
from capanode.node.chain.pools import Pools, enroll
from capanode.node.chain.repair import run_sender
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.sender import Mined, Sender, SenderOptions, open_sender
from capanode.node.chain.token import Token
from capanode.node.chain.transactions import TRANSACTIONS_SCHEMA
from capanode.node.data_folder import DataFolder, prepare
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.keys.key_file import write_private_file
from capanode.node.keys.peer_key import open_peer_key
from capanode.node.keys.signer import LocalSigner, Signer
from capanode.node.keys.wallet import ScryptCost, create_wallet, find_password, unlock_wallet
from capanode.node.network_profile import NetworkProfile, profile_text
from capanode.node.storage.database import open_database
from capanode.node.storage.whole_file import link_whole, write_whole
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, UnixTime, Wei

TOKEN: Final = 10**18
COIN: Final = 10**18
NO_DUTY: Final = Wei(0)
PERMIT_LIFE_S: Final = 10**9
"""Devnet clocks may be moved far ahead."""

ROLES: Final = {
    "provider": ("provider", "arbiter"),
    "requester": ("requester",),
    "challenger": ("challenger",),
    "arbiter": ("arbiter",),
}
"""What a party's node does: whoever computes also judges its class."""

_CONFIG: Final = """\
roles = {roles}

[wallet]
password_file = {password_file}

[p2p]
host = {host}
port = {port}

[requester]
audits = {audits}

{extra}"""


@dataclass(frozen=True, slots=True)
class Party:
    """One node of the devnet."""

    name: str
    role: str
    folder: DataFolder
    address: Address
    port: int
    peer_id: str
    program: str = "capanode.node"
    """The module that its node is started by."""

    def multiaddr(self, host: str) -> str:
        """Where its peers can dial it."""
        kind = "ip4" if host.replace(".", "").isdigit() else "dns4"
        return f"/{kind}/{host}/tcp/{self.port}/p2p/{self.peer_id}"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a party gets: coins for gas, tokens, and how many of those go into escrow, stake and duty as an arbiter."""

    coins_wei: Wei
    tokens_wei: Wei
    deposit_wei: Wei
    stake_wei: Wei
    duty_wei: Wei = NO_DUTY


PROVIDER_GRANT: Final = Grant(
    Wei(10 * COIN), Wei(4_000 * TOKEN), Wei(3_500 * TOKEN), Wei(1_000 * TOKEN), Wei(2_000 * TOKEN)
)
REQUESTER_GRANT: Final = Grant(Wei(10 * COIN), Wei(2_000 * TOKEN), Wei(1_000 * TOKEN), Wei(0))


async def make_party(
    root: Path,
    name: str,
    role: str,
    *,
    listen: str,
    port: int | None,
    extra: str,
    program: str = "capanode.node",
    audits: bool = False,
) -> Party:
    """A data folder with a wallet that opens in milliseconds, its password beside it, a peer key and a config.

    Audits are off unless asked for: a coin would make no two runs alike.
    """
    folder = DataFolder(root / name)
    await trio.to_thread.run_sync(prepare, folder)
    password = secrets.token_hex(16)
    password_file = folder.root / "password"
    await trio.to_thread.run_sync(write_private_file, password_file, password.encode())
    wallet = await create_wallet(folder.wallet, password, ScryptCost.DEVNET)
    chosen = free_port() if port is None else port
    text = _CONFIG.format(
        roles=json.dumps(ROLES[role]),
        password_file=json.dumps(str(password_file)),
        host=json.dumps(listen),
        port=chosen,
        audits=str(audits).lower(),
        extra=extra,
    )
    write_whole("devnet.config", folder.config, text)
    peer_id = open_peer_key(folder.p2p / "peer.key").peer_id
    return Party(name, role, folder, wallet.address, chosen, peer_id, program)


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def join(folder: DataFolder, profile: NetworkProfile) -> None:
    """Make a network the one of a data folder."""
    path = folder.networks / f"{profile.name}.toml"
    write_whole("devnet.profile", path, profile_text(profile))
    link_whole("devnet.choose", folder.networks / "default.toml", path.name)


async def deployed(
    root: Path,
    rpc_url: str,
    ws_url: str,
    chain_id: int,
    directory_delay_s: int = 0,
    court_clocks: CourtClocks = DEVNET_COURT_CLOCKS,
) -> NetworkProfile:
    """Put the contracts on a fresh development chain."""
    plan = DeployPlan(
        name="devnet",
        rpc_urls=(rpc_url,),
        ws_urls=(ws_url,),
        court_clocks=court_clocks,
        directory_delay_s=directory_delay_s,
    )
    async with open_rpc((rpc_url,), chain_id) as rpc, sending(rpc, root / "deployer.db", _rich()) as sender:
        return await deploy(sender, plan)


async def fund(root: Path, profile: NetworkProfile, grants: Sequence[tuple[Party, Grant]]) -> None:
    """Give every party its coins and tokens, and have each put its share into escrow and stake."""
    async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
        contracts = await resolve(rpc, profile)
        async with sending(rpc, root / "deployer.db", _rich()) as rich, trio.open_nursery() as nursery:
            for party, grant in grants:
                nursery.start_soon(_give, rich, contracts.token, party, grant)
        # An enrolment may grow the tree of stakes, and one that was estimated before it would run out of gas.
        enrolling = trio.Lock()
        async with trio.open_nursery() as nursery:
            for party, grant in grants:
                nursery.start_soon(_put_in, rpc, contracts, party, grant, enrolling)


@asynccontextmanager
async def sending(rpc: Rpc, database: Path, signer: Signer) -> AsyncGenerator[Sender]:
    """A sender with its own small file of transactions."""
    options = SenderOptions(poll_s=0.1)
    async with (
        open_database(database, [TRANSACTIONS_SCHEMA]) as opened,
        open_sender(rpc, opened, signer, options=options) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(run_sender, sender)
        yield sender
        nursery.cancel_scope.cancel()


async def _give(rich: Sender, token: Address, party: Party, grant: Grant) -> None:
    await done(rich, f"coins/{party.name}", party.address, b"", grant.coins_wei)
    if grant.tokens_wei:
        await mint(rich, f"tokens/{party.name}", token, party.address, grant.tokens_wei)


async def _put_in(rpc: Rpc, contracts: Contracts, party: Party, grant: Grant, enrolling: trio.Lock) -> None:
    if not grant.deposit_wei:
        return
    market = contracts.market
    password = find_password(party.folder.root / "password", None)
    wallet = await unlock_wallet(party.folder.wallet, password)
    async with sending(rpc, party.folder.root / "funding.db", wallet) as sender:
        permit = await Token(rpc, contracts.token).permit(
            wallet, market, grant.deposit_wei, UnixTime(int(trio.current_time()) + 2 * 10**9 + PERMIT_LIFE_S)
        )
        assert permit is not None
        calls = [wallet_calls.deposit_with_permit(market, permit)]
        if grant.stake_wei:
            calls.append(wallet_calls.stake(market, grant.stake_wei))
        call = wallet_calls.together(market, tuple(calls))
        await done(sender, "funding", call.to, call.data, Wei(0))
        if grant.duty_wei and contracts.court is not None:
            pools = (await Pools(rpc).court(contracts.court)).pools
            duty = enroll(pools, this_cpu_class(), grant.duty_wei)
            async with enrolling:
                await done(sender, "duty", duty.to, duty.data, Wei(0))


async def done(sender: Sender, key: str, to: Address, data: bytes, value_wei: Wei) -> None:
    """Send, and wait until it is mined; raises Unavailable when the chain undid it."""
    await sender.submit(key, to, data, value_wei)
    outcome = await sender.outcome(key)
    if not isinstance(outcome, Mined):
        raise Unavailable(f"the transaction {key} failed on the development chain: {outcome}.")


def _rich() -> LocalSigner:
    return LocalSigner(development_key(0))
