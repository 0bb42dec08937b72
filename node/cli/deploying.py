"""`capanode network deploy`: the contracts on a bare chain, from a wallet that pays for them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
import trio

from capanode.node.chain import approvals
from capanode.node.chain.approvals import code_hash_of
from capanode.node.chain.deploy import (
    DEVNET_CLOCKS,
    DEVNET_COURT_CLOCKS,
    PUBLIC_CLOCKS,
    PUBLIC_COURT_CLOCKS,
    PUBLIC_DIRECTORY_DELAY_S,
    DeployPlan,
    deploy,
)
from capanode.node.chain.http import connect, read_target
from capanode.node.chain.repair import run_sender
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.sender import open_sender
from capanode.node.chain.transactions import TRANSACTIONS_SCHEMA
from capanode.node.chain.wire import read_object, read_quantity
from capanode.node.cli.passwords import password_of
from capanode.node.data_folder import DataFolder, prepare
from capanode.node.keys.key_file import read_private_file
from capanode.node.keys.signer import LocalSigner, Signer
from capanode.node.keys.wallet import unlock_wallet
from capanode.node.network_profile import NetworkProfile, profile_text
from capanode.node.storage.database import open_database
from capanode.protocol.faults import Misconfigured, Unavailable
from capanode.protocol.ids import Address

Report = Callable[[str], None]


def approved(folder: DataFolder, code_hash: str) -> dict[str, object]:
    """Approve a contract's code where no node runs: also what keeps one from starting can be approved.

    Raises:
        Refused: it is no code hash.
        Misconfigured: the folder cannot be used.
    """
    prepare(folder)
    wanted = code_hash_of(code_hash)

    async def add() -> None:
        async with open_database(folder.database, [approvals.SCHEMA]) as database:
            await approvals.Approvals(database).add(wanted)

    trio.run(add)
    return {"approved": code_hash}


def deployed(
    folder: DataFolder,
    rpc_url: str,
    name: str,
    token: str | None,
    key_file: Path | None,
    password_file: Path | None,
    is_public: bool,
    report: Report,
) -> str:
    """Deploy, and give the network's profile as text; goes on where an interrupted deployment was."""
    prepare(folder)
    password = "" if key_file else password_of(folder, password_file)
    work = partial(_deploy, folder, rpc_url, name, token, key_file, password, is_public, report)
    return profile_text(trio.run(work))


async def _deploy(
    folder: DataFolder,
    rpc_url: str,
    name: str,
    token: str | None,
    key_file: Path | None,
    password: str,
    is_public: bool,
    report: Report,
) -> NetworkProfile:
    signer = _key_in(key_file) if key_file else await unlock_wallet(folder.wallet, password)
    chain_id = await served_chain(rpc_url)
    plan = DeployPlan(
        name=name,
        rpc_urls=(rpc_url,),
        token=None if token is None else Address(bytes.fromhex(token.removeprefix("0x"))),
        clocks=PUBLIC_CLOCKS if is_public else DEVNET_CLOCKS,
        court_clocks=PUBLIC_COURT_CLOCKS if is_public else DEVNET_COURT_CLOCKS,
        directory_delay_s=PUBLIC_DIRECTORY_DELAY_S if is_public else 0,
        is_devnet=not is_public,
        bid_window_ms=2_000 if is_public else 100,
    )
    async with open_rpc((rpc_url,), chain_id) as rpc:
        return await _sent(rpc, folder, signer, plan, report)


async def _sent(rpc: Rpc, folder: DataFolder, signer: Signer, plan: DeployPlan, report: Report) -> NetworkProfile:
    # A file of its own for each chain and network: the node's own may be in use, and keys name the network only.
    path = folder.root / f"deploy-{rpc.chain_id}-{plan.name}.db"
    async with (
        open_database(path, [TRANSACTIONS_SCHEMA]) as database,
        open_sender(rpc, database, signer) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(run_sender, sender)
        profile = await deploy(sender, plan, report)
        nursery.cancel_scope.cancel()
    return profile


async def served_chain(rpc_url: str) -> int:
    """The chain that an endpoint serves.

    Raises:
        Misconfigured: the URL is malformed.
        Unavailable: it does not answer, or not as a chain does.
    """
    connection = await connect(read_target(rpc_url))
    try:
        reply = await connection.exchange(orjson.dumps({"jsonrpc": "2.0", "id": 0, "method": "eth_chainId"}))
        return read_quantity(read_object(orjson.loads(reply)).get("result"))
    except ValueError as error:
        raise Unavailable(f"{rpc_url} does not answer as a chain: correct --rpc.") from error
    finally:
        await connection.aclose()


def _key_in(path: Path) -> Signer:
    content = read_private_file(path, 256)
    try:
        return LocalSigner(bytes.fromhex(content.decode().strip().removeprefix("0x")))
    except ValueError:
        raise Misconfigured(f"{path} holds no private key: it must be 64 hex digits.") from None
