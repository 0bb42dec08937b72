"""A standing town for the crash test: a chain and three nodes that are started again whenever they die.

`requester` buys with what lies free in its escrow, `patron` from an earmark for the one `provider`. Prices are all
floor, so that each kind of job costs the same to the last unit whenever it is bought.
"""

import json
import secrets
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from bench.shell_image import write_shell_image
from capanode.contracts_abi import bindings
from capanode.node.api.client import NodeClient
from capanode.node.api.port import DealView, JobOrder, JobView
from capanode.node.chain import wallet_calls
from capanode.node.chain.anvil import AnvilOptions, run_anvil
from capanode.node.chain.contracts import Contracts, resolve
from capanode.node.chain.court import Court
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.token import Token
from capanode.node.chain.wire import hexadecimal, quantity, read_bytes, read_list, read_object, read_quantity
from capanode.node.devnet import peers_in
from capanode.node.devnet_leftovers import clear_away
from capanode.node.devnet_parties import (
    PROVIDER_GRANT,
    REQUESTER_GRANT,
    TOKEN,
    Party,
    deployed,
    done,
    fund,
    join,
    make_party,
    sending,
)
from capanode.node.executors.docker import executor_name
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.executors.sandbox import CHECK_LABEL, EXECUTION_LABEL, HOLDER_LABEL, NODE_LABEL
from capanode.node.images.archive import write_archive
from capanode.node.keys.wallet import find_password, unlock_wallet
from capanode.node.network_profile import NetworkProfile
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import PeerId, Wei
from capanode.protocol.judging import class_pool
from tests.background import kept_open
from tests.chaos.mortal import Mortal, Zygote

T = TypeVar("T")

PROVIDER_CONFIG: Final = """\
[provider]
slots = 1
cpu = 2
[provider.pricing]
cpu_hour_tokens = 0
memory_gib_hour_tokens = 0
disk_gib_hour_tokens = 0
transfer_gib_tokens = 0
tokens_per_coin = 0
floor_tokens = 0.1
"""

JOB: Final = """\
version: 1
image: {image}
command: [{command}]
inputs: {{data: data}}
resources: {{cpu: 0.5, memory: {memory}{disk}}}
{bounds}
retention: {retention}
{window}
price_cap: "{cap}"
verification: {verification}
"""

WINDOW_S: Final = 40
"""In half of it the result must be there: a provider may die twice meanwhile."""

INPUT_BYTES: Final = 1_300_000
"""More than one chunk of a blob."""

TRADERS: Final = {"provider": "provider", "requester": "requester", "patron": "requester"}
GUILD: Final = {"provider": "provider", "provider-2": "provider", "provider-3": "provider", "requester": "requester"}
GRANTS: Final = {"provider": PROVIDER_GRANT, "requester": REQUESTER_GRANT}

EARMARK: Final = Wei(200 * TOKEN)
PATIENCE_S: Final = 200.0
"""Longest wait for one thing; an award that nobody took lapses after thirty seconds."""

POLL_S: Final = 0.1
ENDED: Final = frozenset({"Settled", "Failed", "Cancelled", "Decided", "Divided", "Withdrawn"})
DEALS_ENDED: Final = frozenset({"Done", "Lost"})


EVENT_NAMES: Final = {one.TOPIC: name for name, one in vars(bindings).items() if hasattr(one, "TOPIC")}


class NotInTime(Exception):
    """Something that should have come did not."""


@dataclass(frozen=True, slots=True)
class Count:
    """What the chain says of one moment: money and transactions of each party, and the block."""

    tokens: Mapping[str, int]
    locked: Mapping[str, int]
    transactions: Mapping[str, int]
    block: int


