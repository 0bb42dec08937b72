"""The wallet's own business with the market: what it has, and moving it. Only the wallet's key can do this."""

import re
import secrets
from typing import Any

import trio

from capanode.contracts_abi import bindings
from capanode.node.addresses import address_of
from capanode.node.api.port import Json
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain import wallet_calls
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.contracts import Contracts
from capanode.node.chain.market import EarmarkState, Market
from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.sender import Cancelled, Mined, Replaced, Reverted, Sender
from capanode.node.chain.token import Token
from capanode.node.chain.view import ContractCall
from capanode.node.chain.wire import hexadecimal, read_quantity
from capanode.node.keys.peer_key import uncompressed
from capanode.node.keys.signer import Signer
from capanode.node.paid.depositing import deposit_call
from capanode.node.paid.migration import Migration
from capanode.node.paid.outstanding import VERBS, outstanding, replace_transaction
from capanode.node.units import tokens
from capanode.protocol.faults import Refused
from capanode.protocol.ids import ZERO_DIGEST, Address, Wei


class Purse:
    """Balances and wallet calls of one account, in every version of the market that this node trades on."""

    def __init__(
        self,
        rpc: Rpc,
        contracts: Contracts,
        markets: Markets,
        sender: Sender,
        wallet: Address,
        signer: Signer,
        clock: ChainClock,
        peers: ProviderPeers,
        migration: Migration,
    ) -> None:
        self._rpc = rpc
        self._contracts = contracts
        self._markets = markets
        self._sender = sender
        self._wallet = wallet
        self._signer = signer
        self._clock = clock
        self._peers = peers
        self._migration = migration
        self._token = Token(rpc, contracts.token)
        self._changed = trio.Event()

    async def wait_change(self) -> None:
        """Return after the next call that was carried out."""
        await self._changed.wait()

    async def show(self) -> Json:
        """Everything that the account has, in base units: in all, and in each market, newest first."""
        native = await self._rpc.call("eth_getBalance", hexadecimal(self._wallet), "latest")
        newest = self._markets.newest()
        places = [await self._place(version, is_newest=version is newest) for version in self._markets.adopted()]
        return {
            "address": hexadecimal(self._wallet),
            "token_wei": await self._token.balance(self._wallet),
            **{name: sum(place[name] for place in places) for name in ("free_wei", "stake_wei", "locked_wei")},
            "native_wei": read_quantity(native),
            **{name: [entry for place in places for entry in place[name]] for name in ("earmarks", "thaws")},
            "markets": places,
            "transactions": await outstanding(self._sender),
        }

    async def _place(self, version: MarketVersion, *, is_newest: bool) -> Json:
        account = await version.contract.account(self._wallet)
        withdrawal, unstaking = await version.contract.thaws(self._wallet)
        thaws = (("withdrawal", withdrawal), ("unstaking", unstaking))
        return {
            "version": version.number,
            "address": hexadecimal(version.address),
            "active_from": version.active_from,
            "is_newest": is_newest,
            "is_deprecated": version.is_deprecated,
            "free_wei": account.free_wei,
            "stake_wei": account.stake_wei,
            "locked_wei": account.locked_wei,
            "earmarks": await self._earmarks(version),
            "thaws": [
                {"version": version.number, "what": what, "amount_wei": thaw.amount_wei, "ready_at": thaw.ready_at}
                for what, thaw in thaws
                if thaw.amount_wei
            ],
        }

    async def _earmarks(self, version: MarketVersion) -> list[Json]:
        """What is set aside for each registered provider; empty ones are left out."""
        return [
            {
                "version": version.number,
                "provider": hexadecimal(provider),
                "amount_wei": earmark.amount_wei,
                "thawing_wei": earmark.thawing_wei,
                "ready_at": earmark.ready_at,
            }
            for provider, earmark in await self._earmarked(version)
        ]

    async def _earmarked(self, version: MarketVersion) -> tuple[tuple[Address, EarmarkState], ...]:
        providers = await self._peers.providers()
        found = await version.contract.earmarks(self._wallet, providers)
        return tuple((who, earmark) for who, earmark in zip(providers, found, strict=True) if earmark.amount_wei)

    async def call(self, verb: str, arguments: Json) -> Json:
        """Carry out one verb of the wallet and wait until it is mined; the same `request` twice is one transaction.

        Raises:
            Refused: not this node's wallet, an unknown verb, or the contract's own sentence.
        """
        if verb in VERBS:
            return await replace_transaction(self._sender, verb, arguments.get("transaction"))
        if self._signer.address != self._wallet:
            raise Refused("this node has only a hot key: move money on the machine that has the wallet")
        version = self._version(arguments.get("market"))
        if verb == "migrate":
            return await self._migration.run(version)
        key = f"wallet/{verb}/{_request(arguments)}"
        known = await self._sender.entry(key)
        if known is not None and known.order.to is not None:
            # Asked again after a crash: what was checked then need not hold any more, as it may be done.
            call = ContractCall(known.order.to, known.order.data)
        else:
            call = await self._call(version.address, verb, arguments)
        tx = await self._sender.submit(key, call.to, call.data)
        match await self._sender.outcome(key):
            case Mined():
                self._changed.set()
                self._changed = trio.Event()
                return {"tx_hash": hexadecimal(tx), **await self._thaw(version.contract, verb, arguments)}
            case Reverted(reason=reason):
                raise Refused(f"{verb} was mined without effect: {reason}")
            case Cancelled():
                raise Refused(f"{verb} was cancelled: nothing was done")
            case Replaced():
                raise Refused(f"another transaction of this wallet took the place of {verb}: look before you repeat it")

    def _version(self, number: Any) -> MarketVersion:
        """The market that a verb is about: the one with this number, else the one that new money goes to."""
        if number is None:
            return self._markets.newest()
        for version in self._markets.adopted():
            if version.number == number:
                return version
        raise Refused(f"this node trades on no version {number!r:.20} of the market: `capanode network upgrades`")

    async def _thaw(self, market: Market, verb: str, arguments: Json) -> Json:
        """When what a call has begun to take out can be taken, for the calls that begin something."""
        if arguments.get("amount_wei") is None:
            return {}
        match verb:
            case "withdraw":
                return {"ready_at": (await market.thaws(self._wallet))[0].ready_at}
            case "unstake":
                return {"ready_at": (await market.thaws(self._wallet))[1].ready_at}
            case "unearmark":
                provider = _address(arguments.get("provider"))
                return {"ready_at": (await market.earmark(self._wallet, provider)).ready_at}
            case _:
                return {}

    async def _call(self, market: Address, verb: str, arguments: Json) -> ContractCall:
        amount = arguments.get("amount_wei")
        match verb:
            case "deposit":
                return await self._deposit(market, _amount(amount))
            case "withdraw" if amount is not None:
                return wallet_calls.begin_withdraw(market, _amount(amount))
            case "withdraw":
                return wallet_calls.withdraw(market, _address(arguments.get("to") or hexadecimal(self._wallet)))
            case "earmark":
                return wallet_calls.earmark(market, _address(arguments.get("provider")), _amount(amount))
            case "unearmark" if amount is not None:
                return wallet_calls.begin_unearmark(market, _address(arguments.get("provider")), _amount(amount))
            case "unearmark":
                return wallet_calls.unearmark(market, _address(arguments.get("provider")))
            case "stake":
                return wallet_calls.stake(market, _amount(amount))
            case "unstake" if amount is not None:
                return wallet_calls.begin_unstake(market, _amount(amount))
            case "unstake":
                return wallet_calls.unstake(market)
            case "hot-key":
                ceiling = _amount(arguments.get("ceiling_wei"))
                return wallet_calls.set_hot_key(market, _address(arguments.get("key")), ceiling)
            case "add-node":
                return self._add_node(arguments)
            case _:
                raise Refused(f"a wallet has no verb {verb[:40]!r}")

    def _add_node(self, arguments: Json) -> ContractCall:
        """Bind another machine's peer key to this wallet, by the card that it made."""
        try:
            point = uncompressed(bytes.fromhex(str(arguments.get("public_key"))))
            signature = bytes.fromhex(str(arguments.get("signature")))
        except ValueError:
            raise Refused("the card of the other machine is damaged: copy it again") from None
        data = bindings.encode_provider_registry_register(
            int.from_bytes(point[1:33], "big"),
            int.from_bytes(point[33:], "big"),
            signature,
            str(arguments.get("hardware_class"))[:64],
            ZERO_DIGEST,
        )
        return ContractCall(self._contracts.registry, data)

    async def _deposit(self, market: Address, amount: Wei) -> ContractCall:
        held = await self._token.balance(self._wallet)
        if held < amount:
            raise Refused(f"the wallet holds {tokens(held)} tokens and {tokens(amount)} are to be deposited")
        return await deposit_call(self._token, self._sender, self._signer, market, amount, self._clock.now())


def _request(arguments: Json) -> str:
    """The caller's name for this one wish; without one, each call is a wish of its own."""
    named = arguments.get("request")
    if named is None:
        return secrets.token_hex(8)
    if not isinstance(named, str) or not re.fullmatch(r"[0-9a-f]{16,64}", named):
        raise Refused("a request is named by 16 to 64 hex digits")
    return named


def _amount(value: Any) -> Wei:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise Refused("the amount has to be a whole number of base units above zero")
    return Wei(value)


def _address(value: Any) -> Address:
    try:
        return address_of(str(value))
    except ValueError as wrong:
        raise Refused(str(wrong)) from None
