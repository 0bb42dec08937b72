"""What tells deals with equal terms apart."""

import secrets
from typing import Final

from capanode.protocol.ids import Digest

RANDOM_BYTES: Final = 4


def new_salt() -> Digest:
    """A salt whose last four bytes are random and the rest zero.

    It only has to differ among equal terms of one requester, and a zero byte in calldata costs a quarter of another.
    """
    return Digest(bytes(32 - RANDOM_BYTES) + secrets.token_bytes(RANDOM_BYTES))
