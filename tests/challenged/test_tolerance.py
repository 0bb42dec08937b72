"""A result of class tolerance is computed again: rounding holds, more than that is named with its file."""

import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from capanode.node.chain.clock import ChainClock
from capanode.node.challenged.checking import Check, Checker, Verdict, is_found_twice
from capanode.node.challenged.committed_trace import States
from capanode.node.challenged.own_traces import OwnTraces
from capanode.node.challenged.reexecution import Bench, Reexecution
from capanode.node.challenged.retracing import Retracing
from capanode.node.executors.port import Executor, RunRequest
from capanode.proofs.evidence import BadEvidence
from capanode.protocol.comparator import WHOLE_PPM, Closeness, Comparator, FileRule, Format, bits
from capanode.protocol.ids import Digest, Ppm
from capanode.protocol.records import Resources, VerificationClass
from tests.challenged.committed import INPUT, RULES, committed
from tests.fakes.fake_executor import FakeExecutor, Played
from tests.node.market_place import HARDWARE
from tests.protocol.deals import NOW, SPEC

CLOSE = Closeness(bits(1e-9), bits(0.0), Ppm(0), WHOLE_PPM)
SPEC_WITH_ROOM = replace(
    SPEC,
    inputs=(INPUT,),
    verification=VerificationClass.TOLERANCE,
    comparator=Comparator((FileRule("*.f64", Format.F64, close=CLOSE),)),
)


def leaving(off: float, log: bytes = b"") -> Callable[[RunRequest], Awaitable[Played]]:
    """A program whose sums are so much off."""

    async def program(_: RunRequest) -> Played:
        await trio.lowlevel.checkpoint()
        # One is short enough to travel in the manifest, the other is a blob.
        sums, many = struct.pack("<2d", 1.0, 2.0 + off), struct.pack("<4096d", *[1.0 + off] * 4096)
        return Played(files=(("log", log), ("many.f64", many), ("sums.f64", sums)))

    return program


async def checked(folder: Path, again: Callable[[RunRequest], Awaitable[Played]]) -> Check:
    async with committed(folder, SPEC_WITH_ROOM, leaving(0.0), verification=VerificationClass.TOLERANCE) as deal:
        executor = FakeExecutor(folder / "watcher-executor", again)

        async def ours() -> Executor:
            await trio.lowlevel.checkpoint()
            return executor

        async def at_once(_: Resources, is_free: bool) -> None:
            await trio.lowlevel.checkpoint()
            if not is_free:
                await trio.sleep_forever()

        finder = deal.watcher.finder
        states = States(finder, deal.watcher.blobs)
        reexecution = Reexecution(Bench(ours, HARDWARE, (), at_once), finder, states)
        clock = ChainClock(lambda: float(NOW))
        retracing = Retracing(finder, reexecution, OwnTraces(deal.watcher.database), clock)
        checker = Checker(finder, states, reexecution, retracing)
        found = await checker.check(await checker.trace_of(deal.deal), tuple)
        assert dict(executor.runs[0].env)["OMP_NUM_THREADS"] == "1"
        return found


@pytest.mark.parametrize(
    ("again", "verdict", "differing"),
    [
        (leaving(0.0), Verdict.HOLDS, []),
        (leaving(1e-12), Verdict.HOLDS, []),
        (leaving(1e-6), Verdict.DIFFERS, ["many.f64", "sums.f64"]),
        (leaving(1e-12, b"now"), Verdict.DIFFERS, ["log"]),
    ],
    ids=["same", "rounding", "more", "another file"],
)
async def test_bounds_decide(
    tmp_path: Path, again: Callable[[RunRequest], Awaitable[Played]], verdict: Verdict, differing: list[str]
) -> None:
    check = await checked(tmp_path, again)
    assert check.verdict is verdict
    assert [path for step in check.steps for path, _ in step.findings] == differing


async def test_two_looks_agree_though_they_differ_by_rounding(tmp_path: Path) -> None:
    first, again = await checked(tmp_path / "1", leaving(1e-6)), await checked(tmp_path / "2", leaving(2e-6))
    sound = await checked(tmp_path / "3", leaving(1e-12))
    assert first.steps[0].computed != again.steps[0].computed
    assert is_found_twice(first.trace, first.steps[0], again.steps[0])
    assert not is_found_twice(first.trace, first.steps[0], sound.steps[0])


async def test_rules_that_bind_another_comparator_are_no_evidence(tmp_path: Path) -> None:
    other = Digest(b"\x55" * 32)
    rules = replace(RULES, verification=VerificationClass.TOLERANCE, comparator=other)
    changes = {"verification": VerificationClass.TOLERANCE, "rules": rules}
    async with committed(tmp_path, SPEC_WITH_ROOM, leaving(0.0), **changes) as deal:
        with pytest.raises(BadEvidence, match="another comparator"):
            await deal.watcher.finder.fetch_evidence(deal.deal)
