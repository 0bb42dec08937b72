"""Runs a market for some minutes while everything under it fails, then accounts for every deal and every token.

`make soak MINUTES=20`. Five providers and two requesters, each a process of its own; a real chain that reorganises
itself, endpoints that fail, an engine that is killed, nodes that are killed. One provider and one requester are never
killed: their memory, threads and descriptors are compared between the second minute and the end.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path
from typing import Any, Final

import trio

from bench import report
from bench.shell_image import write_shell_image
from capanode.contracts_abi import bindings
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobView
from capanode.node.chain.market import Market
from capanode.node.chain.wire import read_bytes, read_digest, read_list, read_object
from capanode.node.devnet_parties import Party
from capanode.node.executors.docker_engine import Engine
from capanode.node.executors.sandbox import NODE_LABEL
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Address, DealId
from capanode.protocol.phases import Phase
from tests.chaos.ledger import (
    JOB_ENDED,
    PROVIDER_WAITS,
    Disputed,
    Provider,
    Requester,
    Verdict,
    judge,
    read_deals,
    read_disputed,
)
from tests.chaos.pulse import Pulse, calmest, leftovers, mounts_under, pulse
from tests.chaos.region import Region, RegionPlan, open_region
from tests.chaos.reorgs import Reorgs
from tests.chaos.trade import Money, Wealth, Wish, insist, money, order, wealth
from tests.faults.private_engine import PrivateEngine, private_engine

PROVIDERS: Final = 5
REQUESTERS: Final = 2
RPC_FAULT_RATE: Final = 0.05
OPEN_JOBS: Final = 3
"""Of one requester at a time; the next is handed over when one has ended, so that the machine keeps up."""

FEED_PAUSE_S: Final = 1.0
BLOCK_EVERY_S: Final = 1.0
REORG_EVERY_S: Final = 10.0
KILL_EVERY_S: Final = 20.0
ENGINE_KILL_EVERY_S: Final = 75.0
GONE_EVERY_S: Final = 90.0
"""How often a provider disappears for longer than its deal lasts, so that the deal ends in a refund."""

WARM_S: Final = 120.0
"""What a node needs, it has by then; a shorter run takes its first measure after a third of its time."""

SETTLE_S: Final = 300.0
"""Longer than any deadline or window of a deal of this run."""

GROWTH_MIB: Final = 32.0
THREADS_GROWTH: Final = 8
DESCRIPTORS_GROWTH: Final = 24
KEPT: Final = report.OUT / "soak"

CHORES: Final = (
    "echo {mark} > /out/answer",
    "echo {mark} > /out/answer; sleep 1",
    "n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); done; echo {mark} $n > /out/answer",
    "echo {mark} >&2; exit 3",
)
"""Jobs of a moment; the mark makes each one a demand of its own."""

WAYS: Final = (("gossip", "award"), ("chain", "award"), ("chain", "first"))
EARMARK_WEI: Final = 50 * 10**18
IMPOSSIBLE: Final = "3000GiB"


@dataclass(slots=True)
class Soak:
    """One run."""

    region: Region
    engine: PrivateEngine
    image: Path
    dice: random.Random
    reorgs: Reorgs
    faults: Counter[str] = field(default_factory=Counter[str])
    handed_over: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    busy: set[str] = field(default_factory=set[str])
    """Nodes that somebody is killing or starting now."""

    wrong: list[str] = field(default_factory=list[str])
    """What went wrong on the way."""

    early: dict[str, Pulse] = field(default_factory=dict[str, Pulse])
    is_feeding: bool = True

    @property
    def witnesses(self) -> tuple[Party, ...]:
        """Those that are never killed."""
        return self.region.providers[0], self.region.requesters[0]

    @property
    def mortals(self) -> tuple[Party, ...]:
        return tuple(party for party in self.region.parties if party not in self.witnesses)

    # ---- work ----------------------------------------------------------------------------------------------

    async def feed(self, party: Party) -> None:
        """Keep a requester's node busy until the feeding ends."""
        number = 0
        while self.is_feeding:
            jobs = await self.jobs(party)
            if jobs is not None and sum(job.phase not in JOB_ENDED for job in jobs) < OPEN_JOBS:
                number += 1
                await self.hand_over(party, f"{party.name}-{number}")
            await trio.sleep(self.dice.uniform(0.5, 1.5) * FEED_PAUSE_S)

    async def hand_over(self, party: Party, mark: str) -> None:
        """One job; one in twelve cannot be done by anybody and is cancelled soon."""
        announce, policy = self.dice.choice(WAYS)
        is_impossible = self.dice.randrange(12) == 0
        command = self.dice.choice(CHORES).format(mark=mark)
        wish = Wish(announce, policy, command, memory=IMPOSSIBLE if is_impossible else "64MiB")
        job_id = await self.submit(party, wish)
        if job_id is not None and is_impossible:
            await trio.sleep(self.dice.uniform(1.0, 5.0))
            self.faults["cancelled_jobs"] += 1
            await self.cancel(party, job_id)

    async def submit(self, party: Party, wish: Wish) -> str | None:
        """Hand over once; None where the node did not say that it took it."""
        wanted = order(self.image, wish)
        try:
            view = await self.region.ask(
                party, lambda client: next(item["job"] for item in client.submit(wanted) if "job" in item)
            )
        except (Unavailable, Refused) as refusal:
            self.say(f"{party.name} did not take a job: {refusal}")
            return None
        self.handed_over.setdefault(party.name, set()).add(wanted.name)
        return str(view.job_id)

    async def cancel(self, party: Party, job_id: str) -> None:
        while True:
            try:
                await self.region.ask(party, lambda client: client.cancel(job_id))
                return
            except Refused:
                return  # it has ended already
            except Unavailable:
                await trio.sleep(0.5)

    async def jobs(self, party: Party) -> tuple[JobView, ...] | None:
        """What a requester's node lists; None while it is down."""
        try:
            return await self.region.ask(party, NodeClient.jobs)
        except Unavailable:
            return None

    # ---- weather -------------------------------------------------------------------------------------------

    async def kill_nodes(self) -> None:
        """SIGKILL now one, now another, and start it again at once or after a moment."""
        while True:
            await trio.sleep(self.dice.uniform(0.5, 1.5) * KILL_EVERY_S)
            ready = [party for party in self.mortals if party.name not in self.busy]
            if ready:
                await self.knock_out(self.dice.choice(ready), self.dice.choice((0.0, 0.0, 3.0, 8.0)))

    async def knock_out(self, party: Party, down_s: float) -> None:
        """Kill a node, and start it again after a while."""
        self.busy.add(party.name)
        self.faults["node_killed"] += 1
        await self.region.kill(party)
        await trio.sleep(down_s)
        await self.bring_up(party)
        self.busy.discard(party.name)

    async def bring_up(self, party: Party) -> None:
        """Start a node; one that does not come up is told, and tried again."""
        while True:
            try:
                await self.region.start(party)
                return
            except Unavailable as late:
                self.note(f"{party.name} did not come up: {late}")
                await self.region.kill(party)

    def note(self, sentence: str) -> None:
        """Something is wrong; the run goes on."""
        self.wrong.append(sentence)
        self.say(sentence)

    async def keep_up(self) -> None:
        """Start nodes again that ended though nobody had killed them, and hold it against them."""
        while True:
            for party in self.region.parties:
                if party.name not in self.busy and self.region.processes[party.name].poll() is not None:
                    self.note(f"{party.name} ended by itself: {last_words(party)}")
                    self.busy.add(party.name)
                    await self.bring_up(party)
                    self.busy.discard(party.name)
            await trio.sleep(1.0)

    async def kill_engine(self) -> None:
        while True:
            await trio.sleep(self.dice.uniform(0.5, 1.5) * ENGINE_KILL_EVERY_S)
            self.faults["engine_killed"] += 1
            await trio.to_thread.run_sync(self.engine.kill)
            await trio.sleep(self.dice.uniform(0.0, 3.0))
            await self.mend_engine()

    async def mend_engine(self) -> None:
        """Start the engine unless it runs; on a busy machine it gives up now and then, and is started again."""
        while True:
            try:
                await trio.to_thread.run_sync(self.engine.ensure)
                return
            except AssertionError as failure:
                self.say(f"the engine did not start: {str(failure).strip()[-200:]}")

    async def lose_providers(self) -> None:
        """Have a provider disappear in the middle of a job, until the job's money is back."""
        while True:
            await self.lose_provider()
            await trio.sleep(self.dice.uniform(0.5, 1.0) * GONE_EVERY_S)

    async def lose_provider(self) -> None:
        """Buy a longer job of the requester that is never killed, and kill its provider while it runs."""
        buyer = self.region.requesters[0]
        job_id = await self.submit(buyer, Wish("gossip", "award", f"sleep 4; echo {time.monotonic_ns()}", timeout="8s"))
        if job_id is None:
            return
        view = await self.look(buyer, job_id, 60.0, lambda view: view.phase == "Running")
        provider = next((one for one in self.mortals if view and f"0x{one.address.hex()}" == view.provider), None)
        if view is None or view.phase != "Running" or provider is None or provider.name in self.busy:
            return
        self.busy.add(provider.name)
        self.faults["provider_gone"] += 1
        await self.region.kill(provider)
        await self.look(buyer, job_id, 150.0, lambda view: view.phase not in ("Running", "Expiring"))
        await self.bring_up(provider)
        self.busy.discard(provider.name)

    async def look(
        self, party: Party, job_id: str, within_s: float, is_so: Callable[[JobView], bool]
    ) -> JobView | None:
        """The job as soon as it is so far or has ended; None when that takes too long."""
        with trio.move_on_after(within_s):
            while True:
                with suppress(Unavailable):
                    view: JobView = await self.region.ask(party, lambda client: client.job(job_id))
                    if view.phase in JOB_ENDED or is_so(view):
                        return view
                await trio.sleep(0.3)
        return None

    # ---- telling -------------------------------------------------------------------------------------------

    def say(self, sentence: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {sentence}", flush=True)

    async def progress(self, every_s: float) -> None:
        while True:
            await trio.sleep(every_s)
            counts = Counter[str]()
            for party in self.region.requesters:
                counts.update(job.phase for job in await self.jobs(party) or ())
            told = ", ".join(f"{phase} {count}" for phase, count in counts.most_common())
            troubles = sum(self.region.rpc_faults.values())
            faults = ", ".join(f"{kind} {count}" for kind, count in self.all_faults().items() if "rpc" not in kind)
            self.say(f"jobs: {told or 'none'}; faults: rpc {troubles}, {faults}")
            if not self.is_feeding:
                self.say(f"still open: {', '.join(await self.open_ends()) or 'nothing'}")

    async def open_ends(self) -> list[str]:
        """What has not come to its end yet, as the nodes say it; a node that is down is not at its end."""
        found: list[str] = []
        for party in self.region.requesters:
            jobs = await self.jobs(party)
            found += [f"{party.name} is down"] if jobs is None else []
            found += [f"{party.name}'s {job.name} {job.phase}" for job in jobs or () if job.phase not in JOB_ENDED]
        for party in self.region.providers:
            try:
                deals = await self.region.ask(party, NodeClient.deals)
            except Unavailable:
                found.append(f"{party.name} is down")
                continue
            found += [
                f"{party.name}'s {deal.deal_id} {deal.phase}" for deal in deals if deal.phase not in PROVIDER_WAITS
            ]
        return found

    def all_faults(self) -> Mapping[str, int]:
        """How often each kind was inflicted."""
        found = {
            "reorg": self.reorgs.count,
            "development_chain_mended": self.reorgs.mended,
            "node_ended_by_itself": sum(self.region.ends.values()),
            **self.faults,
        }
        return found | {f"rpc_{kind.value}": count for kind, count in self.region.rpc_faults.items()}

    def take_pulse(self) -> dict[str, Pulse]:
        found = {party.name: pulse(self.region.processes[party.name].pid) for party in self.witnesses}
        return {name: one for name, one in found.items() if one is not None}


async def run(minutes: float, seed: int, root: Path) -> list[str]:
    """The whole of it; sentences about what is wrong."""
    image = root / "shell.tar"
    write_shell_image(image)
    for folder in ("r", "e"):
        (root / folder).mkdir()
    plan = RegionPlan(root / "r", PROVIDERS, REQUESTERS, seed, hang_s=20.0)
    with private_engine(root / "e") as engine:
        os.environ["DOCKER_HOST"] = engine.address
        async with open_region(plan) as region:
            dice = random.Random(seed)
            reorgs = Reorgs(region.rpc, dice, BLOCK_EVERY_S, REORG_EVERY_S)
            soak = Soak(region, engine, image, dice, reorgs)
            soak.say(f"up: {PROVIDERS} providers, {REQUESTERS} requesters, seed {seed}, {root}")
            for provider in region.providers:
                # One of the requesters pays from earmarks, so that its deals are DIRECT.
                marked = {"provider": f"0x{provider.address.hex()}", "amount_wei": EARMARK_WEI}
                await insist(region, region.requesters[1], methodcaller("wallet_call", "earmark", **marked))
            before = await wealth(region)
            await _storm(soak, minutes * 60)
            await _calm(soak)
            wrong, figures = await _account(soak, before)
            late = await _late_pulse(soak)
        with closing(Engine(engine.address)) as there:
            left = [f"container {name[:12]} was left behind" for name, _ in there.labelled({NODE_LABEL: ""})]
    left += leftovers(root / "r/nodes")
    left += [f"{name} did not end in order: {code}" for name, code in region.exit_codes.items() if code]
    growth, grown = _growth(soak.early, late)
    wrong += soak.wrong + left + grown
    faults = soak.all_faults()
    figures |= {
        "minutes": minutes,
        "seed": seed,
        "rpc_requests": region.rpc_requests,
        "faults": faults,
        "faults_total": sum(faults.values()),
        "rss_growth_mib": growth,
        "left_behind": len(left),
        "wrong": len(wrong),
    }
    report.write("soak", figures)
    return wrong


async def _storm(soak: Soak, seconds: float) -> None:
    """Work and weather for the set time; then only what is under way goes on."""
    region = soak.region
    region.spoil(RPC_FAULT_RATE)
    async with trio.open_nursery() as weather:
        weather.start_soon(soak.reorgs.run)
        weather.start_soon(soak.progress, 60.0 if seconds > 300 else 15.0)
        weather.start_soon(soak.keep_up)
        weather.start_soon(soak.kill_nodes)
        weather.start_soon(soak.kill_engine)
        weather.start_soon(soak.lose_providers)
        async with trio.open_nursery() as work:
            for party in region.requesters:
                work.start_soon(soak.feed, party)
            warm_s = min(WARM_S, seconds / 3)
            await trio.sleep(warm_s)
            soak.early = soak.take_pulse()
            await trio.sleep(seconds - warm_s)
            soak.is_feeding = False
            soak.say("no more jobs")
        weather.cancel_scope.cancel()
    region.heal()
    soak.say("no more faults")


async def _calm(soak: Soak) -> None:
    """Everybody up again, and blocks until all deals have come to their end."""
    region = soak.region
    await soak.mend_engine()
    for party in region.parties:
        if not await region.answers(party):
            await region.kill(party)
            await soak.bring_up(party)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(soak.reorgs.mine)
        nursery.start_soon(soak.progress, 20.0)
        with trio.move_on_after(SETTLE_S):
            while await soak.open_ends():  # noqa: ASYNC110
                await trio.sleep(1.0)  # other processes wake nobody here
        # What was applied last may have to be written down on the other side too.
        await trio.sleep(3.0)
        nursery.cancel_scope.cancel()


async def _account(soak: Soak, before: Mapping[str, Wealth]) -> tuple[list[str], dict[str, report.Figure]]:
    region = soak.region
    market = Market(region.rpc, region.contracts.market)
    deals = read_deals(await _events(region, region.contracts.market))
    court = region.contracts.court
    disputed = read_disputed(await _events(region, court)) if court is not None else {}
    phases: dict[DealId, Phase] = {deal_id: (await market.slot(deal_id)).phase for deal_id in deals}
    after = await wealth(region)
    moved = {name: after[name].total_wei - before[name].total_wei for name in after}
    requesters = [
        Requester(
            party.name,
            frozenset(soak.handed_over.get(party.name, ())),
            await region.ask(party, NodeClient.jobs),
            -moved[party.name],
            disputed.get(party.address, Disputed()),
        )
        for party in region.requesters
    ]
    providers = [
        Provider(
            party.name,
            f"0x{party.address.hex()}",
            await region.ask(party, NodeClient.deals),
            moved[party.name],
        )
        for party in region.providers
    ]
    clocks = await market.clocks()
    verdict = judge(deals, phases, requesters, providers, clocks.expire_reward_wei)
    there = await money(region, after.values())
    wrong = [*verdict.lost, *verdict.double_paid, *verdict.disagreements, *_money_sentences(there, after)]
    return wrong, _figures(verdict, there)


async def _events(region: Region, contract: Address) -> list[object]:
    query: Any = {"address": "0x" + contract.hex(), "fromBlock": "0x0", "toBlock": "latest"}
    found: list[object] = []
    for item in read_list(await region.rpc.call("eth_getLogs", query)):
        fields = read_object(item)
        topics = [read_digest(topic) for topic in read_list(fields.get("topics"))]
        found.append(bindings.decode_log(topics, read_bytes(fields.get("data"))))
    return found


def _money_sentences(there: Money, after: Mapping[str, Wealth]) -> list[str]:
    wrong = [f"{name} still has {one.locked_wei} of its stake locked" for name, one in after.items() if one.locked_wei]
    if not there.is_conserved:
        wrong.append(f"money is not conserved: {there}")
    return wrong


def _figures(verdict: Verdict, there: Money) -> dict[str, report.Figure]:
    return {
        "started": verdict.started,
        "finalized": verdict.finalized,
        "refunded": verdict.refunded,
        "unsold": verdict.unsold,
        "judged": verdict.judged,
        "challenges_lost": verdict.challenges_lost,
        "lost": len(verdict.lost),
        "double_paid": len(verdict.double_paid),
        "disagreements": len(verdict.disagreements),
        "money_conserved": there.is_conserved,
    }


async def _late_pulse(soak: Soak) -> dict[str, Pulse]:
    """Of the witnesses when nothing is left to do; the least of some seconds."""
    taken: dict[str, list[Pulse]] = {}
    for _ in range(6):
        for name, one in soak.take_pulse().items():
            taken.setdefault(name, []).append(one)
        await trio.sleep(2.0)
    return {name: calmest(pulses) for name, pulses in taken.items()}


def _growth(early: Mapping[str, Pulse], late: Mapping[str, Pulse]) -> tuple[float, list[str]]:
    """The largest growth of memory, and sentences about what grew too much."""
    wrong: list[str] = []
    growth = 0.0
    for name, before in early.items():
        after = late.get(name)
        if after is None or after.pid != before.pid:
            wrong.append(f"{name} ended, and nobody had killed it")
            continue
        growth = max(growth, after.rss_mib - before.rss_mib)
        if after.rss_mib - before.rss_mib > GROWTH_MIB:
            wrong.append(f"{name} grew from {before.rss_mib:.0f} to {after.rss_mib:.0f} MiB")
        if after.threads > before.threads + THREADS_GROWTH:
            wrong.append(f"{name} has {after.threads} threads, and had {before.threads}")
        if after.descriptors > before.descriptors + DESCRIPTORS_GROWTH:
            wrong.append(f"{name} has {after.descriptors} open files, and had {before.descriptors}")
    return growth, wrong


def last_words(party: Party) -> str:
    """The last sentence that a node said for people."""
    lines = party.folder.log.read_text("utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith("capanode: ") or "Error" in line]
    return said[-1].removeprefix("capanode: ") if said else "without a word"


def keep_logs(root: Path) -> None:
    """Copy what tells of a run to where the figures are: logs, and journals to look into."""
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    for log in root.glob("r/nodes/*/node.log"):
        shutil.copy(log, KEPT / f"{log.parent.name}.log")
    for journal in root.glob("r/nodes/*/node.db*"):
        shutil.copy(journal, KEPT / f"{journal.parent.name}.{journal.name}")
    for log in root.glob("e/log"):
        shutil.copy(log, KEPT / "engine.log")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    # Short, since sockets are made in it.
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        wrong = trio.run(run, chosen.minutes, chosen.seed, root)
    finally:
        keep_logs(root)
        for mounted in reversed(mounts_under(root)):
            subprocess.run(["umount", "--lazy", mounted], check=False, capture_output=True)
        shutil.rmtree(root, ignore_errors=True)
    for sentence in wrong:
        print(f"wrong: {sentence}", file=sys.stderr)
    print(f"the nodes' logs are in {KEPT}; seed {chosen.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
