"""One container of ours as it is on the engine: created, started, examined after its end, removed.

Blocking functions, each called in a thread; what to make of their findings is `ending`'s and
`docker`'s business.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from capanode.node.executors import metering
from capanode.node.executors.docker_engine import ContainerState, Engine, EngineRefused, NoSuchThing
from capanode.node.executors.port import ExecutionId
from capanode.node.fault_points import durable

_CONFLICT: Final = 409

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Findings:
    """What a container leaves behind once it has ended."""

    state: ContainerState
    holder_alive: bool
    stdout: bytes
    stderr: bytes
    used: metering.Reading


def container_name(node: str, execution: ExecutionId) -> str:
    """One name per execution: the engine itself refuses to run the same one twice."""
    return f"capanode-{node}-{execution}"


def create_container(engine: Engine, name: str, body: dict[str, Any]) -> ContainerState | None:
    """Create the container; None when it is new, else the state of the one that was started earlier."""
    for _ in range(2):
        try:
            with durable("container.create"):
                engine.create(body, name)
        except EngineRefused as refused:
            if refused.status != _CONFLICT:
                raise
            state = engine.inspect(name)
            if not state.never_started:
                return state
            with durable("container.replace"):
                engine.remove(name)  # staged by an earlier process for a berth that is gone
        else:
            return None
    raise EngineRefused(f"the name {name} stays taken; run `docker rm -f {name}`", _CONFLICT)


def holder_runs(engine: Engine, holder: str) -> bool:
    """Whether the container whose network namespace a job joins is there and running."""
    try:
        return engine.inspect(holder).running
    except NoSuchThing:
        return False


def examine(engine: Engine, container: str, holder: str, logs: Path) -> Findings:
    """Read all that is needed for the outcome and write the output to `logs` (files stdout and stderr)."""
    state = engine.inspect(container)
    stdout, stderr = engine.output(container)
    try:
        with durable("container.logs"):
            logs.mkdir(mode=0o700, exist_ok=True)
            (logs / "stdout").write_bytes(stdout)
            (logs / "stderr").write_bytes(stderr)
    except OSError as error:
        # The outcome holds the ends of both: a full disk must not cost the job.
        log.warning("output-not-kept", container=container, reason=str(error))
    return Findings(state, holder_runs(engine, holder), stdout, stderr, metering.read_usage(state.cgroup_parent))


def erase(engine: Engine, name: str, cgroup_parent: str | None, logs: Path | None) -> None:
    """Remove a container, its control group and its logs; idempotent."""
    with durable("container.remove"):
        engine.remove(name)
    with durable("container.forget"):
        if cgroup_parent:
            metering.discard(cgroup_parent)
        if logs is not None:
            shutil.rmtree(logs, ignore_errors=True)