@dataclass(slots=True)
class CrashTown:
    """See the module."""

    root: Path
    image: Path
    profile: NetworkProfile
    contracts: Contracts
    parties: dict[str, Party]
    nodes: dict[str, Mortal]
    _token: trio.lowlevel.TrioToken
    images: list[str] = field(default_factory=list[str])
    """What was brought onto the engine for this town alone."""

    spoilt: bool = False
    """Whether a scenario came to no end here: what is left of it would be seen in the next."""

    cast: tuple[str, ...] = ()
    """Who else than buyer and provider is killed. Where there is anybody, results are disputed: then everybody may
    move a case on, and it does not matter who did."""

    purses: dict[str, Party] = field(default_factory=dict[str, Party])
    """Who has money here and no node."""

    is_meshed: bool = False
    """Whether each node is connected to all others; else to the provider alone."""

    before_time_passes: Callable[[], None] = lambda: None
    """Waits for what has to be on the chain before a clock is over."""

    # ---- asking nodes, whatever happens to them --------------------------------------------------------------

    def client(self, who: str) -> NodeClient:
        return NodeClient(self.parties[who].folder.socket)

    def ask(self, who: str, question: Callable[[NodeClient], T]) -> T:
        """The answer of a node that may be dying or starting just now."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                return question(self.client(who))
            except (Unavailable, OSError, ValueError, EOFError) as trouble:
                if time.monotonic() > give_up:
                    raise NotInTime(f"{who} does not answer: {trouble}") from trouble
                time.sleep(POLL_S)

    def until(self, what: str, is_so: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        give_up = time.monotonic() + within_s
        while not is_so():
            if time.monotonic() > give_up:
                raise NotInTime(f"not within {within_s:.0f} s: {what}")
            time.sleep(POLL_S)

    def until_peered(self, *buyers: str) -> None:
        """Every buyer is connected to the provider, or everybody to all, and all of them are up."""
        self.ask("provider", lambda client: client.status())
        for who in buyers or (name for name in self.parties if name != "provider"):
            self.until(f"{who} has a peer", partial(self._has_peer, who))

    def _has_peer(self, who: str) -> bool:
        wanted = len(self.nodes) - 1 if self.is_meshed else 1
        return peers_in(self.ask(who, lambda client: client.status())) >= wanted

    @contextmanager
    def newcomer(self, who: str) -> Generator[None]:
        """Somebody new in the place of a node, with keys and money, whose node has not been started yet."""
        party, node = self.parties[who], self.nodes[who]
        node.down()
        other = self.parties["requester" if who == "provider" else "provider"]
        new: Party = self.run(_make_newcomer, self.root, self.profile, party.role, other)
        self.parties[who], self.nodes[who] = new, mortal_node(node.zygote, new)
        try:
            yield
        finally:
            self.nodes[who].close()
            if who == "provider":
                self.run(clear_away, new.peer_id, new.folder)
            self.parties[who], self.nodes[who] = party, node
            node.start()
            self.until_peered()

    # ---- buying ----------------------------------------------------------------------------------------------

    def order(
        self,
        command: str,
        *,
        image: Path | None = None,
        announce: str = "gossip",
        policy: str = "award",
        accept: str = "auto",
        timeout: str = "10s",
        memory: str = "64MiB",
        retention: str = "1s",
        steps: int = 0,
        verification: str = "exact",
        cap: str = "0.5",
    ) -> JobOrder:
        """A job with fresh input, of the shell image unless another is named; single-shot without `steps`."""
        name = f"job-{secrets.token_hex(4)}"
        folder = self.root / "jobs" / name
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(secrets.token_bytes(INPUT_BYTES))
        text = JOB.format(
            image=image or self.image,
            command=json.dumps(command),
            bounds=f"steps: {{limit: {steps}, timeout: {timeout}, state: 4MiB}}" if steps else f"timeout: {timeout}",
            disk="" if steps else ", disk: 4MiB",
            memory=memory,
            retention=retention,
            verification=verification,
            cap=cap,
            # Of a job in steps the least is minutes.
            window="" if steps else f"window: {WINDOW_S}s",
        )
        return JobOrder(text, str(folder), name, None, announce, policy, accept)

    def new_image(self) -> Path:
        """An image that no engine has seen yet, taken out of this one when the town is left."""
        path = self.root / f"image-{secrets.token_hex(4)}.tar"
        image = write_shell_image(path, f"NUMBER={secrets.token_hex(8)}")
        self.images.append(f"capanode-image:{image.removeprefix('sha256:')}")
        return path

    def submit(self, who: str, order: JobOrder) -> str:
        """Submit as a careful user does: after a failure, look whether the job was taken before trying again."""

        def once(client: NodeClient) -> str:
            taken = [job.job_id for job in client.jobs() if job.name == order.name]
            if taken:
                return taken[0]
            return next(str(item["job"].job_id) for item in client.submit(order) if "job" in item)

        return self.ask(who, once)

    def job(self, who: str, job_id: str) -> JobView:
        return self.ask(who, lambda client: client.job(job_id))

    def until_job(self, who: str, job_id: str, what: str, is_so: Callable[[JobView], bool]) -> JobView:
        """The job once it is so far, or at its end."""
        seen: list[JobView] = []

        def looked() -> bool:
            view = self.job(who, job_id)
            seen[:] = [view]
            return is_so(view) or view.phase in ENDED

        self.until(f"the job is {what}", looked)
        return seen[0]

    def deals(self) -> list[DealView]:
        """What the provider knows of all its deals."""
        return list(self.ask("provider", lambda client: client.deals()))

    # ---- the chain -------------------------------------------------------------------------------------------

    def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run async work on the loop that keeps the chain."""
        return trio.from_thread.run(work, *arguments, trio_token=self._token)

    def rpc(self, method: str, *parameters: Any) -> Any:
        """One plain question to the chain."""

        async def ask() -> Any:
            async with open_rpc(self.profile.rpc_urls, self.profile.chain_id) as rpc:
                return await rpc.call_once(method, *parameters)

        return self.run(ask)

    def time(self) -> int:
        """The newest block's timestamp."""
        return read_quantity(read_object(self.rpc("eth_getBlockByNumber", "latest", False))["timestamp"])

    def let_pass(self, seconds: int) -> None:
        """Move the chain's clock."""
        self.before_time_passes()
        self.rpc("evm_increaseTime", seconds)
        self.rpc("evm_mine")

    def mine(self, blocks: int) -> None:
        """Make so many empty blocks."""
        self.rpc("anvil_mine", quantity(blocks))

    def count(self) -> Count:
        found: Count = self.run(self._count)
        return found

    async def _count(self) -> Count:
        profile, tokens, locked, transactions = self.profile, {}, {}, {}
        async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
            market, token = Market(rpc, self.contracts.market), Token(rpc, self.contracts.token)
            assert self.contracts.court is not None
            pools, pool = await Court(rpc, self.contracts.court).pools(), class_pool(this_cpu_class())
            for name, party in (self.parties | self.purses).items():
                account, duty = await market.account(party.address), await pools.arbiter(pool, party.address)
                earmarks = await market.earmarks(party.address, (self.parties["provider"].address,))
                earmarked = sum(earmark.amount_wei for earmark in earmarks)
                in_escrow = account.free_wei + earmarked + account.stake_wei
                tokens[name] = await token.balance(party.address) + in_escrow + duty.stake_wei + duty.fees_wei
                locked[name] = account.locked_wei
                sent = await rpc.call("eth_getTransactionCount", hexadecimal(party.address), "latest")
                transactions[name] = read_quantity(sent)
            block = read_quantity(await rpc.call("eth_blockNumber"))
        return Count(tokens, locked, transactions, block)

    def transactions(self, before: Count, after: Count) -> dict[str, int]:
        """How many each party has sent; where there is a court, how many of all of them had an effect."""
        sent = {name: after.transactions[name] - before.transactions[name] for name in after.transactions}
        if not self.cast:
            return sent
        mined = [
            self.rpc("eth_getBlockReceipts", quantity(number)) for number in range(before.block + 1, after.block + 1)
        ]
        receipts = [read_object(receipt) for block in mined for receipt in read_list(block)]
        return {"all": sum(sent.values()) - sum(read_quantity(receipt["status"]) == 0 for receipt in receipts)}

    def events_since(self, block: int) -> dict[str, int]:
        """How many events of each kind market and court have logged since, by their first topic."""
        addresses = [hexadecimal(one) for one in (self.contracts.market, self.contracts.court) if one is not None]
        query = {"address": addresses, "fromBlock": quantity(block + 1), "toBlock": "latest"}
        rows = [read_object(row) for row in read_list(self.rpc("eth_getLogs", query))]
        topics = [read_bytes(read_list(row["topics"])[0]) for row in rows]
        return dict(Counter(EVENT_NAMES.get(topic, "other") for topic in topics))

    # ---- the engine and the disk -----------------------------------------------------------------------------

    @property
    def engine_node(self) -> str:
        return executor_name(PeerId(self.parties["provider"].peer_id))

    @contextmanager
    def counting_starts(self) -> Generator[Callable[[], list[int]]]:
        """How often the engine says, from now on, that it started the container of each execution of a job.

        Not of checks: those a node may do twice, or leave out where there is nothing to be won by them any more.

        It is listened to all along, because it forgets what was some hundred events ago.
        """
        filters = [
            "type=container",
            "event=start",
            f"label={NODE_LABEL}={self.engine_node}",
            f"label={EXECUTION_LABEL}",
        ]
        options = [option for one in filters for option in ("--filter", one)]
        said = self.root / f"starts-{secrets.token_hex(4)}"
        command = ["docker", "events", f"--since={time.time():.3f}", "--format", "{{json .}}", *options]
        with said.open("wb") as file:
            listening = subprocess.Popen(command, stdout=file)

        def counted() -> list[int]:
            labels = [json.loads(line)["Actor"]["Attributes"] for line in said.read_text("utf-8").splitlines()]
            return sorted(Counter(one[EXECUTION_LABEL] for one in labels if CHECK_LABEL not in one).values())

        try:
            yield counted
        finally:
            listening.terminate()
            listening.wait()
            said.unlink()

    def remove_holders(self) -> None:
        """Remove the containers whose networks jobs join, as somebody who tidies up may."""
        listing = ["docker", "ps", "--all", "--quiet", "--filter", f"label={NODE_LABEL}={self.engine_node}"]
        held = [*listing, "--filter", f"label={HOLDER_LABEL}=network"]
        names = subprocess.run(held, capture_output=True, text=True, check=True).stdout.split()
        subprocess.run(["docker", "rm", "--force", *names], capture_output=True, check=True)

    def left_over(self) -> list[str]:
        """What should not be there while no deal is open."""
        left = [f"container {name}" for party in self.parties.values() for name in _containers(party)]
        folder = self.parties["provider"].folder
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder.executions) in line]
        left += [f"mount {line.split()[1]}" for line in mounts[1:]]
        images = sorted((folder.executions / "outputs").glob("*.img"))
        left += [f"file {path}" for path in images[1:]]
        for party in self.parties.values():
            for pattern in ("incoming/new-*", "incoming/*.part", ".partial-*"):
                left += [f"file {path}" for path in (party.folder.blobs).rglob(pattern)]
            left += [f"file {path}" for path in party.folder.results.rglob(".*.partial")]
        left += [f"logs {path.name}" for path in (folder.executions / "logs").iterdir()]
        return left


