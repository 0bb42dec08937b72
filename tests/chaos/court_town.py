"""A standing town in which results are disputed: its one provider cheats, a watcher disputes, three arbiters judge.

The provider leaves the last two fifths of a job's steps out. Nobody looks at a result before a scenario says so.
"""

import secrets
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import trio

from capanode.node.chain.anvil import run_anvil
from capanode.node.chain.contracts import Contracts, resolve
from capanode.node.chain.deploy import DEVNET_COURT_CLOCKS
from capanode.node.chain.rpc import open_rpc
from capanode.node.devnet_parties import (
    COIN,
    PROVIDER_GRANT,
    REQUESTER_GRANT,
    TOKEN,
    Grant,
    Party,
    deployed,
    done,
    fund,
    join,
    make_party,
    sending,
)
from capanode.node.journal import Side
from capanode.node.keys.wallet import find_password, unlock_wallet
from capanode.node.network_profile import NetworkProfile
from capanode.proofs.evidence import Evidence
from capanode.protocol import cases, encoding, provider
from capanode.protocol.cases import CASE_EVENTS, Case
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Wei
from tests.background import kept_open
from tests.chaos.crash_town import PROVIDER_CONFIG, CrashTown, living
from tests.chaos.reorgs import Reorgs

ARBITERS: Final = ("arbiter-1", "arbiter-2", "arbiter-3")
PURSE: Final = "passer-by"
CHEATER: Final = "capanode.node.devnet_cheater"

ROLES: Final = {"provider": "provider", "requester": "requester", "watcher": "challenger", PURSE: "requester"} | (
    dict.fromkeys(ARBITERS, "arbiter")
)
CONFIGS: Final = {"provider": PROVIDER_CONFIG, "watcher": "[challenger]\nsample_ppm = 0\n"}
AUDITING_CONFIG: Final = "[provider.pricing]\ntokens_per_coin = 0\n"
"""Gas costs an arbiter nothing, so that each audit is worth beginning."""

CLOCKS: Final = replace(
    DEVNET_COURT_CLOCKS, vote_time=900, reveal_time=900, appeal_time=120, answer_time=120, max_dispute=7_200
)
"""Nothing is missed because the machine is slow: time passes where a scenario has it pass."""
GRANTS: Final = {"provider": replace(PROVIDER_GRANT, duty_wei=Wei(0))} | dict.fromkeys(
    ARBITERS, Grant(Wei(10 * COIN), Wei(2_100 * TOKEN), Wei(2_050 * TOKEN), Wei(0), Wei(2_000 * TOKEN))
)
"""Of those who do not get what a requester does."""


@dataclass(frozen=True, slots=True)
class CourtPlan:
    """What is not the same in every court town."""

    provider: str = CHEATER
    arbiter: str = "capanode.node"
    """Programs of their nodes."""

    join_blocks: int = CLOCKS.join_blocks
    begin_audits: bool = False


PLAIN: Final = CourtPlan()
BLOCK_EVERY_S: Final = 0.5
"""Besides one for each transaction: what is drawn waits for blocks."""

Ground = tuple[NetworkProfile, Contracts, dict[str, Party], Reorgs, trio.lowlevel.TrioToken]


@contextmanager
def open_court(root: Path, image: Path, dice: Random, plan: CourtPlan = PLAIN) -> Generator[tuple[CrashTown, Reorgs]]:
    """The town, with what replaces the blocks of its chain."""
    with kept_open(partial(_ground, root, dice, plan), "court") as (profile, contracts, parties, reorgs, token):
        purses = {PURSE: parties.pop(PURSE)}
        town = CrashTown(
            root,
            image,
            profile,
            contracts,
            parties,
            {},
            token,
            cast=("watcher", ARBITERS[0]),
            purses=purses,
            is_meshed=True,
        )
        with living(town):
            yield town, reorgs


@contextmanager
def open_court_town(root: Path, image: Path) -> Generator[CrashTown]:
    """The town, on a chain that takes nothing back."""
    with open_court(root, image, Random(0)) as (town, _):
        yield town


def evidence(town: CrashTown, who: str, deal_id: str) -> Evidence:
    """What a node has kept of somebody else's deal."""
    with _reading(town, who) as connection:
        query = "SELECT data FROM evidence WHERE deal_id = ?"
        row = connection.execute(query, (bytes.fromhex(deal_id.removeprefix("0x")),)).fetchone()
    assert row is not None, f"{who} has kept nothing of {deal_id}"
    return encoding.decode(Evidence, bytes(row[0]))


