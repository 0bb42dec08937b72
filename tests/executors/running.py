"""Short ways to say in a test which job to run."""

import secrets
from pathlib import Path

from capanode.node.executors.port import ExecutionId, Executor, PreparedImage, RunOutcome, RunRequest

MIB = 2**20


def python_job(
    image: PreparedImage,
    script: str,
    *,
    execution: str | None = None,
    env: tuple[tuple[str, str], ...] = (),
    inputs: tuple[tuple[str, Path], ...] = (),
    gpu_uuids: tuple[str, ...] = (),
    cpu_millis: int = 1000,
    memory_bytes: int = 128 * MIB,
    disk_bytes: int = 16 * MIB,
    pids: int = 64,
    timeout_s: int = 30,
) -> RunRequest:
    """A job that runs a Python script in the test image."""
    return RunRequest(
        execution_id=ExecutionId(execution or secrets.token_hex(16)),
        image=image.image_id,
        argv=("-c", script),
        env=env,
        cpu_millis=cpu_millis,
        memory_bytes=memory_bytes,
        disk_bytes=disk_bytes,
        pids=pids,
        timeout_s=timeout_s,
        inputs=inputs,
        gpu_uuids=gpu_uuids,
    )


async def finished(executor: Executor, request: RunRequest) -> RunOutcome:
    """Run a job of which the start is of no interest."""
    return await executor.run(request, started=lambda _: None)
