"""From a job file to a job: what is wrong with it is said in a sentence, and nothing is taken in for it."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capanode.node.announced.judges import Judges
from capanode.node.announced.market_choice import MarketChoice
from capanode.node.announced.submission import BuyingTerms, Submission, TakenIn
from capanode.node.api.port import JobOrder
from capanode.node.bid.auction import AuctionTimes
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.storage.blobs import BlobStore
from capanode.proofs.tree import input_root
from capanode.protocol import requester
from capanode.protocol.events import JobSubmitted
from capanode.protocol.faults import Fault, Misconfigured, Refused
from capanode.protocol.ids import Address, Cid, Digest, Ppm, Wei
from capanode.protocol.judging import class_pool
from capanode.protocol.money import ARBITER_FEE_WEI, GAS_ALLOWANCE_WEI
from capanode.protocol.named_set import NamedSet
from capanode.protocol.records import Mode
from capanode.protocol.typed_data import announcement_deal_id, spec_digest
from tests.fakes.fake_network import FakeInternet
from tests.node.market_place import DOMAIN, MARKET, TOKEN, WALLET, FakeMarket, version_of
from tests.protocol.deals import NOW, SPEC

assert SPEC.image.registry is not None
PINNED = SPEC.image.registry.reference
ABSENT = Cid("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
JOB = f"""\
version: 1
name: count
image: {PINNED}
command: [wc, /in/words.txt]
resources: {{cpu: 1, memory: 64MiB, disk: 16MiB}}
timeout: 10s
price_cap: 1.5
"""


class Desk:
    """A requester's submission, its store and its clock."""

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int = 2**20,
        court: Address | None = None,
        pools: frozenset[Digest] = frozenset(),
        **changes: Any,
    ) -> None:
        self.folder = folder
        self.pools = pools
        self.notes: list[str] = []
        self.blobs = BlobStore(folder / "store", limit_bytes=limit_bytes, clock=lambda: float(NOW))
        buying = BuyingTerms(
            requester=WALLET.address,
            transfer_bytes_per_s=2**20,
            slack_s=30,
            audit_rate_ppm=Ppm(200_000),
            target_price_wei=Wei(0),
            max_price_wei=None,
            times=AuctionTimes(bid_window_s=1, assign_within_s=30, request_s=5),
        )
        clock = ChainClock(lambda: float(NOW))
        self.market = FakeMarket()
        self.judging: list[tuple[Digest, int, Wei]] = []
        choice = MarketChoice(
            Markets([replace(version_of(self.market), court=court)], clock.now), WALLET.address, lambda _: True
        )
        network = FakeInternet().node("requester")
        self.told: list[tuple[Address, ...]] = []
        judges = Judges(self._can_judge, lambda: ["x86_64-v3", "x86_64-v4"], WALLET.address, self._name_set)
        self.submission = Submission(replace(buying, **changes), choice, judges, network, self.blobs, clock)

    async def _can_judge(self, market: MarketVersion, pool: Digest, quorum: int, at_stake_wei: Wei) -> bool:
        self.judging.append((pool, quorum, at_stake_wei))
        return pool in self.pools

    async def _name_set(self, market: MarketVersion, arbiters: tuple[Address, ...]) -> None:
        assert market.address == MARKET
        self.told.append(arbiters)

    async def take_in(self, text: str, **changes: Any) -> TakenIn:
        order = JobOrder(text, str(self.folder), "", None, "gossip", "award", "auto")
        items = [item async for item in self.submission.take_in(replace(order, **changes))]
        assert isinstance(items[-1], TakenIn)
        self.notes = [item["note"] for item in items[:-1] if isinstance(item, dict) and "note" in item]
        return items[-1]

    async def submit(self, text: str = JOB, **changes: Any) -> JobSubmitted:
        taken = await self.take_in(text, **changes)
        assert taken.market == MARKET
        return taken.event


async def test_a_job_becomes_a_demand(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"one two three")
    desk = Desk(tmp_path)
    job = await desk.submit(JOB + "inputs: {words.txt: ./words.txt}\n")
    (item,) = job.spec.inputs
    assert item.sha256 == hashlib.sha256(b"one two three").digest()
    assert item.cid is not None
    assert desk.blobs.path(item.cid).read_bytes() == b"one two three"
    assert job.demand.spec == spec_digest(job.spec)
    assert job.demand.input_root == input_root(job.spec.inputs)
    assert job.demand.price_cap_wei == 15 * TOKEN // 10
    assert (job.demand.mode, job.announcement, job.auto_accept) == (Mode.LOCK, None, True)


@pytest.mark.parametrize(("policy", "mode"), [("first", Mode.FIRST), ("award", Mode.AWARD)])
async def test_a_job_for_the_chain_carries_its_announcement(tmp_path: Path, policy: str, mode: Mode) -> None:
    job = await Desk(tmp_path).submit(announce="chain", policy=policy)
    assert job.announcement is not None
    assert job.announcement.mode is job.demand.mode is mode
    assert job.demand.deal_id == announcement_deal_id(DOMAIN, job.announcement)


