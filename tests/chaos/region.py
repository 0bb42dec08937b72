"""A market of real parts in one process' care: a chain, nodes that reach it through faulty endpoints, their deaths."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

import trio

from capanode.node.api.client import NodeClient
from capanode.node.chain.anvil import Anvil, run_anvil
from capanode.node.chain.contracts import Contracts, resolve
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.devnet import end, start_node
from capanode.node.devnet_leftovers import clear_away
from capanode.node.devnet_parties import PROVIDER_GRANT, REQUESTER_GRANT, Party, deployed, fund, join, make_party
from capanode.node.network_profile import NetworkProfile
from capanode.protocol.faults import Unavailable
from tests.fakes.rpc_proxy import RpcProxy, run_rpc_proxies
from tests.fakes.rpc_trouble import EVERY, Dice, Trouble

T = TypeVar("T")

ENDPOINTS: Final = 2
"""Of each node, with dice of their own: they disagree."""

START_TIMEOUT_S: Final = 120.0
SETTLED_BLOCKS: Final = 8
"""Made after the set-up, so that no reorganisation of a test reaches it."""


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """What to build under `root`."""

    root: Path
    providers: int
    requesters: int
    seed: int
    rpc_fault_rate: float = 0.0
    """Share of the nodes' RPC requests that meet a trouble, from their start on."""

    hang_s: float = 20.0
    confirmations: int = 2
    provider_config: str = ""
    kinds: frozenset[Trouble] = EVERY


@dataclass(slots=True)
class Region:
    """What runs. `rpc` is the chain as it is, past all proxies."""

    chain: Anvil
    profile: NetworkProfile
    contracts: Contracts
    rpc: Rpc
    providers: tuple[Party, ...]
    requesters: tuple[Party, ...]
    proxies: Mapping[str, tuple[RpcProxy, ...]]
    processes: dict[str, trio.Process] = field(default_factory=dict[str, trio.Process])
    ends: dict[str, int] = field(default_factory=dict[str, int])
    """How often a node ended that nobody had told to."""

    @property
    def parties(self) -> tuple[Party, ...]:
        return (*self.providers, *self.requesters)

    @property
    def rpc_faults(self) -> Mapping[Trouble, int]:
        """What all endpoints have inflicted, by kind."""
        dice = [proxy.dice for pair in self.proxies.values() for proxy in pair]
        return {kind: sum(one.counts[kind] for one in dice) for kind in Trouble}

    @property
    def rpc_requests(self) -> int:
        return sum(proxy.dice.requests for pair in self.proxies.values() for proxy in pair)

    @property
    def exit_codes(self) -> Mapping[str, int | None]:
        """How the nodes' last processes ended."""
        return {name: process.returncode for name, process in self.processes.items()}

    def spoil(self, rate: float) -> None:
        """Every endpoint fails at this rate from now on."""
        for pair in self.proxies.values():
            for proxy in pair:
                proxy.dice.rate = rate

    def heal(self) -> None:
        """All endpoints work from now on."""
        for pair in self.proxies.values():
            for proxy in pair:
                proxy.heal()

    async def start(self, party: Party) -> None:
        """Start a node and wait until it answers, starting it again when it gives up, as a service manager does."""
        with trio.move_on_after(START_TIMEOUT_S):
            self.processes[party.name] = await start_node(party)
            while not await self.answers(party):
                if self.processes[party.name].poll() is not None:
                    self.ends[party.name] = self.ends.get(party.name, 0) + 1
                    self.processes[party.name] = await start_node(party)
                await trio.sleep(0.1)  # another process says in no other way that it is up
            return
        raise Unavailable(f"{party.name} did not start within {START_TIMEOUT_S:.0f} s: see {party.folder.log}.")

    async def kill(self, party: Party) -> None:
        """SIGKILL."""
        self.processes[party.name].kill()
        await self.processes[party.name].wait()

    async def stop(self, party: Party) -> None:
        """Ask it to end, and wait."""
        await end(self.processes[party.name])

    async def ask(self, party: Party, question: Callable[[NodeClient], T]) -> T:
        """A question to a node, which may be down."""
        return await trio.to_thread.run_sync(question, NodeClient(party.folder.socket), abandon_on_cancel=True)

    async def answers(self, party: Party) -> bool:
        """Whether its node can be asked now."""
        try:
            await self.ask(party, NodeClient.status)
        except Unavailable:
            return False
        return True


@asynccontextmanager
async def open_region(plan: RegionPlan) -> AsyncGenerator[Region]:
    """Build it and start all nodes; end everything after the block."""
    (plan.root / "nodes").mkdir()
    async with run_anvil() as chain, open_rpc([chain.rpc_url], chain.chain_id) as rpc:
        profile = await deployed(plan.root, chain.rpc_url, "", chain.chain_id)
        providers, requesters = await _parties(plan)
        grants = [(party, PROVIDER_GRANT) for party in providers] + [(party, REQUESTER_GRANT) for party in requesters]
        await fund(plan.root, profile, grants)
        await rpc.call_once("anvil_mine", hex(SETTLED_BLOCKS))
        proxies = {party.name: _proxies(plan, chain, number) for number, party in enumerate((*providers, *requesters))}
        async with run_rpc_proxies([proxy for pair in proxies.values() for proxy in pair]):
            contracts = await resolve(rpc, profile)
            region = Region(chain, profile, contracts, rpc, providers, requesters, proxies)
            bootstrap = tuple(party.multiaddr("127.0.0.1") for party in providers)
            for party in region.parties:
                urls = tuple(proxy.url for proxy in proxies[party.name])
                own = replace(profile, rpc_urls=urls, ws_urls=(), bootstrap=bootstrap, confirmations=plan.confirmations)
                join(party.folder, own)
            try:
                async with trio.open_nursery() as nursery:
                    for party in region.parties:
                        nursery.start_soon(region.start, party)
                yield region
            finally:
                with trio.CancelScope(shield=True):
                    await _end(region)


async def _parties(plan: RegionPlan) -> tuple[tuple[Party, ...], tuple[Party, ...]]:
    async def several(role: str, count: int, extra: str) -> tuple[Party, ...]:
        nodes = plan.root / "nodes"
        made = [
            await make_party(nodes, f"{role}-{number}", role, listen="127.0.0.1", port=None, extra=extra)
            for number in range(1, count + 1)
        ]
        return tuple(made)

    return (
        await several("provider", plan.providers, plan.provider_config),
        await several("requester", plan.requesters, ""),
    )


def _proxies(plan: RegionPlan, chain: Anvil, number: int) -> tuple[RpcProxy, ...]:
    return tuple(
        RpcProxy(
            chain.rpc_url,
            Dice(plan.seed * 1000 + number * ENDPOINTS + index, plan.rpc_fault_rate, plan.kinds),
            hang_s=plan.hang_s,
        )
        for index in range(ENDPOINTS)
    )


async def _end(region: Region) -> None:
    async with trio.open_nursery() as nursery:
        for process in region.processes.values():
            nursery.start_soon(end, process)
    for party in region.providers:
        await clear_away(party.peer_id, party.folder)
