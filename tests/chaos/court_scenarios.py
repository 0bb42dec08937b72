"""Whole deals of which the result is disputed or audited, as functions of a court town."""

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from capanode.node.api.client import NodeClient
from capanode.node.api.port import Json
from capanode.node.chain import court as courts
from capanode.node.challenged.briefs import papers_of
from capanode.protocol.faults import Refused, Unavailable
from tests.chaos.court_town import ARBITERS, CLOCKS, evidence, filed, leaves_kept_back, send_to_court
from tests.chaos.crash_town import ENDED, CrashTown
from tests.chaos.forger import FORGED
from tests.chaos.misled import MISLED
from tests.chaos.scenarios import COUNT, Job, Scenario
from tests.e2e.town import events

PATIENT: Final = "30s"
"""For a step of a job that must come to its end however slow the machine."""

LONGER_THAN_A_DISPUTABLE_DEAL_S: Final = 900
LONGER_THAN_AN_ANSWER_S: Final = CLOCKS.answer_time + 1
LONGER_THAN_AN_APPEAL_S: Final = CLOCKS.appeal_time + 1
LONGER_THAN_REVEALS_S: Final = CLOCKS.reveal_time + 1
MORE_BLOCKS_THAN_ARE_HASHED: Final = 300
"""After which nobody can draw by a block any more."""

JOINED_BLOCKS: Final = 40
"""How long a case can be joined in the town of `joined`."""


def cheated(town: CrashTown) -> Job:
    """The provider leaves a step out; the watcher disputes it, three arbiters look, and the money comes back."""
    job, deal_id = _disputable(town, 3)
    # What the requester buys in its place would be no better.
    town.ask("provider", lambda client: client.drain(on=True))
    town.ask("watcher", lambda client: client.dispute("open", deal=deal_id, step=2))
    _until_judged(town, job, deal_id)
    return job


def appealed(town: CrashTown) -> Job:
    """The same, and somebody who does not like the verdict pays for another committee."""
    job, deal_id = _disputable(town, 3)
    town.ask("provider", lambda client: client.drain(on=True))
    town.ask("watcher", lambda client: client.dispute("open", deal=deal_id, step=2))
    town.until("another committee is drawn", partial(_has_appealed, town, deal_id))
    _until_judged(town, job, deal_id)
    return job


def asked(town: CrashTown) -> Job:
    """Somebody says that the leaves are withheld: the provider shows some on chain, hears no more, and is paid."""
    job, deal_id = _disputable(town, 17)
    town.ask("watcher", lambda client: list(client.check(deal_id, 0, None)))
    send_to_court(town, courts.demand_leaves(papers_of(evidence(town, "watcher", deal_id)), 0))
    town.until("leaves are shown", lambda: _case(town, deal_id)["phase"] == "ANSWERED")
    town.let_pass(LONGER_THAN_AN_ANSWER_S)
    _until_case_over(town, deal_id)
    town.let_pass(LONGER_THAN_A_DISPUTABLE_DEAL_S)
    return job


def questioned(town: CrashTown) -> Job:
    """Leaves are demanded twice: once the provider shows some and hears no more, once it is away and loses the deal."""
    job, deal_id = _disputable(town, 17)
    town.ask("provider", lambda client: client.drain(on=True))
    town.ask("watcher", lambda client: list(client.check(deal_id, 0, None)))
    papers = papers_of(evidence(town, "watcher", deal_id))
    send_to_court(town, courts.demand_leaves(papers, 0))
    town.until("leaves are shown", lambda: _case(town, deal_id)["phase"] == "ANSWERED")
    town.let_pass(LONGER_THAN_AN_ANSWER_S)
    _until_case_over(town, deal_id)
    town.nodes["provider"].down()
    send_to_court(town, courts.demand_leaves(papers, 1))
    town.until("leaves are demanded", lambda: _case(town, deal_id)["phase"] == "ASKED")
    town.let_pass(LONGER_THAN_AN_ANSWER_S)
    town.until_job(job.buyer, job.job_id, "judged", lambda view: "DealJudged" in events(view))
    town.nodes["provider"].start()
    _until_cancelled(town, job)
    _until_case_over(town, deal_id)
    town.ask("provider", lambda client: client.drain(on=False))
    return job


def withheld(town: CrashTown) -> Job:
    """Leaves are kept back until they are asked for on chain, and then lead the watcher down to the first wrong one."""
    job, deal_id = _disputable(town, 17)
    town.ask("provider", lambda client: client.drain(on=True))

    def demand(client: NodeClient) -> None:
        if not any(one["deal_id"] == deal_id for one in client.dispute("list")["challenges"]):
            client.dispute("open", deal=deal_id, leaves=True)

    with leaves_kept_back(town, deal_id):
        town.ask("watcher", demand)
    _until_judged(town, job, deal_id)
    return job


