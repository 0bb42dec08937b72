"""`capanode init, start, status, stop, wallet …, network …` and `receipt verify`."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from capanode.node.chain import approvals
from capanode.node.cli.exits import Exit
from capanode.node.data_folder import DataFolder, held
from capanode.node.network_profile import NetworkProfile, profile_text
from capanode.node.storage.database import open_database
from capanode.node.units import clock_time
from capanode.protocol.ids import Address, Digest
from tests.cli.conftest import Town
from tests.fakes.fake_node_api import TOKEN

Run = Callable[..., int]
PROFILE = NetworkProfile("testnet", 7, ("http://127.0.0.1:1",), Address(b"\x01" * 20))


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text("correct horse")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def data(tmp_path: Path, capanode: Run, password_file: str) -> Path:
    """A data folder with a wallet that opens quickly."""
    folder = tmp_path / "data"
    assert capanode("wallet", "create", "--devnet", "--data", str(folder), "--password-file", password_file) == 0
    return folder


def test_wallet_is_made_once_and_shown(data: Path, capanode: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert stat.S_IMODE((data / "wallet.json").stat().st_mode) == 0o600
    assert capanode("wallet", "show", "--data", str(data)) == Exit.DONE
    shown = capsys.readouterr().out.strip()
    assert capanode("wallet", "show", "--data", str(data), "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["address"] == shown
    assert capanode("wallet", "create", "--devnet", "--data", str(data)) == Exit.INPUT


def test_init_sets_a_folder_up(
    tmp_path: Path,
    capanode: Run,
    password_file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    profile = tmp_path / "net.toml"
    profile.write_text(profile_text(PROFILE), "utf-8")
    folder = tmp_path / "data"
    arguments = ("init", "--provider", "--devnet", "--network", str(profile), "--password-file", password_file)
    assert capanode(*arguments, "--data", str(folder), "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["network"] == "testnet"
    assert 'roles = ["provider"]' in (folder / "config.toml").read_text("utf-8")
    assert capanode("network", "show", "--data", str(folder), "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["chain_id"] == 7


def test_network_that_is_wrong_is_refused_whole(
    tmp_path: Path, capanode: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("name = 'x'\nchain_id = 'y'\nwhat = 1\n", "utf-8")
    assert capanode("network", "use", str(bad), "--data", str(tmp_path / "d")) == Exit.INPUT
    told = capsys.readouterr().err
    for wrong in ("chain_id", "what", "rpc_urls", "directory"):
        assert wrong in told
    assert capanode("network", "show", "--data", str(tmp_path / "d")) == Exit.INPUT
    assert capanode("network", "use", "nowhere", "--data", str(tmp_path / "d")) == Exit.INPUT


def start(capanode: Run, data: Path, *more: str) -> int:
    return capanode("start", "--requester", "--data", str(data), *more)


def join(data: Path, profile: NetworkProfile = PROFILE) -> None:
    (data / "networks" / "default.toml").write_text(profile_text(profile), "utf-8")


def test_start_without_a_network_says_how_to_join_one(data: Path, capanode: Run, password_file: str) -> None:
    assert start(capanode, data, "--password-file", password_file) == Exit.INPUT


def test_start_with_a_wrong_password_says_so(
    data: Path, capanode: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    join(data)
    wrong = tmp_path / "wrong"
    wrong.write_text("battery staple")
    wrong.chmod(0o600)
    assert start(capanode, data, "--password-file", str(wrong)) == Exit.INPUT
    assert "password does not open" in capsys.readouterr().err


def test_start_with_a_password_that_others_can_read_is_refused(
    data: Path, capanode: Run, password_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    join(data)
    Path(password_file).chmod(0o644)
    assert start(capanode, data, "--password-file", password_file) == Exit.INPUT
    assert "chmod 600" in capsys.readouterr().err


def test_start_with_a_config_that_is_wrong_tells_every_mistake(
    data: Path, capanode: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "config.toml").write_text("slots = 1\n[p2p]\nport = 'x'\n", "utf-8")
    assert start(capanode, data) == Exit.INPUT
    told = capsys.readouterr().err
    assert "line 1" in told
    assert "line 3" in told


def test_start_on_a_folder_in_use_says_by_whom(data: Path, capanode: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with held(DataFolder(data)):
        assert start(capanode, data) == Exit.INPUT
    assert "in use by the node with process id" in capsys.readouterr().err


def test_start_without_a_chain_says_so(
    data: Path, capanode: Run, password_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    join(data)
    assert start(capanode, data, "--password-file", password_file) == Exit.UNAVAILABLE
    assert "127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("status",), ("drain",), ("stop",)])
def test_commands_about_a_node_that_does_not_run(
    arguments: tuple[str, ...], tmp_path: Path, capanode: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capanode(*arguments, "--data", str(tmp_path)) == Exit.UNAVAILABLE
    assert "capanode start" in capsys.readouterr().err


def test_command_without_a_wallet_says_how_to_make_one(
    tmp_path: Path, capanode: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capanode("job", "list", "--data", str(tmp_path)) == Exit.INPUT
    assert "capanode init" in capsys.readouterr().err


async def test_status_drain_and_stop(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert await town.run("status") == Exit.DONE
    assert "31337, block 12" in capsys.readouterr().out
    assert await town.run("status", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["open_deals"][0]["phase"] == "Executing"
    assert await town.run("stop") == Exit.DONE
    with trio.fail_after(1):
        await town.api.stopped.wait()


async def test_drain_says_when_it_is_safe_and_takes_it_back(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert await town.run("drain") == Exit.DONE
    assert town.api.is_draining
    told = capsys.readouterr().out
    at = clock_time(1_900_000_000)
    assert f"safe to power off at {at}" in told
    assert "open: 1 deals at work" in told
    assert f"from {clock_time(1_900_000_000 - 3600)} on no money can be lost" in told
    assert "1 jobs of your own are open" in told
    assert await town.run("status") == Exit.DONE
    assert f"DRAINING: safe to power off at {at}" in capsys.readouterr().out
    assert await town.run("drain", "--off") == Exit.DONE
    assert not town.api.is_draining
    assert "takes work again" in capsys.readouterr().out


async def test_drain_waits_until_it_is_safe(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert await town.run("drain", "--wait") == Exit.DONE
    heard = capsys.readouterr()
    assert "safe to power off at" in heard.err
    assert heard.out.startswith("safe to power off now")
    town.api.safe_at = 1_900_000_000.0
    assert await town.run("drain", "--wait", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["is_safe"] is True


async def test_a_drain_that_is_taken_back_ends_the_wait(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    town.api.steps_of_drain = (False,)
    assert await town.run("drain", "--wait") == Exit.REFUSED
    assert "drain --off" in capsys.readouterr().err


async def test_wallet_commands_send_base_units(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    provider = "0x" + "ab" * 20
    calls = (
        (("deposit", "1.5"), ("deposit", {"amount_wei": 3 * TOKEN // 2})),
        (("withdraw", "1", "--to", provider), ("withdraw", {"amount_wei": TOKEN, "to": provider})),
        (("withdraw",), ("withdraw", {"amount_wei": None, "to": None})),
        (("earmark", provider, "2"), ("earmark", {"provider": provider, "amount_wei": 2 * TOKEN})),
        (("unearmark", provider), ("unearmark", {"provider": provider, "amount_wei": None})),
        (("stake", "3"), ("stake", {"amount_wei": 3 * TOKEN})),
        (("stake", "3", "--market", "1"), ("stake", {"amount_wei": 3 * TOKEN, "market": 1})),
        (("unstake", "3", "--yes"), ("unstake", {"amount_wei": 3 * TOKEN})),
    )
    for arguments, _ in calls:
        assert await town.run("wallet", *arguments) == Exit.DONE
    assert town.api.wallet_calls == [call for _, call in calls]
    assert len(set(town.api.requests)) == len(calls), "each command is a wish of its own"
    assert await town.run("wallet", "balance") == Exit.DONE
    assert "100 tokens" in capsys.readouterr().out


async def test_money_is_shown_by_market_and_moved_to_the_newest(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert await town.run("wallet", "balance") == Exit.DONE
    assert "of the market" not in capsys.readouterr().out, "nothing is said of markets while there is one"
    (only,) = town.api.markets
    town.api.markets = [{**only, "version": 1, "free_wei": 2 * TOKEN}, {**only, "is_newest": False}]
    assert await town.run("wallet", "balance") == Exit.DONE
    shown = capsys.readouterr().out
    assert "version 1 of the market" in shown
    assert "(the newest)" in shown
    assert await town.run("wallet", "migrate", "--to", "1") == Exit.DONE
    assert town.api.wallet_calls == [("migrate", {"market": 1})]
    told = capsys.readouterr()
    assert "moved 5 tokens to version 1" in told.out
    assert "staked 2 tokens" in told.out
    assert "stake: 3 tokens thaw until" in told.err
    assert "then 10 min more in the free balance" in told.err
    assert "1.5 tokens stay where they are" in told.err
    assert "run `capanode wallet migrate` again" in told.err


async def test_upgrades_are_listed_and_approved(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert await town.run("network", "upgrades") == Exit.DONE
    assert "version 1 waits: Version 1 is not of this release." in capsys.readouterr().out
    assert await town.run("network", "approve", "0x" + "cc" * 32) == Exit.DONE
    assert town.api.approved == ["0x" + "cc" * 32]
    capsys.readouterr()
    assert await town.run("network", "upgrades", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["waiting"] == []


def test_code_is_approved_where_no_node_runs(data: Path, capanode: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Also what keeps a node from starting can be approved."""
    code_hash = "0x" + "cd" * 32
    assert capanode("network", "approve", code_hash, "--data", str(data), "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out) == {"approved": code_hash}
    assert capanode("network", "approve", "0x12", "--data", str(data)) == Exit.REFUSED

    async def stored() -> frozenset[Digest]:
        async with open_database(DataFolder(data).database, [approvals.SCHEMA]) as database:
            return await approvals.Approvals(database).all()

    assert trio.run(stored) == {bytes.fromhex(code_hash[2:])}


async def test_waiting_transactions_are_listed_and_replaced(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    assert await town.run("wallet", "transactions") == Exit.DONE
    assert "7      sent   2" in capsys.readouterr().out
    assert await town.run("wallet", "transactions", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)[0]["key"] == "11ab/claim"
    assert await town.run("wallet", "speed-up", "7") == Exit.DONE
    assert "it is offered at 3 gwei as 0x5555" in capsys.readouterr().out
    assert await town.run("wallet", "cancel-transaction", "11ab/claim") == Exit.DONE
    assert "its cancellation is offered" in capsys.readouterr().out
    assert town.api.wallet_calls == [
        ("speed-up", {"transaction": "7"}),
        ("cancel-transaction", {"transaction": "11ab/claim"}),
    ]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xa0" * 20_000])
def test_receipt_that_is_none_is_not_verified(tmp_path: Path, capanode: Run, content: bytes) -> None:
    (tmp_path / "receipt").write_bytes(content)
    assert capanode("receipt", "verify", str(tmp_path / "receipt")) == Exit.UNVERIFIED
    assert capanode("receipt", "verify", str(tmp_path / "missing")) == Exit.INPUT
