"""Whole deals for the crash test, one for each way in and each way out, as functions of a town."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobView
from capanode.protocol.faults import Refused
from tests.chaos.crash_town import DEALS_ENDED, ENDED, CrashTown, NotInTime
from tests.e2e.town import events, false_checks

ANSWER: Final = "echo $((6 * 7)) > /out/answer"
COUNT: Final = "[ ! -f /state/answer ] || read n < /state/answer; echo $((n + CAPANODE_STEP)) > /state/answer"
SLOW: Final = "echo up; sleep 3; echo $((6 * 7)) > /out/answer"

DEPOSIT: Final = 10**18
HUGE: Final = "3000GiB"
LONGER_THAN_A_DEMAND_S: Final = 700
LONGER_THAN_A_DEAL_S: Final = 300


@dataclass(frozen=True, slots=True)
class Ending:
    """All that must be the same however often a process died on the way; `buyer` says who bought."""

    buyer: str
    jobs: tuple[str, ...]
    """State, way, exit code and result of each job."""
    deals: tuple[str, ...]
    """Phases of the provider's new deals."""
    tokens: Mapping[str, int]
    """What each party gained, base units."""
    locked: Mapping[str, int]
    transactions: Mapping[str, int]
    """Nonces that each party used; or all of them together, where any may do what is due."""
    events: Mapping[str, int]
    """What market and court have logged."""
    starts: tuple[int, ...]
    """How often the engine started the container of each execution."""
    left: tuple[str, ...]
    """What lies about afterwards."""
    odd_exits: tuple[int, ...]
    """Ends of processes that neither a signal nor an order explains."""

    def differences(self, other: "Ending") -> list[str]:
        """What is not the same, in words."""
        mine, theirs = _plain(self), _plain(other)
        return [f"{name}: {mine[name]} instead of {theirs[name]}" for name in mine if mine[name] != theirs[name]]


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was bought: by whom, and its id."""

    buyer: str
    job_id: str


FINAL: Final = "transaction.final"

Scenario = Callable[[CrashTown], Job]


def live_through(town: CrashTown, scenario: Scenario) -> Ending:
    """Run a scenario to the very end of its deals, and look at what has come of it."""
    with town.counting_starts() as starts:
        return _lived_through(town, scenario, starts)


def _lived_through(town: CrashTown, scenario: Scenario, starts: Callable[[], list[int]]) -> Ending:
    before = town.count()
    known = {deal.deal_id for deal in town.deals()} if town.nodes["provider"].is_wanted else set[str]()
    exits = {name: len(node.odd_exits) for name, node in town.nodes.items()}
    job = scenario(town)
    view = town.until_job(job.buyer, job.job_id, "over", lambda _: False)
    _until_deals_ended(town, known)
    left = _until_clean(town)
    after = town.count()
    return Ending(
        buyer=job.buyer,
        jobs=(_told(view),),
        deals=tuple(sorted(deal.phase for deal in town.deals() if deal.deal_id not in known)),
        tokens={name: after.tokens[name] - before.tokens[name] for name in after.tokens},
        locked={name: after.locked[name] - before.locked[name] for name in after.locked},
        transactions=town.transactions(before, after),
        events=town.events_since(before.block),
        starts=tuple(starts()),
        left=tuple(left),
        odd_exits=tuple(
            code for name, node in town.nodes.items() for code in node.odd_exits[exits.get(name, 0) :] if code != 0
        ),
    )


# ---- ways in ---------------------------------------------------------------------------------------------------


def lock(town: CrashTown) -> Job:
    """A signed award, assigned by the provider."""
    return Job("requester", town.submit("requester", town.order(ANSWER)))


def direct(town: CrashTown) -> Job:
    """An earmark pays: assigned and committed at once."""
    return Job("patron", town.submit("patron", town.order(ANSWER)))


def award(town: CrashTown) -> Job:
    """Announced on chain, awarded to a bid; its image is new to the provider's engine."""
    order = town.order(ANSWER, announce="chain", image=town.new_image())
    return Job("requester", town.submit("requester", order))


def first(town: CrashTown) -> Job:
    """Announced on chain at a posted price."""
    return Job("requester", town.submit("requester", town.order(ANSWER, announce="chain", policy="first")))


def in_steps(town: CrashTown) -> Job:
    """Three steps, each from the state of the last one."""
    return Job("requester", town.submit("requester", town.order(COUNT, steps=3)))


def replicated(town: CrashTown) -> Job:
    """Three providers do the same, their results are compared, and all are paid."""
    job = Job("requester", town.submit("requester", town.order(ANSWER, verification="replicated")))
    view = town.until_job(job.buyer, job.job_id, "over", lambda _: False)
    for replica in view.replicas:
        town.until_job(job.buyer, replica.job_id, "over", lambda _: False)
    return job


