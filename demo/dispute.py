"""A provider cheats and is found out, on real parts: a chain, four providers, a watcher and a requester.

The job trains a classifier in twenty checkpointed steps. The cheapest provider stops training after twelve of them and
commits what it has. The watcher recomputes the trace from the provider's own states, finds the step and disputes it; a
committee of the other providers recomputes that one step, and the money follows. Run it with `make demo-dispute`; what
it makes is in `demo-out/`.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from capanode.contracts_abi import bindings
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView, TimelineEntry
from capanode.node.chain.contracts import Contracts, resolve
from capanode.node.chain.court import Court
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.token import Token
from capanode.node.chain.view import BlockTag
from capanode.node.cli.app import run as run_command
from capanode.node.config import LogSettings
from capanode.node.devnet import Devnet, DevnetPlan, open_devnet
from capanode.node.devnet_parties import COIN, TOKEN, Grant, Party
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.logs import open_log
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.cid import from_digest
from capanode.node.units import tokens
from capanode.proofs import leaf_list
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, Ppm, Wei
from capanode.protocol.judging import class_pool
from capanode.protocol.money import deadline_bond_wei
from capanode.protocol.tariff import TARIFF
from demo import ingredients, outcome
from demo.court_room import CourtRoom, Happened, found, sentence
from demo.parting import Trace, picture
from demo.screen import Screen

ROOT: Final = Path(__file__).resolve().parents[1]
OUT: Final = ROOT / "demo-out"
CACHE: Final = ROOT / ".cache" / "demo"

LIMIT_S: Final = 400
"""Longest that it may take once all nodes are up; on a quiet machine it is over in two minutes."""

STEPS: Final = 20
PRICE_CAP: Final = Wei(TOKEN * 30 // 100)
ASKS: Final = ("0.20", "0.22", "0.24")
"""What each honest provider asks at least, in tokens; the cheater asks what a job costs to run, and does not run it."""

BID_WINDOW_MS: Final = 3_000
"""Long enough to hear all four, also on a busy machine."""

AUDIT_RATE: Final = Ppm(200_000)
FEE: Final = TARIFF.arbiter_fee_up_wei(PRICE_CAP, STEPS)
BONDS: Final = deadline_bond_wei(PRICE_CAP) + TARIFF.fraud_bond_up_wei(PRICE_CAP, AUDIT_RATE, FEE)
CHEATER_STAKE: Final = Wei(BONDS * 6 // 5)
"""Covers the bonds of one deal: once they are slashed, the cheater cannot win the next one."""

JOB: Final = """\
version: 1
name: training
image: ./image.tar
command: [/in/train.py]
inputs:
  digits.csv.gz: {{path: {data}}}
  train.py: {{path: {program}}}
