"""Set-ups for the crash test: commands that are killed on their way and given again, without a town around them."""

import json
import os
import secrets
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import trio

from capanode.node.chain.anvil import Anvil, AnvilOptions, development_key, run_anvil
from capanode.node.chain.contracts import resolve
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.token import Token
from capanode.node.chain.wire import hexadecimal, read_quantity
from capanode.node.config_file import load_config
from capanode.node.data_folder import DRAFT_S, DataFolder, prepare
from capanode.node.devnet import devnet_status
from capanode.node.devnet_leftovers import ROOT_VARIABLE
from capanode.node.fault_points import Armed
from capanode.node.keys.signer import LocalSigner
from capanode.node.keys.wallet import wallet_address
from capanode.node.network_profile import read_profile
from capanode.node.storage.database import open_database
from capanode.node.wiring.schemas import SCHEMAS
from tests.chaos.mortal import Forked, Zygote

COMMAND_S: Final = 120.0
UP: Final = "Ctrl-C stops everything."
KILLED: Final = -9


@dataclass(frozen=True, slots=True)
class SetUp:
    """How a set-up ended: which process was recorded, what it passed, how often it died, and the state that it left."""

    who: str
    passed: tuple[str, ...]
    deaths: int
    state: Mapping[str, Any]


_chains: list[Anvil] = []
_zygotes: list[Zygote] = []


@contextmanager
def ground_of_setups(root: Path) -> Generator[None]:
    """A bare chain for those that need one."""
    root.mkdir(parents=True, exist_ok=True)
    close, is_open = trio.Event(), threading.Event()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def serve() -> None:
        async with run_anvil(AnvilOptions()) as chain:
            _chains.append(chain)
            tokens.append(trio.lowlevel.current_trio_token())
            is_open.set()
            await close.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    is_open.wait(60)
    _zygotes.append(Zygote())
    try:
        yield
    finally:
        _zygotes.pop().close()
        tokens[0].run_sync_soon(close.set)
        thread.join()
        _chains.clear()


# ---- a new node ------------------------------------------------------------------------------------------------


def init(root: Path, armed: Sequence[Armed]) -> SetUp:
    """`capanode init`: config, wallet and network of a new data folder."""
    work = _fresh(root, "init")
    chain = _chains[0]
    secret = work / "password"
    secret.write_text("a password for the crash test")
    secret.chmod(0o600)
    profile = _deployed_profile(root, chain)
    data = work / "data"
    command = ("init", "--provider", "--network", str(profile), "--devnet", "--password-file", str(secret))
    passed, deaths = _given(work, armed, (*command, "--data", str(data)))
    folder = DataFolder(data)
    state = {
        "roles": sorted(role.value for role in load_config(folder).roles),
        "wallet": len(wallet_address(folder.wallet)),
        "network": read_profile(folder.networks / "default.toml").name,
        "drafts": _drafts(data),
    }
    return SetUp("command", passed, deaths, state)


def card(root: Path, armed: Sequence[Armed]) -> SetUp:
    """`capanode node key`: the keys of another machine under a wallet."""
    work = _fresh(root, "card")
    profile = _deployed_profile(root, _chains[0])
    data = work / "data"
    _run(work, ("network", "use", str(profile), "--data", str(data)))
    owner = f"0x{bytes(LocalSigner(development_key(3)).address).hex()}"
    passed, deaths = _given(work, armed, ("node", "key", "--owner", owner, "--data", str(data)))
    state = {
        "hot key": DataFolder(data).hot_key.stat().st_size,
        "peer key": (DataFolder(data).p2p / "peer.key").stat().st_size,
        "drafts": _drafts(data),
    }
    return SetUp("command", passed, deaths, state)


def deploy(root: Path, armed: Sequence[Armed]) -> SetUp:
    """`capanode network deploy`: each contract once."""
    work = _fresh(root, "deploy")
    key, signer = _key(work)
    name = f"net-{secrets.token_hex(4)}"
    command = ("network", "deploy", "--rpc", _chains[0].rpc_url, "--name", name, "--key-file", str(key))
    before = trio.run(_nonce, _chains[0], signer)
    passed, deaths = _given(work, armed, (*command, "--data", str(work / "data")))
    profile = read_profile(work / "data" / "networks" / "default.toml")
    state = {
        "transactions": trio.run(_nonce, _chains[0], signer) - before,
        "network": profile.name == name,
        "contracts": trio.run(_has_market, _chains[0], profile),
    }
    return SetUp("command", passed, deaths, state)


