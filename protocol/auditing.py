"""The requester's own audits: which results it recomputes itself, by a coin that nobody else can foresee.

The coin falls with the commitment, so no provider can know before it commits whether it will be looked at; it falls the
same way again after a restart, as it follows from a secret that stays in the node's journal.

**Source**: docs/protocol.md §7, "Audits"; PROTOCOL §3.
"""

import hashlib
from typing import Final

from capanode.protocol.ids import DealId, Digest, Ppm

SECRET_BYTES: Final = 32
_TAG: Final = b"capanode.audit.1\x00"
_PPM: Final = 1_000_000


def is_drawn(secret: bytes, deal_id: DealId, trace_root: Digest, rate_ppm: Ppm) -> bool:
    """Whether a commitment is audited; of many, a share of `rate_ppm` is."""
    if len(secret) != SECRET_BYTES:
        raise ValueError("the secret of the audits is not 32 bytes")
    fallen = hashlib.sha256(_TAG + secret + deal_id + trace_root).digest()
    return int.from_bytes(fallen, "big") * _PPM >> 256 < rate_ppm
