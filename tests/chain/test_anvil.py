"""The development chain starts, says what hinders it, keeps its state and leaves nothing behind."""

import os
from pathlib import Path

import pytest
import trio

from capanode.node.chain.anvil import AnvilOptions, development_key, find_anvil, run_anvil
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.wire import hexadecimal, quantity, read_object, read_quantity
from capanode.node.keys.signer import LocalSigner
from capanode.protocol.faults import Misconfigured


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_development_accounts_are_funded() -> None:
    async with run_anvil(AnvilOptions(accounts=3)) as chain, open_rpc([chain.rpc_url], chain.chain_id) as rpc:
        for index in range(3):
            address = LocalSigner(development_key(index)).address
            assert read_quantity(await rpc.call("eth_getBalance", hexadecimal(address), "latest")) > 0
        assert os.getsid(chain.pid) != os.getsid(0), "a Ctrl-C at the terminal must not reach it first"


async def test_process_is_gone_after_the_block_and_after_an_error_in_it() -> None:
    async with run_anvil() as chain:
        assert is_alive(chain.pid)
    assert not is_alive(chain.pid)

    with pytest.raises(KeyError):
        async with run_anvil() as chain:
            raise KeyError
    assert not is_alive(chain.pid)


async def test_state_outlives_the_process(tmp_path: Path) -> None:
    options = AnvilOptions(state_file=tmp_path / "chain.json", chain_id=77)
    holder = "0x" + "12" * 20
    async with run_anvil(options) as chain, open_rpc([chain.rpc_url], 77) as rpc:
        await rpc.call_once("anvil_setBalance", holder, quantity(5))
        await rpc.call_once("evm_mine")
    async with run_anvil(options) as chain, open_rpc([chain.rpc_url], 77) as rpc:
        assert await rpc.call("eth_getBalance", holder, "latest") == "0x5"


async def test_blocks_come_at_once_and_without_transactions_too() -> None:
    options = AnvilOptions(accounts=2, idle_block_s=1)
    async with run_anvil(options) as chain, open_rpc([chain.rpc_url], chain.chain_id) as rpc:
        holder, other = (hexadecimal(LocalSigner(development_key(index)).address) for index in range(2))
        digest = await rpc.call_once("eth_sendTransaction", {"from": holder, "to": other, "value": "0x1"})
        assert isinstance(digest, str)
        with trio.fail_after(30):
            # The miner is told of the transaction, and not waited for.
            while (found := await rpc.call("eth_getTransactionReceipt", digest)) is None:  # noqa: ASYNC110  # as below
                await trio.sleep(0.01)
            mined = read_quantity(read_object(found)["blockNumber"])
            while read_quantity(await rpc.call("eth_blockNumber")) < mined + 2:  # noqa: ASYNC110  # the chain's own
                await trio.sleep(0.05)


async def test_taken_port_is_told() -> None:
    async with run_anvil() as first:
        with pytest.raises(Misconfigured, match=f"Port {first.port} is taken"):
            async with run_anvil(AnvilOptions(port=first.port)):
                pass


def test_missing_program_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CAPANODE_ANVIL", str(tmp_path / "nothing"))
    with pytest.raises(Misconfigured, match="CAPANODE_ANVIL"):
        find_anvil()

    monkeypatch.delenv("CAPANODE_ANVIL")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("capanode.node.chain.anvil.__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(Misconfigured, match="make setup"):
        find_anvil()
