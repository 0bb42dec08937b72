"""Two states compared by their values: the bytes of their files are read here, what they mean is said elsewhere."""

import trio

from capanode.node.executors.port import State
from capanode.proofs.compare import Comparison, Result, compare
from capanode.proofs.formats.contents import MAX_FILE_BYTES
from capanode.protocol.comparator import Comparator


def result_of(state: State) -> Result:
    """A state as it is compared; reading may raise what its content raises."""
    entries = {entry.path: entry for entry in state.entries}

    def read(path: str) -> bytes:
        with state.content(entries[path]) as stream:
            return stream.read(MAX_FILE_BYTES)

    return Result(state.entries, read)


async def compared(ours: State, theirs: State, comparator: Comparator) -> Comparison:
    """Compare in a worker thread, which ends by itself: every file is bounded.

    Raises:
        PeerFault: a manifest does not hold what its tree names.
    """
    return await trio.to_thread.run_sync(compare, result_of(ours), result_of(theirs), comparator)
