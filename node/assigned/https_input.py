"""Inputs named by an https address: fetched once, bounded, and never from the operator's own network.

The address comes from a stranger. It is resolved first and refused if any answer is not a public address, redirects
are followed by hand under the same rule, and only bytes with the stated sha256 stay.
"""

import hashlib
import ipaddress
import os
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final, cast
from urllib.parse import urljoin, urlsplit

import httpx
import trio

from capanode.node.fault_points import durable
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.records import Input

MAX_REDIRECTS: Final = 3
IDLE_S: Final = 30.0
"""A server that sends nothing for so long has failed. Seconds."""

Write = Callable[[bytes], object]


async def download(item: Input, target: Path) -> None:
    """Write the input's bytes to `target`, whole and verified, or not at all. Idempotent, cancel-safe.

    Raises:
        Refused: not public https, too long, or other bytes than the job states. The requester's fault.
        Unavailable: the server or the network fails.
    """
    if await trio.Path(target).exists():
        return
    assert item.url is not None, "only inputs with an address are downloaded"
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            try:
                digest = await _receive(item.url, item.size_bytes, file.write)
            except httpx.HTTPError as error:
                raise Unavailable(f"The input {item.name} could not be fetched ({error!r}): retrying.") from error
            except (httpx.InvalidURL, ValueError) as error:
                # The address, or one that a server redirects to; some of this reaches only the libraries' checks.
                raise Refused(f"the input {item.name} has a malformed address: {str(error)[:200]}") from error
            if digest != item.sha256:
                raise Refused(f"the input {item.name} does not have the sha256 that the job states")
            file.flush()
            os.fsync(file.fileno())
        with durable("input.download"):
            os.rename(partial, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)


async def _receive(url: str, size_bytes: int, write: Write) -> bytes:
    async with httpx.AsyncClient(follow_redirects=False, timeout=IDLE_S, trust_env=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            await _require_public(url)
            async with client.stream("GET", url) as reply:
                if reply.is_redirect:
                    url = urljoin(url, reply.headers["location"])
                    continue
                reply.raise_for_status()
                return await _take(reply, size_bytes, write)
    raise Refused(f"the input's address redirects more than {MAX_REDIRECTS} times")


async def _take(reply: httpx.Response, size_bytes: int, write: Write) -> bytes:
    digest, left = hashlib.sha256(), size_bytes
    # A generator in fact; left behind half read it would be the garbage collector's.
    chunks = cast(AsyncGenerator[bytes, None], reply.aiter_bytes())
    async with aclosing(chunks):
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            write(chunk)
    if left != 0:
        raise Refused(f"the input's address does not serve the {size_bytes} bytes that the job states")
    return digest.digest()


async def _require_public(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname is None:
        raise Refused("the input's address is not https://")
    try:
        found = await trio.socket.getaddrinfo(parts.hostname, parts.port or 443)
    except OSError as error:
        raise Unavailable(f"{parts.hostname} cannot be resolved ({error}): retrying.") from error
    for *_, address in found:
        if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global:
            raise Refused("the input's address leads into a private network")
