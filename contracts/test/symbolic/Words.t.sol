// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Account} from "../../src/types/Account.sol";
import {CasePhase, Verdict} from "../../src/types/Case.sol";
import {CaseSlot, CaseSlotLib, Count} from "../../src/types/CaseSlot.sol";
import {Phase} from "../../src/types/Deal.sol";
import {DealSlot, DealSlotLib} from "../../src/types/DealSlot.sol";
import {Seat, SeatLib} from "../../src/types/Seat.sol";

/// @notice The words that the chain stores: what is packed into one comes out as it went in, and nothing else moves.
/// @dev For halmos, see `make symbolic`.
contract WordsTest {
    function check_DealSlotHoldsWhatItWasMadeOf(uint8 phase, uint40 deadline, uint200 hash) external pure {
        if (phase > uint8(type(Phase).max)) return;
        DealSlot s = DealSlotLib.pack(Phase(phase), deadline, hash);
        assert(uint8(s.phase()) == phase && s.deadline() == deadline && s.hash() == hash);
        assert(s.open() == 0 && !s.spent());
        assert(s.isIn(Phase(phase)) && s.isAt(Phase(phase), hash));
    }

    function check_ChallengesAreCounted(uint40 deadline, uint200 hash, uint8 open, bool spent) external pure {
        if (open >= DealSlotLib.MAX_OPEN) return;
        DealSlot s = DealSlotLib.pack(Phase.CHALLENGED, deadline, hash);
        s = DealSlot.wrap(DealSlot.unwrap(s) | (uint256(open) << 240));
        if (spent) s = s.spend();
        DealSlot more = s.challenged();
        assert(more.open() == uint256(open) + 1 && more.phase() == Phase.CHALLENGED);
        assert(more.spent() == spent && more.deadline() == deadline && more.hash() == hash);
        DealSlot less = more.unchallenged();
        assert(less.open() == open && less.phase() == (open == 0 ? Phase.COMMITTED : Phase.CHALLENGED));
        assert(less.spent() == spent && less.deadline() == deadline && less.hash() == hash);
    }

    function check_EndsKeepTheHash(uint256 word, uint8 end) external pure {
        if (end > uint8(type(Phase).max)) return;
        DealSlot s = DealSlot.wrap(word);
        DealSlot clock = s.endByClock(Phase(end));
        assert(uint8(clock.phase()) == end && clock.hash() == s.hash() && clock.deadline() == s.deadline());
        DealSlot party = s.endByParty(Phase(end));
        assert(uint8(party.phase()) == end && party.hash() == s.hash() && party.deadline() == 0);
    }

    function check_CaseSlotHoldsWhatItWasMadeOf(uint8 phase, uint40 time, uint160 hash) external pure {
        if (phase > uint8(type(CasePhase).max)) return;
        CaseSlot s = CaseSlotLib.pack(CasePhase(phase), time, hash);
        assert(uint8(s.phase()) == phase && s.time() == time && s.hash() == hash && s.total() == 0);
        for (uint256 i = 0; i <= uint256(type(Count).max); ++i) {
            assert(s.count(Count(i)) == 0);
        }
    }

    function check_OneCountLeavesTheOthers(uint256 word, uint8 which, uint8 other, uint8 value)
        external
        pure
    {
        uint8 last = uint8(type(Count).max);
        if (which > last || other > last || which == other || value > 15) return;
        CaseSlot s = CaseSlot.wrap(word);
        CaseSlot changed = s.with(Count(which), value);
        assert(changed.count(Count(which)) == value);
        assert(changed.count(Count(other)) == s.count(Count(other)));
        assert(changed.total() == s.total() && changed.time() == s.time() && changed.hash() == s.hash());
        if (value == 15) return;
        CaseSlot more = changed.more(Count(which));
        assert(more.count(Count(which)) == uint256(value) + 1);
        assert(more.count(Count(other)) == s.count(Count(other)) && more.hash() == s.hash());
    }

    function check_ACaseGoesOn(uint256 word, uint8 phase, uint40 time, uint8 which) external pure {
        if (phase > uint8(type(CasePhase).max) || which > uint8(type(Count).max)) return;
        CaseSlot s = CaseSlot.wrap(word);
        CaseSlot next = s.to(CasePhase(phase), time);
        assert(uint8(next.phase()) == phase && next.time() == time);
        assert(next.hash() == s.hash() && next.total() == s.total());
        assert(next.count(Count(which)) == s.count(Count(which)));
    }

    function check_SeatsAddUp(uint256 word, uint8 seats) external pure {
        CaseSlot s = CaseSlot.wrap(word);
        if (seats > 15 || s.total() > 240) return;
        CaseSlot next = s.seated(seats);
        assert(next.total() == s.total() + seats && next.count(Count.SEATS) == seats);
        assert(next.count(Count.CAST) == 0 && next.count(Count.REVEALED) == 0);
        assert(next.count(Count.ROUND) == s.count(Count.ROUND) && next.hash() == s.hash());
    }

    function check_AClosedCaseKeepsItsFee(uint256 word, uint8 verdict, uint96 fee) external pure {
        if (verdict > uint8(type(Verdict).max)) return;
        CaseSlot ended = CaseSlot.wrap(word).closed(Verdict(verdict), fee);
        assert(ended.phase() == CasePhase.CLOSED && uint8(ended.verdict()) == verdict);
        assert(uint96(ended.hash()) == fee && ended.time() == 0);
    }

    function check_ASeatKeepsItsPlace(uint32 position, bytes32 hidden, bytes32 other, uint216 finding)
        external
        pure
    {
        Seat seat = SeatLib.drawn(position);
        assert(seat.state() == SeatLib.DRAWN && seat.position() == position && seat.finding() == 0);
        Seat cast = seat.cast(hidden);
        assert(cast.state() == SeatLib.CAST && cast.position() == position && cast.finding() == 0);
        assert(cast.hides(hidden));
        if (uint216(uint256(other)) != uint216(uint256(hidden))) assert(!cast.hides(other));
        Seat revealed = cast.reveal(finding);
        assert(revealed.state() == SeatLib.REVEALED && revealed.position() == position);
        assert(revealed.finding() == finding && !revealed.hides(hidden));
    }

    /// @dev As their callers make sure: amounts that the fields hold, a lock within the stake.
    function check_AccountsMoveOneField(uint96 free, uint80 staked, uint80 locked, uint80 amount)
        external
        pure
    {
        if (staked >= 1 << 79 || locked > staked || amount > staked - locked) return;
        Account a = Account.wrap((uint256(locked) << 176) | (uint256(staked) << 96) | free);
        Account b = a.lock(amount);
        assert(b.locked() == uint256(locked) + amount && b.stake() == staked && b.free() == free);
        Account c = b.unlock(amount).subStake(amount);
        assert(c.locked() == locked && c.stake() == staked - amount && c.free() == free);
        assert(!c.paidElsewhere());
    }
}
