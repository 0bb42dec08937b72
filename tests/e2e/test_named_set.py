"""A cheat judged by arbiters whom both sides accept by name, where the class has too few to judge anything."""

from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
import trio

from capanode.contracts_abi import bindings
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder
from capanode.node.chain.contracts import resolve
from capanode.node.chain.deploy import DEVNET_COURT_CLOCKS
from capanode.node.chain.pools import Pools
from capanode.node.chain.rpc import open_rpc
from capanode.node.devnet import DevnetPlan
from capanode.node.devnet_leftovers import clear_away
from capanode.node.devnet_parties import COIN, Grant, Party, fund, join, make_party
from capanode.node.executors.hardware import this_cpu_class
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, Wei
from capanode.protocol.judging import class_pool, named_pool
from capanode.protocol.named_set import in_order
from tests.e2e.test_dispute import STEPS, WITHIN_S, disputes, settled_wealth, take_work, the_one, watcher_of
from tests.e2e.test_steps import COUNT
from tests.e2e.town import Town, events, eventually, open_planned_town

AWAY: Final = Address(b"\x0a" * 20)
"""The third of the set: it never votes, and two are enough."""

VOTE_S: Final = DEVNET_COURT_CLOCKS.vote_time + 2 * 10 + 2
"""How long its vote is awaited: the court's time, that for two steps, and that for a state of two MiB."""


pytestmark = pytest.mark.timeout(580)
"""Six nodes are started, and a clock of the court has to pass."""


@pytest.fixture(scope="module")
def arbiters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Party, ...]:
    """Two who judge and nothing else; they exist before anybody can list them."""
    place = tmp_path_factory.mktemp("arbiters")

    async def made() -> tuple[Party, ...]:
        return tuple(
            [
                await make_party(place, name, "arbiter", listen="127.0.0.1", port=None, extra="")
                for name in ("judith", "jude")
            ]
        )

    return trio.run(made)


@pytest.fixture(scope="module")
def town(shell_image: Path, arbiters: tuple[Party, ...], tmp_path_factory: pytest.TempPathFactory) -> Generator[Town]:
    """One honest provider, one that cheats, and a watcher; all of them know the two arbiters."""
    known = ", ".join(f'"0x{party.address.hex()}"' for party in arbiters)
    trusting = f"[provider]\nnamed_arbiters = [{known}]\n"
    plan = DevnetPlan(
        tmp_path_factory.mktemp("named") / "devnet",
        providers=1,
        cheater=True,
        watcher=True,
        idle_block_s=1,
        provider_config=(trusting,),
        cheater_config=trusting,
        watcher_config=f"sample_ppm = 1_000_000\nnamed_arbiters = [{known}]\n",
    )
    with open_planned_town(plan, shell_image) as opened:
        devnet = opened.devnet
        for party in arbiters:
            join(party.folder, devnet.profile)
        gas_only = Grant(Wei(COIN), Wei(0), Wei(0), Wei(0))
        opened.run(fund, devnet.root, devnet.profile, [(party, gas_only) for party in arbiters])
        for party in arbiters:
            opened.start(party)
        try:
            yield opened
        finally:
            for party in arbiters:
                opened.kill(party)
                opened.run(clear_away, party.peer_id, party.folder)


def naming(town: Town, *named: Address) -> JobOrder:
    """A job in steps that names who judges it."""
    order = town.order_of_steps(COUNT, STEPS, accept="never")
    listed = ", ".join(f"'0x{one.hex()}'" for one in named)
    text = order.text.replace("{class: exact,", f"{{class: exact, arbiters: [{listed}], quorum: 2,")
    assert text != order.text
    return JobOrder(text, order.folder, order.name, None, "gossip", "award", "never")


def what_is_said(town: Town, order: JobOrder) -> tuple[str, list[str]]:
    """The job that was sent, and what its requester was told before."""
    told, job_id = list[str](), ""
    for item in town.client.submit(order):
        if "note" in item:
            told.append(item["note"])
        if "progress" in item:
            told.append(item["progress"]["doing"])
        if "job" in item:
            job_id = item["job"].job_id
    return job_id, told


def phase_of_duty(party: Party) -> str:
    """Where the only duty of an arbiter is; empty before it has one."""
    return "".join(one["phase"] for one in disputes(party)["duties"])


def knows_nobody(party: Party) -> bool:
    """Whether a provider has said no to a set of strangers."""
    return "2 decide, and this node knows 0" in (party.folder.root / "node.log").read_text()


