"""The trace that a deal has committed to, as a stranger gets it: leaves from the list, states from their blobs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from capanode.node.challenged.evidence import MAX_PUBLIC_MANIFEST_BYTES, BytesMissing, EvidenceFinder, Found
from capanode.node.executed.steps import EMPTY
from capanode.node.executors.port import State
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.manifests import Contents
from capanode.proofs import leaf_list, tree
from capanode.proofs.leaf_list import MAX_LEAF_LIST_BYTES, LeafList, ProvedLeaf
from capanode.proofs.trace import MAX_POSTED_STEPS, Leaf, first_leaf
from capanode.proofs.tree import Bounds, Entry
from capanode.protocol import encoding
from capanode.protocol.encoding import BadMessage
from capanode.protocol.faults import PeerFault
from capanode.protocol.ids import Cid, Digest
from capanode.protocol.messages import ResultManifest

LEAF_BYTES: Final = 256
"""Most that one leaf takes of the encoding of a list."""


@dataclass(frozen=True, slots=True)
class CommittedTrace:
    """All leaves, checked against the trace root on chain; `listed` is None for a deal of one step."""

    found: Found
    leaves: tuple[Leaf, ...]
    listed: LeafList | None

    @property
    def first_step(self) -> int:
        """The index of the first step."""
        return self.leaves[0].index

    @property
    def steps(self) -> range:
        """The indices of the committed steps."""
        return range(self.first_step, self.leaves[-1].index)

    def before(self, index: int) -> Leaf:
        """The leaf that step `index` starts from."""
        return self.leaves[index - self.first_step]

    def after(self, index: int) -> Leaf:
        """The leaf that step `index` leads to."""
        return self.leaves[index + 1 - self.first_step]


class StateMissing(BytesMissing):
    """The bytes of the state after a step cannot be had; all else of the deal can."""

    def __init__(self, found: Found, step: int, reason: str) -> None:
        super().__init__(f"The state after step {step} cannot be had: {reason}")
        self.found = found
        self.step = step


class LeavesWithheld(BytesMissing):
    """The list of a trace's leaves cannot be had, or is not that of the trace, and the chain has not seen them."""

    def __init__(self, found: Found, reason: str) -> None:
        super().__init__(f"The leaves of the deal's trace are withheld: {reason}")
        self.found = found


class LeafForbidden(PeerFault):
    """A committed leaf says what none may: that the job had ended, or failed, before its last step."""

    def __init__(self, found: Found, leaf: ProvedLeaf) -> None:
        what = f"failed with exit code {leaf.leaf.exit_code}" if leaf.leaf.exit_code else "was the last one"
        super().__init__(f"The leaf at position {leaf.position} says that its step {what}, and others follow it.")
        self.found = found
        self.leaf = leaf


async def committed_trace(finder: EvidenceFinder, found: Found) -> CommittedTrace:
    """The leaves behind the trace root.

    Raises:
        LeafForbidden: one of them says what none may.
        LeavesWithheld: of more steps than a commit posts the leaves of, they cannot be had.
        BytesMissing: the list of leaves cannot be had.
        PeerFault: what is served is not the list that was committed.
    """
    try:
        return await _committed_trace(finder, found)
    except LeafForbidden:
        raise
    except (BytesMissing, PeerFault) as fault:
        if found.evidence.step_count <= MAX_POSTED_STEPS:
            raise
        raise LeavesWithheld(found, str(fault)) from fault


async def _committed_trace(finder: EvidenceFinder, found: Found) -> CommittedTrace:
    evidence = found.evidence
    if evidence.leaf_list is None:
        first = first_leaf(evidence.first_step, evidence.input_root)
        made = evidence.commitment
        last = Leaf(evidence.first_step + 1, made.result_root, made.status, made.stdout_root, done=True)
        return CommittedTrace(found, (first, last), None)
    longest = min(MAX_LEAF_LIST_BYTES, LEAF_BYTES * (evidence.step_count + 2))
    data = await finder.read(found, evidence.leaf_list, longest)
    bound = (evidence.deal_id, evidence.first_step, evidence.step_count, evidence.trace_root)
    try:
        listed = leaf_list.decode(data)
    except BadMessage:
        if forbidden := leaf_list.violation(data, *bound):
            raise LeafForbidden(found, forbidden) from None
        raise
    leaf_list.check(listed, *bound)
    return CommittedTrace(found, listed.as_leaves(), listed)


class States:
    """Fetches the states of committed traces, within the bounds that their deals set."""

    def __init__(self, finder: EvidenceFinder, blobs: BlobStore) -> None:
        self._finder = finder
        self._blobs = blobs

    async def start(self, trace: CommittedTrace, index: int) -> State | None:
        """What step `index` begins with; None for the only step of a job that has no states.

        Raises:
            BytesMissing, PeerFault: as `of`.
        """
        spec = trace.found.evidence.spec
        if spec.steps is None:
            return None
        return EMPTY if index == 0 else await self.of(trace, trace.before(index))

    async def of(self, trace: CommittedTrace, leaf: Leaf) -> State:
        """The state that a leaf names, with all its bytes on this machine.

        Raises:
            StateMissing: they cannot be had.
            PeerFault: what is served is not that state, or more than the deal allows.
        """
        try:
            return await self._of(trace, leaf)
        except BytesMissing as missing:
            raise StateMissing(trace.found, leaf.index - 1, str(missing)) from missing

    async def _of(self, trace: CommittedTrace, leaf: Leaf) -> State:
        manifest, entries = await self._manifest(trace, leaf)
        sizes = {entry.path: entry.size for entry in entries}
        for file in manifest.stored:
            if file.path in sizes:
                await self._finder.have(trace.found, file.cid, sizes[file.path])
        return State(entries, Contents(manifest, self._blobs))

    async def entries(self, trace: CommittedTrace, leaf: Leaf) -> tuple[Entry, ...]:
        """What the state that a leaf names consists of; raises as `of`."""
        return (await self._manifest(trace, leaf))[1]

    async def _manifest(self, trace: CommittedTrace, leaf: Leaf) -> tuple[ResultManifest, tuple[Entry, ...]]:
        data = await self._finder.read(trace.found, _manifest_cid(trace, leaf), MAX_PUBLIC_MANIFEST_BYTES)
        manifest = encoding.decode(ResultManifest, data)
        entries = await trio.to_thread.run_sync(_checked(manifest, leaf.state_root, _most_bytes(trace)))
        return manifest, entries


def _checked(manifest: ResultManifest, root: Digest, most_bytes: int) -> Callable[[], tuple[Entry, ...]]:
    def check() -> tuple[Entry, ...]:
        entries = tree.decode(manifest.tree, Bounds(content_bytes=most_bytes))
        if tree.tree_root(entries) != root:
            raise PeerFault("What is served is another state than the one that was committed.")
        return entries

    return check


def _manifest_cid(trace: CommittedTrace, leaf: Leaf) -> Cid:
    if trace.listed is None:
        return trace.found.evidence.manifest
    cid = trace.listed.manifest(leaf.index - trace.first_step)
    if cid is None:
        raise BytesMissing("The state that a job starts with is nowhere but in its inputs.")
    return cid


def _most_bytes(trace: CommittedTrace) -> int:
    spec = trace.found.evidence.spec
    return spec.resources.disk_bytes if spec.steps is None else spec.steps.state_bytes
