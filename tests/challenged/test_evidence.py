"""Evidence reaches whoever asks, and nobody believes a word of it that the chain does not confirm."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from capanode.node.assigned.provider_peers import SCHEMA as PEERS
from capanode.node.chain.markets import Markets
from capanode.node.challenged.evidence import BytesMissing
from capanode.node.challenged.evidence_desk import ASKED_AT_ONCE
from capanode.node.challenged.kept_evidence import SCHEMA as KEPT
from capanode.node.storage.cid import cid_of
from capanode.node.storage.database import open_database
from capanode.proofs import tree
from capanode.proofs.evidence import BadEvidence, Evidence
from capanode.protocol import encoding, provider
from capanode.protocol.faults import PeerFault, Refused, Unavailable
from capanode.protocol.ids import Address, Cid, DealId, Digest, Ppm, UnixTime, Wei
from capanode.protocol.messages import EVIDENCE_PROTOCOL, MAX_EVIDENCE_BYTES, EvidenceRequest, ResultManifest
from capanode.protocol.named_set import NamedSet
from capanode.protocol.phases import Phase
from capanode.protocol.records import VerificationClass
from tests.challenged.committed import FILES, INPUT, RULES, TEXT, Committed, committed, watching
from tests.node.market_place import HARDWARE, version_of
from tests.protocol.deals import NOW, SPEC


@pytest.fixture
async def deal(tmp_path: Path) -> AsyncGenerator[Committed]:
    async with committed(tmp_path) as opened:
        yield opened


async def test_a_stranger_gets_all_that_it_takes_to_recompute(deal: Committed) -> None:
    found = await deal.watcher.finder.fetch_evidence(deal.deal)
    evidence = found.evidence
    assert (evidence.deal_id, evidence.spec.argv) == (deal.deal, SPEC.argv)
    assert [entry.path for entry in found.entries] == [name for name, _ in FILES]
    assert tree.tree_root(found.entries) == evidence.commitment.result_root
    inputs = await deal.watcher.finder.have_inputs(found)
    assert inputs["text.txt"].read_bytes() == TEXT


async def test_who_has_fetched_it_hands_it_on_while_its_provider_is_away(deal: Committed, tmp_path: Path) -> None:
    found = await deal.watcher.finder.fetch_evidence(deal.deal)
    await deal.watcher.finder.have_inputs(found)
    deal.provider.go_down()
    async with open_database(tmp_path / "third.sqlite", [KEPT, PEERS]) as database:
        markets = Markets([version_of(deal.market)], lambda: UnixTime(NOW))
        third = watching(deal.internet, "third", tmp_path, markets, database)
        await third.network.connect(deal.watcher.network.addresses()[0])
        second = await third.finder.fetch_evidence(deal.deal)
        assert second.evidence == found.evidence
        assert (await third.finder.have_inputs(second))["text.txt"].read_bytes() == TEXT


async def test_what_was_fetched_is_not_asked_for_again(deal: Committed) -> None:
    found = await deal.watcher.finder.fetch_evidence(deal.deal)
    deal.provider.go_down()
    assert (await deal.watcher.finder.fetch_evidence(deal.deal)).evidence == found.evidence


def other_spec(evidence: Evidence) -> Evidence:
    return replace(evidence, spec=replace(evidence.spec, argv=("false",)))


def other_stdout(evidence: Evidence) -> Evidence:
    return replace(evidence, commitment=replace(evidence.commitment, stdout_root=Digest(b"\x55" * 32)))


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(other_spec, id="another spec"),
        pytest.param(other_stdout, id="a leaf that was not committed"),
        pytest.param(lambda e: replace(e, deal_id=DealId(b"\x55" * 32)), id="another deal"),
        pytest.param(lambda e: replace(e, rules=RULES), id="rules that the terms do not bind"),
        pytest.param(lambda e: replace(e, input_root=Digest(b"\x55" * 32)), id="other inputs"),
        pytest.param(lambda e: replace(e, first_step=1), id="another first step"),
        pytest.param(lambda e: replace(e, terms=replace(e.terms, price_wei=Wei(1))), id="other terms"),
        pytest.param(lambda e: replace(e, locked_by=Address(b"\x55" * 20)), id="another key"),
        pytest.param(lambda e: replace(e, trace_root=Digest(b"\x55" * 32)), id="another trace"),
        pytest.param(lambda e: replace(e, inputs=()), id="an input left out"),
        pytest.param(lambda e: replace(e, leaf_list=e.manifest), id="a list of leaves that nobody committed to"),
        pytest.param(lambda e: replace(e, manifest=Cid("bafkreinonsense")), id="a malformed CID"),
        pytest.param(lambda _: b"nonsense", id="no record"),
    ],
)
async def test_what_the_chain_has_not_bound_is_its_senders_fault(deal: Committed, alter: Any) -> None:
    deal.lie(alter)
    with pytest.raises(PeerFault):
        await deal.watcher.finder.fetch_evidence(deal.deal)
    assert deal.watcher.network._faults[deal.provider.peer_id] == 1
    assert await deal.watcher.kept.find(deal.deal) is None


async def test_a_manifest_of_another_result_is_its_senders_fault(deal: Committed) -> None:
    made = ResultManifest(tree.encode(()), b"", (), ())
    other = deal.blobs.put_bytes(encoding.encode(made), reason="evidence:x", until=UnixTime(NOW + 60))
    deal.lie(lambda evidence: replace(evidence, manifest=other))
    with pytest.raises(BadEvidence, match="another result"):
        await deal.watcher.finder.fetch_evidence(deal.deal)


async def test_longer_evidence_than_any_spec_needs_is_its_senders_fault(deal: Committed) -> None:
    deal.lie(lambda _: bytes(MAX_EVIDENCE_BYTES + 1))
    with pytest.raises(PeerFault):
        await deal.watcher.finder.fetch_evidence(deal.deal)


async def test_an_input_with_other_bytes_is_its_senders_fault(deal: Committed) -> None:
    other = deal.blobs.put_bytes(b"one two\n", reason="evidence:x", until=UnixTime(NOW + 60))
    deal.lie(lambda evidence: replace(evidence, inputs=(other,)))
    found = await deal.watcher.finder.fetch_evidence(deal.deal)
    with pytest.raises(PeerFault, match="other bytes"):
        await deal.watcher.finder.have_inputs(found)


async def test_a_larger_input_than_the_spec_states_is_its_senders_fault(deal: Committed) -> None:
    other = deal.blobs.put_bytes(TEXT * 100, reason="evidence:x", until=UnixTime(NOW + 60))
    deal.lie(lambda evidence: replace(evidence, inputs=(other,)))
    found = await deal.watcher.finder.fetch_evidence(deal.deal)
    with pytest.raises(PeerFault, match="not what the deal promises"):
        await deal.watcher.finder.have_inputs(found)


async def test_a_liar_does_not_stand_in_the_way_of_who_has_it(deal: Committed, tmp_path: Path) -> None:
    await deal.watcher.finder.fetch_evidence(deal.deal)
    deal.lie(other_spec)
    async with open_database(tmp_path / "third.sqlite", [KEPT, PEERS]) as database:
        markets = Markets([version_of(deal.market)], lambda: UnixTime(NOW))
        third = watching(deal.internet, "third", tmp_path, markets, database)
        for node in (deal.provider, deal.watcher.network):
            await third.network.connect(node.addresses()[0])
        assert (await third.finder.fetch_evidence(deal.deal)).evidence.spec.argv == SPEC.argv


async def test_a_provider_that_does_not_answer_leaves_bytes_missing(deal: Committed, patient_clock: MockClock) -> None:
    async def silent(*_: object) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    deal.provider._services[EVIDENCE_PROTOCOL] = (silent, 1000)
    with pytest.raises(BytesMissing, match="did not answer"):
        await deal.watcher.finder.fetch_evidence(deal.deal)


async def test_withheld_bytes_are_missing(deal: Committed, patient_clock: MockClock) -> None:
    found = await deal.watcher.finder.fetch_evidence(deal.deal)
    deal.provider.go_down()
    with pytest.raises(BytesMissing):
        await deal.watcher.finder.have_inputs(found)


async def test_bytes_whose_files_somebody_has_removed_are_missing(deal: Committed) -> None:
    found = await deal.watcher.finder.fetch_evidence(deal.deal)
    (cid,), bound = found.evidence.inputs, 1_000
    kept = await deal.watcher.finder.have(found, cid, bound)
    for ask in (deal.watcher.finder.have, deal.watcher.finder.read):
        kept.unlink(missing_ok=True)
        with pytest.raises(BytesMissing, match="put it back"):
            await ask(found, cid, bound)
    deal.watcher.blobs.path(found.evidence.manifest).unlink()
    with pytest.raises(BytesMissing, match="put it back"):
        await deal.watcher.finder.fetch_evidence(deal.deal)


async def test_no_peer_is_asked_for_a_deal_that_the_chain_does_not_know(deal: Committed) -> None:
    with pytest.raises(Refused, match="no market"):
        await deal.watcher.finder.fetch_evidence(DealId(b"\x55" * 32))
    deal.market.phase = Phase.ASSIGNED
    with pytest.raises(Refused, match="no committed result"):
        await deal.watcher.finder.fetch_evidence(deal.deal)


async def test_evidence_of_a_commitment_made_anew_replaces_the_old(deal: Committed) -> None:
    await deal.watcher.finder.fetch_evidence(deal.deal)
    deal.market.bound += 1
    with pytest.raises(PeerFault):
        await deal.watcher.finder.fetch_evidence(deal.deal)


async def test_only_what_belongs_to_the_deal_is_public(deal: Committed) -> None:
    found = await deal.watcher.finder.fetch_evidence(deal.deal)
    secret = deal.blobs.put_bytes(b"somebody else's", reason="result:1", until=UnixTime(NOW + 60))
    assert deal.desk.is_public(found.evidence.manifest)
    assert INPUT.cid is not None
    assert deal.desk.is_public(INPUT.cid)
    assert not deal.desk.is_public(secret)
    assert not deal.desk.is_public(cid_of(b"nowhere"))
    assert deal.watcher.desk.is_public(found.evidence.manifest)


@pytest.mark.parametrize("verification", [VerificationClass.NONE, VerificationClass.REPLICATED])
async def test_a_job_that_nobody_can_judge_stays_between_its_parties(
    tmp_path: Path, verification: VerificationClass
) -> None:
    spec = replace(SPEC, verification=verification)
    async with committed(tmp_path, spec, verification=verification, audit_rate_ppm=Ppm(0)) as deal:
        with pytest.raises(BytesMissing, match="no evidence of such a deal"):
            await deal.watcher.finder.fetch_evidence(deal.deal)
        # Nor may another replica's provider have the bytes, whatever it has read on the chain.
        (sold,) = deal.own._agent.open_deals()
        assert isinstance(sold.state, provider.Committed)
        assert not deal.desk.is_public(sold.state.result.manifest)


async def test_a_sealed_job_stays_between_its_parties(tmp_path: Path) -> None:
    async with committed(tmp_path, rules=replace(RULES, sealed=True)) as deal:
        with pytest.raises(BytesMissing, match="no evidence of such a deal"):
            await deal.watcher.finder.fetch_evidence(deal.deal)
        assert INPUT.cid is not None
        assert not deal.desk.is_public(INPUT.cid)


async def test_nobody_may_ask_without_end(deal: Committed, patient_clock: MockClock) -> None:
    async def ask() -> bytes:
        return await deal.watcher.network.request(
            deal.provider.peer_id,
            EVIDENCE_PROTOCOL,
            encoding.encode(EvidenceRequest(deal.deal)),
            limit_bytes=MAX_EVIDENCE_BYTES,
            timeout_s=5.0,
        )

    for _ in range(int(ASKED_AT_ONCE)):
        await ask()
    with pytest.raises(Unavailable, match="too often"):
        await ask()
    await trio.sleep(1)
    await ask()


async def test_where_arbiters_are_named_the_spec_binds_the_hardware_class(tmp_path: Path) -> None:
    named = NamedSet((Address(b"\x01" * 20), Address(b"\x02" * 20), Address(b"\x03" * 20)), 2)
    spec = replace(SPEC, inputs=(INPUT,), hardware_class=HARDWARE)
    rules = replace(RULES, pool=named.pool, quorum=named.quorum)
    async with committed(tmp_path, spec, rules=rules, arbiters=named.arbiters, hardware_class=HARDWARE) as deal:
        told = await deal.own.find(deal.deal)
        assert told is not None
        assert told.is_class_bound
        # Else a cheat would name a class that no arbiter has, and be judged by nobody.
        deal.lie(lambda evidence: replace(evidence, hardware_class="aarch64"))
        with pytest.raises(BadEvidence, match="its spec binds another hardware class"):
            await deal.watcher.finder.fetch_evidence(deal.deal)


async def test_a_hardware_class_that_the_rules_do_not_bind_is_its_senders_fault(tmp_path: Path) -> None:
    async with committed(tmp_path, rules=RULES, hardware_class=HARDWARE) as deal:
        deal.lie(lambda evidence: replace(evidence, hardware_class="x86_64-v9"))
        with pytest.raises(BadEvidence, match="another hardware class"):
            await deal.watcher.finder.fetch_evidence(deal.deal)
