"""A whole devnet for tests that are not async themselves: processes, money and jobs."""

import secrets
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import trio

from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView
from capanode.node.chain.contracts import resolve
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.token import Token
from capanode.node.committed.delivery import LEAVES_FILE
from capanode.node.devnet import Devnet, DevnetPlan, end, open_devnet, start_node, until_up
from capanode.node.devnet_parties import Party
from capanode.node.keys.recover import recover
from capanode.node.storage.tree_walk import Tree, walk_here
from capanode.proofs import leaf_list
from capanode.proofs import receipt as receipts
from capanode.protocol.ids import Digest
from tests.background import kept_open

JOB = """\
version: 1
image: {image}
command: [{command}]
resources: {{cpu: 0.5, memory: {memory}, disk: 4MiB}}
timeout: {timeout}
price_cap: "{cap}"
verification: exact
"""


STEPS = """\
version: 1
image: {image}
command: [{command}]
resources: {{cpu: 0.5, memory: 64MiB}}
steps: {{limit: {limit}, timeout: 10s, state: 2MiB}}
price_cap: "0.5"
verification: {{class: exact, deterministic_stdout: true}}
"""


@dataclass(frozen=True, slots=True)
class Wealth:
    """Everything a party has in the token, base units: its wallet, its free escrow, earmarks for others, stake."""

    wallet_wei: int
    free_wei: int
    earmarked_wei: int
    stake_wei: int
    locked_wei: int

    @property
    def total_wei(self) -> int:
        return self.wallet_wei + self.free_wei + self.earmarked_wei + self.stake_wei


@dataclass(slots=True)
class Town:
    """A running devnet whose requester's node runs too."""

    devnet: Devnet
    image: Path
    _token: trio.lowlevel.TrioToken
    _processes: dict[str, trio.Process] = field(default_factory=dict[str, trio.Process])

    @property
    def requester(self) -> Party:
        return self.devnet.requester

    @property
    def providers(self) -> tuple[Party, ...]:
        return self.devnet.providers

    @property
    def client(self) -> NodeClient:
        return NodeClient(self.requester.folder.socket)

    def provider_of(self, view: JobView) -> Party:
        return next(party for party in self.providers if f"0x{party.address.hex()}" == view.provider)

    def deal_phase(self, party: Party, view: JobView) -> str:
        """The phase of a job's deal as its provider's node has it; empty when it does not know the deal."""
        deals = NodeClient(party.folder.socket).deals()
        return next((deal.phase for deal in deals if deal.deal_id == view.deal_id), "")

    def order(
        self,
        command: str,
        *,
        announce: str = "gossip",
        policy: str = "award",
        accept: str = "auto",
        timeout: str = "5s",
        memory: str = "64MiB",
        cap: str = "0.5",
    ) -> JobOrder:
        """A job of the shell image."""
        text = JOB.format(image=self.image, command=repr(command), timeout=timeout, memory=memory, cap=cap)
        return JobOrder(text, str(self.image.parent), f"job-{secrets.token_hex(4)}", None, announce, policy, accept)

    def order_of_steps(self, command: str, limit: int, *, accept: str = "auto") -> JobOrder:
        """A job of several steps of the shell image."""
        text = STEPS.format(image=self.image, command=repr(command), limit=limit)
        return JobOrder(text, str(self.image.parent), f"job-{secrets.token_hex(4)}", None, "gossip", "award", accept)

    def submit(self, order: JobOrder) -> JobView:
        """The job as its node took it."""
        taken: JobView = next(item["job"] for item in self.client.submit(order) if "job" in item)
        return taken

    def until(self, job_id: str, reached: Callable[[JobView], bool], within_s: float = 60) -> JobView:
        """The job as soon as it is so far, or at its end."""
        for view in self.client.watch(job_id, timeout_s=within_s):
            if reached(view):
                return view
        return self.client.job(job_id)

    def buy(self, order: JobOrder) -> JobView:
        """The job at its end."""
        return self.until(self.submit(order).job_id, lambda _: False)

    def wealth(self) -> Mapping[str, Wealth]:
        """What each party has now, by name, as the chain says it."""
        found: Mapping[str, Wealth] = self.run(self._wealth)
        return found

    def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run async work on the devnet's loop."""
        return trio.from_thread.run(work, *arguments, trio_token=self._token)

    def let_pass(self, seconds: int) -> None:
        """Move the chain's clock."""

        async def ask() -> None:
            async with open_rpc(self.devnet.profile.rpc_urls, self.devnet.profile.chain_id) as rpc:
                await rpc.call_once("evm_increaseTime", seconds)
                await rpc.call_once("evm_mine")

        self.run(ask)

    def start(self, party: Party) -> None:
        """Start a party's node, connected to all providers but itself."""
        process = self._start(party)
        self.run(until_up, party, process, len(self.providers) - (party in self.providers))

    def process(self, party: Party) -> trio.Process:
        """A party's node, as it was started last."""
        return self._processes.get(party.name) or self.devnet.processes[party.name]

    def start_alone(self, party: Party) -> None:
        """Start a party's node where no other one may be left."""
        self._start(party)
        eventually(NodeClient(party.folder.socket).is_there, within_s=60)

    def kill(self, party: Party) -> None:
        """SIGKILL for a party's node."""
        process = self.process(party)
        process.kill()
        self.run(process.wait)

    async def stop_all(self) -> None:
        """End what this started beside the devnet."""
        with trio.CancelScope(shield=True):
            for process in self._processes.values():
                await end(process)

    def _start(self, party: Party) -> trio.Process:
        if party.name in self._processes:
            self.run(end, self._processes[party.name])
        self._processes[party.name] = process = cast(trio.Process, self.run(start_node, party))
        return process

    async def _wealth(self) -> Mapping[str, Wealth]:
        profile = self.devnet.profile
        async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
            contracts = await resolve(rpc, profile)
            market, token = Market(rpc, contracts.market), Token(rpc, contracts.token)
            found: dict[str, Wealth] = {}
            for party in (self.requester, *self.providers):
                account = await market.account(party.address)
                earmarks = await market.earmarks(party.address, tuple(one.address for one in self.providers))
                found[party.name] = Wealth(
                    await token.balance(party.address),
                    account.free_wei,
                    sum(earmark.amount_wei for earmark in earmarks),
                    account.stake_wei,
                    account.locked_wei,
                )
            return found


