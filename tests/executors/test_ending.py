"""Who is to blame for an end: the whole table (PROTOCOL §5)."""

import pytest

from capanode.node.executors.ending import Evidence, judge
from capanode.node.executors.port import End, RunOutcome, Usage

CLEAN = {
    "exit_code": 0,
    "oom_killed": False,
    "engine_error": "",
    "stopped": None,
    "killed_by_someone": False,
    "paused_by_someone": False,
    "holder_alive": True,
    "disk_sound": True,
    "overran": False,
}

TABLE: list[tuple[dict[str, object], End, int | None, bool]] = [
    # what was seen                                              how it ended        code  payable
    ({}, End.EXITED, 0, True),
    ({"exit_code": 3}, End.EXITED, 3, True),
    ({"exit_code": 127}, End.EXITED, 127, True),
    ({"exit_code": 137}, End.EXITED, 137, True),
    ({"exit_code": 137, "oom_killed": True}, End.OOM, 137, True),
    ({"exit_code": 1, "oom_killed": True}, End.OOM, 1, True),
    ({"oom_killed": True}, End.EXITED, 0, True),
    ({"exit_code": 137, "stopped": End.TIMEOUT}, End.TIMEOUT, None, True),
    ({"exit_code": 0, "overran": True}, End.TIMEOUT, None, True),
    ({"exit_code": 137, "stopped": End.CANCELLED}, End.CANCELLED, None, False),
    ({"exit_code": 137, "killed_by_someone": True}, End.KILLED, None, False),
    ({"exit_code": 143, "killed_by_someone": True}, End.KILLED, None, False),
    ({"exit_code": 0, "killed_by_someone": True}, End.KILLED, None, False),
    ({"exit_code": 137, "killed_by_someone": True, "overran": True}, End.TIMEOUT, None, True),
    ({"exit_code": 0, "paused_by_someone": True}, End.EXITED, 0, True),
    ({"exit_code": 137, "paused_by_someone": True, "stopped": End.TIMEOUT}, End.KILLED, None, False),
    ({"exit_code": 0, "paused_by_someone": True, "overran": True}, End.KILLED, None, False),
    ({"exit_code": 137, "holder_alive": False}, End.ENGINE_LOST, None, False),
    ({"exit_code": 0, "holder_alive": False}, End.ENGINE_LOST, None, False),
    ({"exit_code": 127, "engine_error": "no runtime"}, End.START_FAILED, None, False),
    ({"exit_code": 1, "disk_sound": False}, End.DISK_FAILED, None, False),
    ({"exit_code": 137, "disk_sound": False, "stopped": End.TIMEOUT}, End.DISK_FAILED, None, False),
]


@pytest.mark.parametrize(("seen", "end", "code", "payable"), TABLE)
def test_each_kind_of_end(seen: dict[str, object], end: End, code: int | None, payable: bool) -> None:
    judged = judge(Evidence(**(CLEAN | seen)))  # type: ignore[arg-type]

    outcome = RunOutcome(
        *("ab", judged.end, judged.exit_code, judged.detail, b"", b"", None, None),  # type: ignore[arg-type]
        Usage(0.0, None, None),
        None,
        None,
    )
    assert (judged.end, judged.exit_code, outcome.payable) == (end, code, payable)
    assert judged.detail
