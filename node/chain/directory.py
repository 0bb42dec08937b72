"""The directory of a network's contracts: the one address that a profile names."""

from dataclasses import dataclass
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.view import ContractCall, View, read, read_all
from capanode.protocol.ids import Address, Digest, UnixTime

DEAL_MARKET: Final = "DealMarket"
PROVIDER_REGISTRY: Final = "ProviderRegistry"
DISPUTE_COURT: Final = "DisputeCourt"

MAX_VERSIONS: Final = 64
"""Newest versions of a name that are read; nobody has deals in more, and a directory's owner may publish any number."""


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a named contract."""

    name: str
    version: int
    address: Address
    active_from: UnixTime
    is_deprecated: bool
    code_hash: Digest
    """Hash of its code when it was published."""


class Directory:
    """One directory."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc = rpc
        self.address = address

    async def versions(self, name: str) -> tuple[Published, ...]:
        """The newest versions of a name, at most `MAX_VERSIONS`, the oldest of them first.

        Raises:
            Unavailable: no directory is there, or no endpoint answers.
        """
        data = bindings.encode_directory_count(_word(name))
        count = await read(self._rpc, View(self.address, data, bindings.decode_directory_count))
        first = max(count - MAX_VERSIONS, 0)
        return await read_all(self._rpc, tuple(self._version(name, number) for number in range(first, count)))

    def publish(self, name: str, target: Address) -> ContractCall:
        """Append a version, active after the directory's delay; its owner's call."""
        return ContractCall(self.address, bindings.encode_directory_publish(_word(name), target))

    def deprecate(self, name: str, version: int) -> ContractCall:
        """Advise against a version; its owner's call."""
        return ContractCall(self.address, bindings.encode_directory_deprecate(_word(name), version))

    def _version(self, name: str, number: int) -> View[Published]:
        def published(data: bytes) -> Published:
            return _published(name, number, bindings.decode_directory_version_at(data))

        return View(self.address, bindings.encode_directory_version_at(_word(name), number), published)


def _published(name: str, version: int, entry: bindings.Version) -> Published:
    return Published(
        name, version, entry.target, UnixTime(entry.active_from), entry.deprecated, Digest(entry.code_hash)
    )


def _word(name: str) -> bytes:
    return name.encode("ascii").ljust(32, b"\0")
