"""Which results are audited: by the requester, by a coin that nobody else can foresee, or before the court, by lot.

The coin falls with the commitment, so no provider can know before it commits whether it will be looked at; it falls the
same way again after a restart, as it follows from a secret that stays in the node's journal. The court's lot follows
from the hash of a block that comes later.

**Source**: docs/protocol.md §7, "Audits", and §12; PROTOCOL §3.
"""

import hashlib
from typing import Final

from eth_hash.auto import keccak

from capanode.protocol.ids import CaseId, DealId, Digest, Ppm

LOT_TAG: Final = Digest(keccak(b"capanode.lot.1"))

SECRET_BYTES: Final = 32
_TAG: Final = b"capanode.audit.1\x00"
_PPM: Final = 1_000_000


def is_drawn(secret: bytes, deal_id: DealId, trace_root: Digest, rate_ppm: Ppm) -> bool:
    """Whether a commitment is audited; of many, a share of `rate_ppm` is."""
    if len(secret) != SECRET_BYTES:
        raise ValueError("the secret of the audits is not 32 bytes")
    fallen = hashlib.sha256(_TAG + secret + deal_id + trace_root).digest()
    return int.from_bytes(fallen, "big") * _PPM >> 256 < rate_ppm


def audited_step(case_id: CaseId, block_hash: Digest, rate_ppm: Ppm, first_step: int, step_count: int) -> int | None:
    """The step that the court's lot falls on, by the hash of the case's seed block; None where it falls on none."""
    lot = int.from_bytes(keccak(LOT_TAG + case_id + block_hash), "big")
    return first_step + lot // _PPM % step_count if lot % _PPM < rate_ppm else None