def can_judge(town: Town, pool: bytes, quorum: int) -> bool:
    async def ask() -> bool:
        profile = town.devnet.profile
        async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
            market = (await resolve(rpc, profile)).markets[0]
            return await Pools(rpc).can_judge(market, pool, quorum, Wei(1))  # type: ignore[arg-type]

    found: bool = town.run(ask)
    return found


def test_two_of_three_named_arbiters_convict_a_cheat_that_no_class_could_judge(
    town: Town, arbiters: tuple[Party, ...]
) -> None:
    watcher, cheater, honest = watcher_of(town), town.providers[-1], town.providers[0]
    named = in_order((*(party.address for party in arbiters), AWAY))
    addresses = [f"0x{one.hex()}" for one in named]
    assert not can_judge(town, class_pool(this_cpu_class()), 0), "two arbiters of the class are too few"

    # Without names nobody can judge it; the requester is told what to do.
    plain = town.client.quote(town.order_of_steps(COUNT, STEPS))
    assert (plain["is_disputable"], "verification.arbiters" in plain["judged_by"]) == (False, True)
    with pytest.raises(Refused, match="own wallet is one of the arbiters"):
        town.client.quote(naming(town, town.requester.address, *named[:2]))
    quote = town.client.quote(naming(town, *named))
    assert (quote["is_disputable"], "of 3 named arbiters 2 have to agree" in quote["judged_by"]) == (True, True)
    assert not can_judge(town, named_pool(named), 2), "a quote sends nothing"

    # One of them agrees before the job is sent, and so makes the set known; the other one may as well.
    for party in arbiters:
        serving = NodeClient(party.folder.socket).dispute("enroll", arbiters=addresses[::-1])
        assert [one["arbiters"] for one in serving["named_sets"]] == [addresses]
    assert can_judge(town, named_pool(named), 2)

    before = settled_wealth(town, *arbiters)
    take_work([honest], is_on=False)
    job_id, told = what_is_said(town, naming(town, *named))
    assert any("of 3 named arbiters 2 have to agree" in sentence for sentence in told)
    running = town.until(job_id, lambda view: view.state == "running", within_s=WITHIN_S)
    assert town.provider_of(running) == cheater
    take_work([cheater], is_on=False)
    # The third of them never votes: its time has to pass.
    eventually(lambda: [phase_of_duty(party) for party in arbiters] == ["Cast"] * 2, WITHIN_S)
    town.let_pass(VOTE_S)
    judged = town.until(job_id, lambda view: "DealJudged" in events(view), within_s=WITHIN_S)
    assert "DealJudged" in events(judged)
    town.client.cancel(job_id)
    eventually(lambda: all(one["has_ended"] for one in disputes(watcher)["challenges"]))
    eventually(lambda: all(one["is_paid"] for one in disputes(watcher)["cases"][0]["rounds"]))
    for party in arbiters:
        NodeClient(party.folder.socket).dispute("collect", request=party.name)
    gained = settled_wealth(town, *arbiters).since(before)

    (challenge,), (case,) = disputes(watcher)["challenges"], disputes(watcher)["cases"]
    assert (challenge["phase"], challenge["kind"], challenge["step"]) == ("Won", "STEP", 3)
    assert (case["verdict"], case["phase"], len(case["rounds"])) == ("OVERTURNED", "CLOSED", 1)
    (committee,) = case["rounds"]
    assert committee["arbiters"] == addresses, "everybody named has a seat"
    assert sorted(vote["vote"] for vote in committee["votes"]) == ["OVERTURN"] * 2
    bond = the_one(town, bindings.DealJudged).slashed
    assert gained.parties["cheater"] == -bond
    assert gained.parties["requester"] == 0
    assert {gained.parties[party.name] for party in arbiters} == {case["fee_wei"]}
    # What the third would have earned is burned: it has no stake to lose.
    assert gained.burned_wei == case["burned_wei"] + case["fee_wei"]
    assert sum(gained.parties.values()) + gained.burned_wei == 0


def test_a_set_of_strangers_finds_no_provider(town: Town) -> None:
    """They could convict whomever they like, and nobody would be paid."""
    take_work(town.providers, is_on=True)
    strangers = (Address(b"\x0b" * 20), Address(b"\x0c" * 20))
    job_id, told = what_is_said(town, naming(town, *strangers, AWAY))
    assert "telling the court who judges" in told
    assert can_judge(town, named_pool((*strangers, AWAY)), 2)
    eventually(lambda: all(knows_nobody(party) for party in town.providers), WITHIN_S)
    assert not town.client.job(job_id).provider
    town.client.cancel(job_id)
