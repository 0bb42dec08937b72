"""`capanode recover`: what a wallet has in a network, from its key and the chain alone, and getting it back."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from capanode.node.api.port import Json
from capanode.node.chain.contracts import Contracts, resolve
from capanode.node.chain.repair import run_sender
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.sender import Sender, open_sender
from capanode.node.chain.transactions import TRANSACTIONS_SCHEMA
from capanode.node.chain.wire import hexadecimal
from capanode.node.cli.passwords import password_of
from capanode.node.config_file import load_config
from capanode.node.data_folder import DataFolder, held, prepare
from capanode.node.keys.key_file import read_private_file, write_private_file
from capanode.node.keys.wallet import unlock_wallet, wallet_address
from capanode.node.network_profile import NetworkProfile, read_profile
from capanode.node.recovery.findings import FoundDeal, Holdings, read_holdings
from capanode.node.recovery.getting_back import (
    Sent,
    Step,
    deals_due,
    due_act,
    exits_begun,
    send_all,
    thaws_over,
    withdrawal,
)
from capanode.node.storage.database import open_database
from capanode.node.units import clock_time, tokens
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Address

Report = Callable[[str], None]
MAX_KEYSTORE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for."""

    execute: bool
    withdraw: bool
    abandon: bool
    to: Address | None


def place_keystore(folder: DataFolder, keystore: Path | None) -> None:
    """Put a copy of a keystore into the data folder, unless it is there.

    Raises:
        Misconfigured: there is none, or another wallet's.
    """
    prepare(folder)
    if keystore is None:
        if not folder.wallet.exists():
            raise Misconfigured(f"there is no wallet in {folder.root}: name its keystore with --keystore FILE.")
        return
    content = read_private_file(keystore.expanduser(), MAX_KEYSTORE_BYTES)
    if not folder.wallet.exists():
        write_private_file(folder.wallet, content)
    elif wallet_address(folder.wallet) != wallet_address(keystore.expanduser()):
        raise Misconfigured(f"{folder.root} belongs to another wallet: choose an empty --data.")


def recovered(folder: DataFolder, wanted: Wanted, password_file: Path | None, report: Report) -> Json:
    """Look, and with `execute` send what is due now; what is left is told with its time.

    Raises:
        Misconfigured: no wallet, no network, or (to send) a node runs on the folder.
        Unavailable: the chain does not answer.
    """
    if not wanted.execute:
        return trio.run(_looked, folder, wanted)
    password = password_of(folder, password_file)
    with held(folder):
        return trio.run(partial(_carried_out, folder, wanted, password, report))


async def _looked(folder: DataFolder, wanted: Wanted) -> Json:
    wallet = wallet_address(folder.wallet)
    config, profile = load_config(folder), _profile(folder)
    async with open_rpc(config.chain.rpc_urls + profile.rpc_urls, profile.chain_id) as rpc:
        found = await _look(rpc, await resolve(rpc, profile), profile, wallet)
    return _json(wallet, found, wanted, [])


