"""A job that runs until its test lets it go on, however slow the machine, and what runs of it on the engine."""

from contextlib import closing
from pathlib import Path
from typing import Final

from capanode.node.api.port import JobOrder
from capanode.node.devnet_parties import Party
from capanode.node.executors.docker import executor_name
from capanode.node.executors.docker_engine import ContainerState, Engine
from capanode.node.executors.sandbox import EXECUTION_LABEL, NODE_LABEL, OUTPUTS_LABEL
from capanode.protocol.ids import PeerId
from tests.e2e.town import Town

HELD: Final = "echo up; until [ -e /out/go ]; do sleep 0.1; done; rm /out/go; echo done > /out/answer"
LIMIT: Final = "16m"
"""Longer than a DIRECT deal may last, of which a requester hears nothing until it is committed."""


def held_order(town: Town) -> JobOrder:
    """A job that runs until `let_go`."""
    return town.order(HELD, timeout=LIMIT, cap="1")


def let_go(provider: Party) -> None:
    """Have the held job that runs at this node go on to its end; the node itself may be away."""
    (outputs_of(provider) / "go").touch()


def outputs_of(provider: Party) -> Path:
    """The folder that the one running job of this node writes to."""
    (container,) = _running(provider)
    return provider.folder.executions / "outputs" / container.labels[OUTPUTS_LABEL]


def running_containers(provider: Party) -> dict[str, float | None]:
    """The running job containers of a node, with the time of their start."""
    return {container.id: container.started_at for container in _running(provider)}


def _running(provider: Party) -> list[ContainerState]:
    with closing(Engine(None)) as engine:
        mine = engine.labelled({NODE_LABEL: executor_name(PeerId(provider.peer_id)), EXECUTION_LABEL: ""})
        return [state for container, _ in mine if (state := engine.inspect(container)).running]
