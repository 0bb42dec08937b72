"""Giving a job its berth: a slot, an output file system, its GPUs, and the container that joins them."""

from typing import Any, Final

import trio

from capanode.node.executors import metering
from capanode.node.executors.asking import Threads
from capanode.node.executors.container import container_name, create_container, holder_runs
from capanode.node.executors.disks import OutputPool
from capanode.node.executors.docker_engine import ContainerState, Engine, EngineRefused, NoSuchThing
from capanode.node.executors.gpu import GpuLeases
from capanode.node.executors.jobs import Job, RunEnded
from capanode.node.executors.lifetime import ends_by
from capanode.node.executors.outputs import OutputDisk
from capanode.node.executors.port import End, ExecutionId, RunRequest
from capanode.node.executors.preparing import FitImage, gpu_objection
from capanode.node.executors.sandbox import (
    OUTPUTS_LABEL,
    SLOT_LABEL,
    TIMEOUT_LABEL,
    Berth,
    GpuWay,
    container_body,
)
from capanode.node.executors.slots import Slot, Slots
from capanode.node.fault_points import durable
from capanode.protocol.faults import Unavailable

_CLEAN_UP_S: Final = 60.0


class Berths:
    """Every berth of this node; the engine's labels are what survives a restart of it."""

    def __init__(
        self,
        engine: Engine,
        threads: Threads,
        node: str,
        cgroup_driver: str,
        gpu_way: GpuWay,
        slots: Slots,
        disks: OutputPool,
    ) -> None:
        self._engine = engine
        self._threads = threads
        self._node = node
        self._cgroup_driver = cgroup_driver
        self._gpu_way = gpu_way
        self.slots = slots
        self.disks = disks
        self.leases = GpuLeases()

    async def give(self, request: RunRequest, fit: FitImage) -> Job:
        """Create the job's container in a free berth, or find the one that was started earlier.

        Raises RunEnded when the job cannot have a berth, and NoSuchThing when its image is gone; leaves nothing behind
        then.
        """
        self._lease_gpus(request, fit)
        slot: Slot | None = None
        disk: OutputDisk | None = None
        try:
            slot = await self.slots.take()
            disk = await self._disk(request.disk_bytes)
            if request.state is not None:
                await self.disks.fill(disk, request.state)
            job = self._job(request, slot, disk)
            body = self._body(request, fit, job)
            earlier = await self._threads.ask(create_container, self._engine, job.container, body)
        except BaseException as error:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEAN_UP_S):
                await self._undo(request.execution_id, slot, disk)
            if isinstance(error, EngineRefused) and not isinstance(error, NoSuchThing):
                raise RunEnded(End.START_FAILED, error) from error
            raise
        if earlier is None:
            return job
        await self._undo(request.execution_id, slot, disk)
        return await self.find_again(request.execution_id, earlier)

    async def move(self, job: Job, request: RunRequest, fit: FitImage) -> None:
        """Create the job's container anew, after the network holder of its slot had gone."""
        with durable("container.move"):
            await self._threads.ask(self._engine.remove, job.container)
        job.slot = await self.slots.renew(job.slot)
        body = self._body(request, fit, job)
        await self._threads.ask(create_container, self._engine, job.container, body)

    async def find_again(self, execution: ExecutionId, state: ContainerState) -> Job:
        """The berth of a job that an earlier process of this node started, from its labels."""
        disk = await self.disks.adopt(state.labels.get(OUTPUTS_LABEL, ""))
        if disk is None:
            raise RunEnded(End.ENGINE_LOST, "the job's output file system is gone: the machine was restarted")
        holder = state.network.removeprefix("container:")
        slot = Slot(int(state.labels.get(SLOT_LABEL, "0")), holder)
        if state.running:
            self.slots.occupy(slot)
            self.leases.take(state.gpu_uuids, execution)
        return Job(
            execution=execution,
            container=container_name(self._node, execution),
            slot=slot,
            disk=disk,
            cgroup_parent=state.cgroup_parent,
            timeout_s=int(state.labels.get(TIMEOUT_LABEL, "0")),
            gpu_uuids=state.gpu_uuids,
            began_at=state.started_at,
            ended=not state.running,
            ends_by=ends_by(state, int(state.labels.get(TIMEOUT_LABEL, "0"))),
        )

    def holder_runs(self, slot: Slot) -> bool:
        """Whether the slot's network holder is up; blocking."""
        return holder_runs(self._engine, slot.holder)

    def vacate(self, job: Job) -> None:
        """The job has ended: its slot and GPUs may serve another one, its outputs stay; idempotent."""
        self.slots.give_back(job.slot)
        self.leases.give_back(job.execution)

    def cgroup_parent(self, execution: ExecutionId) -> str:
        """The control group around an execution's container."""
        return metering.parent_for(self._node, execution, driver=self._cgroup_driver)

    def _lease_gpus(self, request: RunRequest, fit: FitImage) -> None:
        if not request.gpu_uuids:
            return
        own = tuple(f"{name}={value}" for name, value in request.env)
        if objection := fit.image.gpu_objection or gpu_objection(own):
            raise RunEnded(End.START_FAILED, f"this job may not have a GPU: {objection}")
        if busy := self.leases.take(request.gpu_uuids, request.execution_id):
            raise RunEnded(End.GPU_MISSING, busy)

    async def _disk(self, size_bytes: int) -> OutputDisk:
        try:
            return await self.disks.take(size_bytes)
        except Unavailable as full:
            raise RunEnded(End.DISK_FAILED, full) from full

    async def _undo(self, execution: ExecutionId, slot: Slot | None, disk: OutputDisk | None) -> None:
        self.leases.give_back(execution)
        if slot is not None:
            self.slots.give_back(slot)
        if disk is not None:
            await self.disks.give_back(disk.name)

    def _job(self, request: RunRequest, slot: Slot, disk: OutputDisk) -> Job:
        return Job(
            execution=request.execution_id,
            container=container_name(self._node, request.execution_id),
            slot=slot,
            disk=disk,
            cgroup_parent=self.cgroup_parent(request.execution_id),
            timeout_s=request.timeout_s,
            gpu_uuids=request.gpu_uuids,
        )

    def _body(self, request: RunRequest, fit: FitImage, job: Job) -> dict[str, Any]:
        berth = Berth(
            node=self._node,
            slot=job.slot.number,
            holder=job.slot.holder,
            cgroup_parent=job.cgroup_parent,
            outputs_name=job.disk.name,
            outputs_mount=self.disks.mount(job.disk),
        )
        return container_body(request, berth, fit.name, volumes=fit.volumes, way=self._gpu_way)