# ---- ways out --------------------------------------------------------------------------------------------------


def claim(town: CrashTown) -> Job:
    """Nobody accepts: the provider claims after the window."""
    job = Job("requester", town.submit("requester", town.order(ANSWER, accept="wait")))
    view = town.until_job(job.buyer, job.job_id, "delivered", lambda view: view.phase == "Delivered")
    _pass_window(town, view)
    return job


def late(town: CrashTown) -> Job:
    """The requester is away from the start of the work until the provider has been paid."""
    order = town.order(SLOW, accept="wait", retention="10m")
    job = Job("requester", town.submit("requester", order))
    town.until_job(job.buyer, job.job_id, "running", lambda view: view.phase in ("Running", "Committed"))
    known = {deal.deal_id for deal in town.deals() if deal.phase in DEALS_ENDED}
    town.nodes["requester"].down()
    _until_deal(town, known, ("Committed", "Claiming", "Retaining"))
    town.let_pass(30)
    _until_deal(town, known, ("Retaining",))
    # Enough blocks for finality, so that the requester catches up in a range.
    town.mine(100)
    town.nodes["requester"].start()
    return job


def cancel(town: CrashTown) -> Job:
    """Announced, wanted by nobody, taken back."""
    job = Job("requester", town.submit("requester", town.order(ANSWER, announce="chain", memory=HUGE)))
    town.until_job(job.buyer, job.job_id, "announced", lambda view: "DealAnnounced" in events(view))

    def take_back(client: NodeClient) -> None:
        with suppress(Refused):
            client.cancel(job.job_id)

    town.ask(job.buyer, take_back)
    return job


def nobody(town: CrashTown) -> Job:
    """Wanted by nobody in three attempts."""
    job = Job("requester", town.submit("requester", town.order(ANSWER, memory=HUGE)))
    _pass_demands(town, job)
    return job


def unposted(town: CrashTown) -> Job:
    """Announced at a price that nobody takes, three times; each time the money comes back."""
    order = town.order(ANSWER, announce="chain", policy="first", memory=HUGE)
    job = Job("requester", town.submit("requester", order))
    _pass_demands(town, job)
    return job


def expire(town: CrashTown) -> Job:
    """The provider dies over the work until it is too late; the requester takes its money back and tries again."""
    job = Job("requester", town.submit("requester", town.order(SLOW)))
    _until_printed(town, job)
    town.nodes["provider"].down()
    town.let_pass(LONGER_THAN_A_DEAL_S)
    town.until_job(job.buyer, job.job_id, "refunded", lambda view: "DealRefunded" in events(view))
    town.nodes["provider"].start()
    return job


def abandon(town: CrashTown) -> Job:
    """An image that cannot be started: the provider gives each of three deals up."""
    return Job("requester", town.submit("requester", town.order(ANSWER, image=town.image.with_name("broken.tar"))))


def reorganised(town: CrashTown) -> Job:
    """The chain takes the assignment back while the provider works."""
    job = Job("requester", town.submit("requester", town.order(SLOW)))
    _until_printed(town, job)
    town.rpc("anvil_reorg", 1, [])
    return job


def slow_chain(town: CrashTown) -> Job:
    """A block each second, so that transactions are seen to wait; and in the end everything is final."""
    parties = ("requester", "provider")
    with ExitStack() as stack:
        for who in parties:
            # Transactions of earlier deals become final meanwhile, and a provider that dies over them does not bid.
            stack.enter_context(town.nodes[who].spared(FINAL))
        town.rpc("evm_setAutomine", False)
        town.rpc("evm_setIntervalMining", 1)
        try:
            job = Job("requester", town.submit("requester", town.order(ANSWER, announce="chain")))
            town.until_job(job.buyer, job.job_id, "over", lambda _: False)
        finally:
            town.rpc("evm_setIntervalMining", 0)
            town.rpc("evm_setAutomine", True)
        before = {who: town.nodes[who].times_passed(FINAL) for who in parties}
    town.mine(100)
    for who in parties:
        town.until(f"a transaction of {who} is final", partial(_has_passed, town, who, before[who]))
    return job


def _has_passed(town: CrashTown, who: str, before: int) -> bool:
    return town.nodes[who].times_passed(FINAL) > before


def drained(town: CrashTown) -> Job:
    """The operator drains the provider, and thinks better of it."""
    town.ask("provider", lambda client: client.drain(on=True))
    town.ask("provider", lambda client: client.drain(on=False))
    return lock(town)


def no_holder(town: CrashTown) -> Job:
    """Somebody has removed the container whose network the job is to join."""
    town.remove_holders()
    return lock(town)