def _containers(party: Party) -> list[str]:
    """Those that compute something for its node, running or not."""
    node = executor_name(PeerId(party.peer_id))
    labels = ["--filter", f"label={NODE_LABEL}={node}", "--filter", f"label={EXECUTION_LABEL}"]
    listing = ["docker", "ps", "--all", "--quiet", *labels]
    return subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()


def write_broken_image(target: Path) -> None:
    """An image whose working folder cannot be: the engine takes it, and refuses to start it."""
    root = target.with_name(target.name + ".root")
    with tarfile.open(root, "w", format=tarfile.GNU_FORMAT) as tar:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
    write_archive(root, {"Entrypoint": ["/bin/missing"], "WorkingDir": "/proc/nowhere"}, target)
    root.unlink()


@contextmanager
def open_crash_town(root: Path, image: Path) -> Generator[CrashTown]:
    """A town whose nodes are up and know each other."""
    with kept_open(partial(_chain_and_parties, root, TRADERS), "chain") as (profile, contracts, parties, token):
        town = CrashTown(root, image, profile, contracts, parties, {}, token)
        with living(town):
            yield town


@contextmanager
def open_guild_town(root: Path, image: Path) -> Generator[CrashTown]:
    """A town with three providers, so that a job can be done by each of them."""
    with kept_open(partial(_chain_and_parties, root, GUILD), "chain") as (profile, contracts, parties, token):
        bootstrap = tuple(party.multiaddr("127.0.0.1") for party in parties.values())
        for party in parties.values():
            join(party.folder, replace(profile, bootstrap=bootstrap))
        town = CrashTown(root, image, profile, contracts, parties, {}, token, is_meshed=True)
        with living(town):
            yield town


