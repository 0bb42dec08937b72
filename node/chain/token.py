"""The payment token: balances, approvals, and permits (EIP-2612) that save one transaction."""

from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from capanode.contracts_abi import bindings
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.view import BlockTag, ContractCall, View, ViewRefused, read, read_all
from capanode.node.chain.wire import BadReply
from capanode.node.keys.signer import Signer
from capanode.protocol.ids import Address, Digest, UnixTime, Wei

_DOMAIN_TYPE: Final = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_PERMIT_TYPE: Final = keccak(b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")


@dataclass(frozen=True, slots=True)
class TokenDetails:
    """How people write amounts of it."""

    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Permit:
    """A signed allowance."""

    amount_wei: Wei
    deadline: UnixTime
    signature: bytes


class Token:
    """One ERC-20 token."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc = rpc
        self.address = address

    async def balance(self, holder: Address, at: BlockTag = "latest") -> Wei:
        """Base units that `holder` has."""
        data = bindings.encode_test_token_balance_of(holder)
        return Wei(await read(self._rpc, View(self.address, data, bindings.decode_test_token_balance_of), at))

    async def allowance(self, owner: Address, spender: Address, at: BlockTag = "latest") -> Wei:
        """Base units that `spender` may still take from `owner`."""
        data = bindings.encode_test_token_allowance(owner, spender)
        return Wei(await read(self._rpc, View(self.address, data, bindings.decode_test_token_allowance), at))

    async def details(self) -> TokenDetails:
        """Symbol and decimals."""
        symbol = View(self.address, bindings.encode_test_token_symbol(), bindings.decode_test_token_symbol)
        decimals = View(self.address, bindings.encode_test_token_decimals(), bindings.decode_test_token_decimals)
        return TokenDetails(*await read_all(self._rpc, (symbol, decimals)))

    async def permit(self, signer: Signer, spender: Address, amount_wei: Wei, deadline: UnixTime) -> Permit | None:
        """A permit for `spender`; None where the token has none, and must be approved instead.

        The domain is built here from the token's own address and our chain: a separator taken from the
        token as it is could be that of another token.
        """
        nonce = View(self.address, bindings.encode_test_token_nonces(signer.address), bindings.decode_test_token_nonces)
        named = View(self.address, bindings.encode_test_token_eip712_domain(), bindings.decode_test_token_eip712_domain)
        try:
            used, domain = await read_all(self._rpc, (nonce, named))
        except (ViewRefused, BadReply):
            return None
        separator = keccak(
            _DOMAIN_TYPE
            + keccak(domain.name.encode())
            + keccak(domain.version.encode())
            + self._rpc.chain_id.to_bytes(32, "big")
            + _word(self.address)
        )
        message = keccak(
            _PERMIT_TYPE
            + _word(signer.address)
            + _word(spender)
            + amount_wei.to_bytes(32, "big")
            + used.to_bytes(32, "big")
            + deadline.to_bytes(32, "big")
        )
        digest = Digest(keccak(b"\x19\x01" + separator + message))
        return Permit(amount_wei, deadline, signer.sign_digest(digest))

    def approve(self, spender: Address, amount_wei: Wei) -> ContractCall:
        """Let `spender` take so much."""
        return ContractCall(self.address, bindings.encode_test_token_approve(spender, amount_wei))

    def transfer(self, to: Address, amount_wei: Wei) -> ContractCall:
        """Send base units."""
        return ContractCall(self.address, bindings.encode_test_token_transfer(to, amount_wei))

    def mint(self, to: Address, amount_wei: Wei) -> ContractCall:
        """Make new tokens; works on the devnet's test token only, which anybody may mint."""
        return ContractCall(self.address, bindings.encode_test_token_mint(to, amount_wei))


def _word(address: Address) -> bytes:
    return bytes(12) + address