def _has_ended(town: CrashTown, who: str, before: int) -> bool:
    return town.nodes[who].ends > before


def stopped(town: CrashTown) -> Job:
    """Both nodes are stopped in order and started again before the deal."""
    _stop_in_order(town)
    return lock(town)


def _stop_in_order(town: CrashTown) -> None:
    for who in ("provider", "requester"):
        restarts = town.nodes[who].ends
        with suppress(Refused):
            town.ask(who, lambda client: client.stop())
        town.until(f"{who} ends", partial(_has_ended, town, who, restarts))
    town.until_peered()


def new_provider(town: CrashTown) -> Job:
    """A provider that has never run before is started, both nodes note each other's addresses, and it does a job."""
    town.nodes["provider"].start()
    town.until_peered("requester")
    _stop_in_order(town)
    return lock(town)


def new_requester(town: CrashTown) -> Job:
    """A requester that has never run before is started, and buys a job."""
    town.nodes["requester"].start()
    town.until_peered("requester")
    return lock(town)


def deposit(town: CrashTown) -> Job:
    """Money is moved by the node that dies over it: more into escrow, and a part of it aside for the provider."""
    provider = f"0x{town.parties['provider'].address.hex()}"
    town.ask("patron", lambda client: client.status())
    town.client("patron").wallet_call("deposit", amount_wei=DEPOSIT)
    town.client("patron").wallet_call("earmark", provider=provider, amount_wei=DEPOSIT)
    return direct(town)


IN_TOWN: Final[Mapping[str, Scenario]] = {
    one.__name__: one
    for one in (
        lock,
        direct,
        award,
        first,
        in_steps,
        claim,
        late,
        cancel,
        nobody,
        unposted,
        expire,
        abandon,
        reorganised,
        slow_chain,
        drained,
        deposit,
        no_holder,
        stopped,
        new_provider,
        new_requester,
    )
}

IN_GUILD: Final[Mapping[str, Scenario]] = {replicated.__name__: replicated}

FRESH: Final = {"new_provider": "provider", "new_requester": "requester"}
"""Scenarios in which somebody new takes a place of the town, not started yet."""


# ---- inside ----------------------------------------------------------------------------------------------------


def _told(view: JobView) -> str:
    checks, answer = "", ""
    if view.result_dir is not None:
        found = Path(view.result_dir, "answer")
        answer = found.read_text("utf-8").strip() if found.exists() else "missing"
        checks = ", ".join(false_checks(view))
    return f"{view.state} {view.mode} exit {view.exit_code} paid {view.paid_wei} answer {answer!r} {checks}".strip()


def _pass_window(town: CrashTown, view: JobView) -> None:
    if view.window_ends_at is not None:
        town.let_pass(max(1, view.window_ends_at - town.time() + 1))


def _pass_demands(town: CrashTown, job: Job) -> None:
    """Let the time of one demand after the other pass, until the job has failed."""
    spent: set[int] = set()
    while True:
        view = town.until_job(
            job.buyer, job.job_id, "waiting for a bid", lambda view: view.phase in ("Bidding", "Posted")
        )
        if view.phase in ENDED:
            return
        attempt = events(view).count("DemandRenewed")
        if attempt not in spent:
            spent.add(attempt)
            town.let_pass(LONGER_THAN_A_DEMAND_S)
        time.sleep(0.1)


def _until_printed(town: CrashTown, job: Job) -> None:
    def has_printed(client: NodeClient) -> bool:
        try:
            return b"up" in client.logs(job.job_id, 1000)
        except Refused:
            return False

    town.until("the program runs", lambda: town.ask(job.buyer, has_printed))


def _until_deal(town: CrashTown, known: set[str], phases: tuple[str, ...]) -> None:
    town.until(
        f"the deal is {phases[-1]}",
        lambda: any(deal.phase in phases for deal in town.deals() if deal.deal_id not in known),
    )


def _until_deals_ended(town: CrashTown, known: set[str]) -> None:
    """Wait for the provider's side, and let the time pass for which it keeps a result."""

    def all_ended() -> bool:
        open_deals = [deal for deal in town.deals() if deal.deal_id not in known and deal.phase not in DEALS_ENDED]
        if any(deal.phase == "Retaining" for deal in open_deals):
            town.let_pass(900)
        return not open_deals

    town.until("the provider's deals have ended", all_ended)


def _until_clean(town: CrashTown) -> list[str]:
    """What is still left over once there was time to clean up."""
    with suppress(NotInTime):
        town.until("everything is cleared away", lambda: not town.left_over(), within_s=15)
    return town.left_over()


def _plain(ending: Ending) -> dict[str, str]:
    return {name: json.dumps(getattr(ending, name), sort_keys=True) for name in Ending.__dataclass_fields__}
