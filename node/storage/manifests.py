"""The bytes behind a canonical tree: small files and links travel in its manifest, large ones are blobs beside it."""

import io
from collections.abc import Mapping
from typing import BinaryIO

from capanode.node.storage.blobs import BlobStore
from capanode.proofs.tree import Entry
from capanode.protocol.faults import PeerFault
from capanode.protocol.ids import Cid
from capanode.protocol.messages import ResultManifest


class Contents:
    """Opens the entries of a manifest's tree; who made the manifest is at fault for one that it does not hold."""

    def __init__(self, manifest: ResultManifest, blobs: BlobStore) -> None:
        self._sent: Mapping[str, bytes] = {file.path: file.content for file in manifest.sent}
        self._stored: Mapping[str, Cid] = {file.path: file.cid for file in manifest.stored}
        self._blobs = blobs

    def __call__(self, entry: Entry) -> BinaryIO:
        if entry.path in self._sent:
            return io.BytesIO(self._sent[entry.path])
        if entry.path in self._stored:
            return self._blobs.open(self._stored[entry.path])
        raise PeerFault(f"the manifest does not hold {entry.path!r}")