WRONG: list[Any] = [
    pytest.param(JOB + "inputs: {x: ./absent.txt}\n", "the input x is not there", id="missing input"),
    pytest.param(JOB + "inputs: {x: ./folder}\n", "is no file", id="a folder"),
    pytest.param(JOB + f"inputs: {{x: {ABSENT}}}\n", "not in this node's store", id="CID not in store"),
    pytest.param(
        JOB + f"inputs: {{x: {{url: https://example.org/x, sha256: {'ab' * 32}}}}}\n", "state its size", id="no size"
    ),
    pytest.param(JOB.replace(PINNED, "busybox:latest"), "is not pinned", id="a tag"),
    pytest.param(JOB.replace(PINNED, "./absent.tar"), "is not pinned", id="no archive"),
    pytest.param(JOB.replace(PINNED, "busybox@sha256:abc"), "not pinned", id="half a digest"),
    pytest.param(JOB + "window: 1s\n", "too short to challenge in", id="window too short"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG)
async def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Fault, match=sentence) as said:
        await Desk(tmp_path).submit(text)
    assert isinstance(said.value, Refused | Misconfigured)


async def test_every_mistake_of_a_job_file_is_said_at_once(tmp_path: Path) -> None:
    wrong = JOB.replace("timeout: 10s", "timeout: soon").replace("price_cap: 1.5", "price_cap: -1") + "colour: red\n"
    with pytest.raises(Misconfigured) as said:
        await Desk(tmp_path).submit(wrong)
    for word in ("timeout", "price_cap", "colour"):
        assert word in str(said.value)


async def test_an_input_too_big_for_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(3 * 2**20))
    with pytest.raises(Fault) as said:
        await Desk(tmp_path).submit(JOB + "inputs: {big: ./big}\n")
    assert "big" in str(said.value) or "limit" in str(said.value) or "store" in str(said.value)


async def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"no archive at all" * 100)
    with pytest.raises(Fault):
        await Desk(tmp_path).submit(JOB.replace(PINNED, "./image.tar"))


async def test_a_price_above_the_nodes_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="above this node's limit"):
        await Desk(tmp_path, max_price_wei=Wei(TOKEN)).submit()


@pytest.mark.parametrize("way", [{"announce": "shout"}, {"announce": "chain", "policy": "best"}])
async def test_an_unknown_way_to_announce_is_refused(tmp_path: Path, way: dict[str, str]) -> None:
    with pytest.raises(Refused, match="announced by gossip or on chain"):
        await Desk(tmp_path).submit(**way)


