"""Whole disputes on a real chain, real engines and real peers: who is wrong pays, whoever that is, to the last unit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from capanode.contracts_abi import bindings
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobView, Json
from capanode.node.chain.rpc import open_rpc
from capanode.node.devnet import DevnetPlan
from capanode.node.devnet_leftovers import clear_away
from capanode.node.devnet_parties import COIN, TOKEN, Grant, Party, fund, join, make_party
from capanode.protocol.ids import Wei
from demo.court_room import CourtRoom, Happened, found
from tests.e2e.fortunes import Fortunes, fortunes
from tests.e2e.test_challenge_check import checked
from tests.e2e.test_steps import COUNT
from tests.e2e.town import Town, events, eventually, false_checks, open_planned_town, result

STEPS: Final = 5
WITHIN_S: Final = 120.0


@pytest.fixture(scope="module")
def town(shell_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Three honest providers, of which each also judges, one that cheats, and a watcher that looks at everything."""
    plan = DevnetPlan(
        tmp_path_factory.mktemp("court") / "devnet",
        providers=3,
        cheater=True,
        watcher=True,
        idle_block_s=1,
    )
    with open_planned_town(plan, shell_image) as opened:
        yield opened


def watcher_of(town: Town) -> Party:
    assert town.devnet.watcher is not None
    return town.devnet.watcher


def cases_of(party: Party, view: JobView) -> list[Json]:
    return [one for one in disputes(party)["cases"] if one["deal_id"] == view.deal_id]


def disputes(party: Party) -> Json:
    return NodeClient(party.folder.socket).dispute("list")


def wealth(town: Town, *others: Party) -> Fortunes:
    parties = (town.requester, *town.providers, watcher_of(town), *others)
    found: Fortunes = town.run(fortunes, town.devnet.profile, parties)
    return found


def settled_wealth(town: Town, *others: Party) -> Fortunes:
    """Once no deal and no case holds any money."""
    eventually(lambda: (wealth(town, *others).unexplained_wei, wealth(town, *others).court_open_wei) == (0, 0), 60)
    return wealth(town, *others)


def on_chain(town: Town) -> list[Happened]:
    async def listen() -> list[Happened]:
        async with open_rpc(town.devnet.profile.rpc_urls, town.devnet.profile.chain_id) as rpc:
            return await CourtRoom(rpc).listen()

    heard: list[Happened] = town.run(listen)
    return heard


def the_one(town: Town, kind: type, **fields: Any) -> Any:
    """The only event of a kind with these fields."""
    every = found(on_chain(town), kind)
    (one,) = (event for event in every if all(getattr(event, name) == value for name, value in fields.items()))
    return one


def take_work(providers: Sequence[Party], *, is_on: bool) -> None:
    """Who is to win the next job, on a machine however busy; judging goes on."""
    for party in providers:
        NodeClient(party.folder.socket).drain(on=not is_on)


@contextmanager
def mistaken(town: Town) -> Iterator[Party]:
    """A node that checks on a machine which goes wrong; it has nothing at stake as provider or arbiter."""
    devnet = town.devnet

    async def made() -> Party:
        place = devnet.root / "nodes"
        program = "tests.e2e.wrong_machine"
        # As sure as it is, it would appeal, and lose that as well.
        extra = "[challenger]\nmax_appeal_tokens = 0\n"
        one = await make_party(
            place, "mistaken", "provider", listen="127.0.0.1", port=None, extra=extra, program=program
        )
        join(one.folder, devnet.profile)
        await fund(devnet.root, devnet.profile, [(one, Grant(Wei(COIN), Wei(20 * TOKEN), Wei(10 * TOKEN), Wei(0)))])
        return one

    party: Party = town.run(made)
    town.start(party)
    try:
        yield party
    finally:
        town.kill(party)
        town.run(clear_away, party.peer_id, party.folder)


