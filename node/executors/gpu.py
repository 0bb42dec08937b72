"""Who holds which GPU: one execution each, by UUID."""

from collections.abc import Iterable

from capanode.node.executors.port import ExecutionId


class GpuLeases:
    """Exclusive leases on the GPUs of this machine; lives in memory, rebuilt from labels after a restart."""

    def __init__(self) -> None:
        self._holders: dict[str, ExecutionId] = {}

    def take(self, uuids: Iterable[str], execution: ExecutionId) -> str | None:
        """Take all of them or none; None on success, else the sentence that names the one in use."""
        wanted = tuple(uuids)
        for uuid in wanted:
            holder = self._holders.get(uuid, execution)
            if holder != execution:
                return f"the GPU {uuid} is in use by execution {holder}"
        self._holders.update(dict.fromkeys(wanted, execution))
        return None

    def give_back(self, execution: ExecutionId) -> None:
        """End whatever this execution holds; idempotent."""
        self._holders = {uuid: held for uuid, held in self._holders.items() if held != execution}

    def in_use(self) -> frozenset[str]:
        """UUIDs that some execution holds."""
        return frozenset(self._holders)
