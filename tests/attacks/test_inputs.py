"""Attacks 11 and 12: inputs that do not come, and addresses that lead to more or to other bytes than was said."""

import hashlib
from pathlib import Path

import pytest

from capanode.node.p2p import blobs
from capanode.node.p2p.blobs import fetch_blob
from capanode.node.p2p.port import Handler
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.cid import CHUNK_BYTES, cid_of
from capanode.protocol import provider
from capanode.protocol.commands import RunContainer, SubmitAssign
from capanode.protocol.events import DeadlinePassed, Prepared, PrepareFailed
from capanode.protocol.faults import PeerFault, Refused
from capanode.protocol.ids import PeerId, UnixTime, Wei
from capanode.protocol.records import Mode
from tests.fakes.fake_network import FakeInternet
from tests.protocol import deals

DATA = b"what was asked for"
HUGE = 2**40
LATER = UnixTime(2**40)
MODES = (Mode.LOCK, Mode.DIRECT)


def taken(mode: Mode) -> provider.Step:
    return provider.take(deals.work_taken(mode))


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_attack_11_nothing_is_bound_before_image_and_inputs_are_here(mode: Mode) -> None:
    first = taken(mode)
    assert not any(isinstance(command, SubmitAssign | RunContainer) for command in first.commands)
    ready = provider.step(first.deal, Prepared(), deals.PROVIDER, deals.GRACE_S)
    assert any(isinstance(command, SubmitAssign | RunContainer) for command in ready.commands)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("event", [PrepareFailed("the inputs did not come"), DeadlinePassed(deals.NOW)], ids=repr)
def test_attack_11_inputs_that_do_not_come_cost_the_provider_nothing(
    mode: Mode, event: PrepareFailed | DeadlinePassed
) -> None:
    ended = provider.step(taken(mode).deal, event, deals.PROVIDER, deals.GRACE_S)
    assert isinstance(ended.deal, provider.Lost)
    assert ended.deal.burned_wei == Wei(0)
    assert ended.commands == ()


async def fetch(folder: Path, handler: Handler, max_bytes: int = len(DATA)) -> BlobStore:
    """Ask a hostile node for DATA; the store that it came into, if it came."""
    internet = FakeInternet()
    client, hostile = internet.node("client"), internet.node("hostile")
    hostile.serve(blobs.PROTOCOL, handler, limit_bytes=100)
    client.learn(hostile.addresses()[0])
    store = BlobStore(folder, limit_bytes=100 * CHUNK_BYTES)
    await fetch_blob(
        client,
        [hostile.peer_id],
        cid_of(DATA),
        store,
        max_bytes=max_bytes,
        reason="input",
        until=LATER,
        timeout_s=10,
        progress=lambda done, size: None,
    )
    return store


def head(data: bytes, size: int) -> bytes:
    return size.to_bytes(8, "big") + hashlib.sha256(data).digest()


async def test_attack_12_honest_answer_is_taken(tmp_path: Path) -> None:
    async def honest(peer: PeerId, request: bytes) -> bytes:
        return head(DATA, len(DATA)) if request[0] == 0 else DATA

    assert (await fetch(tmp_path, honest)).path(cid_of(DATA)).read_bytes() == DATA


async def test_attack_12_blob_that_is_larger_than_was_declared_is_refused_before_a_byte(tmp_path: Path) -> None:
    parts: list[bytes] = []

    async def larger(peer: PeerId, request: bytes) -> bytes:
        parts.append(request) if request[0] else None
        return head(DATA, len(DATA))

    with pytest.raises(Refused, match="at most"):
        await fetch(tmp_path, larger, max_bytes=len(DATA) - 1)
    assert parts == []


@pytest.mark.parametrize("size", [HUGE, 2**64 - 1, len(DATA) + 1], ids=["huge", "out of range", "a byte more"])
async def test_attack_12_size_that_is_a_lie_is_found_out(tmp_path: Path, size: int) -> None:
    async def lying(peer: PeerId, request: bytes) -> bytes:
        return head(DATA, size) if request[0] == 0 else DATA + bytes(1)

    with pytest.raises((PeerFault, Refused)):
        await fetch(tmp_path, lying, max_bytes=2**20)


async def test_attack_12_other_bytes_are_found_out(tmp_path: Path) -> None:
    async def another(peer: PeerId, request: bytes) -> bytes:
        return head(DATA, len(DATA)) if request[0] == 0 else DATA[::-1]

    with pytest.raises(PeerFault):
        await fetch(tmp_path, another)
