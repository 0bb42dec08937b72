"""JSON-RPC to one chain over one or several endpoints.

Calls go to the first endpoint that works. Everything an endpoint says is checked for form here and for
meaning by the caller. The chain id is compared on every new connection: an endpoint that serves another
chain is left alone for a while, since its node may have been moved or restarted under us.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

import orjson
import structlog
import trio

from capanode.node.chain.http import Connection, StaleConnection, Target, connect, read_target
from capanode.node.chain.wire import BadReply, Json, read_bytes, read_list, read_object, read_quantity
from capanode.protocol.faults import Misconfigured, Refused, Unavailable

ATTEMPTS: Final = 3
"""Tries of one call, over all endpoints; what outlives them is left to the caller's own back-off."""

FIRST_PAUSE_S: Final = 0.05
PAUSE_GROWTH: Final = 5
BARRED_S: Final = 60.0
"""How long an endpoint that serves another chain is left alone."""

MAX_CONNECTIONS: Final = 8
"""Exchanges in flight per endpoint: public endpoints count them, and a node needs no more."""

MAX_BATCH: Final = 100
"""Calls in one request; several public endpoints refuse more."""

_RATE_LIMITED: Final = (-32005, 429)

_numbers = count(1)
"""No two requests of a process have the same id, so that a reply is never taken for that of another."""

_log = structlog.stdlib.get_logger()


class RpcError(Refused):
    """The chain says no; `data` holds a contract's revert data, if the endpoint sent any."""

    def __init__(self, method: str, code: int, message: str, data: bytes | None) -> None:
        super().__init__(f"The chain refused {method}: {message}")
        self.method = method
        self.code = code
        self.message = message
        self.data = data


class WrongChain(Unavailable):
    """No endpoint that may be used serves the chain we are configured for."""


@dataclass(frozen=True, slots=True)
class Call:
    """One JSON-RPC call."""

    method: str
    params: tuple[Json, ...] = ()


class Endpoint:
    """One URL with its kept connections."""

    def __init__(self, url: str, chain_id: int) -> None:
        self.target: Target = read_target(url)
        self.chain_id = chain_id
        self._idle: list[Connection] = []
        self._turn = trio.CapacityLimiter(MAX_CONNECTIONS)
        self._barred_until = float("-inf")

    @property
    def is_barred(self) -> bool:
        """Whether it was last seen to serve another chain."""
        return trio.current_time() < self._barred_until

    async def exchange(self, body: bytes) -> bytes:
        """POST on a kept connection, or on a new one whose chain has been checked.

        Raises:
            Unavailable: it does not answer.
            WrongChain: it serves another chain.
        """
        async with self._turn:
            while self._idle:
                try:
                    return await self._on(self._idle.pop(), body)
                except StaleConnection:
                    continue
            return await self._on(await self._open(), body)

    async def aclose(self) -> None:
        """Drop the kept connections."""
        while self._idle:
            await self._idle.pop().aclose()

    async def _on(self, connection: Connection, body: bytes) -> bytes:
        is_whole = False
        try:
            reply = await connection.exchange(body)
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
            number = next(_numbers)
            reply = await connection.exchange(_encode(Call("eth_chainId"), number))
            served = read_quantity(_value(_decode(reply), "eth_chainId", number))
            is_right = served == self.chain_id
            if not is_right:
                self._bar(served)
                raise WrongChain(
                    f"The RPC endpoint {self.target.shown} serves chain {served}, not {self.chain_id}: "
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
            endpoint=self.target.shown,
            chain_id=self.chain_id,
            served_chain_id=served,
            left_alone_s=BARRED_S,
        )


