"""What each exit code means; docs/cli.md holds the same table and a test compares them."""

from enum import IntEnum
from typing import Final

from capanode.protocol.faults import Fault, InvariantViolated, Misconfigured, PeerFault, Refused, Unavailable


class Exit(IntEnum):
    """The exit codes of `capanode`."""

    DONE = 0
    BUG = 1
    INPUT = 2
    REFUSED = 3
    UNAVAILABLE = 4
    JOB_FAILED = 5
    UNVERIFIED = 6
    NO_RESULT = 7
    CUT_SHORT = 8
    INTERRUPTED = 130


MEANINGS: Final = {
    Exit.DONE: "Done.",
    Exit.BUG: "A bug in capanode; please report it.",
    Exit.INPUT: "The command, the job file, the config or the data folder has to be changed; nothing was done.",
    Exit.REFUSED: "Refused, with the reason: not enough money, a price above the cap, a rule, an image not pinned.",
    Exit.UNAVAILABLE: "Something does not answer now (node, chain, container engine, peers): try again later.",
    Exit.JOB_FAILED: "The job ran, was paid, and its program ended with another exit code than zero.",
    Exit.UNVERIFIED: "A receipt, a result or an input is not what it claims to be.",
    Exit.NO_RESULT: "The job ended without a result (refunded, cancelled, nobody took it, no majority); "
    "the money is back, but for replicas that were done.",
    Exit.CUT_SHORT: "The node did not end in order within its time and was cut short; start it again, nothing is lost.",
    Exit.INTERRUPTED: "Interrupted from the keyboard; what was handed to the node goes on.",
}


class NotVerified(Fault):
    """What was to be checked does not hold."""


def exit_of(fault: Fault) -> Exit:
    """The exit code for a fault."""
    match fault:
        case NotVerified():
            return Exit.UNVERIFIED
        case Misconfigured():
            return Exit.INPUT
        case Refused():
            return Exit.REFUSED
        case Unavailable() | PeerFault():
            return Exit.UNAVAILABLE
        case InvariantViolated():
            return Exit.BUG
        case _:
            return Exit.BUG
