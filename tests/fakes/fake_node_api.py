"""A node of one's own for tests of the surfaces: jobs go through their states when the test says so."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import trio

from capanode.node.api.port import DealView, JobOrder, JobView, Json, TimelineEntry
from capanode.protocol.faults import Refused

TOKEN = 10**18
MARKET: Json = {"version": 0, "address": "0x" + "0a" * 20, "active_from": 0, "is_deprecated": False}
MONEY: Json = {**MARKET, "is_newest": True, "free_wei": 50 * TOKEN, "stake_wei": 0, "locked_wei": 0}
MOVED: Json = {
    "to": 1,
    "moved_wei": 5 * TOKEN,
    "staked_wei": 2 * TOKEN,
    "kept_wei": TOKEN,
    "locked_wei": TOKEN // 2,
    "waiting": [{"version": 0, "what": "stake", "amount_wei": 3 * TOKEN, "ready_at": 1_800_000_000, "then_s": 600}],
    "is_done": False,
}
CHECK: Json = {
    "deal_id": "0x" + "0d" * 32,
    "market": "0x" + "0a" * 20,
    "requester": "0x" + "01" * 20,
    "provider": "0x" + "02" * 20,
    "price_wei": TOKEN,
    "phase": "COMMITTED",
    "class": "exact",
    "hardware_class": "x86_64-v3",
    "verdict": "holds",
    "reason": "",
    "first_step": 0,
    "steps": 1,
    "checked": [
        {
            "step": 0,
            "verdict": "holds",
            "committed_leaf": "0x" + "10" * 32,
            "computed_leaf": "0x" + "10" * 32,
            "reasons": [],
            "files": [],
        }
    ],
    "divergent_step": None,
    "position": None,
    "challenge": {
        "is_possible": True,
        "why_not": "",
        "until": 1_900_000_000,
        "bond_wei": TOKEN // 20,
        "bounty_wei": TOKEN,
    },
}
WAITING: tuple[Json, ...] = (
    {
        "version": 1,
        "address": "0x" + "0b" * 20,
        "code_hash": "0x" + "cc" * 32,
        "active_from": 1_800_000_000,
        "reason": "Version 1 is not of this release.",
    },
)


def job_view(job_id: str = "a1b2c3d4", name: str = "digits", state: str = "queued") -> JobView:
    """A job as a node would show it."""
    return JobView(
        job_id=job_id,
        name=name,
        state=state,
        phase="DemandGossiped",
        reason="",
        notice="",
        refund_at=None,
        deal_id=None,
        provider=None,
        mode="LOCK",
        price_wei=TOKEN,
        verification_wei=TOKEN // 10,
        paid_wei=0,
        returned_wei=0,
        exit_code=None,
        window_ends_at=None,
        result_dir=None,
        receipt=None,
        created_at=1_800_000_000.5,
        timeline=(TimelineEntry(1_800_000_000.5, "JobQueued", "the job was taken in", {"cap_wei": TOKEN}),),
    )


@dataclass
class FakeNodeApi:
    """Keeps what it was told; `advance` moves a job on, `refusal` makes every call refuse with that sentence."""

    jobs_by_id: dict[str, JobView] = field(default_factory=dict[str, JobView])
    orders: list[JobOrder] = field(default_factory=list[JobOrder])
    wallet_calls: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])
    requests: list[str] = field(default_factory=list[str])
    """What each wallet call was named by its caller."""
    refusal: str | None = None
    failure: Exception | None = None
    stopped: trio.Event = field(default_factory=trio.Event)
    changed: trio.Condition = field(default_factory=trio.Condition)
    watchers: int = 0
    is_draining: bool = False
    approved: list[str] = field(default_factory=list[str])
    markets: list[Json] = field(default_factory=lambda: [dict(MONEY)])
    safe_at: float | None = 1_900_000_000.0
    disputes: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])
    dispute_found: Json = field(default_factory=lambda: dict[str, object]())
    watched: tuple[Json, ...] = ()
    checks: list[tuple[str, int | None, int | None]] = field(default_factory=list[tuple[str, int | None, int | None]])
    check_found: Json = field(default_factory=lambda: dict(CHECK))
    steps_of_drain: tuple[bool, ...] = ()
    """Whether it drains, each time it is looked at before it is safe."""
    log: bytes = b"epoch 1\nepoch 2\n\xff"
    steps: tuple[JobView, ...] = ()
    """States that every submitted job goes through at once."""

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.refusal is not None:
            raise Refused(self.refusal)

    async def advance(self, view: JobView) -> None:
        """Show a job in another state to everyone who watches it."""
        async with self.changed:
            self.jobs_by_id[view.job_id] = view
            self.changed.notify_all()

    async def status(self) -> Json:
        self._check()
        return {
            "node_id": "16Uiu2HAmFake",
            "version": "0.1.0",
            "roles": ["requester"],
            "network": "devnet",
            "peer_id": "16Uiu2HAmFake",
            "addresses": ["/ip4/127.0.0.1/tcp/4001/p2p/16Uiu2HAmFake"],
            "peers": 3,
            "chain": {"chain_id": 31337, "head": 12, "head_at": 1_800_000_000},
            "wallet": await self.wallet(),
            "capacity": None,
            "jobs": len(self.jobs_by_id),
            "deals": 0,
            "is_draining": self.is_draining,
            "drain": self.drain_view() if self.is_draining else None,
            "alerts": [],
        }

    async def submit(self, order: JobOrder) -> AsyncIterator[Json]:
        self._check()
        self.orders.append(order)
        yield {"progress": {"doing": "packing inputs", "done_bytes": 10, "total_bytes": 20}}
        yield {"progress": {"doing": "packing inputs", "done_bytes": 20, "total_bytes": 20}}
        view = job_view(job_id=f"{len(self.orders):08x}", name=order.name or "digits")
        await self.advance(view)
        for step in self.steps:
            await self.advance(replace(step, job_id=view.job_id))
        yield {"job": view}

    async def quote(self, order: JobOrder) -> Json:
        self._check()
        return {
            "price_cap_wei": TOKEN,
            "verification_wei": TOKEN // 10,
            "deadline_bond_wei": TOKEN // 10,
            "fraud_bond_wei": 5 * TOKEN,
            "mode": "LOCK",
            "window_s": 20,
            "replicas": 1,
            "judged_by": "class exact: arbiters of x86_64-v3 judge disputed steps, for 0.01 tokens each",
            "readers": "the job's provider can read it; once the result is committed, everybody can",
            "is_disputable": True,
        }

    async def jobs(self) -> tuple[JobView, ...]:
        self._check()
        return tuple(self.jobs_by_id.values())

    async def job(self, job_id: str) -> JobView:
        self._check()
        found = [v for v in self.jobs_by_id.values() if v.job_id.startswith(job_id) or v.name == job_id]
        if len(found) != 1:
            raise Refused(f"there is no job {job_id}: see `capanode job list`")
        return found[0]

    async def watch(self, job_id: str) -> AsyncIterator[Json]:
        self.watchers += 1
        try:
            seen: JobView | None = None
            while True:
                async with self.changed:
                    while (view := await self.job(job_id)) is seen:
                        await self.changed.wait()
                seen = view
                yield {"job": view}
                if view.state in ("paid", "undecided", "refunded", "failed", "cancelled"):
                    return
        finally:
            self.watchers -= 1

    async def logs(self, job_id: str, tail_bytes: int) -> bytes:
        await self.job(job_id)
        return self.log[-tail_bytes:]

    async def accept(self, job_id: str) -> JobView:
        view = replace(await self.job(job_id), state="paid", phase="DealFinalized", paid_wei=TOKEN)
        await self.advance(view)
        return view

    async def cancel(self, job_id: str) -> JobView:
        view = replace(await self.job(job_id), state="cancelled", phase="DealCancelled")
        await self.advance(view)
        return view

    async def deals(self) -> tuple[DealView, ...]:
        self._check()
        return (DealView("0x" + "11" * 32, "Executing", "0x" + "22" * 20, TOKEN, "LOCK", 1_800_000_000.0, "", None),)

    async def wallet(self) -> Json:
        self._check()
        return {
            "address": "0x" + "33" * 20,
            "token_wei": 100 * TOKEN,
            "free_wei": 50 * TOKEN,
            "locked_wei": 0,
            "stake_wei": 0,
            "earmarks": [],
            "native_wei": TOKEN,
            "thaws": [],
            "transactions": [
                {
                    "key": "11ab/claim",
                    "nonce": 7,
                    "state": "sent",
                    "is_cancel": False,
                    "tx_hash": "0x" + "44" * 32,
                    "to": "0x" + "22" * 20,
                    "value_wei": 0,
                    "gas": 60_000,
                    "max_fee_wei": 2 * 10**9,
                    "tip_wei": 10**9,
                    "attempts": 1,
                    "signed_at": 1_800_000_000,
                }
            ],
            "markets": self.markets,
        }

    async def check(self, deal: str, step: int | None, sample: int | None) -> AsyncIterator[Json]:
        self._check()
        self.checks.append((deal, step, sample))
        yield {"progress": {"doing": "recomputing", "step": 0, "done": 0, "of": 1}}
        yield {"check": self.check_found}

    async def dispute(self, verb: str, arguments: Json) -> Json:
        self._check()
        self.disputes.append((verb, dict(arguments)))
        return dict(self.dispute_found)

    async def watch_results(self, arguments: Json) -> AsyncIterator[Json]:
        self._check()
        self.disputes.append(("watch", dict(arguments)))
        for item in self.watched:
            yield item

    async def wallet_call(self, verb: str, arguments: Json) -> Json:
        self._check()
        self.requests.append(str(arguments["request"]))
        self.wallet_calls.append((verb, {name: value for name, value in arguments.items() if name != "request"}))
        if "transaction" in arguments:
            fees = {"max_fee_wei": 3 * 10**9, "tip_wei": 10**9}
            return {"tx_hash": "0x" + "55" * 32, "is_cancel": verb == "cancel-transaction", **fees}
        return dict(MOVED) if verb == "migrate" else {"tx_hash": "0x" + "44" * 32}

    async def upgrades(self) -> Json:
        self._check()
        return {"markets": [MARKET], "waiting": [entry for entry in WAITING if entry["code_hash"] not in self.approved]}

    async def approve(self, code_hash: str) -> Json:
        self._check()
        self.approved.append(code_hash)
        return await self.upgrades()

    async def drain(self, on: bool) -> Json:
        self._check()
        self.is_draining = on
        return self.drain_view()

    async def drained(self) -> AsyncIterator[Json]:
        yield self.drain_view()
        for is_draining in self.steps_of_drain:
            self.is_draining = is_draining
            yield self.drain_view()
        self.safe_at = None
        yield self.drain_view()

    def drain_view(self) -> Json:
        """As a node with one deal at work shows it, and one with none once `safe_at` is None."""
        return {
            "is_draining": self.is_draining,
            "since": 1_800_000_000.0,
            "is_safe": self.safe_at is None,
            "safe_at": self.safe_at,
            "money_safe_at": self.safe_at and self.safe_at - 3600,
            "working": int(self.safe_at is not None),
            "in_window": 0,
            "ending": 0,
            "results_kept": 0,
            "own_jobs": 1,
            "back_by": 1_900_000_000.0,
        }

    async def snapshot(self, path: str) -> None:
        with closing(sqlite3.connect(path)) as journal:
            journal.execute("CREATE TABLE schema_version (name TEXT PRIMARY KEY, version INTEGER NOT NULL)")

    async def stop(self, within_s: float) -> None:
        self.stopped.set()
