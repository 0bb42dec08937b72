"""How another machine comes under a stake: it prints a card, the wallet's machine takes it.

A card holds the machine's peer key and hot key (public parts), its hardware class, and the peer key's signature that it
works for the wallet. It is no secret; only that wallet can use it.
"""

import base64
import json
import secrets
from functools import partial
from typing import Any

import coincurve
import trio
import typer

from capanode.node.api.port import Json
from capanode.node.chain.contracts import resolve
from capanode.node.chain.rpc import open_rpc
from capanode.node.config_file import load_config
from capanode.node.data_folder import DataFolder, prepare
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.keys.key_file import read_private_file, write_private_file
from capanode.node.keys.peer_key import open_peer_key
from capanode.node.keys.signer import LocalSigner
from capanode.node.keys.wallet import wallet_address
from capanode.node.network_profile import NetworkProfile, read_profile
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Address

FIELDS = ("public_key", "signature", "hardware_class", "hot_key")
MAX_CARD_CHARS = 2048


def card_of(folder: DataFolder, owner: str) -> Json:
    """This machine's card for a wallet; makes its keys at the first call."""
    prepare(folder)
    wallet = Address(bytes.fromhex(owner.removeprefix("0x")))
    _point_at(folder, wallet)
    if not folder.hot_key.exists():
        write_private_file(folder.hot_key, secrets.token_bytes(32))
    hot = LocalSigner(read_private_file(folder.hot_key, 32))
    peer = open_peer_key(folder.p2p / "peer.key")
    config = load_config(folder)
    profile = read_profile(config.profile_path)
    registry = trio.run(partial(_registry, profile, config.chain.rpc_urls))
    fields = {
        "public_key": peer.public_key.hex(),
        "signature": peer.bind_to(wallet, profile.chain_id, registry).hex(),
        "hardware_class": this_cpu_class(),
        "hot_key": f"0x{hot.address.hex()}",
    }
    text = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
    return {"card": text, "peer_id": peer.peer_id, **fields}


def read_card(text: str) -> Json:
    """The fields of a card, checked."""
    try:
        fields: Any = json.loads(base64.urlsafe_b64decode(text[:MAX_CARD_CHARS]))
        key, signature = bytes.fromhex(fields["public_key"]), bytes.fromhex(fields["signature"])
        coincurve.PublicKey(key)
        if len(signature) != 65 or set(fields) != set(FIELDS) or len(bytes.fromhex(fields["hot_key"][2:])) != 20:
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise typer.BadParameter("this is no card of a node; copy what `capanode node key` printed") from None
    return {name: str(fields[name]) for name in FIELDS}


def _point_at(folder: DataFolder, wallet: Address) -> None:
    """The machine knows its wallet's address and nothing more of it."""
    if not folder.wallet.exists():
        write_private_file(folder.wallet, json.dumps({"address": wallet.hex()}).encode())
    if wallet_address(folder.wallet) != wallet:
        raise Misconfigured(f"{folder.root} belongs to another wallet: choose another --data.")


async def _registry(profile: NetworkProfile, rpc_urls: tuple[str, ...]) -> Address:
    async with open_rpc(rpc_urls + profile.rpc_urls, profile.chain_id) as rpc:
        return (await resolve(rpc, profile)).registry