@contextmanager
def living(town: CrashTown) -> Generator[None]:
    """Nodes for all parties of a town, up and connected."""
    zygote = Zygote()
    town.nodes.update({name: mortal_node(zygote, party) for name, party in town.parties.items()})
    try:
        for node in town.nodes.values():
            node.start()
        town.until_peered()
        yield
    finally:
        for node in town.nodes.values():
            node.close()
        zygote.close()
        if town.images:
            subprocess.run(["docker", "rmi", "--force", *town.images], capture_output=True, check=False)
        for party in town.parties.values():
            if party.role != "requester":
                town.run(clear_away, party.peer_id, party.folder)


def mortal_node(zygote: Zygote, party: Party) -> Mortal:
    """A node of the town, not started yet."""
    root = party.folder.root
    return Mortal(zygote, ("start", "--data", str(root)), party.folder.log, root / "faults", party.program)


Ground = tuple[NetworkProfile, Contracts, dict[str, Party], trio.lowlevel.TrioToken]


@asynccontextmanager
async def _chain_and_parties(root: Path, roles: Mapping[str, str]) -> AsyncGenerator[Ground]:
    """A chain with everything on it, and parties by their names."""
    root.mkdir(parents=True, exist_ok=True)
    async with run_anvil(AnvilOptions()) as chain:
        profile = await deployed(root, chain.rpc_url, chain.ws_url, chain.chain_id)
        parties = {name: await _party(root, name, role) for name, role in roles.items()}
        bootstrap = (parties["provider"].multiaddr("127.0.0.1"),)
        profile = replace(profile, bootstrap=bootstrap)
        for party in parties.values():
            join(party.folder, profile)
        await fund(root, profile, [(party, GRANTS[party.role]) for party in parties.values()])
        async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
            contracts = await resolve(rpc, profile)
            if "patron" in parties:
                await _earmark(rpc, contracts, parties["patron"], parties["provider"])
        yield profile, contracts, parties, trio.lowlevel.current_trio_token()


async def _party(root: Path, name: str, role: str) -> Party:
    extra = PROVIDER_CONFIG if role == "provider" else ""
    return await make_party(root / "nodes", name, role, listen="127.0.0.1", port=None, extra=extra)


async def _make_newcomer(root: Path, profile: NetworkProfile, role: str, other: Party) -> Party:
    party = await _party(root, f"new-{role}-{secrets.token_hex(3)}", role)
    join(party.folder, replace(profile, bootstrap=(other.multiaddr("127.0.0.1"),)))
    await fund(root, profile, [(party, GRANTS[role])])
    return party


async def _earmark(rpc: Any, contracts: Contracts, patron: Party, provider: Party) -> None:
    wallet = await unlock_wallet(patron.folder.wallet, find_password(patron.folder.root / "password", None))
    async with sending(rpc, patron.folder.root / "funding.db", wallet) as sender:
        call = wallet_calls.earmark(contracts.market, provider.address, EARMARK)
        await done(sender, "earmark", call.to, call.data, Wei(0))