@contextmanager
def open_town(image: Path, providers: int) -> Generator[Town]:
    """A devnet with its requester's node, in a thread of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="capanode-e2e-") as folder,
        open_planned_town(DevnetPlan(Path(folder, "devnet"), providers=providers), image) as town,
    ):
        yield town


@contextmanager
def open_planned_town(plan: DevnetPlan, image: Path) -> Generator[Town]:
    """As `open_town`, with a plan of one's own."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Town]:
        async with open_devnet(plan, lambda _: None) as devnet:
            town = Town(devnet, image, trio.lowlevel.current_trio_token())
            try:
                town._processes[devnet.requester.name] = process = await start_node(devnet.requester)
                await until_up(devnet.requester, process, len(devnet.providers))
                yield town
            finally:
                await town.stop_all()

    with kept_open(opened, "devnet") as town:
        yield town


def eventually(is_so: Callable[[], bool], within_s: float = 30) -> None:
    """Ask until it is so; for what no node tells by itself."""
    give_up = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < give_up, f"not within {within_s:.0f} s"
        time.sleep(0.1)


def result(view: JobView, path: str) -> bytes:
    """A file of a job's result."""
    assert view.result_dir is not None, f"the job has no result: {view.state}, {view.reason}"
    return Path(view.result_dir, path).read_bytes()


def false_checks(view: JobView) -> list[str]:
    """What does not hold of a job's receipt, checked with nothing but the files at hand."""
    assert view.receipt is not None
    assert view.result_dir is not None
    outputs = walk_here(Path(view.result_dir))
    assert isinstance(outputs, Tree)
    signed = receipts.decode(Path(view.receipt).read_bytes())
    checks = receipts.verify(signed, recover, outputs=outputs.entries, leaves=leaves_of(view))
    return [check.sentence for check in checks if not check.ok]


def leaves_of(view: JobView) -> tuple[Digest, ...]:
    """The hashed leaves beside a job's receipt; none for a single step."""
    assert view.receipt is not None
    file = Path(view.receipt).with_name(LEAVES_FILE)
    return leaf_list.trace_of(leaf_list.decode(file.read_bytes())).leaves if file.exists() else ()


def events(view: JobView) -> list[str]:
    """What happened to the job, in order."""
    return [entry.event for entry in view.timeline]