async def _carried_out(folder: DataFolder, wanted: Wanted, password: str, report: Report) -> Json:
    signer = await unlock_wallet(folder.wallet, password)
    config, profile = load_config(folder), _profile(folder)
    async with (
        open_rpc(config.chain.rpc_urls + profile.rpc_urls, profile.chain_id) as rpc,
        open_database(folder.database, [TRANSACTIONS_SCHEMA]) as database,
        open_sender(rpc, database, signer) as sender,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(run_sender, sender)
        look = partial(_look, rpc, await resolve(rpc, profile), profile, signer.address)
        sent = [one async for one in _rounds(sender, look, wanted, signer.address, report)]
        found = await look()
        nursery.cancel_scope.cancel()
    return _json(signer.address, found, wanted, sent)


def _profile(folder: DataFolder) -> NetworkProfile:
    return read_profile(load_config(folder).profile_path)


async def _look(rpc: Rpc, contracts: Contracts, profile: NetworkProfile, wallet: Address) -> tuple[Holdings, ...]:
    return tuple([await read_holdings(rpc, version, wallet, profile.first_block) for version in contracts.markets])


Look = Callable[[], Awaitable[tuple[Holdings, ...]]]


async def _rounds(sender: Sender, look: Look, wanted: Wanted, wallet: Address, report: Report) -> AsyncIterator[Sent]:
    """Deals first, then what has thawed, then new thaws: each round sees what the one before has freed."""
    rounds: list[Callable[[Holdings], Iterator[Step]]] = [partial(deals_due, abandon=wanted.abandon), thaws_over]
    if wanted.withdraw:
        # Twice: what became free meanwhile begins to thaw once the earlier thaw has been taken.
        rounds += [exits_begun, *[partial(withdrawal, to=wanted.to or wallet)] * 2]
    for steps_of in rounds:
        for holdings in await look():
            async for sent in send_all(sender, steps_of(holdings)):
                report(f"{sent.what}: {sent.refusal or 'done'}")
                yield sent


def _json(wallet: Address, found: tuple[Holdings, ...], wanted: Wanted, sent: list[Sent]) -> Json:
    markets = [_market(holdings, wanted) for holdings in found]
    times = [at for market in markets for at in market.pop("times")]
    return {
        "wallet": hexadecimal(wallet),
        "token_wei": max((holdings.token_wei for holdings in found), default=0),
        "native_wei": max((holdings.native_wei for holdings in found), default=0),
        "markets": markets,
        "sent": [{"what": one.what, "tx": one.tx, "refusal": one.refusal} for one in sent],
        "next_at": min(times, default=None),
    }


def _market(holdings: Holdings, wanted: Wanted) -> Json:
    """One market for reading; `times` are the moments at which something more can be done."""
    ahead = time.time() - holdings.now
    deals = [_deal(deal, holdings, wanted, ahead) for deal in holdings.deals]
    thaws = [
        *((f"earmark for {hexadecimal(one)}", mark.thawing_wei, mark.ready_at) for one, mark in holdings.earmarks),
        ("stake", holdings.unstaking.amount_wei, holdings.unstaking.ready_at),
        ("withdrawal", holdings.withdrawal.amount_wei, holdings.withdrawal.ready_at),
    ]
    begun = [{"what": what, "amount_wei": wei, "ready_at": at + ahead} for what, wei, at in thaws if wei]
    return {
        "market": hexadecimal(holdings.market.address),
        "free_wei": holdings.account.free_wei,
        "stake_wei": holdings.account.stake_wei,
        "locked_wei": holdings.account.locked_wei,
        "earmarks": [
            {"provider": hexadecimal(one), "amount_wei": mark.amount_wei, "thawing_wei": mark.thawing_wei}
            for one, mark in holdings.earmarks
        ],
        "hot_keys": [hexadecimal(key) for key in holdings.hot_keys],
        "thaws": begun,
        "deals": deals,
        "ended_deals": holdings.ended,
        "times": [entry["ready_at"] for entry in begun] + [d["due_at"] for d in deals if d["due_at"] is not None],
    }


def _deal(deal: FoundDeal, holdings: Holdings, wanted: Wanted, ahead: float) -> Json:
    act = due_act(deal, holdings.now, abandon=wanted.abandon)
    is_waiting = act is None and deal.due_at is not None
    return {
        "deal_id": hexadecimal(deal.deal_id),
        "sides": list(deal.sides),
        "phase": deal.slot.phase.name,
        "price_wei": deal.terms.price_wei if deal.terms else None,
        "act": shown.value if (shown := act or deal.act) else None,
        "is_due": act is not None,
        "due_at": deal.due_at + ahead if is_waiting and deal.due_at is not None else None,
        "returned_wei": deal.returned_wei,
        "trouble": "" if deal.terms else "no endpoint has the transaction of its terms: add an archive RPC URL",
    }


def lines(view: Json) -> Iterator[str]:
    """The findings for a person."""
    yield f"wallet {view['wallet']}: {tokens(view['token_wei'])} tokens, {tokens(view['native_wei'])} coins for gas"
    for market in view["markets"]:
        free, stake, locked = (tokens(market[f"{name}_wei"]) for name in ("free", "stake", "locked"))
        yield f"market {market['market']}: {free} free, {stake} staked ({locked} locked), {market['ended_deals']} ended"
        for mark in market["earmarks"]:
            yield f"  {tokens(mark['amount_wei'])} set aside for {mark['provider']}"
        for thaw in market["thaws"]:
            yield f"  {tokens(thaw['amount_wei'])} of {thaw['what']} can be taken at {clock_time(thaw['ready_at'])}"
        for deal in market["deals"]:
            yield f"  {_told(deal)}"
    if view["next_at"] is not None:
        yield f"more can be done at {clock_time(view['next_at'])}: run `capanode recover --execute` again then"


def _told(deal: Json) -> str:
    head = f"deal {deal['deal_id'][:10]}… {deal['phase']} as {' and '.join(deal['sides'])}"
    if deal["trouble"]:
        return f"{head}: {deal['trouble']}"
    when = "now" if deal["is_due"] else f"at {clock_time(deal['due_at'])}" if deal["due_at"] else "by its court"
    return f"{head}: {deal['act'] or 'ends'} {when} brings back {tokens(deal['returned_wei'])} tokens"