def test_a_cheat_is_found_out_and_pays_for_everything(town: Town) -> None:
    watcher, cheater = watcher_of(town), town.providers[-1]
    honest_ones = town.providers[:-1]
    before = settled_wealth(town)
    take_work(honest_ones, is_on=False)
    job = town.submit(town.order_of_steps(COUNT, STEPS, accept="never"))
    running = town.until(job.job_id, lambda view: view.state == "running", within_s=WITHIN_S)
    assert town.provider_of(running) == cheater
    take_work([cheater], is_on=False)
    take_work(honest_ones, is_on=True)
    judged = town.until(job.job_id, lambda view: "DealJudged" in events(view), within_s=WITHIN_S)
    assert "DealJudged" in events(judged)
    again = town.until(job.job_id, lambda view: view.phase == "Delivered", within_s=WITHIN_S)
    assert town.provider_of(again) != cheater
    assert result(again, "n") == b"10\n"
    town.client.accept(job.job_id)
    view = town.until(job.job_id, lambda _: False, within_s=WITHIN_S)
    assert (view.state, false_checks(view)) == ("paid", [])
    eventually(lambda: all(one["has_ended"] for one in disputes(watcher)["challenges"]))
    gained = settled_wealth(town).since(before)

    (challenge,), (case,) = disputes(watcher)["challenges"], disputes(watcher)["cases"]
    assert (challenge["phase"], challenge["kind"], challenge["step"]) == ("Won", "STEP", 3)
    assert (case["verdict"], case["phase"], len(case["rounds"])) == ("OVERTURNED", "CLOSED", 1)
    assert [one["vote"] for one in case["rounds"][0]["votes"]] == ["OVERTURN"] * 3
    bond = the_one(town, bindings.DealJudged).slashed
    fees_wei, bounty_wei, burned_wei = 3 * case["fee_wei"], case["bounty_wei"], case["burned_wei"]
    assert gained.parties["cheater"] == -bond
    assert gained.parties["requester"] == -view.paid_wei
    assert gained.parties["watcher"] == bond - fees_wei - burned_wei > bounty_wei > 0
    assert gained.burned_wei == burned_wei
    assert 5 * burned_wei >= 2 * bond
    honest = {party.name: case["fee_wei"] for party in honest_ones}
    honest[town.provider_of(view).name] += view.paid_wei
    assert {name: gained.parties[name] for name in honest} == honest
    assert sum(gained.parties.values()) + gained.burned_wei == 0


def test_an_honest_provider_that_is_away_all_the_time_wins(town: Town) -> None:
    with mistaken(town) as challenger:
        before = settled_wealth(town, challenger)
        job = town.submit(town.order_of_steps(COUNT, STEPS, accept="never"))
        view = town.until(job.job_id, lambda view: view.phase == "Delivered", within_s=WITHIN_S)
        provider = town.provider_of(view)
        mistake = checked(challenger, view.deal_id)
        assert (mistake["verdict"], mistake["divergent_step"]) == ("differs", 0)
        town.kill(provider)

        opened = NodeClient(challenger.folder.socket).dispute("open", deal=view.deal_id, step=0)["challenge"]
        eventually(lambda: [one["phase"] for one in cases_of(challenger, view)] == ["CLOSED"], WITHIN_S)
        eventually(lambda: all(one["is_paid"] for one in cases_of(challenger, view)[0]["rounds"]))
        (case,) = cases_of(challenger, view)
        assert (case["verdict"], len(case["rounds"])) == ("UPHELD", 1)
        assert [one["vote"] for one in case["rounds"][0]["votes"]] == ["UPHOLD"] * 3
        assert f"0x{provider.address.hex()}" not in case["rounds"][0]["arbiters"]

        town.start(provider)
        assert view.window_ends_at is not None
        town.let_pass(STEPS * 60)
        view = town.until(job.job_id, lambda _: False, within_s=WITHIN_S)
        assert view.state == "paid"
        lost = [one for one in disputes(challenger)["challenges"] if one["name"] == opened["name"]]
        assert [one["phase"] for one in lost] == ["Lost"]
        gained = settled_wealth(town, challenger).since(before)

    bond = case["challengers"][0]["bond_wei"]
    assert gained.parties["mistaken"] == -bond
    assert gained.parties["requester"] == -view.paid_wei
    assert gained.burned_wei == bond - 3 * case["fee_wei"]
    fees = {party.name: case["fee_wei"] for party in town.providers if party != provider}
    assert {name: gained.parties[name] for name in fees} == fees
    assert gained.parties[provider.name] == view.paid_wei
    assert sum(gained.parties.values()) + gained.burned_wei == 0
