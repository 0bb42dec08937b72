"""Exit codes: one table, the same in code and docs, and every kind of error has its code."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from capanode.node.cli.app import run
from capanode.node.cli.exits import MEANINGS, Exit, NotVerified, exit_of
from capanode.protocol.faults import (
    Fault,
    InvariantViolated,
    Misconfigured,
    PeerFault,
    Refused,
    Unavailable,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"

KINDS: tuple[tuple[Fault, Exit], ...] = (
    (Misconfigured("x"), Exit.INPUT),
    (Refused("x"), Exit.REFUSED),
    (Unavailable("x"), Exit.UNAVAILABLE),
    (PeerFault("x"), Exit.UNAVAILABLE),
    (InvariantViolated("x"), Exit.BUG),
    (NotVerified("x"), Exit.UNVERIFIED),
)

MISTYPED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"
"""An address whose last letter is in the wrong case."""


def test_docs_list_the_exit_codes_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [(str(int(code)), code.name, MEANINGS[code]) for code in Exit]


@pytest.mark.parametrize(("fault", "code"), KINDS, ids=lambda value: type(value).__name__)
def test_fault_ends_with_its_sentence_and_code(fault: Fault, code: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise fault

    assert exit_of(fault) == code
    assert run(fail) == code
    assert capsys.readouterr().err == "capanode: x\n"


def test_faults_of_a_nodes_tasks_are_told_without_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", [Unavailable("the chain is down")])])

    assert run(fail) == Exit.UNAVAILABLE
    assert capsys.readouterr().err == "capanode: the chain is down\n"


def test_bug_among_a_nodes_tasks_is_not_hidden() -> None:
    def fail() -> None:
        raise ExceptionGroup("tasks", [Unavailable("x"), KeyError("bug")])

    with pytest.raises(ExceptionGroup):
        run(fail)


def test_interrupt_has_the_shells_code() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def interrupt_in_a_task() -> None:
        raise BaseExceptionGroup("tasks", [KeyboardInterrupt()])

    assert run(interrupt) == 130
    assert run(interrupt_in_a_task) == 130


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("job", "submit"),
        ("run",),
        ("wallet", "stake", "much"),
        ("wallet", "earmark", "0x12", "1"),
        ("network", "use", "../../etc/passwd"),
        ("node", "add", "nonsense"),
        ("devnet", "up", "--providers", "0"),
        ("run", "image@sha256:" + "0" * 64, "--env", "novalue"),
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_wrong_usage_is_code_2(arguments: tuple[str, ...], tmp_path: Path, capanode: Callable[..., int]) -> None:
    assert capanode(*arguments) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("wallet", "withdraw", "1", "--to", MISTYPED),
        ("node", "key", "--owner", MISTYPED),
        ("network", "deploy", "--rpc", "http://127.0.0.1:1", "--name", "a", "--token", MISTYPED),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_mistyped_address_is_told_before_anything_is_done(
    arguments: tuple[str, ...], tmp_path: Path, capanode: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert capanode(*arguments, "--data", str(tmp_path / "data")) == Exit.INPUT
    assert "has a wrong checksum" in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "data").exists()
