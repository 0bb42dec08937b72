"""Bytes that are withheld, other ones, or too many: who checks loses time at most, and the provider gains nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from trio.testing import MockClock

from capanode.node.assigned.provider_peers import SCHEMA as PEERS
from capanode.node.chain.markets import Markets
from capanode.node.challenged.checking import Verdict
from capanode.node.challenged.evidence import BytesMissing
from capanode.node.challenged.kept_evidence import SCHEMA as KEPT
from capanode.node.storage.database import open_database
from capanode.proofs import tree
from capanode.proofs.tree import Entry, EntryType
from capanode.protocol import encoding
from capanode.protocol.faults import PeerFault
from capanode.protocol.ids import Digest, UnixTime
from capanode.protocol.messages import ResultManifest
from tests.challenged.committed import TEXT, committed, watching
from tests.challenged.test_checking import checking
from tests.challenged.test_checking_steps import checking_steps, count
from tests.node.market_place import version_of
from tests.protocol.deals import NOW


async def test_attack_09_state_that_is_withheld_is_said_to_be_missing(tmp_path: Path, patient_clock: MockClock) -> None:
    async with checking_steps(tmp_path, count) as desk:
        trace = await desk.checker.trace_of(desk.deal.deal)
        desk.deal.provider.go_down()
        with pytest.raises(BytesMissing):
            await desk.checker.check_step(trace, 2)


async def test_attack_09_state_that_was_served_to_one_is_served_on(tmp_path: Path) -> None:
    async with committed(tmp_path) as deal:
        found = await deal.watcher.finder.fetch_evidence(deal.deal)
        await deal.watcher.finder.have_inputs(found)
        deal.provider.go_down()
        async with open_database(tmp_path / "other.sqlite", [KEPT, PEERS]) as database:
            markets = Markets([version_of(deal.market)], lambda: UnixTime(NOW))
            other = watching(deal.internet, "other", tmp_path, markets, database)
            await other.network.connect(deal.watcher.network.addresses()[0])
            again = await other.finder.fetch_evidence(deal.deal)
            assert (await other.finder.have_inputs(again))["text.txt"].read_bytes() == TEXT


async def test_attack_10_state_beyond_the_bound_is_not_read(tmp_path: Path) -> None:
    async with checking_steps(tmp_path, count) as desk:
        trace = await desk.checker.trace_of(desk.deal.deal)
        assert trace.listed is not None
        huge = (Entry("zeros", EntryType.FILE, 0o644, 2**40, Digest(b"\x01" * 32)),)
        made = ResultManifest(tree.encode(huge), b"", (), ())
        cid = desk.deal.blobs.put_bytes(encoding.encode(made), reason="evidence:x", until=UnixTime(NOW + 60))
        rows = list(trace.listed.leaves)
        rows[2] = (tree.tree_root(huge), *rows[2][1:4], cid)
        forged = replace(
            trace,
            listed=replace(trace.listed, leaves=tuple(rows)),
            leaves=(*trace.leaves[:2], replace(trace.leaves[2], state_root=tree.tree_root(huge)), *trace.leaves[3:]),
        )
        with pytest.raises(PeerFault, match="more than"):
            await desk.checker.check_step(forged, 2)


async def test_attack_11_inputs_come_from_the_provider_once_it_has_committed(tmp_path: Path) -> None:
    async with committed(tmp_path) as deal:
        deal.internet.nodes[next(name for name in deal.internet.nodes if name == "requester")].go_down()
        found = await deal.watcher.finder.fetch_evidence(deal.deal)
        assert (await deal.watcher.finder.have_inputs(found))["text.txt"].read_bytes() == TEXT


async def test_attack_21_stale_evidence_is_fetched_anew_before_anything_is_said(tmp_path: Path) -> None:
    async with checking(tmp_path) as desk:
        found = await desk.deal.watcher.finder.fetch_evidence(desk.deal.deal)
        stale = replace(found.evidence, trace_root=Digest(b"\x55" * 32))
        await desk.deal.watcher.kept.keep(stale, UnixTime(NOW + 60), UnixTime(NOW))
        assert (await desk.check()).verdict is Verdict.HOLDS
