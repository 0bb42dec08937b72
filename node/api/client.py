"""Calls a running node over its socket: plain and synchronous, so that a command starts at once."""

import base64
import dataclasses
import errno
import os
import secrets
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

from capanode.node.api.port import DealView, JobOrder, JobView, Json
from capanode.node.api.wire import MAX_REPLY_BYTES, fault_of, job_view, line, value_of
from capanode.protocol.faults import Unavailable

CONNECT_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 30.0
TRANSACTION_TIMEOUT_S: Final = 300.0
"""A wallet call waits until its transaction is mined."""

BACK_WITHIN_S: Final = 30.0
"""A node under a service manager is up again by then."""

ASK_AGAIN_S: Final = 0.2

_NOBODY: Final = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR})


class CutOff(Unavailable):
    """The node ended in the middle of a call, so that nobody knows here what came of it."""


class NoNode(Unavailable):
    """Nobody listens at the socket."""


@dataclasses.dataclass(frozen=True, slots=True)
class NodeClient:
    """The node at a socket; every call may raise `Refused`, `Unavailable` or `Misconfigured`."""

    socket_path: Path

    def is_there(self) -> bool:
        """Whether a node answers now."""
        try:
            with _connected(self.socket_path, CONNECT_TIMEOUT_S):
                return True
        except NoNode:
            return False

    def status(self) -> Json:
        return cast(Json, self._one("status"))

    def submit(self, order: JobOrder) -> Iterator[Json]:
        """Items as `NodeApi.submit` yields them, the last one with the `JobView` under `job`."""
        return self._items("submit", None, order=dataclasses.asdict(order))

    def quote(self, order: JobOrder) -> Json:
        return cast(Json, self._one("quote", order=dataclasses.asdict(order)))

    def jobs(self) -> tuple[JobView, ...]:
        return tuple(job_view(item) for item in self._one("jobs"))

    def job(self, job_id: str) -> JobView:
        return job_view(self._one("job", job_id=job_id))

    def watch(self, job_id: str, *, timeout_s: float | None = None) -> Iterator[JobView]:
        """The job now and after every change, until it has ended; `Unavailable` when nothing changes for so long."""
        for item in self._items("watch", timeout_s, job_id=job_id):
            yield item["job"]

    def logs(self, job_id: str, tail_bytes: int) -> bytes:
        return base64.b64decode(self._one("logs", job_id=job_id, tail_bytes=tail_bytes)["base64"])

    def accept(self, job_id: str) -> JobView:
        return job_view(self._one("accept", TRANSACTION_TIMEOUT_S, job_id=job_id))

    def cancel(self, job_id: str) -> JobView:
        return job_view(self._one("cancel", TRANSACTION_TIMEOUT_S, job_id=job_id))

    def deals(self) -> tuple[DealView, ...]:
        return tuple(DealView(**item) for item in self._one("deals"))

    def check(self, deal: str, step: int | None, sample: int | None) -> Iterator[Json]:
        """As `NodeApi.check`."""
        return self._items("check", None, deal=deal, step=step, sample=sample)

    def dispute(self, verb: str, **arguments: Any) -> Json:
        """As `NodeApi.dispute`."""
        return cast(Json, self._one("dispute", TRANSACTION_TIMEOUT_S, verb=verb, arguments=arguments))

    def watch_results(self, **arguments: Any) -> Iterator[Json]:
        """As `NodeApi.watch_results`."""
        return self._items("watch_results", None, arguments=arguments)

    def wallet(self) -> Json:
        return cast(Json, self._one("wallet"))

    def wallet_call(self, verb: str, **arguments: Any) -> Json:
        """Done once: a call that the node's end cuts off is asked again, under one name, when the node is back."""
        named = {"request": secrets.token_hex(16), **arguments}
        give_up_at: float | None = None
        while True:
            try:
                return cast(Json, self._one("wallet_call", TRANSACTION_TIMEOUT_S, verb=verb, arguments=named))
            except CutOff:
                give_up_at = give_up_at or time.monotonic() + BACK_WITHIN_S
            except NoNode:
                if give_up_at is None:
                    raise
            if time.monotonic() > give_up_at:
                raise CutOff(
                    f"the node ended over {verb} and did not come back: start it with `capanode start`, then "
                    "look at `capanode wallet balance` before you repeat it"
                )
            time.sleep(ASK_AGAIN_S)

    def upgrades(self) -> Json:
        return cast(Json, self._one("upgrades"))

    def approve(self, code_hash: str) -> Json:
        return cast(Json, self._one("approve", code_hash=code_hash))

    def drain(self, *, on: bool = True) -> Json:
        return cast(Json, self._one("drain", on=on))

    def drained(self) -> Iterator[Json]:
        """As `NodeApi.drained`."""
        return self._items("drained", None)

    def snapshot(self, path: str) -> None:
        """Copy the node's journal to a new file."""
        self._one("snapshot", path=path)

    def stop(self, within_s: float = 30.0) -> None:
        """Ask the node to end in order within a time; it may be gone before it has answered."""
        try:
            self._one("stop", within_s=within_s)
        except NoNode:
            raise
        except Unavailable:
            return

    def _one(self, name: str, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any) -> Any:
        with _connected(self.socket_path, timeout_s) as stream:
            _ask(stream, name, arguments)
            for reply in _replies(stream):
                if "result" in reply:
                    return reply["result"]
        raise _gone()

    def _items(self, name: str, timeout_s: float | None, **arguments: Any) -> Iterator[Json]:
        with _connected(self.socket_path, timeout_s) as stream:
            _ask(stream, name, arguments)
            for reply in _replies(stream):
                if "item" not in reply:
                    return
                item = cast(Json, reply["item"])
                yield {**item, "job": job_view(item["job"])} if "job" in item else item
        raise _gone()


@contextmanager
def _connected(path: Path, timeout_s: float | None) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        try:
            stream.settimeout(CONNECT_TIMEOUT_S)
            stream.connect(os.fspath(path))
            stream.settimeout(timeout_s)
            yield stream
        except TimeoutError:
            raise Unavailable("the node did not answer in time: look at its log") from None
        except OSError as error:
            if error.errno in _NOBODY:
                raise NoNode(f"no node listens at {path}: start one with `capanode start`") from None
            raise _gone() from error


def _ask(stream: socket.socket, name: str, arguments: Json) -> None:
    # A node that turns us away may close before it has read all of it; what it said is there to be read.
    with suppress(BrokenPipeError):
        stream.sendall(line({"call": name, "arguments": arguments}))


def _replies(stream: socket.socket) -> Iterator[Json]:
    buffer = bytearray()
    while chunk := stream.recv(262_144):
        start = len(buffer)
        buffer += chunk
        while (end := buffer.find(b"\n", start)) >= 0:
            reply = value_of(bytes(buffer[:end]))
            del buffer[: end + 1]
            start = 0
            if "error" in reply:
                raise fault_of(reply["error"])
            yield reply
        if len(buffer) > MAX_REPLY_BYTES:
            raise Unavailable("the node's answer is too long: ask for less")


def _gone() -> CutOff:
    return CutOff("the node went away in the middle of the call: look at its log, then try again")
