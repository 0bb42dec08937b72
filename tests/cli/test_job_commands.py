"""`capanode job …` and `capanode run` against a node."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from capanode.node.api.port import ReplicaView
from capanode.node.cli.exits import Exit
from capanode.protocol.faults import Unavailable
from tests.cli.conftest import Town
from tests.fakes.fake_node_api import TOKEN, job_view

PINNED = "registry.example/tool@sha256:" + "ab" * 32
JOB = f"version: 1\nname: hello\nimage: {PINNED}\nprice_cap: 1\n"


@pytest.fixture
def job_file(tmp_path: Path) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(JOB, "utf-8")
    return str(path)


def finished(tmp_path: Path, **changes: object) -> object:
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "answer").write_text("42")
    view = replace(job_view(state="paid"), result_dir=str(folder), exit_code=0, paid_wei=TOKEN)
    return replace(view, **changes)  # type: ignore[arg-type]  # fields by name


async def test_submit_hands_the_job_over_with_its_image_pinned(
    town: Town, job_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await town.run("job", "submit", job_file, "--announce", "chain", "--policy", "first") == Exit.DONE
    (order,) = town.api.orders
    assert (order.text, order.image, order.announce, order.policy) == (JOB, PINNED, "chain", "first")
    assert order.folder == str(Path(job_file).parent)
    assert capsys.readouterr().out == "job 00000001 (digits): queued\n"


async def test_submit_and_wait_ends_with_the_jobs_code(
    town: Town, job_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town.api.steps = (replace(job_view(state="paid"), exit_code=3),)
    assert await town.run("job", "submit", job_file, "--wait", "--json") == Exit.JOB_FAILED
    assert json.loads(capsys.readouterr().out)["state"] == "paid"


async def test_job_that_was_refunded_has_a_code_of_its_own(town: Town, job_file: str) -> None:
    town.api.steps = (job_view(state="refunded"),)
    assert await town.run("job", "submit", job_file, "--wait") == Exit.NO_RESULT


async def test_refusal_is_told_and_nothing_is_taken_in(
    town: Town, job_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    town.api.refusal = "1.3 tokens are needed and 0.2 are free: `capanode wallet deposit`"
    assert await town.run("job", "submit", job_file) == Exit.REFUSED
    assert "1.3 tokens are needed" in capsys.readouterr().err
    assert town.api.orders == []


async def test_every_mistake_in_a_job_file_is_told_with_its_line(
    town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("version: 1\nimge: x\nprice_cap: lots\n", "utf-8")
    assert await town.run("job", "submit", str(path)) == Exit.INPUT
    told = capsys.readouterr().err
    assert "line 2" in told
    assert "line 3" in told
    assert town.api.orders == []


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * (2**20 + 1)])
async def test_job_file_that_cannot_be_read(town: Town, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "job.yaml").write_bytes(content)
    assert await town.run("job", "submit", str(tmp_path / "job.yaml")) == Exit.INPUT


async def test_archive_that_is_not_there_is_refused(town: Town, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("version: 1\nimage: ./image.tar\nprice_cap: 1\n", "utf-8")
    assert await town.run("job", "submit", str(path)) == Exit.REFUSED


async def test_validate_and_quote(town: Town, job_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await town.run("job", "quote", job_file, "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["price_cap_wei"] == TOKEN
    assert await town.run("job", "quote", job_file) == Exit.DONE
    told = capsys.readouterr().out
    assert "1 tokens" in told
    assert "arbiters of x86_64-v3 judge" in told
    assert "20 s to challenge in" in told


async def test_list_and_status(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    await town.api.advance(job_view())
    assert await town.run("job", "list") == Exit.DONE
    assert "a1b2c3d4  digits  queued  1" in capsys.readouterr().out
    assert await town.run("job", "list", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)[0]["job_id"] == "a1b2c3d4"
    assert await town.run("job", "status", "digits") == Exit.DONE
    assert "JobQueued" in capsys.readouterr().out
    assert await town.run("job", "status", "nothing") == Exit.REFUSED


async def test_logs_cannot_drive_the_terminal(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    await town.api.advance(job_view())
    town.api.log = b"one\n\x1b[31mred\x07"
    assert await town.run("job", "logs", "digits") == Exit.DONE
    assert capsys.readouterr().out == "one\n\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}"


async def test_result_is_named_or_copied(town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await town.api.advance(finished(tmp_path))  # type: ignore[arg-type]  # a view
    assert await town.run("job", "result", "digits") == Exit.DONE
    assert capsys.readouterr().out.strip() == str(tmp_path / "outputs")
    assert await town.run("job", "result", "digits", "--to", str(tmp_path / "copy")) == Exit.DONE
    assert (tmp_path / "copy" / "answer").read_text() == "42"
    assert await town.run("job", "result", "digits", "--to", str(tmp_path / "copy")) == Exit.INPUT


async def test_result_that_is_not_there_yet_is_refused(town: Town) -> None:
    await town.api.advance(job_view(state="running"))
    assert await town.run("job", "result", "digits") == Exit.REFUSED
    await town.api.advance(job_view(state="cancelled"))
    assert await town.run("job", "result", "digits", "--wait") == Exit.NO_RESULT


async def test_accept_and_cancel(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    await town.api.advance(job_view())
    assert await town.run("job", "accept", "digits", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["state"] == "paid"
    assert await town.run("job", "cancel", "digits") == Exit.DONE
    assert "cancelled" in capsys.readouterr().out


async def test_run_makes_a_job_of_the_command_line(
    town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town.api.steps = (finished(tmp_path),)  # type: ignore[assignment]  # a view
    arguments = ("run", "--env", "A=1", "--input", "x=data", "--price", "0.5", "--out", str(tmp_path / "out"), PINNED)
    assert await town.run(*arguments, "echo", "hello") == Exit.DONE
    (order,) = town.api.orders
    fields = json.loads(order.text)
    assert fields["command"] == ["echo", "hello"]
    assert fields["inputs"] == {"x": {"path": "data"}}
    assert (fields["price_cap"], fields["env"], order.image) == ("0.5", {"A": "1"}, PINNED)
    assert (tmp_path / "out" / "answer").read_text() == "42"
    assert "epoch 2" in capsys.readouterr().out


async def test_node_that_goes_away_is_told(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    town.api.failure = Unavailable("the chain does not answer")
    assert await town.run("job", "list") == Exit.UNAVAILABLE
    assert "the chain does not answer" in capsys.readouterr().err


async def test_replicas_are_shown_beneath_their_job(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    replicas = tuple(
        ReplicaView(
            f"a1b2c3d4-{number}", "paid", "Settled", None, f"0x0{number}" + "ab" * 19, TOKEN, TOKEN, finding, reason
        )
        for number, finding, reason in ((1, "agrees", ""), (2, "differs", "answer: its bytes are not the same"))
    )
    await town.api.advance(replace(job_view(state="paid"), replicas=replicas))
    assert await town.run("job", "list") == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[-3:]] == [["a1b2c3d4", "digits"], ["-1", "paid"], ["-2", "paid"]]
    assert "differs: answer: its bytes are not the same" in lines[-1]
    assert await town.run("job", "status", "digits") == Exit.DONE
    assert f"0x02{'ab' * 19}  differs: answer: its bytes are not the same" in capsys.readouterr().out
    assert await town.run("job", "status", "digits", "--json") == Exit.DONE
    assert [one["finding"] for one in json.loads(capsys.readouterr().out)["replicas"]] == ["agrees", "differs"]
