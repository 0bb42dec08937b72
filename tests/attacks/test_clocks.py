"""Attacks 20 and 30: a chain that stands still, whoever keeps a side out for a while, and an arbiter that leaves."""

from dataclasses import asdict

from capanode.node.chain.deploy import DEVNET_COURT_CLOCKS, PUBLIC_COURT_CLOCKS
from capanode.node.chain.versions import LONGEST_OPEN_S
from capanode.protocol.due import CourtClocks

DAY_S = 86_400
HASHES_KEPT = 256
"""Blocks whose hash a contract can still read."""


def test_attack_20_forced_moves_of_a_party_have_a_day_on_public_networks() -> None:
    """A sequencer delays for a day at most before a transaction can be forced in from below."""
    assert PUBLIC_COURT_CLOCKS.answer_time >= DAY_S


def test_attack_20_challengers_answer_is_timed_in_blocks_which_stand_still_with_the_chain() -> None:
    for clocks in (PUBLIC_COURT_CLOCKS, DEVNET_COURT_CLOCKS):
        assert clocks.join_blocks >= 1
        assert 0 < clocks.join_blocks + clocks.reveal_blocks < HASHES_KEPT


def test_attack_20_silence_of_the_arbiters_is_nobodys_loss_but_theirs_and_ends() -> None:
    """Votes that are kept out lead to another draw; a dispute that is kept from ending is split, in bounded time."""
    rounds = 3
    longest_round = PUBLIC_COURT_CLOCKS.vote_time + PUBLIC_COURT_CLOCKS.reveal_time + PUBLIC_COURT_CLOCKS.appeal_time
    assert rounds * longest_round + DAY_S < PUBLIC_COURT_CLOCKS.max_dispute


def test_attack_30_arbiters_stake_stays_longer_than_any_dispute() -> None:
    """From the draw on: a case may be opened with the window, and is split so long after the window's end."""
    assert PUBLIC_COURT_CLOCKS.leave_time > LONGEST_OPEN_S + PUBLIC_COURT_CLOCKS.max_dispute
    assert DEVNET_COURT_CLOCKS.leave_time > DEVNET_COURT_CLOCKS.max_dispute


def test_attack_20_node_knows_every_clock_of_the_court() -> None:
    assert len(asdict(PUBLIC_COURT_CLOCKS)) == len(CourtClocks.__dataclass_fields__)
