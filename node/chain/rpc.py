"""JSON-RPC to one chain over one or several endpoints.

A call goes to the best endpoint, and to the next best where that one fails. What belongs together is read from one
endpoint alone: `best()` hands it out for the length of a step. Which of them are behind or tell another story is
found by `capanode.node.chain.agreement`.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from capanode.node.chain.budget import RequestBudget
from capanode.node.chain.endpoint import MAX_BATCH, Endpoint, EndpointHealth, EndpointState, WrongChain
from capanode.node.chain.http import ReplyTooLarge
from capanode.node.chain.jsonrpc import Call, Request, batched, single, value
from capanode.node.chain.wire import Json
from capanode.protocol.faults import Misconfigured, Unavailable

ATTEMPTS: Final = 3
"""Tries of one call, or one at each endpoint if those are more; the rest is the caller's own back-off."""

FIRST_PAUSE_S: Final = 0.05
PAUSE_GROWTH: Final = 5

_USABLE: Final = (EndpointState.GOOD, EndpointState.BEHIND, EndpointState.FAILING)
"""Best first; others are not asked."""


class Rpc:
    """The chain's JSON-RPC; safe to use from any number of tasks, and cancel-safe."""

    def __init__(self, urls: Sequence[str], chain_id: int, budget: RequestBudget | None = None) -> None:
        self.chain_id = chain_id
        self.budget = budget or RequestBudget()
        self.endpoints = tuple(Endpoint(url, chain_id, self.budget) for url in urls)
        _number_namesakes(self.endpoints)

    async def check(self) -> None:
        """Ask every endpoint for its chain, at start.

        Raises:
            Misconfigured: one of them serves another chain.
            Unavailable: none answers.
        """
        failure: Unavailable | None = None
        answered = False
        for endpoint in self.endpoints:
            try:
                await endpoint.call("eth_chainId")
                answered = True
            except WrongChain as error:
                raise Misconfigured(str(error)) from error
            except Unavailable as error:
                failure = error
        if failure is not None and not answered:
            raise failure

    def best(self, but: Sequence[Endpoint] = ()) -> Endpoint:
        """The endpoint to ask now, for whatever has to come from one; those in `but` only if no other is left.

        Raises:
            WrongChain: no endpoint may be asked.
        """
        usable = [endpoint for endpoint in self.endpoints if endpoint.state in _USABLE]
        if not usable:
            raise WrongChain(self._why_none())
        return min(usable, key=lambda each: (each in but, _USABLE.index(each.state), _rest(each)))

    async def call(self, method: str, *params: Json) -> object:
        """The result of a call that may be repeated: a read, or a raw transaction.

        Raises:
            RpcError: the chain says no.
            Unavailable: no endpoint answered, after `ATTEMPTS` tries.
        """
        (result,) = await self._persist(single(Call(method, params)))
        return value(result)

    async def call_once(self, method: str, *params: Json) -> object:
        """The result of a call that must not be repeated, such as a development chain's own commands."""
        return await self.best().call(method, *params)

    async def batch(self, calls: Sequence[Call]) -> tuple[object, ...]:
        """The results of several reads in order; an `RpcError` stands where the chain says no to one.

        Raises:
            Unavailable: no endpoint answered, or not to every call.
        """
        results: list[object] = []
        for start in range(0, len(calls), MAX_BATCH):
            results += await self._persist(batched(calls[start : start + MAX_BATCH]))
        return tuple(results)

    def health(self) -> tuple[EndpointHealth, ...]:
        """Every endpoint as it stands now, in the order of the config."""
        best = max((endpoint.head for endpoint in self.endpoints if endpoint.head is not None), default=None)
        return tuple(_health(endpoint, best) for endpoint in self.endpoints)

    async def aclose(self) -> None:
        """Drop all connections."""
        for endpoint in self.endpoints:
            await endpoint.aclose()

    async def _persist(self, request: Request) -> tuple[object, ...]:
        pause_s = FIRST_PAUSE_S
        attempts = max(ATTEMPTS, len(self.endpoints))
        tried: list[Endpoint] = []
        for attempt in range(1, attempts + 1):
            endpoint = self.best(but=tried)
            if endpoint in tried:
                await trio.sleep(pause_s)
                pause_s *= PAUSE_GROWTH
                tried.clear()
            tried.append(endpoint)
            try:
                return await endpoint.ask(request)
            except ReplyTooLarge:
                raise
            except Unavailable:
                if attempt == attempts:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _why_none(self) -> str:
        if any(endpoint.disagrees for endpoint in self.endpoints):
            return (
                f"The RPC endpoints of chain {self.chain_id} that agreed with each other serve another chain now: "
                "correct the network profile, or point it at the right nodes."
            )
        return (
            f"Every RPC endpoint of chain {self.chain_id} serves another chain: correct the network profile, "
            "or point it at the right nodes."
        )


@asynccontextmanager
async def open_rpc(urls: Sequence[str], chain_id: int, budget: RequestBudget | None = None) -> AsyncGenerator[Rpc]:
    """JSON-RPC to a chain whose endpoints have been checked.

    Raises:
        Misconfigured: a URL is malformed or an endpoint serves another chain.
        Unavailable: no endpoint answers.
    """
    if not urls:
        raise Misconfigured(f"The network profile names no RPC URL for chain {chain_id}: add one.")
    rpc = Rpc(urls, chain_id, budget)
    try:
        await rpc.check()
        yield rpc
    finally:
        await rpc.aclose()


def _number_namesakes(endpoints: Sequence[Endpoint]) -> None:
    """Endpoints of one host differ in paths, which may hold keys and are not told."""
    seen: Counter[str] = Counter()
    for endpoint in endpoints:
        seen[endpoint.target.shown] += 1
        if seen[endpoint.target.shown] > 1:
            endpoint.name = f"{endpoint.target.shown} ({seen[endpoint.target.shown]})"


def _rest(endpoint: Endpoint) -> float:
    """Where all fail, the one that failed least of late has the first turn."""
    return endpoint.resting_until if endpoint.state is EndpointState.FAILING else 0.0


def _health(endpoint: Endpoint, best_head: int | None) -> EndpointHealth:
    lag = None if endpoint.head is None or best_head is None else best_head - endpoint.head
    return EndpointHealth(
        name=endpoint.name,
        state=endpoint.state,
        head=endpoint.head,
        lag_blocks=lag,
        requests=endpoint.requests,
        errors=endpoint.errors,
        last_error=str(endpoint.last_error or ""),
    )
