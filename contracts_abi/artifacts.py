"""The compiled contracts that this release ships: ABI, bytecode, and whether code on a chain is one of them."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from eth_hash.auto import keccak

_PACKAGE: Final = "capanode.contracts_abi"
CONTRACTS: Final = ("ArbiterPools", "DealMarket", "Directory", "DisputeCourt", "ProviderRegistry", "TestToken")


@dataclass(frozen=True, slots=True)
class Code:
    """Deployed code that a release ships, up to what its constructor sets.

    `code_hash` is keccak256 of it with zeros in place of the immutables, which are (start, length) in it.
    """

    code_hash: bytes
    immutables: tuple[tuple[int, int], ...]

    def is_code(self, code: bytes) -> bool:
        """Whether `code`, as a chain returns it, is this contract, whatever it was constructed with."""
        blank = bytearray(code)
        for start, length in self.immutables:
            blank[start : start + length] = bytes(length)
        return len(blank) == len(code) and keccak(bytes(blank)) == self.code_hash

    def immutables_in(self, code: bytes) -> frozenset[bytes]:
        """What its constructor has left in `code`, as 32-byte words."""
        return frozenset(code[start : start + length].rjust(32, b"\0") for start, length in self.immutables)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: tuple[Any, ...]
    bytecode: bytes
    deployed_bytecode: bytes
    immutables: tuple[tuple[int, int], ...]

    @property
    def code(self) -> Code:
        """What tells it apart on a chain."""
        return Code(keccak(self.deployed_bytecode), self.immutables)

    def is_code(self, code: bytes) -> bool:
        """As `Code.is_code`."""
        return self.code.is_code(code)


@cache
def load(name: str) -> Artifact:
    """The artifact called `name`, one of `CONTRACTS`."""
    raw = json.loads(resources.files(_PACKAGE).joinpath(f"{name}.json").read_bytes())
    return Artifact(
        name=name,
        abi=tuple(raw["abi"]),
        bytecode=bytes.fromhex(raw["bytecode"][2:]),
        deployed_bytecode=bytes.fromhex(raw["deployedBytecode"][2:]),
        immutables=_places(raw["immutables"]),
    )


@cache
def shipped(name: str) -> tuple[Code, ...]:
    """The code of this release's contract called `name`, then that of earlier releases which it still works with."""
    document = json.loads(resources.files(_PACKAGE).joinpath("earlier.json").read_bytes())
    earlier = (
        Code(bytes.fromhex(entry["codeHash"][2:]), _places(entry["immutables"])) for entry in document.get(name, ())
    )
    return (load(name).code, *earlier)


def shipped_as(name: str, code: bytes) -> Code | None:
    """Which shipped version of the contract called `name` this deployed code is; None when it is none."""
    return next((version for version in shipped(name) if version.is_code(code)), None)


def _places(plain: list[dict[str, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((place["start"], place["length"]) for place in plain)


@cache
def manifest() -> dict[str, Any]:
    """Compiler version, settings, source hashes, and the hash of each contract's deployed code before immutables."""
    document: dict[str, Any] = json.loads(resources.files(_PACKAGE).joinpath("manifest.json").read_bytes())
    return document
