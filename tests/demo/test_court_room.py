"""What the demo says of a case, and how it counts its gas."""

from capanode.contracts_abi import bindings
from capanode.protocol.ids import Address, DealId, Wei
from demo.court_room import Happened, found, gas_of, sentence

CASE = b"\x01" * 32
WATCHER = "0x" + "11" * 20
OPENED = bindings.Challenged(
    CASE, DealId(b"\x02" * 32), Address(b"\x11" * 20), 0, 12, 0, Wei(95 * 10**15), b"\x03" * 32, 7
)
SETTLED = bindings.Settled(CASE, DealId(b"\x02" * 32), 2, Wei(25 * 10**15), Wei(3 * 10**17), Wei(10**18))
JUDGED = bindings.DealJudged(
    DealId(b"\x02" * 32), Address(b"\x22" * 20), 8, Wei(0), Wei(375 * 10**15), Wei(15 * 10**17)
)


def test_events_are_told_in_words() -> None:
    assert (
        sentence(Happened(OPENED, 9, "0xaa", WATCHER, 1)) == f"{WATCHER} disputes step 12 with a bond of 0.095 tokens"
    )
    assert sentence(Happened(SETTLED, 9, "0xbb", WATCHER, 1)) == "the bounty is 0.3 tokens, 1 are burned"
    assert "1.5 tokens of the provider's are slashed, 0.375 go back" in sentence(
        Happened(JUDGED, 9, "0xbb", WATCHER, 1)
    )


def test_gas_of_a_transaction_with_two_events_counts_once() -> None:
    case = [
        Happened(OPENED, 9, "0xaa", WATCHER, 100),
        Happened(SETTLED, 9, "0xbb", WATCHER, 7),
        Happened(JUDGED, 9, "0xbb", WATCHER, 7),
    ]
    assert gas_of(case) == 107
    assert list(found(case, bindings.DealJudged)) == [JUDGED]