# ---- a node's memory -------------------------------------------------------------------------------------------


def backup(root: Path, armed: Sequence[Armed]) -> SetUp:
    """`capanode backup`: one whole file, or none."""
    work = _fresh(root, "backup")
    data, file = _with_journal(root, work), work / "kept.tar"
    passed, deaths = _given(work, armed, ("backup", str(file), "--data", str(data)), unless=file)
    _run(work, ("restore", str(file), "--force", "--data", str(data)))
    return SetUp("command", passed, deaths, _memory(data))


def restore(root: Path, armed: Sequence[Armed]) -> SetUp:
    """`capanode restore`: given again after a crash it does the rest."""
    work = _fresh(root, "restore")
    data, file = _with_journal(root, work), work / "kept.tar"
    _run(work, ("backup", str(file), "--data", str(data)))
    DataFolder(data).config.write_text("damaged")
    DataFolder(data).database.write_bytes(b"damaged" * 1000)
    passed, deaths = _given(work, armed, ("restore", str(file), "--force", "--data", str(data)))
    return SetUp("command", passed, deaths, _memory(data))


def _with_journal(root: Path, work: Path) -> Path:
    """A data folder with keys, a network and an empty journal."""
    before = set(root.glob("init-*/data"))
    init(root, ())
    (made,) = set(root.glob("init-*/data")) - before
    data = work / "data"
    made.rename(data)

    async def open_once() -> None:
        async with open_database(DataFolder(data).database, SCHEMAS):
            pass

    trio.run(open_once)
    return data


def _memory(data: Path) -> dict[str, Any]:
    """What a node would find at its start."""
    folder = DataFolder(data)

    async def tables() -> int:
        async with open_database(folder.database, SCHEMAS) as database:
            return await database.read(lambda c: int(c.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]))

    return {
        "tables": trio.run(tables),
        "roles": sorted(role.value for role in load_config(folder).roles),
        "wallet": len(wallet_address(folder.wallet)),
        "network": read_profile(folder.networks / "default.toml").name,
        "drafts": _drafts(data),
    }


# ---- a devnet --------------------------------------------------------------------------------------------------


def devnet(root: Path, armed: Sequence[Armed]) -> SetUp:
    """`capanode devnet up`: killed on its way, started again, up, and gone without a trace."""
    work = _fresh(root, "devnet")
    return _devnet(work, armed, kill_when_up=False)


def devnet_up(root: Path, armed: Sequence[Armed]) -> SetUp:
    """The same, killed once it is up; the points are those of the start after that."""
    work = _fresh(root, "devnet-up")
    return _devnet(work, armed, kill_when_up=True)


def _devnet(work: Path, armed: Sequence[Armed], *, kill_when_up: bool) -> SetUp:
    data = work / "net"
    command = ("devnet", "up", "--providers", "1", "--data", str(data))
    if kill_when_up:
        first, log = _start(work, None, command)
        assert _is_up(first, log), f"the first devnet did not come up: {_said(log)}"
        _kill(first)
    process, deaths = _again_and_again(work, armed, command, _is_up)
    passed = _passed(work, process.pid)
    status = devnet_status(data)
    state = {
        "nodes": [(node["name"], node["state"]) for node in status["nodes"]],
        "money": trio.run(_money, status),
    }
    process.send(signal.SIGTERM)
    process.wait(COMMAND_S)
    state["processes left"] = _processes_of(data)
    state["mounts left"] = [line for line in Path("/proc/mounts").read_text().splitlines() if str(data) in line]
    return SetUp("devnet", passed, deaths, state)


SETUPS: Final[Mapping[str, Callable[[Path, Sequence[Armed]], SetUp]]] = {
    one.__name__: one for one in (init, card, deploy, backup, restore, devnet, devnet_up)
}


# ---- inside ----------------------------------------------------------------------------------------------------


def _fresh(root: Path, name: str) -> Path:
    work = root / f"{name}-{secrets.token_hex(4)}"
    (work / "faults").mkdir(parents=True)
    return work


def _start(work: Path, armed: Armed | None, command: Sequence[str]) -> tuple[Forked, Path]:
    """A command under fault points, and its log."""
    log = work / f"log-{len(list(work.glob('log-*')))}"
    log.touch()
    return _zygotes[0].start(command, log, work / "faults", armed), log


