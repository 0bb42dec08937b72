"""How long a challenge window must be. Source: docs/protocol.md, "Clocks"."""

from capanode.protocol.judging import JUDGED, VerificationClass


def transfer_s(total_bytes: int, bytes_per_s: int) -> int:
    """Seconds to move so much over a line of this rate, rounded up."""
    return -(-total_bytes // bytes_per_s)


def least_window_s(
    floor_s: int, timeout_s: int, moved_bytes: int, bytes_per_s: int, verification: VerificationClass
) -> int:
    """The shortest window that leaves time to challenge: max(floor, 2 × timeout + transfer).

    Where nothing is judged nothing is executed again, so the floor is enough to check the delivery.
    """
    if verification not in JUDGED:
        return floor_s
    return max(floor_s, 2 * timeout_s + transfer_s(moved_bytes, bytes_per_s))
