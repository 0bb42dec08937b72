"""What an earlier process of this node left on the machine; only things that carry its label."""

import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from capanode.node.executors import metering
from capanode.node.executors.docker_engine import Engine, NoSuchThing
from capanode.node.executors.port import ExecutionId
from capanode.node.executors.sandbox import (
    EXECUTION_LABEL,
    HOLDER_LABEL,
    NODE_LABEL,
    OUTPUTS_LABEL,
    SLOT_LABEL,
)
from capanode.node.fault_points import durable


def occupied_slots(engine: Engine, node: str) -> dict[int, str]:
    """Slots in which a job of an earlier process still runs, with their holders."""
    occupied: dict[int, str] = {}
    for container, labels in engine.labelled({NODE_LABEL: node, EXECUTION_LABEL: ""}):
        state = engine.inspect(container)
        if state.running and labels.get(SLOT_LABEL, "").isdigit():
            occupied[int(labels[SLOT_LABEL])] = state.network.removeprefix("container:")
    return occupied


def holders_of(engine: Engine, containers: Collection[str]) -> frozenset[str]:
    """The network holders that containers have joined; without its own, an end looks like that of the machine."""
    holders: set[str] = set()
    for container in containers:
        with suppress(NoSuchThing):
            holders.add(engine.inspect(container).network.removeprefix("container:"))
    return frozenset(holders)


def outputs_of(engine: Engine, container: str) -> list[str]:
    """The output file system that a container of ours was given; empty when there is no such container."""
    try:
        name = engine.inspect(container).labels.get(OUTPUTS_LABEL, "")
    except NoSuchThing:
        return []
    return [name] if name else []


def sweep_holders(engine: Engine, node: str, known: Collection[str], being_made: Collection[int]) -> list[str]:
    """Remove network holders that this process does not use or make, and that no running job has joined."""
    joined = set(occupied_slots(engine, node).values())
    removed: list[str] = []
    for container, labels in engine.labelled({NODE_LABEL: node, HOLDER_LABEL: "network"}):
        slot = labels.get(SLOT_LABEL, "")
        if slot.isdigit() and int(slot) in being_made:
            continue
        if container not in known and container not in joined:
            with durable("holder.sweep"):
                engine.remove(container)
            removed.append(f"network holder of slot {labels.get(SLOT_LABEL, '?')}")
    return removed


def sweep_files(state: Path, node: str, keep: frozenset[ExecutionId]) -> list[str]:
    """Remove logs and control groups of executions that are not kept."""
    removed: list[str] = []
    for folder in (state / "logs").iterdir():
        if folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(f"logs of execution {folder.name}")
    for parent in metering.leftover_parents(node):
        if parent.rpartition("/")[2] not in keep:
            metering.discard(parent)
    return removed
