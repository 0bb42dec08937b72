"""The wallet's own business with the market: what it has, and moving it. Only the wallet's key can do this."""

from typing import Any, Final

from eth_hash.auto import keccak

from capanode.contracts_abi import bindings
from capanode.node.api.port import Json
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain import wallet_calls
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.contracts import Contracts
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.sender import Mined, Sender
from capanode.node.chain.token import Token
from capanode.node.chain.view import ContractCall
from capanode.node.chain.wire import hexadecimal, read_quantity
from capanode.node.keys.peer_key import uncompressed
from capanode.node.keys.signer import Signer
from capanode.node.units import tokens
from capanode.protocol.faults import Refused
from capanode.protocol.ids import ZERO_DIGEST, Address, UnixTime, Wei

PERMIT_LIFE_S: Final = 3600
"""A permit that is not used by then is void."""


class Purse:
    """Balances and wallet calls of one account."""

    def __init__(
        self,
        rpc: Rpc,
        contracts: Contracts,
        sender: Sender,
        wallet: Address,
        signer: Signer,
        clock: ChainClock,
        peers: ProviderPeers,
    ) -> None:
        self._rpc = rpc
        self._contracts = contracts
        self._sender = sender
        self._wallet = wallet
        self._signer = signer
        self._clock = clock
        self._peers = peers
        self._market = Market(rpc, contracts.market)
        self._token = Token(rpc, contracts.token)

    @property
    def market(self) -> Address:
        """Where new jobs are paid from."""
        return self._contracts.market

    async def free_wei(self) -> Wei:
        """What new deals can be paid from."""
        return (await self._market.account(self._wallet)).free_wei

    async def show(self) -> Json:
        """Everything that the account has, in base units."""
        account = await self._market.account(self._wallet)
        withdrawal, unstaking = await self._market.thaws(self._wallet)
        native = await self._rpc.call("eth_getBalance", hexadecimal(self._wallet), "latest")
        thaws = (("withdrawal", withdrawal), ("unstaking", unstaking))
        return {
            "address": hexadecimal(self._wallet),
            "token_wei": await self._token.balance(self._wallet),
            "free_wei": account.free_wei,
            "stake_wei": account.stake_wei,
            "locked_wei": account.locked_wei,
            "native_wei": read_quantity(native),
            "earmarks": await self._earmarks(),
            "thaws": [
                {"what": what, "amount_wei": thaw.amount_wei, "ready_at": thaw.ready_at}
                for what, thaw in thaws
                if thaw.amount_wei
            ],
        }

    async def _earmarks(self) -> list[Json]:
        """What is set aside for each registered provider; empty ones are left out."""
        providers = await self._peers.providers()
        found = await self._market.earmarks(self._wallet, providers)
        return [
            {
                "provider": hexadecimal(provider),
                "amount_wei": earmark.amount_wei,
                "thawing_wei": earmark.thawing_wei,
                "ready_at": earmark.ready_at,
            }
            for provider, earmark in zip(providers, found, strict=True)
            if earmark.amount_wei
        ]

    async def call(self, verb: str, arguments: Json) -> Json:
        """Carry out one verb of the wallet and wait until it is mined.

        Raises:
            Refused: not this node's wallet, an unknown verb, or the contract's own sentence.
        """
        if self._signer.address != self._wallet:
            raise Refused("this node has only a hot key: move money on the machine that has the wallet")
        call = await self._call(verb, arguments)
        key = f"wallet/{verb}/{keccak(call.data).hex()[:16]}/{await self._sender.mined_count()}"
        tx = await self._sender.submit(key, call.to, call.data)
        match await self._sender.outcome(key):
            case Mined():
                return {"tx_hash": hexadecimal(tx), **await self._thaw(verb, arguments)}
            case failed:
                raise Refused(f"{verb} was mined without effect: {getattr(failed, 'reason', 'its nonce was used')}")

    async def _thaw(self, verb: str, arguments: Json) -> Json:
        """When what a call has begun to take out can be taken, for the calls that begin something."""
        if arguments.get("amount_wei") is None:
            return {}
        match verb:
            case "withdraw":
                return {"ready_at": (await self._market.thaws(self._wallet))[0].ready_at}
            case "unstake":
                return {"ready_at": (await self._market.thaws(self._wallet))[1].ready_at}
            case "unearmark":
                provider = _address(arguments.get("provider"))
                return {"ready_at": (await self._market.earmark(self._wallet, provider)).ready_at}
            case _:
                return {}

    async def _call(self, verb: str, arguments: Json) -> ContractCall:
        market = self._contracts.market
        amount = arguments.get("amount_wei")
        match verb:
            case "deposit":
                return await self._deposit(_amount(amount))
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

    async def _deposit(self, amount: Wei) -> ContractCall:
        held = await self._token.balance(self._wallet)
        if held < amount:
            raise Refused(f"the wallet holds {tokens(held)} tokens and {tokens(amount)} are to be deposited")
        deadline = UnixTime(self._clock.now() + PERMIT_LIFE_S)
        permit = await self._token.permit(self._signer, self._contracts.market, amount, deadline)
        if permit is not None:
            return wallet_calls.deposit_with_permit(self._contracts.market, permit)
        approval = self._token.approve(self._contracts.market, amount)
        key = f"wallet/approve/{amount}/{await self._sender.mined_count()}"
        await self._sender.submit(key, approval.to, approval.data)
        await self._sender.outcome(key)
        return wallet_calls.deposit(self._contracts.market, amount)


def _amount(value: Any) -> Wei:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise Refused("the amount has to be a whole number of base units above zero")
    return Wei(value)


def _address(value: Any) -> Address:
    try:
        raw = bytes.fromhex(str(value).removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 20:
        raise Refused(f"{str(value)[:50]!r} is no address")
    return Address(raw)
