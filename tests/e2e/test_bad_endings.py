"""Programs that fail: what the requester's program does is payable, and its user is told how it ended."""

import pytest

from tests.e2e.town import Town, false_checks

FLOOD = "x=0123456789abcdef; while :; do x=$x$x; done"


@pytest.mark.parametrize(
    ("command", "timeout", "code"),
    [("exit 3", "5s", 3), ("sleep 60", "1s", 124), (FLOOD, "20s", 137)],
    ids=["exit code", "timeout", "out of memory"],
)
def test_failed_program_is_paid_for_and_its_end_is_told(town: Town, command: str, timeout: str, code: int) -> None:
    before = town.wealth()
    view = town.buy(town.order(command, timeout=timeout))
    assert (view.state, view.exit_code) == ("paid", code)
    assert false_checks(view) == []
    after = town.wealth()
    assert before[town.requester.name].total_wei - after[town.requester.name].total_wei == view.paid_wei > 0


def test_what_the_program_printed_is_kept(town: Town) -> None:
    view = town.buy(town.order("echo to the log; echo and to stderr >&2; exit 1"))
    logged = town.client.logs(view.job_id, 1000)
    assert b"to the log" in logged
    assert b"and to stderr" in logged
