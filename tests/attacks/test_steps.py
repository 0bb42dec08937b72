"""Attacks 3 and 5: a trace of fewer steps than the work has, each of which would have to be dear to look at."""

from dataclasses import replace
from pathlib import Path

from capanode.node.challenged.checking import Verdict
from capanode.node.executors.port import RunRequest
from capanode.proofs.step import DONE_FILE
from tests.challenged.test_checking_steps import checking_steps, count, number_in
from tests.fakes.fake_executor import Played


async def all_at_once(request: RunRequest) -> Played:
    """What four honest steps come to, in one."""
    lines = b"".join(b"step %d\n" % number for number in range(4))
    return Played(files=(("lines", lines), (DONE_FILE, b"")))


async def cut_short(request: RunRequest) -> Played:
    """Honest, but for saying after half of the steps that nothing is left to do."""
    played = await count(request)
    return replace(played, files=(*played.files, (DONE_FILE, b""))) if number_in(request) == 1 else played


async def test_attack_03_whole_job_in_one_step_is_not_what_that_step_comes_to(tmp_path: Path) -> None:
    async with checking_steps(tmp_path, all_at_once) as desk:
        check = await desk.check()
        assert [(one.index, one.verdict) for one in check.steps] == [(0, Verdict.DIFFERS)]
        assert len(desk.executor.runs) == 1, "and who looks has run one step, not the job"


async def test_attack_05_end_that_comes_early_is_not_what_that_step_comes_to(tmp_path: Path) -> None:
    async with checking_steps(tmp_path, cut_short) as desk:
        check = await desk.check()
        assert [(one.index, one.verdict) for one in check.steps] == [(0, Verdict.HOLDS), (1, Verdict.DIFFERS)]
