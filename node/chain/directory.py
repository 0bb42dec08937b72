"""The directory of a network's contracts: the one address that a profile names."""

from dataclasses import dataclass
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.view import ContractCall, View, read
from capanode.protocol.ids import Address, Digest, UnixTime

DEAL_MARKET: Final = "DealMarket"
PROVIDER_REGISTRY: Final = "ProviderRegistry"


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a named contract."""

    name: str
    version: int
    address: Address
    active_from: UnixTime
    is_deprecated: bool
    code_hash: Digest


class Directory:
    """One directory."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc = rpc
        self.address = address

    async def active(self, name: str, at: UnixTime) -> Published:
        """The newest version of a name that is active at `at`.

        Raises:
            Unavailable: the name has none, or no endpoint answers.
        """

        def published(data: bytes) -> Published:
            found = bindings.decode_directory_active(data)
            return _published(name, found.version, found.entry)

        return await read(self._rpc, View(self.address, bindings.encode_directory_active(_word(name), at), published))

    async def latest(self, name: str) -> Published:
        """The newest version of a name, active or not yet."""

        def published(data: bytes) -> Published:
            found = bindings.decode_directory_latest(data)
            return _published(name, found.version, found.entry)

        return await read(self._rpc, View(self.address, bindings.encode_directory_latest(_word(name)), published))

    def publish(self, name: str, target: Address) -> ContractCall:
        """Append a version, active after the directory's delay; its owner's call."""
        return ContractCall(self.address, bindings.encode_directory_publish(_word(name), target))


def _published(name: str, version: int, entry: bindings.Version) -> Published:
    return Published(
        name, version, entry.target, UnixTime(entry.active_from), entry.deprecated, Digest(entry.code_hash)
    )


def _word(name: str) -> bytes:
    return name.encode("ascii").ljust(32, b"\0")
