"""The compiled contracts that this release ships: ABI, bytecode, and whether code on a chain is one of them."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

_PACKAGE: Final = "capanode.contracts_abi"
CONTRACTS: Final = ("DealMarket", "Directory", "ProviderRegistry", "TestToken")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract. `immutables` are (start, length) in the deployed code, zero there until deployment."""

    name: str
    abi: tuple[Any, ...]
    bytecode: bytes
    deployed_bytecode: bytes
    immutables: tuple[tuple[int, int], ...]

    def is_code(self, code: bytes) -> bool:
        """Whether `code`, as a chain returns it, is this contract, whatever it was constructed with."""
        if len(code) != len(self.deployed_bytecode):
            return False
        blank = bytearray(code)
        for start, length in self.immutables:
            blank[start : start + length] = bytes(length)
        return bytes(blank) == self.deployed_bytecode


@cache
def load(name: str) -> Artifact:
    """The artifact called `name`, one of `CONTRACTS`."""
    raw = json.loads(resources.files(_PACKAGE).joinpath(f"{name}.json").read_bytes())
    return Artifact(
        name=name,
        abi=tuple(raw["abi"]),
        bytecode=bytes.fromhex(raw["bytecode"][2:]),
        deployed_bytecode=bytes.fromhex(raw["deployedBytecode"][2:]),
        immutables=tuple((place["start"], place["length"]) for place in raw["immutables"]),
    )


@cache
def manifest() -> dict[str, Any]:
    """Compiler version, settings, source hashes, and the hash of each contract's deployed code before immutables."""
    document: dict[str, Any] = json.loads(resources.files(_PACKAGE).joinpath("manifest.json").read_bytes())
    return document
