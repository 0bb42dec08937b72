"""Every command speaks JSON, and none lacks a line of help."""

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from capanode.node.cli.app import app


def commands(command: Any, name: str = "capanode") -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for key, one in (inner or {}).items():
        yield from commands(one, f"{name} {key}")


COMMANDS = dict(commands(get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_takes_json_and_has_help(name: str) -> None:
    command = COMMANDS[name]
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    assert command.help