def _given(
    work: Path, armed: Sequence[Armed], command: Sequence[str], *, unless: Path | None = None
) -> tuple[tuple[str, ...], int]:
    """Give a command, and again if it was killed (`unless` its file is there); what it passed, and its deaths."""

    def is_done(process: Forked, _: Path) -> bool:
        return process.wait(COMMAND_S) == 0 or (unless is not None and unless.exists())

    process, deaths = _again_and_again(work, armed, command, is_done)
    return _passed(work, process.pid), deaths


def _again_and_again(
    work: Path, armed: Sequence[Armed], command: Sequence[str], is_done: Callable[[Forked, Path], bool]
) -> tuple[Forked, int]:
    """Start a command until what it is for is done, however often it dies on the way; the last process, and its deaths.

    A start passes all from the beginning, so each may die at a place of its own.
    """
    deaths, left = 0, deque(armed)
    while True:
        one = left.popleft() if left else None
        process, log = _start(work, one, command)
        done = is_done(process, log)
        deaths += process.code == KILLED
        if done:
            (work / "faults" / "armed").unlink(missing_ok=True)
            return process, deaths
        assert one is not None, f"exit {process.code}: {_said(log)}"
        assert process.code == KILLED, f"exit {process.code}: {_said(log)}"


def _run(work: Path, command: Sequence[str]) -> None:
    process, log = _start(work, None, command)
    code = process.wait(COMMAND_S)
    assert code == 0, f"{' '.join(command)}: exit {code}: {_said(log)}"


def _passed(work: Path, pid: int) -> tuple[str, ...]:
    try:
        lines = (work / "faults" / "passed").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return ()
    return tuple(point for process, point in map(str.split, lines) if int(process) == pid)


def _is_up(process: Forked, log: Path) -> bool:
    """Whether a devnet comes up before it ends."""
    give_up = time.monotonic() + COMMAND_S
    while process.is_alive() and time.monotonic() < give_up:
        if UP in log.read_text("utf-8", errors="replace"):
            return True
        time.sleep(0.1)
    return False


def _drafts(data: Path) -> list[str]:
    """What is still half written once the next command has been given, some time later."""
    long_ago = time.time() - 2 * DRAFT_S
    for path in data.rglob(".*"):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    prepare(DataFolder(data))
    return sorted(path.name for path in data.rglob(".*"))


def _said(log: Path) -> str:
    return log.read_text("utf-8", errors="replace")[-2000:]


def _kill(process: Forked) -> None:
    process.send(signal.SIGKILL)
    process.wait()


def _key(work: Path) -> tuple[Path, LocalSigner]:
    path = work / "key"
    secret = development_key(5)
    path.write_text(secret.hex())
    path.chmod(0o600)
    return path, LocalSigner(secret)


def _deployed_profile(root: Path, chain: Anvil) -> Path:
    profile = root / "profile.toml"
    if not profile.exists():
        work = _fresh(root, "ground")
        key, _ = _key(work)
        command = ("network", "deploy", "--rpc", chain.rpc_url, "--name", "ground", "--key-file", str(key))
        _run(work, (*command, "--to", str(profile), "--data", str(work / "data")))
        shutil.rmtree(work / "data")
    return profile


async def _nonce(chain: Anvil, signer: LocalSigner) -> int:
    async with open_rpc((chain.rpc_url,), chain.chain_id) as rpc:
        return read_quantity(await rpc.call("eth_getTransactionCount", hexadecimal(signer.address), "latest"))


async def _has_market(chain: Anvil, profile: Any) -> bool:
    async with open_rpc((chain.rpc_url,), chain.chain_id) as rpc:
        return bool((await resolve(rpc, profile)).market)


async def _money(status: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    profile = read_profile(Path(status["profile"]))
    found: list[tuple[int, int, int]] = []
    async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
        contracts = await resolve(rpc, profile)
        market, token = Market(rpc, contracts.market), Token(rpc, contracts.token)
        for data in (*(node["data"] for node in status["nodes"]), status["requester"]):
            address = wallet_address(DataFolder(Path(data)).wallet)
            account = await market.account(address)
            found.append((await token.balance(address), account.free_wei, account.stake_wei))
    return found


def _processes_of(data: Path) -> list[str]:
    left: list[str] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(ROOT_VARIABLE) == str(data):
                left.append(json.dumps(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return left