class Rpc:
    """The chain's JSON-RPC; safe to use from any number of tasks, and cancel-safe."""

    def __init__(self, urls: Sequence[str], chain_id: int) -> None:
        self.chain_id = chain_id
        self.endpoints = tuple(Endpoint(url, chain_id) for url in urls)
        self._current = 0

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
                await endpoint.exchange(_encode(Call("eth_chainId"), next(_numbers)))
                answered = True
            except WrongChain as error:
                raise Misconfigured(str(error)) from error
            except Unavailable as error:
                failure = error
        if failure is not None and not answered:
            raise failure

    async def call(self, method: str, *params: Json) -> object:
        """The result of a call that may be repeated: a read, or a raw transaction.

        Raises:
            RpcError: the chain says no.
            Unavailable: no endpoint answered, after `ATTEMPTS` tries.
        """
        number = next(_numbers)
        return _value(_decode(await self._persist(_encode(Call(method, params), number))), method, number)

    async def call_once(self, method: str, *params: Json) -> object:
        """The result of a call that must not be repeated, such as a development chain's own commands."""
        number = next(_numbers)
        body = _encode(Call(method, params), number)
        return _value(_decode(await self._endpoint().exchange(body)), method, number)

    async def batch(self, calls: Sequence[Call]) -> tuple[object, ...]:
        """The results of several reads in order; an `RpcError` stands where the chain says no to one.

        Raises:
            Unavailable: no endpoint answered, or not to every call.
        """
        results: list[object] = []
        for start in range(0, len(calls), MAX_BATCH):
            part = calls[start : start + MAX_BATCH]
            numbered = {next(_numbers): call for call in part}
            results += _values(_decode(await self._persist(_encode_batch(numbered))), numbered)
        return tuple(results)

    async def aclose(self) -> None:
        """Drop all connections."""
        for endpoint in self.endpoints:
            await endpoint.aclose()

    def _endpoint(self) -> Endpoint:
        count = len(self.endpoints)
        for step in range(count):
            endpoint = self.endpoints[(self._current + step) % count]
            if not endpoint.is_barred:
                self._current = (self._current + step) % count
                return endpoint
        raise WrongChain(
            f"Every RPC endpoint of chain {self.chain_id} serves another chain: correct the network profile, "
            "or point it at the right nodes."
        )

    async def _persist(self, body: bytes) -> bytes:
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            endpoint = self._endpoint()
            try:
                return await endpoint.exchange(body)
            except BadReply:
                raise
            except Unavailable:
                self._current = (self._current + 1) % len(self.endpoints)
                if attempt == ATTEMPTS:
                    raise
            if len(self.endpoints) == 1 or attempt >= len(self.endpoints):
                await trio.sleep(pause_s)
                pause_s *= PAUSE_GROWTH
        raise AssertionError("the last attempt returns or raises")


@asynccontextmanager
async def open_rpc(urls: Sequence[str], chain_id: int) -> AsyncGenerator[Rpc]:
    """JSON-RPC to a chain whose endpoints have been checked.

    Raises:
        Misconfigured: a URL is malformed or an endpoint serves another chain.
        Unavailable: no endpoint answers.
    """
    if not urls:
        raise Misconfigured(f"The network profile names no RPC URL for chain {chain_id}: add one.")
    rpc = Rpc(urls, chain_id)
    try:
        await rpc.check()
        yield rpc
    finally:
        await rpc.aclose()


def _encode(call: Call, number: int) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": number, "method": call.method, "params": call.params})


def _encode_batch(calls: Mapping[int, Call]) -> bytes:
    return orjson.dumps(
        [
            {"jsonrpc": "2.0", "id": number, "method": call.method, "params": call.params}
            for number, call in calls.items()
        ]
    )


def _decode(reply: bytes) -> object:
    try:
        return orjson.loads(reply)
    except orjson.JSONDecodeError as error:
        raise BadReply("The RPC endpoint answered with no JSON: check its address.") from error


def _value(reply: object, method: str, number: int) -> object:
    result = _outcome(reply, method, number)
    if isinstance(result, RpcError):
        raise result
    return result


def _values(reply: object, calls: Mapping[int, Call]) -> list[object]:
    if isinstance(reply, dict):
        _outcome({**reply, "id": None}, "a batch", 0)  # pyright: ignore[reportUnknownArgumentType]
        raise BadReply("The RPC endpoint does not answer batches: use another endpoint.")
    by_id: dict[int, object] = {}
    for item in read_list(reply):
        if isinstance(number := read_object(item).get("id"), int):
            by_id[number] = item
    if not by_id.keys() >= calls.keys():
        raise BadReply("The RPC endpoint left calls of a batch unanswered: retrying.")
    return [_outcome(by_id[number], call.method, number) for number, call in calls.items()]


def _outcome(reply: object, method: str, number: int) -> object:
    if not isinstance(reply, dict):
        raise BadReply("The RPC endpoint does not speak JSON-RPC: check its address.")
    fields: dict[str, object] = reply  # pyright: ignore[reportUnknownVariableType]
    error = fields.get("error")
    # A server that could not read the request does not know its number.
    is_ours = fields.get("id") == number or (error is not None and fields.get("id") is None)
    if error is None and "result" not in fields:
        raise BadReply("The RPC endpoint answered without a result: check its address.")
    if not is_ours:
        raise BadReply("The RPC endpoint answered another request than ours: retrying.")
    if error is None:
        return fields["result"]
    return _refusal(error, method)


def _refusal(error: object, method: str) -> RpcError:
    fields: dict[str, object] = error if isinstance(error, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    code, message = fields.get("code"), fields.get("message")
    code = code if isinstance(code, int) else 0
    message = message[:500] if isinstance(message, str) else "no reason given"
    if code in _RATE_LIMITED:
        raise Unavailable(f"The RPC endpoint limits its callers ({message}): use one with a higher limit.")
    return RpcError(method, code, message, _revert_data(fields.get("data")))


def _revert_data(data: object) -> bytes | None:
    """Revert data as nodes send it: bare, or inside an object (older clients)."""
    if isinstance(data, dict):
        data = data.get("data")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(data, str):
        return None
    try:
        return read_bytes(data)
    except BadReply:
        return None