def filed(town: CrashTown, who: str, deal_id: str) -> Case:
    """The newest case about a deal, as a node has it from the chain's logs."""
    with _reading(town, who) as connection:
        deal = bytes.fromhex(deal_id.removeprefix("0x"))
        (case_id,) = connection.execute(
            "SELECT case_id FROM court_case WHERE deal_id = ? ORDER BY rowid DESC LIMIT 1", (deal,)
        ).fetchone()
        rows = connection.execute("SELECT data FROM court_log WHERE case_id = ? ORDER BY seq", (case_id,)).fetchall()
    case = cases.fold(encoding.decode_one_of(CASE_EVENTS, bytes(row[0])) for row in rows)
    assert case is not None
    return case


@contextmanager
def leaves_kept_back(town: CrashTown, deal_id: str) -> Generator[None]:
    """Nobody gets the leaves of the provider's trace for now, as if it had never published them."""
    with _reading(town, "provider") as connection:
        query = "SELECT state FROM deal WHERE side = ? AND deal_id = ?"
        row = connection.execute(query, (Side.PROVIDER.value, bytes.fromhex(deal_id.removeprefix("0x")))).fetchone()
    state = encoding.decode_one_of(provider.PHASES, bytes(row[0]))
    assert isinstance(state, provider.Committed)
    assert state.result.traced is not None
    leaves = state.result.traced.leaf_list
    path = town.parties["provider"].folder.blobs / "blobs" / leaves[-2:] / leaves
    away = path.rename(town.root / leaves)
    try:
        yield
    finally:
        away.rename(path)
        # Whoever has asked in vain is ready to go on for days.
        for party in town.parties.values():
            (party.folder.blobs / "incoming" / f"{leaves}.part").unlink(missing_ok=True)


@contextmanager
def _reading(town: CrashTown, who: str) -> Generator[sqlite3.Connection]:
    """A copy of a node's journal, which nobody else may open while the node is up."""
    path = town.root / f"journal-{secrets.token_hex(4)}"
    town.ask(who, lambda client: client.snapshot(str(path)))
    with closing(sqlite3.connect(path)) as connection:
        yield connection
    path.unlink()


def send_to_court(town: CrashTown, data: bytes) -> None:
    """Have the passer-by call the court, and wait until that is mined.

    Raises:
        Refused, Unavailable: the court does not take it as the chain is now.
    """
    assert town.contracts.court is not None
    town.run(_sent, town, data)


async def _sent(town: CrashTown, data: bytes) -> None:
    party, court = town.purses[PURSE], town.contracts.court
    assert court is not None
    wallet = await unlock_wallet(party.folder.wallet, find_password(party.folder.root / "password", None))
    fault: Refused | Unavailable | None = None
    async with (
        open_rpc(town.profile.rpc_urls, town.profile.chain_id) as rpc,
        sending(rpc, party.folder.root / "purse.db", wallet) as sender,
    ):
        try:
            await done(sender, secrets.token_hex(8), court, data, Wei(0))
        except (Refused, Unavailable) as found:
            fault = found  # raised as itself, not in the group of what ran beside it
    if fault is not None:
        raise fault


@asynccontextmanager
async def _ground(root: Path, dice: Random, plan: CourtPlan) -> AsyncGenerator[Ground]:
    """A chain with everything on it, which makes a block every so often."""
    root.mkdir(parents=True, exist_ok=True)
    async with run_anvil() as chain, open_rpc([chain.rpc_url], chain.chain_id) as rpc:
        clocks = replace(CLOCKS, join_blocks=plan.join_blocks)
        profile = await deployed(root, chain.rpc_url, chain.ws_url, chain.chain_id, court_clocks=clocks)
        parties = {name: await _party(root, name, role, plan) for name, role in ROLES.items()}
        bootstrap = tuple(party.multiaddr("127.0.0.1") for name, party in parties.items() if name != PURSE)
        profile = replace(profile, bootstrap=bootstrap)
        for party in parties.values():
            join(party.folder, profile)
        await fund(root, profile, [(party, GRANTS.get(name, REQUESTER_GRANT)) for name, party in parties.items()])
        contracts, reorgs = await resolve(rpc, profile), Reorgs(rpc, dice, block_every_s=BLOCK_EVERY_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reorgs.mine)
            yield profile, contracts, parties, reorgs, trio.lowlevel.current_trio_token()
            nursery.cancel_scope.cancel()


async def _party(root: Path, name: str, role: str, plan: CourtPlan) -> Party:
    program = {"provider": plan.provider, "arbiter": plan.arbiter}.get(role, "capanode.node")
    judging = AUDITING_CONFIG if plan.begin_audits else "[arbiter]\nbegin_audits = false\n"
    extra = judging if role == "arbiter" else CONFIGS.get(name, "")
    return await make_party(root / "nodes", name, role, listen="127.0.0.1", port=None, extra=extra, program=program)