outputs: [curve.csv, w1.npy, w2.npy]
resources: {{cpu: 1, memory: 512MiB}}
steps: {{limit: {steps}, timeout: 30s, state: 4MiB}}
price_cap: "{cap}"
verification: {{class: exact, deterministic_stdout: true}}
"""

POLL_S: Final = 0.3


def main() -> None:
    """Run the demo; the exit code is zero when the cheat was found, judged and paid for."""
    sys.exit(run_command(_main))


def _main() -> None:
    open_log(LogSettings(level="error"))
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="capanode-dispute-"))
    with Screen() as screen:
        try:
            summary = trio.run(_demo, screen, folder)
        except BaseException as error:
            if isinstance(error, Exception):
                screen.step(f"the nodes' logs are in {folder}/devnet/nodes/*/node.log")
            else:
                shutil.rmtree(folder, ignore_errors=True)  # interrupted: nobody wants to look at logs
            raise
    shutil.rmtree(folder)
    sys.exit(0 if summary["divergent_step"] is not None else 6)


async def _demo(screen: Screen, folder: Path) -> dict[str, Any]:
    data = await trio.to_thread.run_sync(ingredients.data_set, CACHE, screen.step)
    image = await trio.to_thread.run_sync(ingredients.image, CACHE, screen.step)
    rich = Grant(Wei(10 * COIN), Wei(200 * TOKEN), Wei(150 * TOKEN), Wei(50 * TOKEN), Wei(20 * TOKEN))
    plan = DevnetPlan(
        root=folder / "devnet",
        providers=3,
        cheater=True,
        watcher=True,
        requester_runs=True,
        idle_block_s=1,
        provider_config=[f'[provider.pricing]\nfloor_tokens = "{ask}"\n' for ask in ASKS],
        requester_config=f"bid_window_ms = {BID_WINDOW_MS}\n",
        provider_grant=rich,
        cheater_grant=Grant(rich.coins_wei, rich.tokens_wei, rich.deposit_wei, CHEATER_STAKE, rich.duty_wei),
        requester_grant=Grant(rich.coins_wei, rich.tokens_wei, rich.deposit_wei, Wei(0)),
    )
    async with open_devnet(plan, screen.step) as devnet:
        with trio.move_on_after(LIMIT_S):
            return await _found_out(screen, devnet, data, image)
    raise Unavailable(f"the demo was not over within {LIMIT_S} s: look at the nodes' logs")


async def _found_out(screen: Screen, devnet: Devnet, data: Path, image: Path) -> dict[str, Any]:
    assert devnet.watcher is not None
    parties = (devnet.requester, *devnet.providers, devnet.watcher)
    screen.names = {f"0x{party.address.hex()}": party.name for party in parties}
    program = ROOT / "examples" / "training" / "train.py"
    text = JOB.format(data=data, program=program, steps=STEPS, cap=tokens(PRICE_CAP))
    async with open_rpc((devnet.rpc_url,), devnet.profile.chain_id) as rpc:
        contracts = await resolve(rpc, devnet.profile)
        before = await _money(rpc, contracts, parties)
        started_at = time.monotonic()
        cheated = await _bought(screen, devnet, text, image, "training")
        case = await _case(screen, CourtRoom(rpc))
        wall_s = time.monotonic() - started_at
        # The requester's node buys elsewhere at once: its money is looked at in the block that gives it back.
        back = next(one.block for one in case if isinstance(one.event, bindings.Settled))
        after = await _money(rpc, contracts, parties) | await _money(rpc, contracts, (devnet.requester,), back)
        screen.step("the requester has its money back, and buys once more")
        honest = await _bought(screen, devnet, text, image, "again")
    screen.money(before, after)
    changes = {name: after[name] - amount for name, amount in before.items()}
    (drawn,) = found(case, bindings.Drawn)
    summary = outcome.figures(case, changes, [_steps_redone(devnet, one) for one in drawn.arbiters], wall_s)
    outcome.write(OUT, summary, picture(honest.trace, cheated.trace))
    screen.end(outcome.rows(OUT, summary, STEPS, honest.trace.name))
    return summary


@dataclass(frozen=True, slots=True)
class Bought:
    """A job as far as it was followed, with its committed trace."""

    view: JobView
    trace: Trace


async def _bought(screen: Screen, devnet: Devnet, text: str, image: Path, name: str) -> Bought:
    """Submit the job and show what happens to it, until its result is here or has been replaced by a refund."""
    order = JobOrder(text, str(ROOT), name, str(image), "gossip", "award", "wait")
    client = NodeClient(devnet.requester.folder.socket)

    def follow() -> JobView:
        job_id, shown = "", 0
        for item in client.submit(order):
            if "note" in item:
                screen.step(item["note"])
            if "job" in item:
                job_id = item["job"].job_id
        for view in client.watch(job_id):
            for entry in view.timeline[shown:]:
                screen.happened(name, entry)
            shown = len(view.timeline)
            if view.result_dir is not None:
                return view
        raise Unavailable(f"the job {name} ended without a result: {view.state}, {view.reason}")

    view = await trio.to_thread.run_sync(follow, abandon_on_cancel=True)
    return Bought(view, await trio.to_thread.run_sync(_trace, devnet, view))


def _trace(devnet: Devnet, view: JobView) -> Trace:
    """The states that the provider committed to, as its leaf list names them, and the losses in its result."""
    provider = next(party for party in devnet.providers if f"0x{party.address.hex()}" == view.provider)
    committed = next(entry for entry in view.timeline if entry.event == "DealCommitted")
    cid = from_digest(bytes.fromhex(str(committed.fields["leaves_cid"])[2:]), single_chunk=True)
    leaves = leaf_list.decode(BlobStore(provider.folder.blobs, limit_bytes=2**40).path(cid).read_bytes())
    assert view.result_dir is not None
    rows = (Path(view.result_dir) / "curve.csv").read_text("ascii").splitlines()
    losses = [float(row.split(",")[1]) for row in rows]
    return Trace(provider.name, [leaf.state_root for leaf in leaves.as_leaves()], losses)


async def _case(screen: Screen, court: CourtRoom) -> list[Happened]:
    """What happens before the court, shown as it happens, until the money has moved."""
    case: list[Happened] = []
    started_at = time.time()
    while not any(found(case, bindings.CommitteePaid)):
        for happened in await court.listen():
            case.append(happened)
            words = sentence(happened)
            screen.happened(
                "dispute", TimelineEntry(time.time() - started_at, type(happened.event).__name__, words, {})
            )
        await trio.sleep(POLL_S)
    return case


async def _money(rpc: Rpc, contracts: Contracts, parties: Sequence[Party], at: BlockTag = "latest") -> dict[str, int]:
    """Base units of each party: in its wallet, its escrow, its stake, and its duty as an arbiter."""
    token, market = Token(rpc, contracts.token), Market(rpc, contracts.market)
    assert contracts.court is not None
    pools = await Court(rpc, contracts.court).pools()
    pool, sums = class_pool(this_cpu_class()), dict[str, int]()
    for party in parties:
        account = await market.account(party.address, at)
        duty = await pools.arbiter(pool, party.address)
        held = await token.balance(party.address, at)
        sums[party.name] = held + account.free_wei + account.stake_wei + duty.stake_wei + duty.fees_wei
    return sums


def _steps_redone(devnet: Devnet, arbiter: Address) -> int:
    """How many different steps an arbiter has computed again, as its log says; it looks twice where they differ."""
    party = next(one for one in devnet.providers if one.address == arbiter)
    lines = party.folder.log.read_text("utf-8", errors="replace").splitlines()
    return len({json.loads(line)["step"] for line in lines if '"event": "recomputed"' in line})


if __name__ == "__main__":
    main()
