"""A network made on a bare chain is joined from another network namespace, with its profile and a funded key."""

import json
import os
import shutil
import subprocess
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capanode.node.chain.anvil import AnvilOptions, development_key, run_anvil
from capanode.node.chain.rpc import open_rpc
from capanode.node.data_folder import DataFolder
from capanode.node.devnet_parties import COIN, done, sending
from capanode.node.keys.signer import LocalSigner
from capanode.node.network_profile import NetworkProfile, profile_text, read_profile
from capanode.protocol.ids import Address, Wei
from tests.devnet.processes import running, said

IP = str(shutil.which("ip", path=os.environ["PATH"] + ":/usr/sbin:/sbin"))
OUTSIDE, INSIDE = "10.213.77.1", "10.213.77.2"


def ip(*arguments: str) -> None:
    subprocess.run([IP, *arguments], check=True, capture_output=True)


@pytest.fixture
def namespace() -> Generator[str]:
    """Another network namespace with one line to this one."""
    name = f"capa{os.getpid() % 100_000}"
    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        ip("addr", "add", f"{OUTSIDE}/30", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        for inside in (("addr", "add", f"{INSIDE}/30", "dev", f"{name}b"), ("link", "set", f"{name}b", "up")):
            ip("-n", name, *inside)
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("netns", "del", name)


@pytest.mark.timeout(180)
async def test_newcomer_needs_the_profile_and_a_funded_key(tmp_path: Path, namespace: str) -> None:
    password, key = tmp_path / "password", tmp_path / "key"
    for path, text in ((password, "secret"), (key, development_key(1).hex())):
        path.write_text(text)
        path.chmod(0o600)
    there = (IP, "netns", "exec", namespace)
    async with run_anvil(AnvilOptions(host="0.0.0.0")) as chain:
        url = f"http://{OUTSIDE}:{chain.port}"
        first, second = DataFolder(tmp_path / "first"), DataFolder(tmp_path / "second")
        made = ("--devnet", "--password-file", str(password), "--json")
        await said((), first, "init", *made)
        await said((), first, "network", "deploy", "--rpc", url, "--name", "town", "--key-file", str(key))
        async with running((), first) as status:
            profile = replace(read_profile(first.networks / "town.toml"), bootstrap=tuple(dialled(status)))
            handed_over = tmp_path / "town.toml"
            handed_over.write_text(profile_text(profile), "utf-8")
            address = json.loads(await said(there, second, "init", "--network", str(handed_over), *made))["address"]
            await fund(profile, tmp_path / "fund.db", address)
            async with running(there, second) as joined:
                assert joined["chain"]["head"] >= profile.first_block
                assert joined["wallet"]["native_wei"] == COIN
                assert joined["peers"] == 1


def dialled(status: dict[str, Any]) -> list[str]:
    """How the first node is dialled from the other namespace."""
    return [a for a in status["addresses"] if f"/{OUTSIDE}/" in a] or [
        status["addresses"][0].replace("/127.0.0.1/", f"/{OUTSIDE}/").replace("/0.0.0.0/", f"/{OUTSIDE}/")
    ]


async def fund(profile: NetworkProfile, database: Path, address: str) -> None:
    rich = LocalSigner(development_key(2))
    async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc, sending(rpc, database, rich) as sender:
        await done(sender, "coins", Address(bytes.fromhex(address[2:])), b"", Wei(COIN))
