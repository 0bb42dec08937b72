"""The operator's wallet: a keystore of version 3, opened once at start.

eth-account is imported only where it is used, as it costs half a second.

**Source**: Web3 Secret Storage Definition, version 3.
"""

import json
import os
import secrets
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import trio

from capanode.node.keys.key_file import read_private_file, write_private_file
from capanode.node.keys.signer import LocalSigner
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Address

PASSWORD_FILE_VARIABLE: Final = "CAPANODE_PASSWORD_FILE"
MAX_KEYSTORE_BYTES: Final = 64 * 1024
MAX_PASSWORD_BYTES: Final = 4096
MAX_SCRYPT_MEMORY_BYTES: Final = 1 << 30
"""A keystore that asks for more than 1 GiB is an attack or a mistake."""

PasswordPrompt = Callable[[], str]


class ScryptCost(IntEnum):
    """Rounds n of scrypt, with r = 8 and p = 1."""

    STANDARD = 262_144
    """About a second and 256 MiB: what the definition recommends."""

    DEVNET = 4_096
    """Milliseconds, for keys that hold nothing."""


async def create_wallet(path: Path, password: str, cost: ScryptCost = ScryptCost.STANDARD) -> LocalSigner:
    """Make a new key and store it.

    Raises:
        Misconfigured: the file exists or cannot be written.
    """
    return await import_wallet(path, secrets.token_bytes(32), password, cost)


async def import_wallet(path: Path, key: bytes, password: str, cost: ScryptCost = ScryptCost.STANDARD) -> LocalSigner:
    """Store a private key of 32 bytes.

    Raises:
        Misconfigured: it is no key, or the file exists or cannot be written.
    """
    signer = LocalSigner(key)
    keystore = await trio.to_thread.run_sync(_encrypt, key, password, cost)
    await trio.to_thread.run_sync(write_private_file, path, keystore)
    return signer


async def unlock_wallet(path: Path, password: str) -> LocalSigner:
    """Open a keystore with its password.

    Raises:
        Misconfigured: the file is missing, open to others or no keystore, or the password is wrong.
    """
    content = await trio.to_thread.run_sync(read_private_file, path, MAX_KEYSTORE_BYTES)
    return LocalSigner(await trio.to_thread.run_sync(_decrypt, path, content, password))


def wallet_address(path: Path) -> Address:
    """The account of a keystore, as the file states it, without its password.

    Raises:
        Misconfigured: the file is missing or no keystore, or states no address.
    """
    keystore = _parse(path, read_private_file(path, MAX_KEYSTORE_BYTES))
    try:
        address = bytes.fromhex(str(keystore.get("address", "")).removeprefix("0x"))
    except ValueError:
        address = b""
    if len(address) != 20:
        raise Misconfigured(f"The keystore {path} states no address: unlock it instead.")
    return Address(address)


def find_password(password_file: Path | None, prompt: PasswordPrompt | None) -> str:
    """The keystore's password: from the file, the file that the environment names, or a person.

    Raises:
        Misconfigured: there is none, or the file cannot be read.
    """
    named = os.environ.get(PASSWORD_FILE_VARIABLE)
    path = password_file or (Path(named) if named else None)
    if path is not None:
        return _password_in(path)
    if prompt is not None:
        return prompt()
    raise Misconfigured(f"The wallet's password is not given: name a file with it in {PASSWORD_FILE_VARIABLE}.")


def _password_in(path: Path) -> str:
    content = read_private_file(path, MAX_PASSWORD_BYTES)
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Misconfigured(f"The password file {path} is not text: name the right file.") from None


def _encrypt(key: bytes, password: str, cost: ScryptCost) -> bytes:
    from capanode.node.keys.accounts import Account

    return json.dumps(Account.encrypt(key, password, kdf="scrypt", iterations=int(cost))).encode()


def _decrypt(path: Path, content: bytes, password: str) -> bytes:
    from capanode.node.keys.accounts import Account

    keystore = _parse(path, content)
    try:
        return bytes(Account.decrypt(keystore, password))
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise Misconfigured(f"The password does not open {path}: give the one it was made with.") from None
        raise Misconfigured(f"The keystore {path} is damaged: restore it from a backup.") from None
    except (KeyError, TypeError, NotImplementedError):
        raise Misconfigured(f"The keystore {path} is not of version 3: export the key in that form.") from None


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        keystore: object = json.loads(content)
    except (ValueError, RecursionError):
        keystore = None
    if not isinstance(keystore, dict):
        raise Misconfigured(f"{path} is not a keystore: name the right file.")
    fields: dict[str, Any] = keystore  # pyright: ignore[reportUnknownVariableType]  # JSON keys are text
    if _scrypt_memory_bytes(fields) > MAX_SCRYPT_MEMORY_BYTES:
        raise Misconfigured(f"The keystore {path} asks for too much memory: make it again with a lower cost.")
    return fields


def _scrypt_memory_bytes(keystore: dict[str, Any]) -> int:
    try:
        parameters = keystore["crypto"]["kdfparams"]
        return 128 * int(parameters.get("n", 0)) * int(parameters.get("r", 0))
    except (KeyError, TypeError, ValueError, AttributeError):
        return 0
