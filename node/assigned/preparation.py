"""Having everything on this machine before the chain is asked: the image and every input, verified.

It costs nothing to fail here, and that is the point: whoever assigns can also execute.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from capanode.node.assigned.https_input import download
from capanode.node.executors.port import Executor
from capanode.node.images.reference import ImageId, ImageRef, archived_image, registry_image
from capanode.node.p2p.blobs import fetch_blob
from capanode.node.p2p.port import Network
from capanode.node.storage.blobs import BlobStore
from capanode.proofs.evidence import why_private
from capanode.protocol import provider
from capanode.protocol.events import Prepared, PrepareFailed
from capanode.protocol.faults import PeerFault, Refused
from capanode.protocol.ids import Cid, UnixTime
from capanode.protocol.records import ArchiveImage, Image, Input

KEEP_INPUTS_S: Final = 3600
"""Inputs and image archives stay this long after the last moment at which anybody may want them."""


@dataclass(frozen=True, slots=True)
class PreparationLimits:
    """What an operator takes at most, bytes, and how long fetching may take, seconds."""

    max_image_bytes: int
    max_input_bytes: int
    fetch_s: float


class Preparation:
    """Brings images and inputs onto this machine and says where they are."""

    def __init__(
        self, executor: Executor, network: Network, blobs: BlobStore, folder: Path, limits: PreparationLimits
    ) -> None:
        self._executor = executor
        self._network = network
        self._blobs = blobs
        self._folder = folder
        self._limits = limits
        self._prepared: dict[Image, ImageId] = {}

    async def prepare(self, deal: provider.Preparing) -> Prepared | PrepareFailed:
        """Fetch and verify everything that the deal needs. Idempotent, cancel-safe; resumes what was begun."""
        work = deal.work
        try:
            with trio.fail_after(self._limits.fetch_s):
                for item in work.spec.inputs:
                    await self._have_input(item, work)
                if work.spec.image in self._prepared and not await self._executor.holds(await self.image(work)):
                    self.forget(work)
                await self.image(work)
        except trio.TooSlowError:
            return PrepareFailed(f"image and inputs did not arrive within {self._limits.fetch_s:.0f} s")
        except (Refused, PeerFault) as refusal:
            return PrepareFailed(str(refusal)[:500])
        return Prepared()

    def forget(self, work: provider.Work) -> None:
        """The image has gone from this machine: bring it here again when it is next asked for."""
        self._prepared.pop(work.spec.image, None)

    async def image(self, work: provider.Work) -> ImageId:
        """The image on this machine, brought here if it is not."""
        image = work.spec.image
        if image not in self._prepared:
            archive: Path | None = None
            if image.archive is not None:
                archive = await self._have_archive(image.archive, work)
            prepared = await self._executor.prepare(reference_of(image), archive=archive, progress=lambda _: None)
            self._prepared[image] = prepared.image_id
        return self._prepared[image]

    def input_path(self, item: Input) -> Path:
        """Where an input that was prepared lies."""
        return self._blobs.path(item.cid) if item.cid is not None else self._downloaded(item)

    def keep(self, work: provider.Work, until: UnixTime) -> None:
        """Keep what a deal is computed from at least until then; blocks."""
        self._blobs.extend(reason=reason_of_inputs(work), until=until)

    def tidy(self, works: Sequence[provider.Work]) -> int:
        """Remove downloads that none of these deals needs, unless they are fresh; bytes freed."""
        wanted = {item.sha256.hex() for work in works for item in work.spec.inputs if item.cid is None}
        freed = 0
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            told = path.stat()
            is_fresh = time.time() - told.st_mtime < KEEP_INPUTS_S
            if path.name not in wanted and not is_fresh:
                path.unlink(missing_ok=True)
                freed += told.st_size
        return freed

    async def _have_archive(self, archive: ArchiveImage, work: provider.Work) -> Path:
        if archive.size_bytes > self._limits.max_image_bytes:
            raise Refused(f"the image has {archive.size_bytes} bytes, more than this provider takes")
        await self._have_blob(archive.cid, archive.size_bytes, work)
        return self._blobs.path(archive.cid)

    async def _have_input(self, item: Input, work: provider.Work) -> None:
        if item.size_bytes > self._limits.max_input_bytes:
            raise Refused(f"the input {item.name} has {item.size_bytes} bytes, more than this provider takes")
        if item.cid is not None:
            await self._have_blob(item.cid, item.size_bytes, work)
        else:
            await download(item, self._downloaded(item))
        found = await trio.to_thread.run_sync(_sha256, self.input_path(item))
        if found != item.sha256:
            raise Refused(f"the input {item.name} does not have the sha256 that the job states")

    async def _have_blob(self, cid: Cid, size_bytes: int, work: provider.Work) -> None:
        reason, until = reason_of_inputs(work), needed_until(work)
        if not self._blobs.has(cid):
            await fetch_blob(
                self._network,
                (work.requester_peer,),
                cid,
                self._blobs,
                max_bytes=size_bytes,
                reason=reason,
                until=until,
            )
        self._blobs.pin(cid, reason=reason, until=until)

    def _downloaded(self, item: Input) -> Path:
        return self._folder / item.sha256.hex()


def reference_of(image: Image) -> ImageRef:
    """The executor's name for a spec's image."""
    if image.archive is not None:
        return archived_image(image.archive.cid, f"sha256:{image.archive.image_id.hex()}")
    assert image.registry is not None
    return registry_image(image.registry.reference)


def reason_of_inputs(work: provider.Work) -> str:
    """Why image and inputs of a deal are kept."""
    return f"deal:{work.deal_id.hex()}"


def needed_until(work: provider.Work) -> UnixTime:
    """How long image and inputs stay: as long as the result does where anybody may recompute it."""
    last = work.terms.commit_by
    if not why_private(work.spec, work.demand.rules):
        last = UnixTime(last + work.terms.window_s + work.demand.retention_s)
    return UnixTime(last + KEEP_INPUTS_S)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
