"""Why a "no": every refusal has a kind for programs, a sentence and a remedy for people."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What stands in the way. `BUSY` passes by itself; the others last until somebody changes something."""

    EXPIRED = "expired"
    BUSY = "busy"
    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    GPU = "gpu"
    HARDWARE_CLASS = "hardware-class"
    VERIFICATION = "verification"
    TIME = "time"
    WINDOW = "window"
    SIZE = "size"
    REQUESTER = "requester"
    IMAGE = "image"
    HOURS = "hours"
    PRICE = "price"
    BOND = "bond"
    EXPOSURE = "exposure"
    SECURITY = "security"
    REPUTATION = "reputation"
    OUTBID = "outbid"
    ANOTHER = "another"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason. The remedy says who could change what; it is empty where nobody needs to do anything."""

    kind: Kind
    sentence: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.sentence}; {self.remedy}" if self.remedy else self.sentence
