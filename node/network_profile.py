"""A network in one file: what a node has to know to join it, besides its own keys.

The file is TOML, is given from person to person, and is validated whole: every error is told at once. The contracts
behind the directory are checked against what this release ships, so a profile cannot name a forged market.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from capanode.node.addresses import address_of
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import ZERO_ADDRESS, Address

DEVELOPMENT_CHAIN: Final = 31337
"""The chain id of a devnet's chain; a node refuses endpoints of any other chain than its profile's."""

MAX_PROFILE_BYTES: Final = 64 * 1024
MAX_LIST_LENGTH: Final = 64
MAX_TEXT_CHARS: Final = 512

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class NetworkProfile:
    """One network on one chain."""

    name: str
    chain_id: int
    rpc_urls: tuple[str, ...]
    directory: Address
    """The contract that names all others."""

    first_block: int = 0
    """The block of the directory's deployment; logs before it are not read."""

    ws_urls: tuple[str, ...] = ()
    """Where new blocks are announced; polling does without, some tenths of a second later."""

    bootstrap: tuple[str, ...] = ()
    """Multiaddrs of peers to begin with."""

    relays: tuple[str, ...] = ()
    """Multiaddrs of relays for nodes that nobody can dial."""

    confirmations: int = 0
    """Blocks on top of a block before its logs count; zero suits only a chain that does not reorganise."""

    is_devnet: bool = False
    """A development chain: test tokens may be minted, clocks moved, and keys are worth nothing."""

    bid_window_ms: int = 2_000
    """Longest time to collect bids unless the requester says otherwise."""

    token_symbol: str = "CAPA"
    token_decimals: int = 18
    window_floor_s: int = 600
    """Shortest challenge window of the market, as a hint for those who are not on the chain yet."""

    grace_s: int = 600
    approved_code: tuple[str, ...] = field(default=())
    """Code hashes that the operator approved beyond those of this release, `0x…`."""


def read_profile(path: Path) -> NetworkProfile:
    """Read and validate a profile.

    Raises:
        Misconfigured: the file cannot be read, or the list of all that is wrong with it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PROFILE_BYTES + 1)
    except OSError as error:
        raise Misconfigured(f"The network profile {path} cannot be read ({error.strerror}).") from error
    if len(content) > MAX_PROFILE_BYTES:
        raise Misconfigured(f"{path} is too large for a network profile: name the right file.")
    return parse_profile(content, str(path))


def parse_profile(content: bytes, source: str) -> NetworkProfile:
    """Validate a profile's text; `source` names it in errors.

    Raises:
        Misconfigured: the list of all that is wrong with it.
    """
    try:
        fields = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise Misconfigured(f"The network profile {source} is not TOML: {error}.") from error
    wrong = [f"{name}: unknown field" for name in fields if name not in _READERS]
    values: dict[str, Any] = {}
    for name, reader in _READERS.items():
        if name in fields:
            try:
                values[name] = reader(fields[name])
            except ValueError as error:
                wrong.append(f"{name}: {error}")
    wrong += [f"{name}: missing" for name in _REQUIRED if name not in fields]
    if wrong:
        raise Misconfigured(f"The network profile {source} is wrong: {'; '.join(wrong)}.")
    return NetworkProfile(**values)


def profile_text(profile: NetworkProfile) -> str:
    """The profile as TOML, which `parse_profile` reads back to an equal one."""
    lines = [f"# The capanode network {profile.name}: join it with `capanode network use FILE`."]
    for name, value in as_plain(profile).items():
        # JSON's strings, numbers, lists and booleans are TOML's.
        lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def as_plain(profile: NetworkProfile) -> Mapping[str, str | int | bool | list[str]]:
    """The fields as the file names them."""
    return {
        "name": profile.name,
        "chain_id": profile.chain_id,
        "rpc_urls": list(profile.rpc_urls),
        "ws_urls": list(profile.ws_urls),
        "directory": "0x" + profile.directory.hex(),
        "first_block": profile.first_block,
        "bootstrap": list(profile.bootstrap),
        "relays": list(profile.relays),
        "confirmations": profile.confirmations,
        "is_devnet": profile.is_devnet,
        "bid_window_ms": profile.bid_window_ms,
        "token_symbol": profile.token_symbol,
        "token_decimals": profile.token_decimals,
        "window_floor_s": profile.window_floor_s,
        "grace_s": profile.grace_s,
        "approved_code": list(profile.approved_code),
    }


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT_CHARS or not value.isprintable():
        raise ValueError(f"a text of at most {MAX_TEXT_CHARS} printable characters is expected")
    return value


def _name(value: object) -> str:
    if not _NAME.fullmatch(_text(value)):
        raise ValueError("only letters, digits, '-' and '_' are allowed")
    return _text(value)


def _symbol(value: object) -> str:
    if len(_text(value)) > 16:
        raise ValueError("a symbol has at most 16 characters")
    return _text(value)


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high} is expected")
        return value

    return read


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is expected")
    return value


def _address(value: object) -> Address:
    address = address_of(_text(value))
    if address == ZERO_ADDRESS:
        raise ValueError("the zero address is no contract")
    return address


def _texts(one: Callable[[object], str], least: int = 0) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        items: list[object] | None = value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType]
        if items is None or not least <= len(items) <= MAX_LIST_LENGTH:
            raise ValueError(f"a list of {least} to {MAX_LIST_LENGTH} texts is expected")
        return tuple(one(item) for item in items)

    return read


def _url(*schemes: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = _text(value)
        if urlsplit(text).scheme not in schemes or not urlsplit(text).hostname:
            raise ValueError(
                f"an address beginning with {' or '.join(f'{scheme}://' for scheme in schemes)} is expected"
            )
        return text

    return read


def _multiaddr(value: object) -> str:
    text = _text(value)
    if not text.startswith("/") or "/p2p/" not in text:
        raise ValueError("a multiaddr with a peer id is expected, such as /ip4/192.0.2.1/tcp/4001/p2p/16Uiu2…")
    return text


def _code_hash(value: object) -> str:
    text = _text(value)
    if not re.fullmatch("0x[0-9a-f]{64}", text):
        raise ValueError("a code hash is 0x and 64 hexadecimal digits")
    return text


_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "name": _name,
    "chain_id": _whole(1, 2**53),
    "rpc_urls": _texts(_url("http", "https"), least=1),
    "ws_urls": _texts(_url("ws", "wss")),
    "directory": _address,
    "first_block": _whole(0, 2**53),
    "bootstrap": _texts(_multiaddr),
    "relays": _texts(_multiaddr),
    "confirmations": _whole(0, 1000),
    "is_devnet": _boolean,
    "bid_window_ms": _whole(1, 600_000),
    "token_symbol": _symbol,
    "token_decimals": _whole(0, 36),
    "window_floor_s": _whole(0, 2**32 - 1),
    "grace_s": _whole(0, 2**32 - 1),
    "approved_code": _texts(_code_hash),
}
_REQUIRED: Final = ("name", "chain_id", "rpc_urls", "directory")
