"""One RPC endpoint: its connections, what it is worth, and why.

Each reply is laid to the endpoint that gave it. One that fails is left alone for a while, which doubles; one that
serves another chain, or tells another story of it than the rest, is not asked at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog
import trio

from capanode.node.chain.budget import RequestBudget
from capanode.node.chain.http import (
    BRIEF_TIMEOUT_S,
    EXCHANGE_TIMEOUT_S,
    Connection,
    ReplyTooLarge,
    StaleConnection,
    Target,
    connect,
    read_target,
)
from capanode.node.chain.jsonrpc import Call, Request, batched, single, value
from capanode.node.chain.replies import check
from capanode.node.chain.wire import Json, read_quantity
from capanode.protocol.faults import Unavailable

BARRED_S: Final = 60.0
"""How long an endpoint that serves another chain is left alone."""

FIRST_REST_S: Final = 1.0
LONGEST_REST_S: Final = 60.0
"""How long an endpoint that failed is asked only where no other one is left; it doubles with each failure in a row."""

MAX_CONNECTIONS: Final = 8
"""Exchanges in flight per endpoint: public endpoints count them, and a node needs no more."""

MAX_BATCH: Final = 100
"""Calls in one request; several public endpoints refuse more."""

_log = structlog.stdlib.get_logger()


class WrongChain(Unavailable):
    """No endpoint that may be used serves the chain we are configured for."""


class EndpointState(StrEnum):
    """What an endpoint is worth at the moment, best first."""

    GOOD = "good"
    BEHIND = "behind"
    """Its head is older than that of another one."""

    FAILING = "failing"
    """It did not answer, or answered nonsense, a moment ago."""

    DISAGREES = "disagrees"
    """It has other old blocks than most of the others; never asked until it agrees again."""

    WRONG_CHAIN = "wrong chain"


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """An endpoint as the operator sees it. Counts are since the start."""

    name: str
    state: EndpointState
    head: int | None
    """The newest block that it was seen to have; None where it was never compared with another."""

    lag_blocks: int | None
    requests: int
    errors: int
    last_error: str


class Endpoint:
    """One URL with its kept connections; safe to use from any number of tasks, and cancel-safe."""

    def __init__(self, url: str, chain_id: int, budget: RequestBudget) -> None:
        self.target: Target = read_target(url)
        self.name = self.target.shown
        """What may be told of its address; unique among the endpoints of an `Rpc`."""

        self.chain_id = chain_id
        self.head: int | None = None
        self.is_behind = False
        self.disagrees = False
        self.requests = 0
        self.errors = 0
        self.last_error: Exception | None = None
        self._budget = budget
        self._idle: list[Connection] = []
        self._turn = trio.CapacityLimiter(MAX_CONNECTIONS)
        self._barred_until = float("-inf")
        self.resting_until = float("-inf")
        """Until when it is left alone after a failure, by trio's clock; long ago when it has not failed."""

        self._rest_s = FIRST_REST_S

    @property
    def state(self) -> EndpointState:
        """What it is worth now."""
        now = trio.current_time()
        if now < self._barred_until:
            return EndpointState.WRONG_CHAIN
        if self.disagrees:
            return EndpointState.DISAGREES
        if now < self.resting_until:
            return EndpointState.FAILING
        return EndpointState.BEHIND if self.is_behind else EndpointState.GOOD

    async def call(self, method: str, *params: Json) -> object:
        """The result of one call; it is not repeated.

        Raises:
            RpcError: the chain says no.
            Unavailable: it does not answer, or answers nonsense.
        """
        (result,) = await self.ask(single(Call(method, params)))
        return value(result)

    async def batch(self, calls: Sequence[Call]) -> tuple[object, ...]:
        """The results of several reads in order; an `RpcError` stands where the chain says no to one.

        Raises:
            Unavailable: as `call`.
        """
        results: list[object] = []
        for start in range(0, len(calls), MAX_BATCH):
            results += await self.ask(batched(calls[start : start + MAX_BATCH]))
        return tuple(results)

    async def ask(self, request: Request) -> tuple[object, ...]:
        """One exchange, whose outcome counts for or against this endpoint.

        Raises:
            Unavailable: it does not answer, or answers nonsense.
            WrongChain: it serves another chain.
        """
        self._budget.spend(len(request.calls))
        self.requests += len(request.calls)
        try:
            results = request.read(await self._exchange(request))
            for call, result in zip(request.calls.values(), results, strict=True):
                check(call.method, result)
        except ReplyTooLarge:
            # Asked for too much, which is no fault of its own.
            raise
        except Unavailable as error:
            self.blame(error)
            raise
        self._rest_s = FIRST_REST_S
        self.resting_until = float("-inf")
        return results

    def blame(self, error: Unavailable) -> None:
        """Count a failure that was found in what it said; the same error counts once."""
        if error is self.last_error:
            return
        self.last_error = error
        self.errors += 1
        self.resting_until = trio.current_time() + self._rest_s
        self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)

    async def aclose(self) -> None:
        """Drop the kept connections."""
        while self._idle:
            await self._idle.pop().aclose()

    async def _exchange(self, request: Request) -> bytes:
        """POST on a kept connection, or on a new one whose chain has been checked."""
        async with self._turn:
            while self._idle:
                try:
                    return await self._on(self._idle.pop(), request)
                except StaleConnection:
                    continue
            return await self._on(await self._open(), request)

    async def _on(self, connection: Connection, request: Request) -> bytes:
        within_s = BRIEF_TIMEOUT_S if request.is_brief else EXCHANGE_TIMEOUT_S
        is_whole = False
        try:
            reply = await connection.exchange(request.body, within_s=within_s)
            is_whole = True
        finally:
            if is_whole:
                self._idle.append(connection)
            else:
                await connection.aclose()
        return reply

    async def _open(self) -> Connection:
        connection = await connect(self.target)
        is_right = False
        try:
            request = single(Call("eth_chainId"))
            (result,) = request.read(await connection.exchange(request.body, within_s=BRIEF_TIMEOUT_S))
            check("eth_chainId", result)
            served = read_quantity(result)
            is_right = served == self.chain_id
            if not is_right:
                self._bar(served)
                raise WrongChain(
                    f"The RPC endpoint {self.name} serves chain {served}, not {self.chain_id}: "
                    "correct the network profile, or point it at the right node."
                )
        finally:
            if not is_right:
                await connection.aclose()
        return connection

    def _bar(self, served: int) -> None:
        self._barred_until = trio.current_time() + BARRED_S
        _log.warning(
            "rpc_endpoint_serves_another_chain",
            endpoint=self.name,
            chain_id=self.chain_id,
            served_chain_id=served,
            left_alone_s=BARRED_S,
        )