async def test_a_job_is_asked_for_again_under_another_salt(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    job = await desk.submit(announce="chain", policy="first")
    started = requester.submit(job).job
    assert isinstance(started, requester.Announcing)
    renewed = desk.submission.renew(started.order, MARKET)
    assert renewed.demand.salt != job.demand.salt
    assert renewed.demand.deal_id != job.demand.deal_id
    assert renewed.announcement is not None
    assert renewed.demand.spec == job.demand.spec


EXACT = JOB + "verification: exact\n"
COURT = Address(b"\x0c" * 20)


async def test_a_market_without_a_court_makes_no_rules(tmp_path: Path) -> None:
    desk = Desk(tmp_path, pools=frozenset({class_pool("x86_64-v3")}))
    job = await desk.submit(EXACT)
    assert (job.demand.rules, job.demand.hardware_class) == (None, "")
    assert "no court" in desk.notes[0]
    assert desk.judging == []


async def test_arbiters_of_the_first_class_that_can_judge_do(tmp_path: Path) -> None:
    desk = Desk(tmp_path, court=COURT, pools=frozenset({class_pool("x86_64-v4")}))
    job = await desk.submit(EXACT)
    rules = job.demand.rules
    assert rules is not None
    assert (rules.pool, rules.quorum, job.demand.hardware_class) == (class_pool("x86_64-v4"), 0, "x86_64-v4")
    assert (rules.max_state_bytes, rules.step_s) == (16 * 2**20, 10)
    price, fee = 15 * TOKEN // 10, rules.arbiter_fee_wei
    assert fee == price + ARBITER_FEE_WEI, "the whole job is one step"
    assert desk.judging[-1] == (rules.pool, 0, price + 3 * (3 * fee + GAS_ALLOWANCE_WEI)), "the cap and the bond"
    assert "arbiters of x86_64-v4 judge" in desk.notes[0]
    assert "everybody" in desk.notes[1]
    assert job.demand.verification_wei == 3 * rules.arbiter_fee_wei


async def test_a_class_that_the_job_names_is_not_replaced(tmp_path: Path) -> None:
    desk = Desk(tmp_path, court=COURT, pools=frozenset({class_pool("x86_64-v4")}))
    job = await desk.submit(EXACT.replace("disk: 16MiB", "disk: 16MiB, hardware_class: x86_64-v2"))
    assert (job.demand.rules, job.demand.hardware_class) == (None, "x86_64-v2")
    assert "no class of arbiters is large enough for" in desk.notes[0]


NAMES = tuple(Address(bytes([number]) * 20) for number in (1, 2, 3))
NAMED = NamedSet(NAMES, 2)


def naming(*arbiters: Address, text: str = EXACT, more: str = "") -> str:
    listed = ", ".join(f"'0x{one.hex()}'" for one in arbiters)
    return text.replace("verification: exact", f"verification: {{class: exact, arbiters: [{listed}]{more}}}")


async def test_named_arbiters_judge_where_no_class_can(tmp_path: Path) -> None:
    desk = Desk(tmp_path, court=COURT, pools=frozenset({NAMED.pool}))
    taken = await desk.take_in(naming(*NAMES[::-1]))
    demand, spec = taken.event.demand, taken.event.spec
    assert demand.rules is not None
    assert (demand.rules.pool, demand.rules.quorum, demand.named) == (NAMED.pool, 2, NAMED)
    assert (demand.hardware_class, spec.hardware_class) == ("x86_64-v3", "x86_64-v3"), (
        "the first class that was heard of"
    )
    assert demand.spec == spec_digest(spec)
    assert [(pool, quorum) for pool, quorum, _ in desk.judging] == [(NAMED.pool, 2)], "no class is asked for"
    assert "of 3 named arbiters 2 have to agree" in desk.notes[0]
    await desk.submission.make_known(taken)
    assert desk.told == [], "the court knows them already"
    again = desk.submission.renew(taken.event, MARKET).demand
    assert (again.named, again.salt == demand.salt) == (NAMED, False)


async def test_a_set_that_is_new_to_the_court_is_told_when_the_job_is_sent_and_not_before(tmp_path: Path) -> None:
    desk = Desk(tmp_path, court=COURT)
    taken = await desk.take_in(naming(*NAMES, more=", quorum: 3"))
    assert (taken.judged.is_known, desk.told) == (False, [])
    await desk.submission.make_known(taken)
    assert desk.told == [NAMES]


async def test_a_requester_cannot_name_itself_nor_leave_the_gpu_open(tmp_path: Path) -> None:
    desk = Desk(tmp_path, court=COURT)
    with pytest.raises(Refused, match="own wallet is one of the arbiters"):
        await desk.take_in(naming(*NAMES, WALLET.address))
    gpu = EXACT.replace("disk: 16MiB", "disk: 16MiB, gpu: {}")
    with pytest.raises(Refused, match="name the GPU's class"):
        await desk.take_in(naming(*NAMES, text=gpu))
    without = Desk(tmp_path)
    assert (await without.take_in(naming(*NAMES))).judged.rules is None
    assert "no court" in without.notes[0]


async def test_class_none_asks_nobody_and_is_read_by_its_provider_only(tmp_path: Path) -> None:
    desk = Desk(tmp_path, court=COURT, pools=frozenset({class_pool("x86_64-v3")}))
    job = await desk.submit(JOB + "verification: none\n")
    assert (job.demand.rules, desk.judging) == (None, [])
    assert "nothing of the result is verified" in desk.notes[0]
    assert "nobody else" in desk.notes[1]


async def test_a_replicated_job_says_what_all_of_it_costs_and_is_worth(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    job = await desk.submit(JOB + "verification: {class: replicated, replicas: 5}\n")
    assert (job.demand.rules, job.demand.verification_wei, job.demand.audit_rate_ppm) == (None, 0, 0)
    assert job.demand.price_cap_wei == 15 * TOKEN // 10
    assert "nobody judges it" in desk.notes[0]
    assert "they must not see each other's results" in desk.notes[1]
    assert "5 different providers do it and each is paid, 7.5 tokens in all at most" in desk.notes[2]
    again = desk.submission.renew(job, MARKET).demand
    assert again.salt != job.demand.salt
    assert replace(again, salt=job.demand.salt, expires_at=job.demand.expires_at) == job.demand


async def test_a_replicated_job_has_to_choose_and_to_be_paid_for(tmp_path: Path) -> None:
    text = JOB + "verification: replicated\n"
    with pytest.raises(Refused, match="has to choose its providers"):
        await Desk(tmp_path).submit(text, announce="chain", policy="first")
    with pytest.raises(Refused, match=r"4\.5 tokens for 3 replicas is above"):
        await Desk(tmp_path, max_price_wei=Wei(4 * TOKEN)).submit(text)
    poor = Desk(tmp_path)
    poor.market.free_wei = Wei(4 * TOKEN)
    with pytest.raises(Refused, match=r"4\.5"):
        await poor.submit(text)
