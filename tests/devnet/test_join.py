"""A network made on a bare chain is joined from another network namespace, with its profile and a funded key."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from capanode.node.api.client import NodeClient
from capanode.node.chain.anvil import AnvilOptions, development_key, run_anvil
from capanode.node.chain.rpc import open_rpc
from capanode.node.data_folder import DataFolder
from capanode.node.devnet import end
from capanode.node.devnet_parties import COIN, done, sending
from capanode.node.keys.signer import LocalSigner
from capanode.node.network_profile import NetworkProfile, profile_text, read_profile
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, Wei

OUTSIDE, INSIDE = "10.213.77.1", "10.213.77.2"
CAPANODE = (sys.executable, "-m", "capanode.node")


def ip(*arguments: str) -> None:
    subprocess.run([str(shutil.which("ip")), *arguments], check=True, capture_output=True)


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
    there = (str(shutil.which("ip")), "netns", "exec", namespace)
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


async def said(prefix: Sequence[str], folder: DataFolder, *arguments: str) -> str:
    """What a command prints; it has to succeed."""
    command = [*prefix, *CAPANODE, *arguments, "--data", str(folder.root)]
    ran = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode()


async def fund(profile: NetworkProfile, database: Path, address: str) -> None:
    rich = LocalSigner(development_key(2))
    async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc, sending(rpc, database, rich) as sender:
        await done(sender, "coins", Address(bytes.fromhex(address[2:])), b"", Wei(COIN))


@asynccontextmanager
async def running(prefix: Sequence[str], folder: DataFolder) -> AsyncGenerator[dict[str, Any]]:
    """A node in a process of its own, and its status once it has a peer or needs none."""
    command = [*prefix, *CAPANODE, "start", "--data", str(folder.root)]
    with folder.log.open("ab") as log:
        process = await trio.lowlevel.open_process(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield await _status(process, folder, 1 if prefix else 0)
    finally:
        with trio.CancelScope(shield=True):
            await end(process)


async def _status(process: trio.Process, folder: DataFolder, peers: int) -> dict[str, Any]:
    while process.poll() is None:
        try:
            status: dict[str, Any] = await trio.to_thread.run_sync(NodeClient(folder.socket).status)
        except Unavailable:
            status = {"peers": -1}
        if status["peers"] >= peers:
            return status
        await trio.sleep(0.05)  # another process says in no other way that it is up
    raise AssertionError(folder.log.read_text())