def joined(town: CrashTown) -> Job:
    """Watcher and requester say the same of one step, in one case, and share what there is to be had."""
    job, deal_id = _disputable(town, 3)
    town.ask("provider", lambda client: client.drain(on=True))
    for who in ("requester", "watcher"):
        town.ask(who, lambda client: client.dispute("open", deal=deal_id, step=2))
    town.until("both are in the case", lambda: len(_case(town, deal_id).get("challengers", ())) == 2)
    # No need to wait until nobody may join any more.
    _mine(town, JOINED_BLOCKS)
    _until_judged(town, job, deal_id)
    return job


def redrawn(town: CrashTown) -> Job:
    """Two of three arbiters are away when it is time to vote, so that others have to be drawn."""
    job, deal_id = _disputable(town, 3)
    town.ask("provider", lambda client: client.drain(on=True))
    present, *away = ARBITERS
    for who in away:
        town.nodes[who].down()
    town.ask("watcher", lambda client: client.dispute("open", deal=deal_id, step=2))
    town.until("a case is there", lambda: _case(town, deal_id)["phase"] != "NONE")
    town.until("the one that is there votes", lambda: "Cast" in _duties(town, present, deal_id))
    (committee,) = _case(town, deal_id)["rounds"]
    town.let_pass(max(1, committee["vote_by"] - town.time() + 1))
    town.until("its vote is known", lambda: len(_votes(town, deal_id)) == 1)
    for who in away:
        town.nodes[who].start()
    town.until_peered()
    town.let_pass(LONGER_THAN_REVEALS_S)
    _until_judged(town, job, deal_id)
    return job


def retargeted(town: CrashTown) -> Job:
    """Somebody appeals while no node is up, until the block is forgotten by which to draw."""
    job, deal_id = _disputable(town, 3)
    town.ask("provider", lambda client: client.drain(on=True))
    town.ask("watcher", lambda client: client.dispute("open", deal=deal_id, step=2))
    town.until("a verdict is there", lambda: _case(town, deal_id)["phase"] == "DECIDED")
    town.before_time_passes()
    appeal = courts.appeal(papers_of(evidence(town, "watcher", deal_id)), filed(town, "watcher", deal_id))
    for node in town.nodes.values():
        node.down()
    send_to_court(town, appeal)
    _mine(town, MORE_BLOCKS_THAN_ARE_HASHED)
    for node in town.nodes.values():
        node.start()
    town.until_peered()
    town.until("another committee is drawn", lambda: len(_case(town, deal_id)["rounds"]) == 2)
    _until_judged(town, job, deal_id)
    return job


def contested(town: CrashTown) -> Job:
    """Three arbiters agree on a leaf that is wrong in another way: the watcher appeals, and then they are right."""
    # As cheap as it is, another committee is worth it.
    job, deal_id = _disputable(town, 6, cap="0.1")
    town.ask("provider", lambda client: client.drain(on=True))
    signs = [town.parties[who].folder.root / MISLED for who in ARBITERS]
    for sign in signs:
        sign.touch()
    town.ask("watcher", lambda client: client.dispute("open", deal=deal_id, step=4))
    town.until("all have voted", lambda: len(_votes(town, deal_id)) == len(ARBITERS))
    for sign in signs:
        sign.unlink()
    town.until("another committee is drawn", lambda: len(_case(town, deal_id)["rounds"]) == 2)
    _until_judged(town, job, deal_id)
    return job


def exposed(town: CrashTown) -> Job:
    """A leaf says what none may: the watcher shows it to the court, which needs no committee to see that."""
    order = town.order(COUNT, steps=3, accept="wait", timeout=PATIENT)
    job = Job("requester", town.submit("requester", order))
    view = town.until_job(job.buyer, job.job_id, "committed", lambda view: "DealCommitted" in events(view))
    deal_id = view.deal_id
    assert deal_id is not None
    town.ask("provider", lambda client: client.drain(on=True))
    town.ask("watcher", lambda client: client.dispute("open", deal=deal_id, spec=FORGED))
    town.until_job(job.buyer, job.job_id, "judged", lambda view: "DealJudged" in events(view))
    town.before_time_passes()
    _until_cancelled(town, job)
    town.until("nobody has anything to say", lambda: _have_ended(town, deal_id))
    town.ask("provider", lambda client: client.drain(on=False))
    return job


