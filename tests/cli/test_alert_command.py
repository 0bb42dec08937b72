"""`capanode alert` tries what the config names, and says which receiver failed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from capanode.node.cli.exits import Exit

Command = Callable[..., int]


def test_a_command_that_takes_it(capanode: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text(f'[alerts]\ncommand = ["/usr/bin/tee", "{tmp_path}/got"]\n')
    assert capanode("alert", "--json", "--data", str(tmp_path)) == Exit.DONE
    assert json.loads(capsys.readouterr().out) == {"command": ""}
    assert json.loads((tmp_path / "got").read_text())["kind"] == "test"


def test_one_that_fails_is_unavailable(capanode: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text('[alerts]\ncommand = ["/bin/false"]\n')
    assert capanode("alert", "--data", str(tmp_path)) == Exit.UNAVAILABLE
    assert "exit code 1" in capsys.readouterr().out


def test_no_receiver_is_a_matter_of_the_config(
    capanode: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capanode("alert", "--data", str(tmp_path)) == Exit.INPUT
    assert "[alerts]" in capsys.readouterr().err