def audited(town: CrashTown) -> Job:
    """The lot falls on a result that is right; the arbiters are paid for looking, and so is the provider."""
    # Of two steps the provider leaves none out, so that the verdict does not depend on which one is drawn.
    job, deal_id = _disputable(town, 2, verification="{class: exact, audit_rate: 1}")
    town.until("a verdict is there", lambda: _case(town, deal_id)["phase"] == "DECIDED")
    town.let_pass(LONGER_THAN_AN_APPEAL_S)
    _until_case_over(town, deal_id)
    town.let_pass(LONGER_THAN_A_DISPUTABLE_DEAL_S)
    return job


def _has_appealed(town: CrashTown, deal_id: str) -> bool:
    """Whether the second committee is there; else it is asked for as soon as that is possible, and again if need be."""
    case = _case(town, deal_id)
    if case["phase"] == "DECIDED" and len(case["rounds"]) == 1:
        with suppress(Refused, Unavailable):
            papers = papers_of(evidence(town, "watcher", deal_id))
            send_to_court(town, courts.appeal(papers, filed(town, "watcher", deal_id)))
    return len(case.get("rounds", ())) == 2


def _disputable(town: CrashTown, steps: int, verification: str = "exact", cap: str = "0.5") -> tuple[Job, str]:
    """A job whose result is there, and the deal that it is of."""
    order = town.order(COUNT, steps=steps, accept="wait", timeout=PATIENT, verification=verification, cap=cap)
    job = Job("requester", town.submit("requester", order))
    view = town.until_job(job.buyer, job.job_id, "delivered", lambda view: view.phase == "Delivered")
    assert view.deal_id is not None
    return job, view.deal_id


def _case(town: CrashTown, deal_id: str) -> Json:
    """The newest case about a deal, as the watcher knows it; its phase is NONE where there is none."""
    cases = town.ask("watcher", lambda client: client.dispute("list"))["cases"]
    return next((one for one in cases if one["deal_id"] == deal_id), {"phase": "NONE"})


def _until_judged(town: CrashTown, job: Job, deal_id: str) -> None:
    """The verdict stands, the money is back, and nobody wants another result."""
    town.until("a verdict is there", lambda: _case(town, deal_id)["phase"] == "DECIDED")
    town.let_pass(LONGER_THAN_AN_APPEAL_S)
    town.until_job(job.buyer, job.job_id, "judged", lambda view: "DealJudged" in events(view))
    _until_cancelled(town, job)
    _until_case_over(town, deal_id)
    town.ask("provider", lambda client: client.drain(on=False))


def _until_case_over(town: CrashTown, deal_id: str) -> None:
    """Closed and paid for, and nobody waits for anything any more."""

    def is_over() -> bool:
        case = _case(town, deal_id)
        is_closed = case["phase"] == "CLOSED" and all(one["is_paid"] for one in case["rounds"])
        return is_closed and _have_ended(town, deal_id)

    town.until("the case is over", is_over)


def _have_ended(town: CrashTown, deal_id: str) -> bool:
    """Whether all challenges and duties have."""
    said = [town.ask(who, lambda client: client.dispute("list")) for who in ("requester", "watcher", *ARBITERS)]
    return all(row["has_ended"] for one in said for row in (*one["challenges"], *one["duties"]))


def _votes(town: CrashTown, deal_id: str) -> list[Json]:
    """Those that were revealed in the newest round of the newest case about a deal."""
    rounds = _case(town, deal_id).get("rounds")
    return rounds[-1]["votes"] if rounds else []


def _duties(town: CrashTown, who: str, deal_id: str) -> list[str]:
    """Phases of an arbiter's duties in the newest case about a deal."""
    duties, case_id = town.ask(who, lambda client: client.dispute("list"))["duties"], _case(town, deal_id)["case_id"]
    return [one["phase"] for one in duties if one["case_id"] == case_id]


def _mine(town: CrashTown, blocks: int) -> None:
    """So many blocks at once, where nothing that has to come again lies below them."""
    town.before_time_passes()
    town.mine(blocks)


def _until_cancelled(town: CrashTown, job: Job) -> None:
    def cancel(client: NodeClient) -> None:
        with suppress(Refused):
            client.cancel(job.job_id)

    while town.job(job.buyer, job.job_id).phase not in ENDED:
        town.ask(job.buyer, cancel)
        time.sleep(0.1)


IN_COURT: Final[Mapping[str, Scenario]] = {one.__name__: one for one in (cheated, asked, withheld)}
"""Those in which nodes are killed."""
